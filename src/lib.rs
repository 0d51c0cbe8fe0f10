//! milepost fine-tunes a pair of causal language models and watches, milestone by milestone, what the training does to them.

pub mod atomic;
pub mod decode;
pub mod device;
pub mod event;
pub mod model;
pub mod random;
pub mod data {
    //! Text, tokens and prompts.
    pub mod tokenizer;
}
