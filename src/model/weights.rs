//! Weights in Hugging Face layout: a directory with `config.json` and `model.safetensors`, read with every mismatch named,
//! written aside and renamed so that a directory under its final name is always whole.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};

use super::{ConfigError, Gpt2, Gpt2Config};
use crate::random::{Purpose, stream};

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
    /// `config.json` is not one of a supported GPT-2.
    #[error("{path}: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// `model.safetensors` is truncated or not of that format.
    #[error("{path}: not a readable safetensors file ({source}); fetch it again")]
    Format {
        /// The file.
        path: PathBuf,
        /// The format's reason.
        source: SafeTensorError,
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

/// The files of a model in memory, whether from a directory or built into the program.
pub(crate) struct ModelFiles<'a> {
    /// Where they came from, for messages.
    pub origin: PathBuf,
    /// Text of `config.json`.
    pub config: &'a str,
    /// Bytes of `model.safetensors`.
    pub weights: &'a [u8],
}

impl Gpt2 {
    /// Reads a model directory in Hugging Face layout onto `device`.
    ///
    /// # Errors
    /// When a file is missing or unreadable, the config is not supported, or a tensor is missing or of the wrong shape or type.
    pub fn load(directory: &Path, device: &Device) -> Result<Self, WeightsError> {
        let config_path = directory.join("config.json");
        let weights_path = directory.join("model.safetensors");
        let config = std::fs::read_to_string(&config_path).map_err(reading(&config_path))?;
        let weights = std::fs::read(&weights_path).map_err(reading(&weights_path))?;
        Self::from_files(
            ModelFiles {
                origin: directory.to_owned(),
                config: &config,
                weights: &weights,
            },
            device,
        )
    }

    /// Builds a model from the bytes of its files.
    pub(crate) fn from_files(files: ModelFiles, device: &Device) -> Result<Self, WeightsError> {
        let config = Gpt2Config::parse(files.config).map_err(|source| WeightsError::Config {
            path: files.origin.join("config.json"),
            source,
        })?;
        let path = files.origin.join("model.safetensors");
        let tensors =
            SafeTensors::deserialize(files.weights).map_err(|source| WeightsError::Format {
                path: path.clone(),
                source,
            })?;
        // The fresh weights are all replaced; they only give the mapper a module to walk.
        let fresh = Gpt2::init(
            config,
            &mut stream(0, Purpose::Initialisation, 0, 0),
            device,
        );
        let mut loader = Loader {
            tensors: tensors
                .iter()
                .map(|(name, view)| {
                    (
                        name.strip_prefix("transformer.").unwrap_or(name).to_owned(),
                        view,
                    )
                })
                .collect(),
            path: Vec::new(),
            problem: None,
        };
        let model = fresh.map(&mut loader);
        match loader.problem {
            Some(message) => Err(WeightsError::Content { path, message }),
            None => Ok(model),
        }
    }

    /// Writes `config.json` and `model.safetensors` into `directory`, which must exist. Each file is written aside, synced and renamed.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<(), WeightsError> {
        let config_path = directory.join("config.json");
        let weights_path = directory.join("model.safetensors");
        let config = serde_json::to_string_pretty(&self.config)
            .map_err(|error| writing(&config_path)(std::io::Error::other(error)))?;
        let parameters = named_parameters(self);
        let views: Vec<(String, TensorView)> = parameters
            .iter()
            .map(|(name, data)| {
                TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes())
                    .map(|view| (format!("transformer.{name}"), view))
            })
            .collect::<Result<_, _>>()
            .map_err(|source| WeightsError::Format {
                path: weights_path.clone(),
                source,
            })?;
        // transformers refuses a safetensors file that does not name the framework it was made for.
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(|source| {
            WeightsError::Format {
                path: weights_path.clone(),
                source,
            }
        })?;
        crate::atomic::write(&weights_path, &bytes).map_err(writing(&weights_path))?;
        crate::atomic::write(&config_path, config.as_bytes()).map_err(writing(&config_path))
    }
}

fn reading(path: &Path) -> impl FnOnce(std::io::Error) -> WeightsError {
    let path = path.to_owned();
    move |source| WeightsError::Io {
        action: "read",
        path,
        source,
    }
}

fn writing(path: &Path) -> impl FnOnce(std::io::Error) -> WeightsError {
    let path = path.to_owned();
    move |source| WeightsError::Io {
        action: "write",
        path,
        source,
    }
}

/// The checkpoint's name of the parameter at a module path: burn calls a layer norm's weights gamma and beta.
pub(crate) fn checkpoint_name(path: &[String]) -> String {
    let name = path.join(".");
    match name.rsplit_once('.') {
        Some((layer, "gamma")) => format!("{layer}.weight"),
        Some((layer, "beta")) => format!("{layer}.bias"),
        _ => name,
    }
}

/// Every parameter's checkpoint name (without `transformer.`) and values, in the order of the network.
pub fn named_parameters(model: &Gpt2) -> Vec<(String, TensorData)> {
    struct Collector {
        path: Vec<String>,
        found: Vec<(String, TensorData)>,
    }
    impl ModuleVisitor for Collector {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found
                .push((checkpoint_name(&self.path), param.val().into_data()));
        }
    }
    let mut collector = Collector {
        path: Vec::new(),
        found: Vec::new(),
    };
    model.visit(&mut collector);
    collector.found
}

/// Replaces every parameter by the file's tensor of its name; remembers the first thing that is wrong.
struct Loader<'a> {
    tensors: HashMap<String, TensorView<'a>>,
    path: Vec<String>,
    problem: Option<String>,
}

impl Loader<'_> {
    fn tensor(&mut self, shape: &[usize]) -> Result<TensorData, String> {
        let name = checkpoint_name(&self.path);
        let view = self
            .tensors
            .remove(&name)
            .ok_or_else(|| format!("tensor `{name}` is missing"))?;
        if view.dtype() != Dtype::F32 {
            return Err(format!(
                "tensor `{name}` is {:?}; only F32 weights are supported, convert them first",
                view.dtype()
            ));
        }
        if view.shape() != shape {
            return Err(format!(
                "tensor `{name}` has shape {:?}, but config.json makes it {shape:?}",
                view.shape()
            ));
        }
        let values: Vec<f32> = view
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(format!(
                "tensor `{name}` holds {} at element {index}",
                values[index]
            ));
        }
        Ok(TensorData::new(values, shape.to_vec()))
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
        match self.tensor(&param.val().dims()) {
            Ok(data) => {
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
