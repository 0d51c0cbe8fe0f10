//! Keys and values in memory, where kernels of our own read them.

/// Slots that are added at a time.
const PAGE: usize = 128;

/// The keys and values of every slot in every block.
#[derive(Debug)]
pub(crate) struct KvPages {
    width: usize,
    blocks: usize,
    /// Each `[block, key or value, slot, width]`.
    pages: Vec<Vec<f32>>,
}

impl KvPages {
    /// None yet. `width` is that of a token's key in a block, all heads; its value has as many.
    pub fn new(width: usize, blocks: usize) -> Self {
        Self {
            width,
            blocks,
            pages: Vec::new(),
        }
    }

    fn at(&self, block: usize, which: usize, slot: u32) -> (usize, usize) {
        let (page, place) = (slot as usize / PAGE, slot as usize % PAGE);
        (page, ((2 * block + which) * PAGE + place) * self.width)
    }

    /// The key of a token in a block, all heads: `[width]`.
    pub fn key(&self, block: usize, slot: u32) -> &[f32] {
        let (page, from) = self.at(block, 0, slot);
        &self.pages[page][from..from + self.width]
    }

    /// The value of a token in a block, all heads: `[width]`.
    pub fn value(&self, block: usize, slot: u32) -> &[f32] {
        let (page, from) = self.at(block, 1, slot);
        &self.pages[page][from..from + self.width]
    }

    /// Fills a token's slot in a block.
    pub fn fill(&mut self, block: usize, slot: u32, key: &[f32], value: &[f32]) {
        for (which, vector) in [key, value].into_iter().enumerate() {
            let (page, from) = self.at(block, which, slot);
            while self.pages.len() <= page {
                let values = self.blocks * 2 * PAGE * self.width;
                self.pages.push(vec![0.0; values]);
            }
            self.pages[page][from..from + self.width].copy_from_slice(vector);
        }
    }
}
