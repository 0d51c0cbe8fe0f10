//! An experiment described: the resolved text, the manifest, the parameters for TensorBoard.

use serde_json::json;

use super::load::ModelSource;
use super::{Experiment, Places};
use crate::data::source::{Corpus, Origin};
use crate::data::templates::Templates;
use crate::model::{Pair, Role};
use crate::tensorboard::HparamValue;

/// The experiment with every default and every path written out, so that it means the same wherever it is read.
pub(super) fn resolved_text(
    experiment: &Experiment,
    places: &Places,
    sources: &[ModelSource; 2],
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
    for (model, source) in [
        &mut experiment.models.main,
        &mut experiment.models.assistant,
    ]
    .into_iter()
    .zip(sources)
    {
        match source {
            ModelSource::Mini(_) => {}
            ModelSource::Directory(_) => *model = absolute(model),
            // The commit, so that a resume or a replay never sees another version.
            ModelSource::Hub(id, snapshot) => *model = format!("{}@{}", id.name, snapshot.commit),
        }
    }
    if let Some(folder) = &mut experiment.data.folder {
        *folder = absolute(folder);
    }
    if !["builtin", "honest"].contains(&&*experiment.templates.file) {
        experiment.templates.file = absolute(&experiment.templates.file);
    }
    let mut table = toml::Table::try_from(&experiment)?;
    if !hooks.is_empty() {
        table.insert("hooks".to_owned(), hooks.into());
    }
    Ok(toml::to_string(&table)?)
}

/// MD5 of a model's weight files, by their names.
fn weights_md5(source: &ModelSource) -> serde_json::Value {
    let Some(directory) = source.directory() else {
        let ModelSource::Mini(role) = source else {
            return serde_json::Value::Null;
        };
        return json!({ "model.safetensors": crate::mini::md5(*role) });
    };
    let files = crate::model::weight_files(directory).map_or(Vec::new(), |files| files.parts);
    let sums = files.iter().filter_map(|path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        // Read already, to build the model; a file that has gone since leaves its sum out.
        let bytes = std::fs::read(path).ok()?;
        Some((name, crate::download::md5_of(&bytes).into()))
    });
    serde_json::Value::Object(sums.collect())
}

fn models(experiment: &Experiment, pair: &Pair, sources: &[ModelSource; 2]) -> serde_json::Value {
    let model = |role: Role| {
        let source = &sources[role as usize];
        let mut described = json!({
            "from": experiment.models.get(role),
            "weights_md5": weights_md5(source),
            "config": pair.get(role).config(),
        });
        if let ModelSource::Hub(_, snapshot) = source {
            described["commit"] = snapshot.commit.clone().into();
        }
        described
    };
    json!({ "main": model(Role::Main), "assistant": model(Role::Assistant) })
}

/// What a measurement without training was made of.
pub(super) fn measured(
    experiment: &Experiment,
    pair: &Pair,
    sources: &[ModelSource; 2],
    templates: &Templates,
) -> serde_json::Value {
    json!({
        "milepost": env!("CARGO_PKG_VERSION"),
        "device": experiment.device,
        "seed": experiment.seed,
        "models": models(experiment, pair, sources),
        "templates": {
            "file": experiment.templates.file,
            "set": experiment.templates.set,
            "prompts": templates.prompts().len(),
        },
        "decode": experiment.decode,
    })
}

/// What the run was made of: versions, checksums, device.
pub(super) fn manifest(
    experiment: &Experiment,
    corpus: &Corpus,
    pair: &Pair,
    sources: &[ModelSource; 2],
    prompts: &[Vec<u32>],
) -> serde_json::Value {
    json!({
        "milepost": env!("CARGO_PKG_VERSION"),
        "burn": "0.22.1",
        "device": experiment.device,
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "data": { "origin": corpus.origin, "files": corpus.files },
        "models": models(experiment, pair, sources),
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
