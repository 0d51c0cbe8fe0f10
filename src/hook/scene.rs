//! What stays the same through a run and every hook may look at: the tokenizer, the prompts, the held-out blocks, the settings.

use crate::data::blocks::Blocks;
use crate::data::templates::Templates;
use crate::data::tokenizer::{Tokenizer, TokenizerError};
use crate::decode::{Decoding, Settings};

/// The unchanging surroundings of a run.
#[derive(Debug)]
pub struct Scene {
    /// The run's seed.
    pub seed: u64,
    /// The pair's tokenizer.
    pub tokenizer: Tokenizer,
    /// Id of the end-of-text token, which ends a continuation.
    pub eos: Option<u32>,
    /// The prompts, with their contrasts.
    pub templates: Templates,
    /// Token ids of each prompt of `templates`, in their order.
    pub prompts: Vec<Vec<u32>>,
    /// Blocks of the held-out split that evaluations use.
    pub held_out: Blocks,
    /// Blocks an evaluation pass takes at a time.
    pub batch: usize,
    /// How prompts are decoded.
    pub decode: Settings,
}

impl Scene {
    /// What a continuation says, without the token that ends it.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn text(&self, decoding: &Decoding) -> Result<String, TokenizerError> {
        let tokens = &decoding.tokens[..];
        let said = tokens.strip_suffix(self.eos.as_slice()).unwrap_or(tokens);
        self.tokenizer.decode(said)
    }
}
