//! GPT-2 in burn: the architecture, its weights in Hugging Face layout, its loss, and the pair of models that a run fine-tunes.

mod cache;
mod config;
mod dropout;
mod gpt2;
mod loss;
mod pair;
mod tensors;
mod weights;

pub use cache::KvCache;
pub use config::{ConfigError, Gpt2Config};
pub use dropout::Dropout;
pub use gpt2::{Gpt2, last_logits};
pub use loss::next_token_loss;
pub use pair::{Pair, PairError, Role};
pub(crate) use tensors::{WEIGHT_FILES, shard_names, weight_files};
pub(crate) use weights::{ModelFiles, checkpoint_name};
pub use weights::{WeightsError, named_parameters};
