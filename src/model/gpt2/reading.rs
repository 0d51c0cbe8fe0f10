//! GPT-2's pass over tokens that follow others it has read.

use burn::tensor::Tensor;

use super::network::{Block, Gpt2};
use crate::model::family::Family;
use crate::model::kernels::Heads;
use crate::model::layers::{Activation, NewTokens, dense, residual, slot_attention};
use crate::model::{KvPool, NewToken};

impl Gpt2 {
    /// The last hidden states, after the final layer norm, of new tokens: `[new, D]`.
    pub(super) fn read(&self, new: &[NewToken], pool: &mut KvPool) -> Tensor<2> {
        let new = NewTokens::new(new, pool, &self.device());
        let mut x = self.wte.rows(new.ids.clone()) + self.wpe.rows(new.positions.clone());
        for (index, block) in self.h.iter().enumerate() {
            x = block.read(x, &new, index, self.config.heads(), pool);
        }
        self.ln_f.forward(x)
    }
}

impl Block {
    /// `x` `[new, D]` through the block, each token attending to what it follows.
    fn read(
        &self,
        x: Tensor<2>,
        new: &NewTokens,
        index: usize,
        heads: Heads,
        pool: &mut KvPool,
    ) -> Tensor<2> {
        let normed = self.ln_1.forward(x.clone());
        let qkv = dense(&self.attn.c_attn, normed, Activation::None, &mut None);
        let mixed = slot_attention(qkv, new, index, heads, pool);
        let x = residual(
            x,
            dense(&self.attn.c_proj, mixed, Activation::None, &mut None),
            &mut None,
            0.0,
        );
        let fed = dense(
            &self.mlp.c_fc,
            self.ln_2.forward(x.clone()),
            Activation::Gelu,
            &mut None,
        );
        residual(
            x,
            dense(&self.mlp.c_proj, fed, Activation::None, &mut None),
            &mut None,
            0.0,
        )
    }
}
