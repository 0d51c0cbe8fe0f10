//! GPT-2 in burn: the architecture, its weights in Hugging Face layout, its loss, and the pair of models that a run fine-tunes.

mod gpt2;
mod kernels;
mod keys;
mod kv_pool;
mod layers;
mod loss;
mod pair;
mod pickled;
mod reading;
mod roberta;
mod tensors;
mod weight_files;
mod weights;

pub use gpt2::{ConfigError, Gpt2, Gpt2Config};
pub use kv_pool::KvPool;
pub use layers::Dropout;
pub use loss::next_token_loss;
pub use pair::{Pair, PairError, Role};
pub use reading::{NewToken, TextsRead};
pub use roberta::{Roberta, RobertaConfig};
pub(crate) use weight_files::{WEIGHT_FILES, shard_names, weight_files};
pub(crate) use weights::{ModelFiles, checkpoint_name};
pub use weights::{WeightsError, named_parameters};
