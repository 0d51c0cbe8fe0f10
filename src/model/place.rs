//! Where a weight stands in a network of any family.

use std::fmt;

/// A place among the weights. It is written `block_3/attention_qkv`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// How far up the network.
    pub stage: Stage,
    /// What the weight does there.
    pub part: WeightPart,
}

/// How far up a network, in the order of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Before the first block.
    Embedding,
    /// A block, counted from 0.
    Block(usize),
    /// After the last block.
    Final,
}

/// What a weight does, in the order of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WeightPart {
    /// The vectors that tokens are looked up in.
    Tokens,
    /// The vectors of positions.
    Positions,
    /// Scales and biases of layer norms.
    Norms,
    /// The projection to queries, keys and values.
    AttentionQkv,
    /// The projection of what attention has mixed into the residual stream.
    AttentionOutput,
    /// The projection to the inner layer of the feed-forward network.
    FeedForwardIn,
    /// The projection from there into the residual stream.
    FeedForwardOut,
    /// The table whose products with the last hidden state are the logits.
    Head,
}

impl Place {
    /// The head of any network.
    pub const HEAD: Self = Self {
        stage: Stage::Final,
        part: WeightPart::Head,
    };
}

impl WeightPart {
    /// As in tags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Positions => "positions",
            Self::Norms => "norms",
            Self::AttentionQkv => "attention_qkv",
            Self::AttentionOutput => "attention_output",
            Self::FeedForwardIn => "feed_forward_in",
            Self::FeedForwardOut => "feed_forward_out",
            Self::Head => "head",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Embedding => f.write_str("embedding"),
            Self::Block(block) => write!(f, "block_{block}"),
            Self::Final => f.write_str("final"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.stage, self.part.as_str())
    }
}
