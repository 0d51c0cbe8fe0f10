//! An experiment described: the resolved text, the manifest, the parameters for TensorBoard.

use std::path::Path;

use serde_json::json;

use super::{Experiment, Places};
use crate::data::source::{Corpus, Origin};
use crate::model::{Pair, Role};
use crate::tensorboard::HparamValue;

/// The experiment with every default and every path written out, so that it means the same wherever it is read.
pub(super) fn resolved_text(
    experiment: &Experiment,
    places: &Places,
    hooks: toml::Table,
) -> anyhow::Result<String> {
    let mut experiment = experiment.clone();
    let absolute = |path: &str| -> String {
        let path = places.base.join(path);
        std::path::absolute(&path)
            .unwrap_or(path)
            .display()
            .to_string()
    };
    for model in [
        &mut experiment.models.main,
        &mut experiment.models.assistant,
    ] {
        if !model.starts_with("mini:") {
            *model = absolute(model);
        }
    }
    if let Some(folder) = &mut experiment.data.folder {
        *folder = absolute(folder);
    }
    if experiment.templates.file != "builtin" {
        experiment.templates.file = absolute(&experiment.templates.file);
    }
    let mut table = toml::Table::try_from(&experiment)?;
    if !hooks.is_empty() {
        table.insert("hooks".to_owned(), hooks.into());
    }
    Ok(toml::to_string(&table)?)
}

/// What the run was made of: versions, checksums, device.
pub(super) fn manifest(
    experiment: &Experiment,
    corpus: &Corpus,
    pair: &Pair,
    prompts: &[Vec<u32>],
) -> serde_json::Value {
    let model = |role: Role, name: &str| {
        let md5 = match name.starts_with("mini:") {
            true => Some(crate::mini::md5(role)),
            false => std::fs::read(Path::new(name).join("model.safetensors"))
                .ok()
                .map(|bytes| crate::data::download::md5_of(&bytes)),
        };
        json!({ "from": name, "weights_md5": md5, "config": pair.get(role).config() })
    };
    json!({
        "milepost": env!("CARGO_PKG_VERSION"),
        "burn": "0.22.1",
        "device": experiment.device,
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "data": { "origin": corpus.origin, "files": corpus.files },
        "models": {
            "main": model(Role::Main, &experiment.models.main),
            "assistant": model(Role::Assistant, &experiment.models.assistant),
        },
        "templates": { "file": experiment.templates.file, "prompts": prompts.len() },
    })
}

/// The parameters by which TensorBoard's table of runs tells runs apart.
pub(super) fn hparams(experiment: &Experiment, corpus: &Corpus) -> Vec<(String, HparamValue)> {
    let train = &experiment.train;
    let number = |value: f64| HparamValue::Number(value);
    let mut hparams = vec![
        ("seed", number(experiment.seed as f64)),
        ("train.lr", number(train.lr)),
        (
            "train.batch",
            number((train.batch * train.accumulation) as f64),
        ),
        ("train.block", number(train.block as f64)),
        ("train.weight_decay", number(train.weight_decay)),
        (
            "train.schedule",
            HparamValue::Text(format!("{:?}", train.schedule).to_lowercase()),
        ),
        (
            "decode.draft_length",
            number(experiment.decode.draft_length as f64),
        ),
        (
            "data.builtin_sample",
            HparamValue::Bool(corpus.origin == Origin::BuiltinSample),
        ),
    ];
    if let Some(dropout) = train.dropout {
        hparams.push(("train.dropout", number(dropout)));
    }
    let models = train.models.iter().map(|role| role.as_str());
    hparams.push((
        "train.models",
        HparamValue::Text(models.collect::<Vec<_>>().join("+")),
    ));
    hparams
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
