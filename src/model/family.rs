//! What a family of networks has of its own. Its folder holds an implementation of both traits; `network.rs` has an arm for it.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::config::Ends;
use super::inside::Look;
use super::keys::Keys;
use super::layers::Adapter;
use super::place::Place;
use super::tensors::Tensors;
use super::{Config, ConfigError, KvPool, NewToken, TrainingPass};

/// A family's `config.json`. It is serialised as it is saved.
pub trait FamilyConfig: Serialize + Sized {
    /// Reads and validates the keys.
    ///
    /// # Errors
    /// When a key is missing, or the network has another arithmetic than is implemented.
    fn read(keys: Keys) -> Result<Self, ConfigError>;

    /// What others ask for.
    fn numbers(&self) -> Config;

    /// The tokens that end a text.
    fn ends(&self) -> &Ends;

    /// The same, to which `generation_config.json` may add.
    fn ends_mut(&mut self) -> &mut Ends;

    /// Every parameter's name, without [`Family::PREFIX`], and shape, both as in the file, in the order of the network.
    fn parameters(&self) -> impl Iterator<Item = (String, Vec<usize>)>;
}

/// A dense layer, which may have an adapter.
pub(crate) struct Adaptable<'a> {
    /// The name of the layer in a file.
    pub saved_name: String,
    /// `[out, in]`, unless it is transposed.
    pub weight: &'a mut Param<Tensor<2>>,
    /// Whether the weight is stored as `[in, out]`.
    pub is_transposed: bool,
    /// Its adapter.
    pub lora: &'a mut Option<Adapter>,
}

/// A family of networks. A parameter's path in the module is its name in the file, without the prefix.
pub trait Family: Module {
    /// Its `config.json`.
    type Config: FamilyConfig;

    /// What stands in a file before the names of the network below the head.
    const PREFIX: &'static str;

    /// The name of the parameter that is the head. A head that is tied to the token table has the table's.
    fn head_name(&self) -> &'static str;

    /// The name under which a parameter is saved.
    fn saved_name(name: &str) -> String {
        format!("{}{name}", Self::PREFIX)
    }

    /// Makes one tensor of a head and a token table that are tied.
    ///
    /// # Errors
    /// When the file has them as no network of the family does.
    fn settle_head(config: &mut Self::Config, tensors: &mut Tensors) -> Result<(), String>;

    /// Whether the network does without the tensor of this name.
    fn is_needless(name: &str) -> bool;

    /// A fresh network with the initial weights of the family.
    fn init(config: Self::Config, rng: &mut ChaCha8Rng, device: &Device) -> Self;

    /// A network of zeros, to be filled.
    fn blank(config: Self::Config, device: &Device) -> Self;

    /// What the network was built from.
    fn config(&self) -> &Self::Config;

    /// The same weights with one probability for all dropouts.
    fn with_dropout(self, p: f64) -> Self;

    /// The same network without its parameters, which stands in its place while these are changed.
    fn hollow(&self) -> Self;

    /// The head `[vocab, D]`: a hidden state's product with a row is the logit of that token.
    fn head_table(&self) -> Tensor<2>;

    /// Where the parameter of this name stands. A table that is also the head stands among the embeddings.
    fn place(&self, name: &str) -> Place;

    /// All dense layers but the head, in the order of the network.
    fn dense_layers(&mut self) -> Vec<Adaptable<'_>>;

    /// The device that the weights are on.
    fn device(&self) -> Device {
        self.head_table().device()
    }

    /// The last hidden states of `tokens` `[batch, time]`, after the final layer norm: `[batch, time, D]`. With `training` the
    /// layers drop what it says, and multiply in its precision.
    fn hidden(&self, tokens: Tensor<2, Int>, training: Option<&mut TrainingPass>) -> Tensor<3>;

    /// A pass over `tokens` `[batch, time]` without dropout that shows `look` each [`Layer`](super::Layer), as far as the deepest that it asks
    /// for.
    fn look(&self, tokens: Tensor<2, Int>, look: &mut Look);

    /// The last hidden states, after the final layer norm, of tokens that follow others whose keys and values are in `pool`: `[new, D]`. It
    /// fills the slots of the new ones.
    fn pass(&self, new: &[NewToken], pool: &mut KvPool) -> Tensor<2>;
}
