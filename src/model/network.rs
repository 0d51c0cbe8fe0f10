//! A language model of any family: all that decoding, measuring, training, hooks, the report and the command line may ask of one.
//!
//! A new family is a folder with an implementation of [`Family`], its line in [`FAMILIES`], and its arms here.

use std::path::Path;
use std::sync::Arc;

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor};
use burn::tensor::{Device, Int, Tensor};
use rand_chacha::ChaCha8Rng;

use super::config::Ends;
use super::family::{Adaptable, Family, FamilyConfig};
use super::gpt_neox::GptNeox;
use super::gpt2::Gpt2;
use super::inside::Look;
use super::keys::Keys;
use super::layers::token_tensor;
use super::llama::Llama;
use super::lora::Adapters;
use super::model_files::ModelFiles;
use super::place::Place;
use super::{
    Config, ConfigError, KvPool, NewToken, Precision, TrainingPass, WeightsError, weights,
};

/// A language model.
#[derive(Debug, Clone)]
pub struct Network {
    member: Member,
    /// How many tokens it may say, where its tables have rows for more.
    tokens: Option<usize>,
    /// What is known of its adapters.
    pub(super) adapters: Option<Arc<Adapters>>,
}

/// A network of one of the families.
#[derive(Debug, Clone)]
enum Member {
    Gpt2(Gpt2),
    /// A Llama, or one of those that are made like it.
    Llama(Llama),
    GptNeox(GptNeox),
}

/// A family of networks.
#[derive(Clone, Copy)]
enum Kind {
    Gpt2,
    Llama,
    GptNeox,
}

/// The families by their `model_type`.
const FAMILIES: [(&str, Kind); 7] = [
    ("gpt2", Kind::Gpt2),
    ("llama", Kind::Llama),
    ("mistral", Kind::Llama),
    ("qwen2", Kind::Llama),
    ("qwen3", Kind::Llama),
    ("smollm3", Kind::Llama),
    ("gpt_neox", Kind::GptNeox),
];

/// Does the same with the network of whichever family; `same` makes a network of the same family of what comes out.
macro_rules! of_family {
    ($self:expr, $network:ident => $body:expr) => {
        match $self.member {
            Member::Gpt2(ref $network) => $body,
            Member::Llama(ref $network) => $body,
            Member::GptNeox(ref $network) => $body,
        }
    };
    (same $self:expr, $network:ident => $body:expr) => {
        Network {
            tokens: $self.tokens,
            adapters: $self.adapters.clone(),
            member: match $self.member {
                Member::Gpt2($network) => Member::Gpt2($body),
                Member::Llama($network) => Member::Llama($body),
                Member::GptNeox($network) => Member::GptNeox($body),
            },
        }
    };
    (same ref $self:expr, $network:ident => $body:expr) => {
        Network {
            tokens: $self.tokens,
            adapters: $self.adapters.clone(),
            member: match $self.member {
                Member::Gpt2(ref $network) => Member::Gpt2($body),
                Member::Llama(ref $network) => Member::Llama($body),
                Member::GptNeox(ref $network) => Member::GptNeox($body),
            },
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
        let member = match kind {
            Kind::Gpt2 => weights::filled(keys, files, device).map(Member::Gpt2),
            Kind::Llama => weights::filled(keys, files, device).map(Member::Llama),
            Kind::GptNeox => weights::filled(keys, files, device).map(Member::GptNeox),
        };
        member.map(Self::from)
    }

    /// A fresh network, with the initial weights of its family, of the text of a `config.json`.
    ///
    /// # Errors
    /// When the config is not supported.
    pub fn init(json: &str, rng: &mut ChaCha8Rng, device: &Device) -> Result<Self, ConfigError> {
        let keys = Keys::parse(json)?;
        let member = match Kind::of(&keys)? {
            Kind::Gpt2 => weights::fresh(keys, rng, device).map(Member::Gpt2),
            Kind::Llama => weights::fresh(keys, rng, device).map(Member::Llama),
            Kind::GptNeox => weights::fresh(keys, rng, device).map(Member::GptNeox),
        };
        member.map(Self::from)
    }

    /// Writes its files into `directory`, which must exist: `config.json` and `model.safetensors`, or where it has adapters these alone, as
    /// `adapter_config.json` and `adapter_model.safetensors`. Each file is written aside, synced and renamed.
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

    /// Names and bytes of the files of a model's directory: the weights in F32, or those of its adapters alone, then the config.
    ///
    /// # Errors
    /// When they cannot be put into their formats.
    pub(crate) fn files(&self) -> Result<[(&'static str, Vec<u8>); 2], WeightsError> {
        match &self.adapters {
            Some(adapters) => self.files_of_adapters(adapters),
            None => of_family!(self, network => weights::files(network)),
        }
    }

    /// The name under which a parameter is saved.
    pub(super) fn saved_name(&self, name: &str) -> String {
        of_family!(self, network => saved_name(network, name))
    }

    /// All dense layers but the head, in the order of the network.
    pub(super) fn adaptable(&mut self) -> Vec<Adaptable<'_>> {
        match &mut self.member {
            Member::Gpt2(network) => network.dense_layers(),
            Member::Llama(network) => network.dense_layers(),
            Member::GptNeox(network) => network.dense_layers(),
        }
    }

    /// Their names in a file.
    pub(super) fn layer_names(&self) -> Vec<String> {
        let mut network = self.clone();
        let layers = network.adaptable().into_iter();
        layers.map(|layer| layer.saved_name).collect()
    }

    /// The numbers of its config that others ask for. The vocabulary is that of the tokens it may say.
    pub fn config(&self) -> Config {
        let numbers = of_family!(self, network => network.config().numbers());
        Config {
            vocab_size: self.tokens.unwrap_or(numbers.vocab_size),
            ..numbers
        }
    }

    /// The same network where it may say the first `tokens` of its vocabulary alone: the rows of its head behind them are padding. They stay a
    /// part of the loss in training, as transformers has it.
    pub(super) fn saying(self, tokens: usize) -> Self {
        Self {
            tokens: Some(tokens),
            ..self
        }
    }

    /// The same network where it may say all that its head has a row for. None where it may anyway.
    pub(super) fn whole(&self) -> Option<Self> {
        self.tokens.map(|_| Self {
            tokens: None,
            ..self.clone()
        })
    }

    /// The same network where it may say what `other` may.
    pub(crate) fn saying_as(self, other: &Self) -> Self {
        Self {
            tokens: other.tokens,
            ..self
        }
    }

    /// The tokens that end a text, the one that is written behind a document first.
    pub fn ends(&self) -> &Ends {
        of_family!(self, network => network.config().ends())
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
        let table = self.said_table();
        if rows <= 8 {
            // A row or two against the whole table: reading the table as the left operand is many times faster on the CPU than
            // multiplying by its transpose.
            return table.matmul(hidden.transpose()).transpose();
        }
        hidden.matmul(table.transpose())
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
                precision.product(hidden, self.said_table().transpose())
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
        let hollow = of_family!(same ref self, network => network.hollow());
        *self = std::mem::replace(self, hollow).map(mapper);
    }

    /// The head `[rows, D]`, a row a token, those behind the vocabulary included.
    pub(super) fn head_table(&self) -> Tensor<2> {
        of_family!(self, network => network.head_table())
    }

    /// The head of the tokens that it may say, `[vocab, D]`.
    pub(super) fn said_table(&self) -> Tensor<2> {
        match self.tokens {
            Some(tokens) => self.head_table().narrow(0, 0, tokens),
            None => self.head_table(),
        }
    }

    /// The name of the parameter that is the head.
    pub(super) fn head_name(&self) -> &'static str {
        of_family!(self, network => network.head_name())
    }

    /// Where the parameter of this name stands.
    pub(super) fn place(&self, name: &str) -> Place {
        of_family!(self, network => network.place(name))
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

fn saved_name<F: Family>(_: &F, name: &str) -> String {
    F::saved_name(name)
}

impl From<Member> for Network {
    fn from(member: Member) -> Self {
        Self {
            member,
            tokens: None,
            adapters: None,
        }
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
        of_family!(same ref self, network => network.valid())
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
