//! How queries, keys and values lie side by side.

/// How the rows of `qkv` are cut: `[heads + 2 kv_heads, width]` channels a token, queries first, then keys, then values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heads {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values; a multiple of them are the heads of queries.
    pub kv_heads: usize,
    /// Channels of a head.
    pub width: usize,
}

impl Heads {
    /// Heads of queries that each have keys and values of their own.
    pub fn own(heads: usize, width: usize) -> Self {
        Self {
            heads,
            kv_heads: heads,
            width,
        }
    }

    /// Channels of a token in `qkv`.
    pub fn channels(self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.width
    }

    /// Heads of queries that share a head of keys.
    pub fn group(self) -> usize {
        self.heads / self.kv_heads
    }

    /// Channels of the queries of a token, and of what attention mixes for it.
    pub fn queries(self) -> usize {
        self.heads * self.width
    }

    /// Channels of the keys of a token; its values have as many.
    pub fn keys(self) -> usize {
        self.kv_heads * self.width
    }

    /// What products of queries and keys are multiplied by.
    pub fn scale(self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }
}
