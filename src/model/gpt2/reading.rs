//! GPT-2's pass over tokens that follow others it has read.

use burn::tensor::{Int, Tensor, TensorData};

use super::network::{Block, Gpt2};
use crate::model::family::Family;
use crate::model::kernels::attention;
use crate::model::layers::{Activation, dense, residual};
use crate::model::reading::values;
use crate::model::{KvPool, NewToken};

impl Gpt2 {
    /// The last hidden states, after the final layer norm, of new tokens: `[new, D]`.
    pub(super) fn read(&self, new: &[NewToken], pool: &mut KvPool) -> Tensor<2> {
        let device = self.device();
        let ids = |of: &dyn Fn(&NewToken) -> usize| -> Tensor<1, Int> {
            let ids: Vec<i32> = new.iter().map(|token| of(token) as i32).collect();
            Tensor::from_data(TensorData::new(ids, [new.len()]), &device)
        };
        let seen: Vec<&[u32]> = new.iter().map(|token| token.sequence).collect();
        let mut x = self.wte.rows(ids(&|token| token.id as usize))
            + self.wpe.rows(ids(&|token| token.sequence.len() - 1));
        for (index, block) in self.h.iter().enumerate() {
            x = block.read(x, &seen, index, self.config.n_head, pool);
        }
        self.ln_f.forward(x)
    }
}

impl Block {
    /// `x` `[new, D]` through the block, each token attending to `seen`.
    fn read(
        &self,
        x: Tensor<2>,
        seen: &[&[u32]],
        index: usize,
        heads: usize,
        pool: &mut KvPool,
    ) -> Tensor<2> {
        let [new, width] = x.dims();
        let normed = self.ln_1.forward(x.clone());
        let qkv = values(dense(&self.attn.c_attn, normed, Activation::None, &None));
        for (qkv, seen) in qkv.chunks_exact(3 * width).zip(seen) {
            if let Some(&slot) = seen.last() {
                pool.fill(index, slot, &qkv[width..2 * width], &qkv[2 * width..]);
            }
        }
        let mixed = attention(&qkv, seen, pool, index, heads);
        let mixed = Tensor::from_data(TensorData::new(mixed, [new, width]), &x.device());
        let x = residual(
            x,
            dense(&self.attn.c_proj, mixed, Activation::None, &None),
            &mut None,
            0.0,
        );
        let fed = dense(
            &self.mlp.c_fc,
            self.ln_2.forward(x.clone()),
            Activation::Gelu,
            &None,
        );
        residual(
            x,
            dense(&self.mlp.c_proj, fed, Activation::None, &None),
            &mut None,
            0.0,
        )
    }
}
