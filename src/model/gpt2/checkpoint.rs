//! What GPT-2's checkpoints have in ways of their own: the tied head, and tensors that the network does not need.

use super::config::Gpt2Config;
use crate::model::place::{Place, Stage, WeightPart};
use crate::model::tensors::Tensors;
use crate::model::tied_head::tied;

/// The token table.
pub(super) const TABLE: &str = "wte.weight";

/// The head and the token table are one tensor.
pub(super) fn settle_head(config: &Gpt2Config, tensors: &mut Tensors) -> Result<(), String> {
    const HEAD: &str = "lm_head.weight";
    let shape = [config.vocab_size, config.n_embd];
    match tied(tensors, HEAD, TABLE, shape)? {
        Some(row) => Err(format!(
            "tensor `{HEAD}` is not `{TABLE}` (row {row} differs): a head of its own is not supported; take a model that was trained with \
             tie_word_embeddings"
        )),
        None => Ok(()),
    }
}

/// Where the parameter of this name stands.
pub(super) fn place(name: &str) -> Place {
    let parts: Vec<&str> = name.split('.').collect();
    let (stage, part) = match parts[..] {
        ["wte", ..] => (Stage::Embedding, WeightPart::Tokens),
        ["wpe", ..] => (Stage::Embedding, WeightPart::Positions),
        ["h", block, layer, ref matrix @ ..] => {
            let part = match (layer, matrix) {
                ("attn", ["c_attn", ..]) => WeightPart::AttentionQkv,
                ("attn", _) => WeightPart::AttentionOutput,
                ("mlp", ["c_fc", ..]) => WeightPart::FeedForwardIn,
                ("mlp", _) => WeightPart::FeedForwardOut,
                _ => WeightPart::Norms,
            };
            (Stage::Block(block.parse().unwrap_or_default()), part)
        }
        _ => (Stage::Final, WeightPart::Norms),
    };
    Place { stage, part }
}

/// Whether the network does without the tensor of this name.
pub(super) fn is_needless(name: &str) -> bool {
    is_mask(name) || is_second_head(name)
}

/// GPT-2's causal masks, which old checkpoints have as buffers.
fn is_mask(name: &str) -> bool {
    let Some((layer, part)) = (name.strip_prefix("h.")).and_then(|name| name.split_once('.'))
    else {
        return false;
    };
    layer.bytes().all(|byte| byte.is_ascii_digit())
        && ["attn.bias", "attn.masked_bias"].contains(&part)
}

/// The double-heads model's head beside the one for text.
fn is_second_head(name: &str) -> bool {
    name.starts_with("multiple_choice_head.")
}
