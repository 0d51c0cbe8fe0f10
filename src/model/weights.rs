//! A model in Hugging Face layout: a directory with `config.json` and weights, read with every mismatch named, written (as
//! `model.safetensors`, F32) aside and renamed so that a directory under its final name is always whole.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, TensorView};

use super::tensors::Tensors;
use super::{ConfigError, Gpt2, Gpt2Config};

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
        let config = std::fs::read_to_string(&config_path).map_err(reading(&config_path))?;
        let tensors = Tensors::open(directory)?;
        let mut config = parse_config(config_path, &config)?;
        heed_generation_config(directory, &mut config)?;
        Self::from_tensors(config, tensors, device)
    }

    /// Builds a model from the bytes of its files.
    pub(crate) fn from_files(files: ModelFiles, device: &Device) -> Result<Self, WeightsError> {
        let config = parse_config(files.origin.join("config.json"), files.config)?;
        let tensors = Tensors::of_bytes(files.origin.join("model.safetensors"), files.weights)?;
        Self::from_tensors(config, tensors, device)
    }

    fn from_tensors(
        config: Gpt2Config,
        tensors: Tensors,
        device: &Device,
    ) -> Result<Self, WeightsError> {
        let mut loader = Loader {
            tensors,
            path: Vec::new(),
            problem: None,
        };
        let checked = loader.check(&config);
        let model = checked.and_then(|()| {
            let model = Gpt2::blank(config, device).map(&mut loader);
            match loader.problem.take() {
                Some(message) => Err(message),
                None => Ok(model),
            }
        });
        model.map_err(|message| WeightsError::Content {
            path: loader.tensors.origin,
            message,
        })
    }

    /// Writes `config.json` and `model.safetensors` into `directory`, which must exist. Each file is written aside, synced and renamed.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<(), WeightsError> {
        for (name, bytes) in self.files()? {
            let path = directory.join(name);
            crate::atomic::write(&path, &bytes).map_err(writing(&path))?;
        }
        Ok(())
    }

    /// Names and bytes of the files of a model's directory: the weights in F32, then the config.
    ///
    /// # Errors
    /// When they cannot be put into their formats.
    pub(crate) fn files(&self) -> Result<[(&'static str, Vec<u8>); 2], WeightsError> {
        let [weights_name, config_name] = ["model.safetensors", "config.json"];
        let parameters = named_parameters(self);
        let views: Vec<(String, TensorView)> = parameters
            .iter()
            .map(|(name, data)| {
                TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes())
                    .map(|view| (format!("transformer.{name}"), view))
            })
            .collect::<Result<_, _>>()
            .map_err(|error| writing(Path::new(weights_name))(std::io::Error::other(error)))?;
        // transformers refuses a safetensors file that does not name the framework it was made for.
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let weights = safetensors::serialize(views, Some(metadata))
            .map_err(|error| writing(Path::new(weights_name))(std::io::Error::other(error)))?;
        let config = serde_json::to_vec_pretty(&self.config)
            .map_err(|error| writing(Path::new(config_name))(std::io::Error::other(error)))?;
        Ok([(weights_name, weights), (config_name, config)])
    }
}

fn parse_config(path: PathBuf, text: &str) -> Result<Gpt2Config, WeightsError> {
    Gpt2Config::parse(text).map_err(|source| WeightsError::Config { path, source })
}

/// Takes the end of text from `generation_config.json`, which transformers asks when it generates, where config.json has none.
fn heed_generation_config(directory: &Path, config: &mut Gpt2Config) -> Result<(), WeightsError> {
    let path = directory.join("generation_config.json");
    if !path.is_file() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).map_err(reading(&path))?;
    config
        .heed_generation(&text)
        .map_err(|source| WeightsError::Config { path, source })
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
    tensors: Tensors<'a>,
    path: Vec<String>,
    problem: Option<String>,
}

impl Loader<'_> {
    /// Compares the files' headers with the config, before anything of its size is allocated.
    fn check(&mut self, config: &Gpt2Config) -> Result<(), String> {
        self.tie_head(config)?;
        let mut names = HashSet::new();
        for (name, shape) in config.parameters() {
            self.tensors.expect(&name, &shape)?;
            names.insert(name);
        }
        let needless = |name: &str| is_mask(name) || is_second_head(name);
        self.tensors
            .finish(|name| names.contains(name) || needless(name))
    }

    /// The head and the token table are one tensor, stored under either name or, alike, under both.
    fn tie_head(&mut self, config: &Gpt2Config) -> Result<(), String> {
        const HEAD: &str = "lm_head.weight";
        const TABLE: &str = "wte.weight";
        if !self.tensors.has(HEAD) {
            return Ok(());
        }
        if !self.tensors.has(TABLE) {
            self.tensors.rename(HEAD, TABLE);
            return Ok(());
        }
        let shape = [config.vocab_size, config.n_embd];
        self.tensors.expect(TABLE, &shape)?;
        let head = self.tensors.take(HEAD, &shape)?;
        let table = self.tensors.read(TABLE, &shape)?;
        let differs = |(a, b): (&f32, &f32)| a.to_bits() != b.to_bits();
        match head.iter().zip(&table).position(differs) {
            Some(index) => Err(format!(
                "tensor `{HEAD}` is not `{TABLE}` (row {} differs): a head of its own is not supported; take a model that was trained with \
                 tie_word_embeddings",
                index / config.n_embd
            )),
            None => Ok(()),
        }
    }
}

/// GPT-2's causal masks, which old checkpoints have as buffers.
fn is_mask(name: &str) -> bool {
    let Some((layer, part)) = (name.strip_prefix("h.")).and_then(|name| name.split_once('.'))
    else {
        return false;
    };
    layer.bytes().all(|byte| byte.is_ascii_digit())
        && ["attn.bias", "attn.masked_bias"].contains(&part)
}

/// The double-heads model's head beside the one for text.
fn is_second_head(name: &str) -> bool {
    name.starts_with("multiple_choice_head.")
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
