//! Llama's pass over tokens that follow others it has read. Keys are kept as they were turned by their positions.

use burn::tensor::Tensor;

use super::network::{Llama, Pass};
use crate::model::family::Family;
use crate::model::inside::Look;
use crate::model::layers::{NewTokens, over_slots};
use crate::model::{KvPool, NewToken};

impl Llama {
    /// The last hidden states, after the final norm, of new tokens: `[new, D]`.
    pub(super) fn read(&self, new: &[NewToken], pool: &mut KvPool) -> Tensor<2> {
        let (count, width) = (new.len(), self.config.hidden_size);
        let positions = new.iter().map(|token| token.sequence.len() - 1);
        let turns = self.rotary.turns(positions);
        let new = NewTokens::new(new, pool, &self.device());
        let mut x = self.embed(new.ids.clone()).reshape([1, count, width]);
        let mut pass = Pass {
            config: &self.config,
            turns: &turns,
            mix: &mut over_slots(self.config.heads(), &new, pool),
        };
        for (index, block) in self.layers.iter().enumerate() {
            x = block.forward(x, index, &mut pass, &mut None, &mut Look::default());
        }
        self.norm.forward(x).reshape([count, width])
    }
}
