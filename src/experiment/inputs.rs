//! The inputs that an experiment was made of, with their checksums, for the manifest.

use std::path::{Path, PathBuf};

use super::Places;
use super::model_source::ModelSource;
use super::text::Used;
use crate::checksum::{Sum, sha256};
use crate::data::corpus::Split;
use crate::data::templates::Templates;
use crate::data::tokenizer::tokenizer_files;
use crate::download::Progress;
use crate::hook::{Input as Named, Kind};
use crate::hub::ModelId;
use crate::model::{Role, adapter_files, weight_files};
use crate::record::manifest::{Input, Inputs, ManifestError};
use crate::registry::Registry;

/// The files of a model directory that determine what the model does, besides the weights and the tokenizer's.
const CONFIGS: [&str; 2] = ["config.json", "generation_config.json"];

/// The inputs of a split: the documents that were read of it, and its files where there are several.
pub(super) fn of_split(name: &str, split: &Split, read: &Used) -> Inputs {
    let mut input = Input::with_checksum(&split.from.path, split.from.sha256.clone());
    input.articles = Some(read.documents);
    input.articles_sha256 = Some(read.sha256.clone());
    let files = split.files.iter().zip(1..).map(|(file, number)| {
        let input = Input::with_checksum(&file.path, file.sha256.clone());
        (format!("{name}/{number}"), input)
    });
    files.chain([(name.to_owned(), input)]).collect()
}

/// The template file of each contrast.
pub(super) fn of_templates(templates: &Templates) -> Inputs {
    let contrasts = templates.contrasts();
    let inputs = contrasts.iter().map(|contrast| {
        let name = match contrasts {
            [_] => "templates".to_owned(),
            _ => format!("templates/{}", contrast.name),
        };
        let input = Input::with_checksum(&contrast.source, contrast.sha256.clone());
        (name, input)
    });
    inputs.collect()
}

/// The files of both models.
pub(super) fn of_models(sources: &[ModelSource; 2]) -> Result<Inputs, ManifestError> {
    let mut inputs = Inputs::new();
    for (role, source) in Role::BOTH.into_iter().zip(sources) {
        inputs.extend(of_model(&format!("models/{role}"), source)?);
    }
    Ok(inputs)
}

/// The files of a model. Their names begin with `prefix`.
fn of_model(prefix: &str, source: &ModelSource) -> Result<Inputs, ManifestError> {
    match source {
        ModelSource::Mini(which) => {
            let files = crate::mini::files(*which).into_iter();
            let inputs = files.map(|(name, bytes)| {
                let from = format!("mini:{which}, built in");
                (format!("{prefix}/{name}"), Input::of_bytes(from, bytes))
            });
            Ok(inputs.collect())
        }
        ModelSource::Directory(directory) => of_directory(prefix, directory),
        ModelSource::Hub(_, snapshot) => of_directory(prefix, &snapshot.directory),
        ModelSource::Adapter(directory, base) => {
            let mut inputs = of_model(prefix, base)?;
            inputs.extend(of_files(prefix, directory, adapter_files(directory))?);
            Ok(inputs)
        }
    }
}

/// The files of a model directory that determine what the model does, and what is saved with it. Their names begin with `prefix`.
fn of_directory(prefix: &str, directory: &Path) -> Result<Inputs, ManifestError> {
    let configs = CONFIGS.map(|name| directory.join(name)).into_iter();
    let mut paths: Vec<PathBuf> = configs.filter(|path| path.is_file()).collect();
    let of_tokenizer = tokenizer_files(directory).map_err(|source| ManifestError::Input {
        path: directory.to_owned(),
        source,
    });
    paths.extend(of_tokenizer?);
    // The loader has already refused a directory without weights.
    if let Ok(weights) = weight_files(directory) {
        paths.push(weights.origin);
        paths.extend(weights.parts);
    }
    of_files(prefix, directory, paths)
}

/// Files in a directory.
fn of_files(
    prefix: &str,
    directory: &Path,
    paths: impl IntoIterator<Item = PathBuf>,
) -> Result<Inputs, ManifestError> {
    let inputs = paths.into_iter().map(|path| {
        let name = path.strip_prefix(directory).unwrap_or(&path).display();
        Ok((format!("{prefix}/{name}"), of_file(&path)?))
    });
    inputs.collect()
}

fn of_file(path: &Path) -> Result<Input, ManifestError> {
    let sum = Sum::of_file(path).map_err(|source| ManifestError::Input {
        path: path.to_owned(),
        source,
    })?;
    Ok(Input::with_checksum(
        path.display().to_string(),
        sum.end().sha256,
    ))
}

/// The inputs that options of the hooks name: files, models, and built-in texts.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn of_hooks(
    resolved: &str,
    registry: &Registry,
    places: &Places,
    progress: &mut Progress,
) -> anyhow::Result<Inputs> {
    let experiment: toml::Table = toml::from_str(resolved)?;
    let hooks = experiment.get("hooks").and_then(toml::Value::as_table);
    let mut inputs = Inputs::new();
    for (name, hook) in hooks.into_iter().flatten() {
        let text = |key: &str| hook.get(key).and_then(toml::Value::as_str);
        let Some(kind) = registry.get(text("kind").unwrap_or(name)) else {
            continue;
        };
        for (option, input) in &kind.inputs {
            let Some(value) = text(option) else {
                continue;
            };
            let prefix = format!("hooks/{name}/{option}");
            match input {
                Named::File => inputs.extend(of_option(&prefix, kind, option, value)?),
                Named::Model => {
                    let directory = model(value, places, progress)?;
                    inputs.extend(of_directory(&prefix, &directory)?);
                }
            }
        }
    }
    Ok(inputs)
}

fn of_option(
    prefix: &str,
    kind: &Kind,
    option: &str,
    value: &str,
) -> Result<Option<(String, Input)>, ManifestError> {
    let path = Path::new(value);
    let builtin = kind.builtin_text(option, value);
    Ok(match builtin {
        Some(text) => Some((
            prefix.to_owned(),
            Input::with_checksum(format!("{value}, built in"), sha256(text.as_bytes())),
        )),
        // The option names no file, for a hook that works without one.
        None if path.is_file() => Some((prefix.to_owned(), of_file(path)?)),
        None => None,
    })
}

/// The directory of the model that an option names.
fn model(name: &str, places: &Places, progress: &mut Progress) -> anyhow::Result<PathBuf> {
    match ModelId::parse(name) {
        Some(id) if !Path::new(name).is_dir() => Ok(places.hub.get(&id, progress)?.directory),
        _ => Ok(PathBuf::from(name)),
    }
}
