//! GPT-2 in burn: the architecture, its weights in Hugging Face layout, its loss, and the pair of models that a run fine-tunes.

mod config;
mod dropout;
mod gelu;
mod gpt2;
mod kernels;
mod keys;
mod kv_pool;
mod loss;
mod pair;
mod pickled;
mod reading;
mod roberta;
mod roberta_config;
mod tensors;
mod weight_files;
mod weights;

pub use config::{ConfigError, Gpt2Config};
pub use dropout::Dropout;
pub use gpt2::Gpt2;
pub use kv_pool::KvPool;
pub use loss::next_token_loss;
pub use pair::{Pair, PairError, Role};
pub use reading::{NewToken, TextsRead};
pub use roberta::Roberta;
pub use roberta_config::RobertaConfig;
pub(crate) use weight_files::{WEIGHT_FILES, shard_names, weight_files};
pub(crate) use weights::{ModelFiles, checkpoint_name};
pub use weights::{WeightsError, named_parameters};
