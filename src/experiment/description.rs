//! An experiment described: the resolved text, the manifest, the parameters for TensorBoard.

use serde_json::json;

use super::model_source::ModelSource;
use super::{Experiment, PLUG_INS, Places, TextChange, inputs};
use crate::checksum::sha256;
use crate::data::corpus::{Corpus, Origin};
use crate::data::sources;
use crate::data::templates::Templates;
use crate::download::Progress;
use crate::hub::DataSetId;
use crate::model::{Pair, Precision, Role};
use crate::record::manifest::Inputs;
use crate::record::{Manifest, ManifestError, pairs};
use crate::registry::Registry;
use crate::tensorboard::HparamValue;
use crate::train::Plan;

/// The version of burn that is built in.
const BURN: &str = "0.22.1";

/// The experiment with every default and every path written out, so that it means the same wherever it is read. `plug_ins` are the tables of
/// its hooks and interventions.
pub(super) fn resolved_text(
    experiment: &Experiment,
    places: &Places,
    sources: &[ModelSource; 2],
    plug_ins: [toml::Table; 2],
) -> anyhow::Result<String> {
    let mut experiment = experiment.clone();
    let absolute = |path: &str| -> String {
        let path = places.base.join(path);
        std::path::absolute(&path)
            .unwrap_or(path)
            .display()
            .to_string()
    };
    let lists = experiment.data.intervene.iter_mut();
    for file in lists.filter_map(TextChange::file_mut) {
        *file = absolute(file);
    }
    for (model, source) in [
        &mut experiment.models.main,
        &mut experiment.models.assistant,
    ]
    .into_iter()
    .zip(sources)
    {
        match source {
            ModelSource::Mini(_) => {}
            ModelSource::Directory(_) | ModelSource::Adapter(..) => *model = absolute(model),
            // The commit, so that a resume or a replay never sees another version.
            ModelSource::Hub(id, snapshot) => *model = format!("{}@{}", id.name, snapshot.commit),
        }
    }
    if let Some(folder) = &mut experiment.data.folder {
        *folder = absolute(folder);
    }
    if let Some(name) = &mut experiment.data.hub
        && let Some(id) = DataSetId::parse(name)
        && let Ok(snapshot) = places.hub.data_set(&id)
    {
        // The commit, so that a resume or a replay never sees another version.
        *name = id.at(&snapshot.commit).to_string();
    }
    for name in experiment.data.names_mut() {
        *name = sources::absolute(&places.base, name);
    }
    let contrasts = experiment.contrasts.values_mut();
    let files = contrasts.filter_map(|contrast| contrast.templates.as_mut());
    for file in files.chain([&mut experiment.templates.file]) {
        if !["builtin", "honest"].contains(&file.as_str()) {
            *file = absolute(file);
        }
    }
    let mut table = toml::Table::try_from(&experiment)?;
    for (section, tables) in PLUG_INS.into_iter().zip(plug_ins) {
        if !tables.is_empty() {
            table.insert(section.to_owned(), tables.into());
        }
    }
    Ok(toml::to_string(&table)?)
}

/// A resolved experiment with other hooks.
pub(super) fn with_hooks(resolved: &str, hooks: toml::Table) -> anyhow::Result<String> {
    let mut table: toml::Table = toml::from_str(resolved)?;
    table.remove("hooks");
    if !hooks.is_empty() {
        table.insert("hooks".to_owned(), hooks.into());
    }
    Ok(toml::to_string(&table)?)
}

fn models(experiment: &Experiment, pair: &Pair, sources: &[ModelSource; 2]) -> serde_json::Value {
    let model = |role: Role| {
        let mut described = json!({
            "from": experiment.models.get(role),
            "config": pair.get(role).config_json(),
        });
        if let ModelSource::Hub(_, snapshot) = &sources[role as usize] {
            described["commit"] = snapshot.commit.clone().into();
        }
        described
    };
    json!({ "main": model(Role::Main), "assistant": model(Role::Assistant) })
}

/// What a measurement without training was made of.
///
/// # Errors
/// When a file that was read cannot be read again for its checksum.
pub(super) fn measured(
    experiment: &Experiment,
    pair: &Pair,
    sources: &[ModelSource; 2],
    templates: &Templates,
) -> Result<serde_json::Value, ManifestError> {
    let mut inputs = inputs::of_models(sources)?;
    inputs.extend(inputs::of_templates(templates));
    Ok(json!({
        "milepost": env!("CARGO_PKG_VERSION"),
        "burn": BURN,
        "device": experiment.device,
        "seed": experiment.seed,
        "models": models(experiment, pair, sources),
        "templates": {
            "file": experiment.templates.file,
            "set": experiment.templates.set,
            "prompts": templates.prompts().len(),
        },
        "decode": experiment.decode,
        "inputs": inputs,
    }))
}

/// What the run was made of: versions, device, and the checksum of everything that was read. What its hooks read is added by [`complete`].
///
/// # Errors
/// When a file that was read cannot be read again for its checksum.
pub(super) fn manifest(
    experiment: &Experiment,
    corpus: &Corpus,
    text: Inputs,
    pair: &Pair,
    sources: &[ModelSource; 2],
    templates: &Templates,
) -> Result<serde_json::Value, ManifestError> {
    let mut inputs = inputs::of_models(sources)?;
    inputs.extend(text);
    inputs.extend(inputs::of_templates(templates));
    Ok(json!({
        "milepost": env!("CARGO_PKG_VERSION"),
        "burn": BURN,
        "device": experiment.device,
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "data": { "origin": corpus.origin },
        "models": models(experiment, pair, sources),
        "templates": {
            "file": experiment.templates.file,
            "prompts": templates.prompts().len(),
        },
        "inputs": inputs,
        "pairs_sha256": sha256(pairs::text(templates).as_bytes()),
    }))
}

/// Adds to a plan's manifest what its hooks have read and which experiment it is, and seals it.
///
/// # Errors
/// When a file that a hook names cannot be read for its checksum.
pub(super) fn complete(
    plan: &mut Plan,
    registry: &Registry,
    places: &Places,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let mut facts = std::mem::take(&mut plan.manifest).into_facts();
    let read = inputs::of_hooks(&plan.resolved, registry, places, progress)?;
    for (name, input) in read {
        facts["inputs"][name] = json!(input);
    }
    facts["experiments"] = json!([sha256(plan.resolved.as_bytes())]);
    plan.manifest = Manifest::sealed(facts);
    Ok(())
}

/// What is done to the text to train on, in words.
fn changes_of_text(experiment: &Experiment) -> String {
    let changes = experiment.data.intervene.iter().map(TextChange::name);
    changes.collect::<Vec<_>>().join(", ")
}

/// The text of the training in one line: where it came from, and what was done to it.
pub(super) fn origin(experiment: &Experiment, corpus: &Corpus) -> String {
    let description = &corpus.description;
    match experiment.data.intervene.len() {
        0 => description.clone(),
        _ => format!("{description}; changed: {}", changes_of_text(experiment)),
    }
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
    if !experiment.data.intervene.is_empty() {
        let changes = changes_of_text(experiment);
        hparams.push(("data.intervene", HparamValue::Text(changes)));
    }
    if train.precision != Precision::F32 {
        let name = train.precision.as_str().to_owned();
        hparams.push(("train.precision", HparamValue::Text(name)));
    }
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
