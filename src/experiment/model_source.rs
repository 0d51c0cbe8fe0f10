//! Where a model of the pair comes from.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::{Places, Written};
use crate::data::tokenizer::{Tokenizer, TokenizerError};
use crate::download::Progress;
use crate::hub::{HubError, ModelId, Snapshot};
use crate::model::{AdapterConfig, Base, Network, Role, WeightsError, is_adapter};

/// Where a model of the pair comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ModelSource {
    /// Built into the program.
    Mini(Role),
    /// A directory that the user named.
    Directory(PathBuf),
    /// A model of the hub, in the hub's cache.
    Hub(ModelId, Snapshot),
    /// An adapter in a directory that the user named, and the model that it belongs to.
    Adapter(PathBuf, Box<ModelSource>),
}

impl ModelSource {
    /// Loads the model onto a device.
    ///
    /// # Errors
    /// When its files cannot be read, or are not supported.
    pub fn network(&self, device: &Device) -> Result<Network, WeightsError> {
        match self {
            Self::Mini(role) => crate::mini::model(*role, device),
            Self::Directory(directory) => Network::load(directory, device),
            Self::Hub(_, snapshot) => Network::load(&snapshot.directory, device),
            Self::Adapter(directory, base) => base.network(device)?.with_adapter(directory),
        }
    }

    /// The tokenizer; of an adapter that of the model that it belongs to.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn tokenizer(&self) -> Result<Tokenizer, TokenizerError> {
        match self {
            Self::Mini(_) => crate::mini::tokenizer(),
            Self::Directory(directory) => Tokenizer::load(directory),
            Self::Hub(_, snapshot) => Tokenizer::load(&snapshot.directory),
            Self::Adapter(_, base) => base.tokenizer(),
        }
    }

    /// What adapters of this model say of it, so that it is found again.
    pub fn base(&self) -> Base {
        let named = |name: String| Base {
            name,
            revision: None,
        };
        match self {
            Self::Mini(role) => named(format!("mini:{role}")),
            Self::Directory(directory) => {
                let whole = std::path::absolute(directory);
                named(whole.unwrap_or(directory.clone()).display().to_string())
            }
            Self::Hub(id, snapshot) => Base {
                name: id.name.clone(),
                revision: Some(snapshot.commit.clone()),
            },
            Self::Adapter(_, base) => base.base(),
        }
    }
}

/// How a model of the hub is found: as it is in the cache, or as it is on the hub now.
pub(super) type FindOnHub<'a> = dyn FnMut(&ModelId) -> Result<Snapshot, HubError> + 'a;

/// Finds the model that `[models]` names for `role`, and downloads it if need be.
pub(super) fn find_model(
    written: &Written,
    places: &Places,
    role: Role,
    hub: &mut FindOnHub,
) -> anyhow::Result<ModelSource> {
    let name = written.experiment.models.get(role);
    let found = find(name, places, hub)?.ok_or_else(|| {
        let message = format!(
            "no model directory {}; give a directory in Hugging Face layout, a model of the hub such as `openai-community/gpt2`, `mini:main` or `mini:assistant`",
            places.base.join(name).display()
        );
        written.wrong(&["models", role.as_str()], message)
    })?;
    match found {
        ModelSource::Directory(directory) if is_adapter(&directory) => {
            let base = base_of(&directory, places, hub)?;
            Ok(ModelSource::Adapter(directory, Box::new(base)))
        }
        found => Ok(found),
    }
}

/// The model of an adapter's directory, merged into its base, on the CPU, and its tokenizer.
///
/// # Errors
/// When the base is not found, a file cannot be read, or the adapter computes what is not supported.
pub fn merged_model(
    adapter: &Path,
    places: &Places,
    progress: &mut Progress,
) -> anyhow::Result<(Network, Tokenizer)> {
    let base = base_of(adapter, places, &mut |id| places.hub.get(id, progress))?;
    let source = ModelSource::Adapter(adapter.to_owned(), Box::new(base));
    let network = source.network(&Device::flex())?;
    Ok((network.merged(), source.tokenizer()?))
}

/// Finds the model that the adapter of a directory belongs to.
fn base_of(directory: &Path, places: &Places, hub: &mut FindOnHub) -> anyhow::Result<ModelSource> {
    let Base { name, revision } = AdapterConfig::read(directory)?.base;
    let wrong = |message: String| WeightsError::Content {
        path: directory.join("adapter_config.json"),
        message: format!("`base_model_name_or_path` is `{name}`: {message}"),
    };
    // A revision is one of the hub.
    let full = match revision {
        Some(revision) if !places.base.join(&name).is_dir() => format!("{name}@{revision}"),
        _ => name.clone(),
    };
    let found = find(&full, places, hub)?;
    match found {
        None => Err(wrong("no such directory, and no model of the hub".to_owned()).into()),
        Some(ModelSource::Directory(base)) if is_adapter(&base) => {
            let message = "this is an adapter itself; merge it into its base first";
            Err(wrong(message.to_owned()).into())
        }
        Some(found) => Ok(found),
    }
}

/// Finds a model by its name. None where no directory and no model of the hub can have it.
fn find(name: &str, places: &Places, hub: &mut FindOnHub) -> anyhow::Result<Option<ModelSource>> {
    match name {
        "mini:main" => return Ok(Some(ModelSource::Mini(Role::Main))),
        "mini:assistant" => return Ok(Some(ModelSource::Mini(Role::Assistant))),
        _ => {}
    }
    let directory = places.base.join(name);
    if directory.is_dir() {
        return Ok(Some(ModelSource::Directory(directory)));
    }
    let Some(id) = ModelId::parse(name) else {
        return Ok(None);
    };
    let snapshot = hub(&id)?;
    Ok(Some(ModelSource::Hub(id, snapshot)))
}
