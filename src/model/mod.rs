//! Language models in burn: one [`Network`] over all families, weights in Hugging Face layout, the loss, and the pair of models that a run fine-tunes.

mod config;
mod entry;
mod family;
mod gpt2;
mod kernels;
mod keys;
mod kv_pool;
mod layers;
mod loss;
mod model_files;
mod network;
mod pair;
mod parameters;
mod pickled;
mod reading;
mod roberta;
mod tensors;
mod weight_files;
mod weights;

pub use config::{Config, ConfigError};
pub use kernels::profile;
pub(crate) use kernels::{AdamWStep, square_sum};
pub use kv_pool::KvPool;
pub use layers::Dropout;
pub(crate) use layers::token_tensor;
pub use loss::next_token_loss;
pub(crate) use model_files::ModelFiles;
pub use network::Network;
pub use pair::{Pair, PairError, Role};
pub use parameters::named_parameters;
pub(crate) use parameters::{checkpoint_name, flattened_parameters};
pub use reading::{NewToken, TextsRead};
pub use roberta::{Roberta, RobertaConfig};
pub(crate) use weight_files::{WEIGHT_FILES, shard_names, weight_files};
pub use weights::WeightsError;
