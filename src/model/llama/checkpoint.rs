//! What Llama's checkpoints have in ways of their own: the head, which stands beside the network, and tensors that the network does not need.

use super::config::LlamaConfig;
use crate::model::place::{Place, Stage, WeightPart};
use crate::model::tensors::Tensors;
use crate::model::tied_head::tied;

/// What stands before the names of all tensors but the head.
pub(super) const PREFIX: &str = "model.";
/// The head, where it is not the token table.
pub(super) const HEAD: &str = "lm_head.weight";
/// The token table.
pub(super) const TABLE: &str = "embed_tokens.weight";

/// Where the config says that head and token table are one tensor and the file has two that differ, they stay two, as transformers has it.
pub(super) fn settle_head(config: &mut LlamaConfig, tensors: &mut Tensors) -> Result<(), String> {
    if config.tie_word_embeddings {
        let shape = [config.vocab_size, config.hidden_size];
        config.tie_word_embeddings = tied(tensors, HEAD, TABLE, shape)?.is_none();
    }
    Ok(())
}

/// The name under which a parameter is saved.
pub(super) fn saved_name(name: &str) -> String {
    if name == HEAD {
        return name.to_owned();
    }
    format!("{PREFIX}{name}")
}

/// Where the parameter of this name stands.
pub(super) fn place(name: &str) -> Place {
    let parts: Vec<&str> = name.split('.').collect();
    let (stage, part) = match parts[..] {
        ["embed_tokens", ..] => (Stage::Embedding, WeightPart::Tokens),
        ["lm_head", ..] => (Stage::Final, WeightPart::Head),
        ["layers", block, layer, ref matrix @ ..] => {
            let part = match (layer, matrix) {
                ("self_attn", ["q_proj" | "k_proj" | "v_proj", ..]) => WeightPart::AttentionQkv,
                ("self_attn", ["o_proj", ..]) => WeightPart::AttentionOutput,
                ("mlp", ["gate_proj" | "up_proj", ..]) => WeightPart::FeedForwardIn,
                ("mlp", _) => WeightPart::FeedForwardOut,
                _ => WeightPart::Norms,
            };
            (Stage::Block(block.parse().unwrap_or_default()), part)
        }
        _ => (Stage::Final, WeightPart::Norms),
    };
    Place { stage, part }
}

/// Whether the network does without the tensor of this name: the angles of rotary positions, which old checkpoints have as buffers.
pub(super) fn is_needless(name: &str) -> bool {
    name.ends_with("rotary_emb.inv_freq")
}
