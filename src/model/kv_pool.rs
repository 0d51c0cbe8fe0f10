//! Keys and values of the tokens that a model has read, so that decoding a further token costs one token's work.
//!
//! They lie in slots, one a token, and a sequence is a list of slots: sequences of any lengths stand side by side, a common beginning is
//! stored once, and what a rejected draft left behind is given back by dropping the end of a list (as in the paged attention of Kwon et al.
//! 2023, arXiv 2309.06180, with pages of one token).

use super::Config;

/// Slots are added so many at a time.
const PAGE: usize = 128;

/// The attention keys and values of many tokens.
#[derive(Debug)]
pub struct KvPool {
    /// Values of a token's key in a block, all heads; its value has as many.
    width: usize,
    blocks: usize,
    /// Each `[block, key or value, slot, width]`.
    pages: Vec<Vec<f32>>,
    /// How many sequences hold a slot.
    holders: Vec<u32>,
    free: Vec<u32>,
}

impl KvPool {
    /// An empty pool for a model of these numbers.
    pub fn new(config: Config) -> Self {
        Self {
            width: width(config),
            blocks: config.layers,
            pages: Vec::new(),
            holders: Vec::new(),
            free: Vec::new(),
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
                self.pages
                    .push(vec![0.0; self.blocks * 2 * PAGE * self.width]);
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

    fn at(&self, block: usize, which: usize, slot: u32) -> (usize, usize) {
        let (page, place) = (slot as usize / PAGE, slot as usize % PAGE);
        (page, ((2 * block + which) * PAGE + place) * self.width)
    }

    /// The key of a token in a block, all heads: `[width]`.
    pub(super) fn key(&self, block: usize, slot: u32) -> &[f32] {
        let (page, from) = self.at(block, 0, slot);
        &self.pages[page][from..from + self.width]
    }

    /// The value of a token in a block, all heads: `[width]`.
    pub(super) fn value(&self, block: usize, slot: u32) -> &[f32] {
        let (page, from) = self.at(block, 1, slot);
        &self.pages[page][from..from + self.width]
    }

    /// Fills a token's slot in a block.
    pub(super) fn fill(&mut self, block: usize, slot: u32, key: &[f32], value: &[f32]) {
        for (which, vector) in [key, value].into_iter().enumerate() {
            let (page, from) = self.at(block, which, slot);
            self.pages[page][from..from + self.width].copy_from_slice(vector);
        }
    }
}

/// Values of a key in a block, all heads.
fn width(config: Config) -> usize {
    config.kv_heads * config.head_width
}
