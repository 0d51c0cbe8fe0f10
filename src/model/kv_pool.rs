//! Keys and values of the tokens that a model has read, so that decoding a further token costs one token's work.
//!
//! They lie in slots, one a token, and a sequence is a list of slots: sequences of any lengths stand side by side, a common beginning is
//! stored once, and what a rejected draft left behind is given back by dropping the end of a list (as in the paged attention of Kwon et al.
//! 2023, arXiv 2309.06180, with pages of one token).
//!
//! Which slots are free is the same everywhere. What they hold is in [`KvPages`] where there are kernels of our own, and in a [`KvLog`] on other
//! devices.

use std::ops::Range;

use burn::tensor::Device;

use super::Config;
use super::kv_log::KvLog;
use super::kv_pages::KvPages;

/// Slots are added so many at a time.
const PAGE: usize = 128;

/// The attention keys and values of many tokens.
#[derive(Debug)]
pub struct KvPool {
    /// How many sequences hold a slot.
    holders: Vec<u32>,
    free: Vec<u32>,
    /// Empty on devices without kernels of our own.
    pub(super) pages: KvPages,
    /// Empty on the others.
    pub(super) log: KvLog,
}

impl KvPool {
    /// An empty pool for a model of these numbers.
    pub fn new(config: Config) -> Self {
        let width = width(config);
        Self {
            holders: Vec::new(),
            free: Vec::new(),
            pages: KvPages::new(width, config.layers),
            log: KvLog::new(width, config.layers),
        }
    }

    /// Bytes that one token takes in the pool of a model of these numbers.
    pub fn bytes_per_token(config: Config) -> usize {
        2 * config.layers * width(config) * size_of::<f32>()
    }

    /// Tokens that are held now.
    pub fn len(&self) -> usize {
        self.holders.len() - self.free.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes `sequence` `len` tokens long: with new slots, to be filled by reading, or by giving its last ones back.
    pub fn resize(&mut self, sequence: &mut Vec<u32>, len: usize) {
        while sequence.len() < len {
            if self.free.is_empty() {
                let first = self.holders.len();
                self.holders.resize(first + PAGE, 0);
                // The lowest is taken first.
                self.free
                    .extend((first as u32..(first + PAGE) as u32).rev());
            }
            if let Some(slot) = self.free.pop() {
                self.holders[slot as usize] = 1;
                sequence.push(slot);
            }
        }
        for slot in sequence.drain(len..) {
            self.holders[slot as usize] -= 1;
            if self.holders[slot as usize] == 0 {
                self.free.push(slot);
            }
        }
    }

    /// A second sequence that begins as `sequence` does.
    pub fn share(&mut self, sequence: &[u32]) -> Vec<u32> {
        for &slot in sequence {
            self.holders[slot as usize] += 1;
        }
        sequence.to_vec()
    }

    /// Gives these slots, which are about to be filled, the next rows of the log.
    pub(super) fn append(&mut self, slots: &[u32], device: &Device) -> Range<usize> {
        self.log.append(slots, &self.holders, device)
    }
}

/// Values of a key in a block, all heads.
fn width(config: Config) -> usize {
    config.kv_heads * config.head_width
}
