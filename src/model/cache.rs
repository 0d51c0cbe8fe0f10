//! Keys and values of the tokens a model has already read, so that decoding a further token costs one token's work.

use burn::tensor::Tensor;

/// The attention keys and values of one sequence, a pair a block, each `[1, heads, len, head width]`.
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    pub(super) blocks: Vec<(Tensor<4>, Tensor<4>)>,
    pub(super) len: usize,
}

impl KvCache {
    /// How many tokens have been read.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been read yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all but the first `len` tokens: what a rejected draft left behind.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        self.len = len;
        if len == 0 {
            self.blocks.clear();
        }
        for (keys, values) in &mut self.blocks {
            *keys = keys.clone().narrow(2, 0, len);
            *values = values.clone().narrow(2, 0, len);
        }
    }

    /// Appends the keys and values of new tokens in block `index` and gives back all of that block.
    pub(super) fn append(
        &mut self,
        index: usize,
        keys: Tensor<4>,
        values: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        match self.blocks.get_mut(index) {
            Some((old_keys, old_values)) => {
                *old_keys = Tensor::cat(vec![old_keys.clone(), keys], 2);
                *old_values = Tensor::cat(vec![old_values.clone(), values], 2);
            }
            None => self.blocks.push((keys, values)),
        }
        self.blocks[index].clone()
    }
}
