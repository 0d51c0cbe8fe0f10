//! What stays the same during a run and is open to every hook: the tokenizer, the prompts, the held-out blocks, the settings.

use std::sync::Arc;

use crate::data::blocks::Blocks;
use crate::data::templates::Templates;
use crate::data::tokenizer::{Tokenizer, TokenizerError};
use crate::decode::{Decoding, Settings};
use crate::model::Ends;

/// The parts of a run that do not change while it trains.
#[derive(Debug)]
pub struct Scene {
    /// The run's seed.
    pub seed: u64,
    /// The pair's tokenizer.
    pub tokenizer: Tokenizer,
    /// Id of the token that is written behind a document.
    pub eos: Option<u32>,
    /// The tokens that end a continuation, that one among them.
    pub ends: Ends,
    /// The prompts, with their contrasts.
    pub templates: Templates,
    /// The token ids of each prompt of `templates`, in the same order.
    pub prompts: Vec<Vec<u32>>,
    /// The blocks of the held-out split that evaluations use.
    pub held_out: Arc<Blocks>,
    /// How many blocks one pass of an evaluation takes.
    pub batch: usize,
    /// How prompts are decoded.
    pub decode: Settings,
}

impl Scene {
    /// How many passes an evaluation has.
    pub fn evaluation_batches(&self) -> usize {
        self.held_out.len().div_ceil(self.batch)
    }

    /// Decodes a continuation to the text that stands behind the prompt, without a token that ends it.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn text(&self, decoding: &Decoding) -> Result<String, TokenizerError> {
        let tokens = &decoding.tokens[..];
        let said = match tokens.split_last() {
            Some((last, said)) if self.ends.has(*last) => said,
            _ => tokens,
        };
        self.tokenizer.decode_behind(said)
    }
}
