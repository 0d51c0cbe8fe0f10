//! What GPT-NeoX's checkpoints have in ways of their own: the head, which stands beside the network, and tensors that the network does not need.

use super::config::GptNeoxConfig;
use crate::model::place::{Place, Stage, WeightPart};
use crate::model::tensors::Tensors;
use crate::model::tied_head::tied;

/// What stands before the names of all tensors but the head.
pub(super) const PREFIX: &str = "gpt_neox.";
/// The head, where it is not the token table.
pub(super) const HEAD: &str = "embed_out.weight";
/// The token table.
pub(super) const TABLE: &str = "embed_in.weight";
/// What transformers calls the head in memory.
const OTHER_HEAD: &str = "lm_head.weight";

/// Where the config says that head and token table are one tensor and the file has two that differ, they stay two, as transformers has it.
pub(super) fn settle_head(config: &mut GptNeoxConfig, tensors: &mut Tensors) -> Result<(), String> {
    if tensors.has(OTHER_HEAD) && tensors.has(HEAD) {
        return Err(format!(
            "tensors `{HEAD}` and `{OTHER_HEAD}` are both heads: remove one"
        ));
    }
    tensors.rename(OTHER_HEAD, HEAD);
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
        ["embed_in", ..] => (Stage::Embedding, WeightPart::Tokens),
        ["embed_out", ..] => (Stage::Final, WeightPart::Head),
        ["layers", block, layer, ref matrix @ ..] => {
            let part = match (layer, matrix) {
                ("attention", ["query_key_value", ..]) => WeightPart::AttentionQkv,
                ("attention", _) => WeightPart::AttentionOutput,
                ("mlp", ["dense_h_to_4h", ..]) => WeightPart::FeedForwardIn,
                ("mlp", _) => WeightPart::FeedForwardOut,
                _ => WeightPart::Norms,
            };
            (Stage::Block(block.parse().unwrap_or_default()), part)
        }
        _ => (Stage::Final, WeightPart::Norms),
    };
    Place { stage, part }
}

/// Whether the network does without the tensor of this name: causal masks and the angles of rotary positions, which old checkpoints have as
/// buffers.
pub(super) fn is_needless(name: &str) -> bool {
    let buffers = ["attention.bias", "attention.masked_bias"];
    let of_block = name
        .strip_prefix("layers.")
        .and_then(|name| name.split_once('.'));
    of_block.is_some_and(|(_, part)| buffers.contains(&part))
        || name.ends_with("rotary_emb.inv_freq")
}
