//! Models from the Hugging Face hub, and data sets in its cache, through the cache that transformers uses. Either program finds what the other downloaded.
//!
//! A model that is complete in the cache is used without the network. Only [`Hub::refresh`] asks which commit a branch means now.

mod blob;
mod cache;
mod data_set;
mod id;

use std::path::PathBuf;

use serde::Deserialize;

use crate::data::tokenizer::is_tokenizer_file;
use crate::download::{Ask, Patience, Progress, ask};
use crate::model::{WEIGHT_FILES, shard_names};
use cache::Repository;
pub use data_set::DataSetId;
pub use id::ModelId;

/// Why a model of the hub is not available. The message ends with how to get it by hand.
#[derive(Debug, thiserror::Error)]
#[error("model {id}: {reason}\nBy hand: {remedy}")]
pub struct HubError {
    /// The model.
    pub id: ModelId,
    /// What went wrong.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

/// The hub and its local cache.
#[derive(Debug, Clone)]
pub struct Hub {
    /// The cache folder, with a folder `models--...` for each model. None when no home directory is known.
    pub cache: Option<PathBuf>,
    /// Address of the hub.
    pub endpoint: String,
    /// Access token, for private and gated models.
    pub token: Option<String>,
    /// Whether downloads are forbidden.
    pub offline: bool,
    /// How long to wait for the server.
    pub patience: Patience,
    /// How long to wait for another program that is writing the same file.
    pub lock: std::time::Duration,
}

/// A model in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The directory with its files.
    pub directory: PathBuf,
    /// The commit that the files are of.
    pub commit: String,
}

impl Hub {
    /// Reads `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` from the environment, with the defaults of
    /// transformers.
    pub fn from_environment(offline: bool) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let folder = |name: &str| variable(name).map(PathBuf::from);
        let home = folder("HF_HOME")
            .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(folder("HOME")?.join(".cache/huggingface")));
        let token_file = folder("HF_TOKEN_PATH").or_else(|| Some(home.as_ref()?.join("token")));
        let token = variable("HF_TOKEN").or_else(|| {
            let text = std::fs::read_to_string(token_file?).ok()?;
            Some(text.trim().to_owned()).filter(|text| !text.is_empty())
        });
        let said = |name: &str| {
            variable(name).is_some_and(|value| {
                ["1", "true", "yes", "on"].contains(&value.to_lowercase().as_str())
            })
        };
        let endpoint =
            variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        Self {
            cache: folder("HF_HUB_CACHE")
                .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
                .or_else(|| home.map(|home| home.join("hub"))),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token,
            offline: offline || said("HF_HUB_OFFLINE") || said("TRANSFORMERS_OFFLINE"),
            patience: Patience {
                start: std::time::Duration::from_secs(10),
                stall: std::time::Duration::from_secs(60),
            },
            lock: std::time::Duration::from_secs(600),
        }
    }

    /// Returns the model from the cache if it is complete there, else downloads it.
    ///
    /// # Errors
    /// When it is not in the cache and cannot be downloaded.
    pub fn get(&self, id: &ModelId, progress: &mut Progress) -> Result<Snapshot, HubError> {
        match self.cached(id) {
            Some(snapshot) => Ok(snapshot),
            None => self.refresh(id, progress),
        }
    }

    /// Returns the model from the cache, if it is complete there.
    pub fn cached(&self, id: &ModelId) -> Option<Snapshot> {
        let repository = self.repository(id).ok()?;
        let commit = repository.commit(&id.revision)?;
        let directory = repository.snapshot(&commit);
        is_whole(&directory).then_some(Snapshot { directory, commit })
    }

    /// Returns the current version of the model's revision. Only files that are missing in the cache are downloaded.
    ///
    /// # Errors
    /// When downloads are forbidden, when the hub does not answer or refuses, when a body is damaged, or when the cache cannot be written.
    pub fn refresh(&self, id: &ModelId, progress: &mut Progress) -> Result<Snapshot, HubError> {
        let failed = |reason: String| self.error(id, reason);
        let repository = self.repository(id)?;
        if self.offline {
            return Err(failed(format!(
                "it is not whole in the cache ({}), and nothing may be fetched (--offline, MILEPOST_OFFLINE or HF_HUB_OFFLINE)",
                repository.folder.display()
            )));
        }
        let info = self.info(id).map_err(failed)?;
        if !id::is_commit(&info.sha) {
            return Err(failed(format!("the hub gave `{}` as its commit", info.sha)));
        }
        let directory = repository.snapshot(&info.sha);
        let mut fetch = |name: &str| {
            blob::fetch(self, id, &repository, &info.sha, name, progress)
                .map_err(|reason| self.error(id, format!("{name}: {reason}")))
        };
        let files: Vec<&str> = info.siblings.iter().map(|file| &*file.rfilename).collect();
        let there = |name: &str| files.contains(&name);
        let weights = WEIGHT_FILES.into_iter().find(|name| there(name));
        let Some(weights) = weights.filter(|_| there("config.json")) else {
            let reason = format!("no config.json, or none of {}", WEIGHT_FILES.join(", "));
            return Err(failed(reason));
        };
        fetch("config.json")?;
        let is_beside = |name: &str| name == "generation_config.json" || is_tokenizer_file(name);
        for name in files.iter().filter(|name| is_beside(name)) {
            fetch(name)?;
        }
        fetch(weights)?;
        if weights.ends_with(".index.json") {
            let index = std::fs::read(directory.join(weights));
            let index = index.map_err(|error| self.error(id, format!("{weights}: {error}")))?;
            let shards = shard_names(&index);
            for name in shards.map_err(|reason| self.error(id, format!("{weights}: {reason}")))? {
                fetch(&name)?;
            }
        }
        repository
            .set_reference(&id.revision, &info.sha)
            .map_err(|error| self.error(id, format!("cannot write the cache: {error}")))?;
        if is_whole(&directory) {
            Ok(Snapshot {
                directory,
                commit: info.sha,
            })
        } else {
            Err(self.error(
                id,
                "it has no tokenizer.json, nor vocab.json with merges.txt".to_owned(),
            ))
        }
    }

    fn info(&self, id: &ModelId) -> Result<Info, String> {
        let url = format!(
            "{}/api/models/{}/revision/{}",
            self.endpoint,
            id.name,
            id.escaped_revision()
        );
        let question = Ask {
            token: self.token.clone(),
            ..Ask::get(&url)
        };
        let answer = ask(question, self.patience).map_err(|error| format!("{url}: {error}"))?;
        match answer.status {
            401 | 403 => Err(format!(
                "the hub answered {}: it does not exist, or it is private or gated; then set HF_TOKEN to a token that may read it",
                answer.status
            )),
            404 => Err("the hub knows no such model or revision (404)".to_owned()),
            _ => {
                let text = answer.accepted().and_then(|answer| answer.text());
                let text = text.map_err(|error| format!("{url}: {error}"))?;
                serde_json::from_str(&text)
                    .map_err(|error| format!("{url}: not an answer of a hub ({error})"))
            }
        }
    }

    fn repository(&self, id: &ModelId) -> Result<Repository, HubError> {
        let missing = || self.error(id, "no cache folder: set HF_HOME or HOME".to_owned());
        let cache = self.cache.as_ref().ok_or_else(missing)?;
        Ok(Repository::of(cache, "models", id))
    }

    fn error(&self, id: &ModelId, reason: String) -> HubError {
        HubError {
            id: id.clone(),
            reason,
            remedy: format!(
                "on a machine with a network, save config.json, the weights and the tokenizer's files from {}/{}/tree/{} in a folder, copy it here, and name the folder in [models]; or copy the hub's cache and point HF_HUB_CACHE at it",
                self.endpoint, id.name, id.revision
            ),
        }
    }
}

/// The hub's description of a revision of a model.
#[derive(Deserialize)]
struct Info {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Whether a directory has every file that a model needs.
fn is_whole(directory: &std::path::Path) -> bool {
    let there = |name: &str| directory.join(name).is_file();
    let weights = crate::model::weight_files(directory);
    there("config.json")
        && (there("tokenizer.json") || (there("vocab.json") && there("merges.txt")))
        && weights.is_ok_and(|weights| weights.parts.iter().all(|part| part.is_file()))
}
