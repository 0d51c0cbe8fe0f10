//! A network from files in Hugging Face layout, `config.json` and weights, with every mismatch named, and back into them (as
//! `model.safetensors`, F32). It holds for all families.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use burn::module::{ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};

use super::ConfigError;
use super::config::heed_generation;
use super::family::{Family, FamilyConfig};
use super::keys::Keys;
use super::model_files::ModelFiles;
use super::parameters::{checkpoint_name, named_parameters, numbered};
use super::tensors::Tensors;

/// Why weights could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// `config.json` is not one of a supported network.
    #[error("{path}: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// A weight file is truncated or not of its format.
    #[error("{path}: not a readable {what} file ({message}); fetch it again")]
    Format {
        /// The file.
        path: PathBuf,
        /// `safetensors` or `PyTorch`.
        what: &'static str,
        /// The format's reason.
        message: String,
    },
    /// The file is well formed but its tensors are not those of the config.
    #[error("{path}: {message}")]
    Content {
        /// The file.
        path: PathBuf,
        /// Which tensor, and what is wrong.
        message: String,
    },
}

/// A network of the family whose config has these keys, with the weights of its files.
///
/// # Errors
/// When a file cannot be read, the config is not supported, or a tensor is missing or of the wrong shape or type.
pub(super) fn filled<F: Family>(
    keys: Keys,
    files: &ModelFiles,
    device: &Device,
) -> Result<F, WeightsError> {
    let mut config = F::Config::read(keys).map_err(|error| files.wrong_config(error))?;
    if let Some(text) = files.generation_config()? {
        heed_generation(&mut config, &text)
            .map_err(|error| files.wrong("generation_config.json", error))?;
    }
    let mut loader = Loader {
        tensors: files.tensors(F::PREFIX)?,
        path: Vec::new(),
        problem: None,
    };
    let checked = loader.check::<F>(&mut config);
    let network = checked.and_then(|()| {
        let network = numbered(F::blank(config, device)).map(&mut loader);
        match loader.problem.take() {
            Some(message) => Err(message),
            None => Ok(network),
        }
    });
    network.map_err(|message| WeightsError::Content {
        path: loader.tensors.origin,
        message,
    })
}

/// A fresh network of the family whose config has these keys.
///
/// # Errors
/// When the config is not supported.
pub(super) fn fresh<F: Family>(
    keys: Keys,
    rng: &mut ChaCha8Rng,
    device: &Device,
) -> Result<F, ConfigError> {
    let config = F::Config::read(keys)?;
    Ok(numbered(F::init(config, rng, device)))
}

/// Names and bytes of the files of a network's directory: the weights in F32, then the config.
///
/// # Errors
/// When they cannot be put into their formats.
pub(super) fn files<F: Family>(network: &F) -> Result<[(&'static str, Vec<u8>); 2], WeightsError> {
    let [weights_name, config_name] = ["model.safetensors", "config.json"];
    let mut parameters = named_parameters(network);
    for (name, _) in &mut parameters {
        *name = F::saved_name(name);
    }
    let weights = to_safetensors(weights_name, &parameters, [])?;
    let config = serde_json::to_vec_pretty(network.config())
        .map_err(|error| writing(Path::new(config_name))(std::io::Error::other(error)))?;
    Ok([(weights_name, weights), (config_name, config)])
}

/// The bytes of a safetensors file of this name, with tensors in F32 and what is said of them.
pub(super) fn to_safetensors<const N: usize>(
    file: &str,
    tensors: &[(String, TensorData)],
    said: [(String, String); N],
) -> Result<Vec<u8>, WeightsError> {
    let failed = |error| writing(Path::new(file))(std::io::Error::other(error));
    let views: Vec<(&str, TensorView)> = tensors
        .iter()
        .map(|(name, data)| {
            TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes())
                .map(|view| (name.as_str(), view))
        })
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    // transformers refuses a safetensors file that does not name the framework it was made for.
    let mut metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    metadata.extend(said);
    let unordered: HashMap<String, String> = metadata.clone().into_iter().collect();
    let mut bytes = safetensors::serialize(views, Some(unordered)).map_err(failed)?;
    // The format writes what is said in no order of its own; the same tensors are the same bytes.
    let ordered = serde_json::to_vec(&metadata).unwrap_or_default();
    let key = b"\"__metadata__\":";
    let place = bytes.windows(key.len()).position(|part| part == key);
    let place = place.map(|start| start + key.len());
    if let Some(said) = place.and_then(|start| bytes.get_mut(start..start + ordered.len())) {
        said.copy_from_slice(&ordered);
    }
    Ok(bytes)
}

/// The error of a file that cannot be written.
pub(super) fn writing(path: &Path) -> impl FnOnce(std::io::Error) -> WeightsError {
    let path = path.to_owned();
    move |source| WeightsError::Io {
        action: "write",
        path,
        source,
    }
}

/// Replaces every parameter by the file's tensor of its name; remembers the first thing that is wrong.
struct Loader<'a> {
    tensors: Tensors<'a>,
    path: Vec<String>,
    problem: Option<String>,
}

impl Loader<'_> {
    /// Compares the files' headers with the config, before anything of its size is allocated.
    fn check<F: Family>(&mut self, config: &mut F::Config) -> Result<(), String> {
        F::settle_head(config, &mut self.tensors)?;
        let mut names = HashSet::new();
        for (name, shape) in config.parameters() {
            self.tensors.expect(&name, &shape)?;
            names.insert(name);
        }
        self.tensors
            .finish(|name| names.contains(name) || F::is_needless(name))
    }
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.problem.is_some() {
            return param;
        }
        let shape = param.val().dims();
        match self.tensors.take(&checkpoint_name(&self.path), &shape) {
            Ok(values) => {
                let data = TensorData::new(values, shape);
                let device = param.val().device();
                param.map(|old| {
                    Tensor::from_data(data, &device).set_require_grad(old.is_require_grad())
                })
            }
            Err(problem) => {
                self.problem = Some(problem);
                param
            }
        }
    }
}
