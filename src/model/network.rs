//! A language model of any family: all that decoding, measuring, training, hooks, the report and the command line may ask of one.
//!
//! A new family is a folder with an implementation of [`Family`], its line in [`FAMILIES`], and its arms here.

use std::path::Path;

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor};
use burn::tensor::{Device, Int, Tensor};
use rand_chacha::ChaCha8Rng;

use super::family::{Family, FamilyConfig};
use super::gpt2::Gpt2;
use super::inside::Look;
use super::keys::Keys;
use super::layers::token_tensor;
use super::model_files::ModelFiles;
use super::place::Place;
use super::{
    Config, ConfigError, KvPool, NewToken, Precision, TrainingPass, WeightsError, weights,
};

/// A language model.
#[derive(Debug, Clone)]
pub enum Network {
    /// A GPT-2.
    Gpt2(Gpt2),
}

/// A family of networks.
#[derive(Clone, Copy)]
enum Kind {
    Gpt2,
}

/// The families by their `model_type`.
const FAMILIES: [(&str, Kind); 1] = [("gpt2", Kind::Gpt2)];

/// Does the same with the network of whichever family; `same` makes a network of the same family of what comes out.
macro_rules! of_family {
    ($self:expr, $network:ident => $body:expr) => {
        match $self {
            Network::Gpt2($network) => $body,
        }
    };
    (same $self:expr, $network:ident => $body:expr) => {
        match $self {
            Network::Gpt2($network) => Network::Gpt2($body),
        }
    };
}

impl Kind {
    /// The family that a `config.json` is of. Without a `model_type` it is a GPT-2.
    fn of(keys: &Keys) -> Result<Self, ConfigError> {
        let found = keys.or("model_type", "gpt2".to_owned())?;
        match FAMILIES.iter().find(|(name, _)| *name == found) {
            Some((_, kind)) => Ok(*kind),
            None => Err(ConfigError::Family {
                found,
                known: FAMILIES.map(|(name, _)| format!("`{name}`")).join(", "),
            }),
        }
    }
}

impl Network {
    /// Reads a model directory in Hugging Face layout onto `device`.
    ///
    /// # Errors
    /// When a file is missing or unreadable, the config is not supported, or a tensor is missing or of the wrong shape or type.
    pub fn load(directory: &Path, device: &Device) -> Result<Self, WeightsError> {
        Self::from_files(&ModelFiles::Directory(directory), device)
    }

    /// Builds a network from its files.
    pub(crate) fn from_files(files: &ModelFiles, device: &Device) -> Result<Self, WeightsError> {
        let keys = files.config()?;
        let kind = Kind::of(&keys).map_err(|error| files.wrong_config(error))?;
        match kind {
            Kind::Gpt2 => weights::filled(keys, files, device).map(Self::Gpt2),
        }
    }

    /// A fresh network, with the initial weights of its family, of the text of a `config.json`.
    ///
    /// # Errors
    /// When the config is not supported.
    pub fn init(json: &str, rng: &mut ChaCha8Rng, device: &Device) -> Result<Self, ConfigError> {
        let keys = Keys::parse(json)?;
        match Kind::of(&keys)? {
            Kind::Gpt2 => weights::fresh(keys, rng, device).map(Self::Gpt2),
        }
    }

    /// Writes `config.json` and `model.safetensors` into `directory`, which must exist. Each file is written aside, synced and renamed.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<(), WeightsError> {
        for (name, bytes) in self.files()? {
            let path = directory.join(name);
            crate::atomic::write(&path, &bytes).map_err(weights::writing(&path))?;
        }
        Ok(())
    }

    /// Names and bytes of the files of a model's directory: the weights in F32, then the config.
    ///
    /// # Errors
    /// When they cannot be put into their formats.
    pub(crate) fn files(&self) -> Result<[(&'static str, Vec<u8>); 2], WeightsError> {
        of_family!(self, network => weights::files(network))
    }

    /// The numbers of its config that others ask for.
    pub fn config(&self) -> Config {
        of_family!(self, network => network.config().numbers())
    }

    /// Its whole config, as `config.json` has it.
    pub fn config_json(&self) -> serde_json::Value {
        of_family!(self, network => serde_json::json!(network.config()))
    }

    /// The same weights with one probability for all dropouts.
    pub fn with_dropout(self, p: f64) -> Self {
        of_family!(same self, network => network.with_dropout(p))
    }

    /// The device that the weights are on.
    pub fn device(&self) -> Device {
        of_family!(self, network => network.device())
    }

    /// The last hidden states of `tokens` `[batch, time]`, after the final layer norm: `[batch, time, D]`.
    ///
    /// With `training` the layers drop what it says, and multiply in its precision. `time` must not exceed `n_positions`.
    pub fn hidden(&self, tokens: Tensor<2, Int>, training: Option<&mut TrainingPass>) -> Tensor<3> {
        of_family!(self, network => network.hidden(tokens, training))
    }

    /// Logits of hidden states `[rows, D]`: `[rows, vocab]`.
    pub fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        let [rows, _] = hidden.dims();
        if rows <= 8 {
            // A row or two against the whole table: reading the table as the left operand is many times faster on the CPU than
            // multiplying by its transpose.
            return self.head_table().matmul(hidden.transpose()).transpose();
        }
        hidden.matmul(self.head_table().transpose())
    }

    /// Logits at every position of `tokens` `[batch, time]` in a training pass, in its precision: `[batch * time, vocab]`.
    pub(crate) fn training_logits(
        &self,
        tokens: Tensor<2, Int>,
        training: Option<&mut TrainingPass>,
    ) -> Tensor<2> {
        let precision = Precision::of(&training);
        let hidden = self.hidden(tokens, training);
        let [batch, time, width] = hidden.dims();
        let hidden = hidden.reshape([batch * time, width]);
        match precision {
            Precision::F32 => self.head(hidden),
            Precision::Bf16 | Precision::F16 => {
                precision.product(hidden, self.head_table().transpose())
            }
        }
    }

    /// Logits at every position of `tokens` `[batch, time]`, without dropout: `[batch, time, vocab]`.
    pub fn logits(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let hidden = self.hidden(tokens, None);
        let [batch, time, width] = hidden.dims();
        self.head(hidden.reshape([batch * time, width])).reshape([
            batch,
            time,
            self.config().vocab_size,
        ])
    }

    /// Lets `mapper` change every parameter. Nothing holds on to the old values meanwhile, so that they can be changed where they lie.
    pub(crate) fn change<M: ModuleMapper>(&mut self, mapper: &mut M) {
        let hollow = of_family!(same self, network => network.hollow());
        *self = std::mem::replace(self, hollow).map(mapper);
    }

    /// The head `[vocab, D]`, a row a token.
    pub(super) fn head_table(&self) -> Tensor<2> {
        of_family!(self, network => network.head_table())
    }

    /// The name of the parameter that is the head.
    pub(super) fn head_name(&self) -> &'static str {
        match self {
            Self::Gpt2(_) => Gpt2::HEAD,
        }
    }

    /// Where the parameter of this name stands.
    pub(super) fn place(&self, name: &str) -> Place {
        match self {
            Self::Gpt2(_) => Gpt2::place(name),
        }
    }

    /// One pass over `rows` of one length, without dropout, which shows `look` what it makes.
    pub(super) fn look(&self, rows: &[&[u32]], look: &mut Look) {
        let tokens = token_tensor(rows, &self.device());
        of_family!(self, network => network.look(tokens, look));
    }

    /// One pass over new tokens, which gives their last hidden states `[new, D]`.
    pub(super) fn pass(&self, new: &[NewToken], pool: &mut KvPool) -> Tensor<2> {
        of_family!(self, network => network.pass(new, pool))
    }
}

/// The family leaves no trace in a parameter's path: paths are names in checkpoints, and stand in the files of optimisers.
impl Module for Network {
    fn collect_devices(&self, devices: Devices) -> Devices {
        of_family!(self, network => network.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        of_family!(same self, network => network.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        of_family!(same self, network => network.to_device(device))
    }

    fn train(self) -> Self {
        of_family!(same self, network => network.train())
    }

    fn valid(&self) -> Self {
        of_family!(same self, network => network.valid())
    }

    fn materialize(self) -> Self {
        of_family!(same self, network => network.materialize())
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        of_family!(self, network => network.visit(visitor));
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        of_family!(same self, network => network.map(mapper))
    }
}
