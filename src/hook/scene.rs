//! What stays the same during a run and is open to every hook: the tokenizer, the prompts, the held-out blocks, the settings.

use std::sync::Arc;

use super::Evaluation;
use crate::data::blocks::Blocks;
use crate::data::templates::Templates;
use crate::data::tokenizer::{Tokenizer, TokenizerError};
use crate::decode::{Decoding, Settings};
use crate::measure::evaluation::mean_loss;
use crate::model::{Ends, Pair, Role};

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
    /// The models that are evaluated on the answers of the held-out split alone, because they are trained for answers.
    pub on_answers: Vec<Role>,
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

    /// The mean losses of a pair on the held-out split, each over the tokens that it is of for that model. `go_on` is asked before each pass.
    ///
    /// # Errors
    /// Those of `go_on`; when there is no token to evaluate a model on.
    pub fn evaluation(
        &self,
        pair: &Pair,
        go_on: &dyn Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Evaluation> {
        let mut evaluation = Evaluation::default();
        for role in Role::BOTH {
            let answers = self.on_answers.contains(&role);
            let loss = mean_loss(pair.get(role), &self.held_out, answers, self.batch, go_on)?;
            evaluation.losses.insert(role, loss);
        }
        Ok(evaluation)
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
