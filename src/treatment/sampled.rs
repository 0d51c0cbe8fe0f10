//! Text sampled from a model of the pair before the training.

use std::collections::BTreeMap;

use rand::RngCore;
use rand_chacha::ChaCha8Rng;

use super::chain::Passage;
use super::{Draws, TreatmentError};
use crate::decode::{Request, Sampling, Settings, assisted};
use crate::model::{Network, Pair};

/// How many times in a row the model may end every text before its first token.
const PATIENCE: usize = 20;

/// A model that writes.
pub(super) struct Writer {
    pair: Pair,
    /// The token that begins and ends a text.
    eos: u32,
}

impl Writer {
    /// A model off autodiff.
    pub fn new(model: Network, eos: u32) -> Self {
        Self {
            pair: Pair {
                main: model.clone(),
                assistant: model,
            },
            eos,
        }
    }

    /// Puts sampled tokens in the place of those of each document, as many. A text begins behind the token that ends texts, and is sampled at
    /// temperature 1 with nothing left out. Where the model ends it early, or has no further positions, another one follows it, begun
    /// anew. A text that is longer is cut off. With `ends`, each document and each text in it has the token that ends it.
    ///
    /// # Errors
    /// When logits are not finite, or the model writes no text at all.
    pub fn write(
        &self,
        passages: &mut [Passage],
        ends: bool,
        draws: Draws,
    ) -> Result<(), TreatmentError> {
        let mut drafts: Vec<Draft> = (passages.iter())
            .map(|passage| Draft {
                ids: Vec::with_capacity(passage.ids.len()),
                length: passage.ids.len(),
                seeds: draws.of(passage.place),
            })
            .collect();
        let mut in_vain = 0;
        while drafts.iter().any(|draft| draft.missing() > 0) {
            in_vain += 1;
            if self.add_texts(&mut drafts, ends)? {
                in_vain = 0;
            }
            if in_vain == PATIENCE {
                return Err(TreatmentError::NothingWritten);
            }
        }
        for (passage, mut draft) in passages.iter_mut().zip(drafts) {
            if ends && let Some(last) = draft.ids.last_mut() {
                *last = self.eos;
            }
            passage.ids = draft.ids;
            passage.topic = None;
        }
        Ok(())
    }

    /// Samples a text for each document that is not full. Returns whether any of them had a token.
    fn add_texts(&self, drafts: &mut [Draft], ends: bool) -> Result<bool, TreatmentError> {
        let mut by_length: BTreeMap<usize, Vec<&mut Draft>> = BTreeMap::new();
        for draft in drafts.iter_mut().filter(|draft| draft.missing() > 0) {
            // A draw does not depend on how far a text may go, so texts of about the same length are sampled together.
            let length = draft.missing().next_power_of_two();
            let length = length.min(self.pair.n_positions());
            by_length.entry(length).or_default().push(draft);
        }
        let mut any = false;
        for (length, mut drafts) in by_length {
            let requests = drafts.iter_mut().map(|draft| Request {
                prompt: std::slice::from_ref(&self.eos),
                seed: draft.seeds.next_u64(),
            });
            let requests: Vec<Request> = requests.collect();
            let settings = Settings {
                max_new_tokens: length,
                draft_length: 0,
                sampling: Some(Sampling::default()),
                ..Settings::default()
            };
            let texts = assisted(
                &self.pair,
                &requests,
                Some(self.eos),
                &settings,
                &|_| Ok(()),
            )?;
            for (draft, text) in drafts.into_iter().zip(texts) {
                let tokens = text
                    .tokens
                    .iter()
                    .filter(|&&token| ends || token != self.eos);
                let had = draft.ids.len();
                draft.ids.extend(tokens.take(draft.missing()));
                any |= draft.ids.len() > had;
            }
        }
        Ok(any)
    }
}

/// A document that is being written.
struct Draft {
    ids: Vec<u32>,
    /// Tokens that it is to have.
    length: usize,
    /// The seeds of its texts.
    seeds: ChaCha8Rng,
}

impl Draft {
    fn missing(&self) -> usize {
        self.length - self.ids.len()
    }
}
