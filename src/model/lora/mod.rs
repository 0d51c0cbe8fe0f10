//! Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685), in PEFT's layout: matrices of a small rank beside layers whose weights stay as they
//! are. Only the adapters are trained.

mod config;
mod files;
mod network;

use std::path::Path;

pub(crate) use config::AdapterConfig;
pub(crate) use files::adapter_files;

/// The adapters of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// The rank of what is added to a weight.
    pub r: usize,
    /// What it is multiplied by, times the rank (or its root).
    pub alpha: f64,
    /// The names of the layers that have an adapter: each stands for all layers whose name ends with it, at a dot.
    pub target_modules: Vec<String>,
    /// The probability that a value of an adapter's input is dropped in training.
    pub dropout: f64,
    /// Whether the product is divided by the root of the rank (Kalajdzievski 2023, arXiv 2312.03732).
    pub use_rslora: bool,
}

impl Lora {
    /// What the product of an adapter is multiplied by: `alpha / r`, or `alpha / sqrt(r)`.
    pub fn scale(&self) -> f64 {
        let rank = self.r as f64;
        self.alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// Whether the layer of this name has an adapter.
    fn is_of(&self, layer: &str) -> bool {
        self.target_modules
            .iter()
            .any(|target| names(target, layer))
    }
}

/// Whether `target` stands for the layer of this name, as PEFT has it.
fn names(target: &str, layer: &str) -> bool {
    let before = layer.strip_suffix(target);
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// The network that adapters belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// What an experiment calls it: a directory, a model of the hub, or a built-in one.
    pub name: String,
    /// The commit of a model of the hub.
    pub revision: Option<String>,
}

/// The adapters of a network, and what they belong to.
#[derive(Debug, Clone)]
pub(super) struct Adapters {
    pub lora: Lora,
    pub base: Base,
    /// SHA-256 of the names and values of all weights of the base.
    pub sha256: String,
}

/// Why a network cannot have adapters.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct LoraError {
    /// The setting that is wrong.
    pub key: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// Whether the parameter of this name belongs to an adapter.
pub(super) fn is_of_adapter(name: &str) -> bool {
    [".lora_A.weight", ".lora_B.weight"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// Whether a directory has an adapter in it, not a whole model.
pub(crate) fn is_adapter(directory: &Path) -> bool {
    directory.join(config::NAME).is_file()
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_target_stands_for_the_ends_of_names() {
        let layer = "gpt_neox.layers.0.attention.dense";
        for target in ["dense", "attention.dense", "0.attention.dense", layer] {
            assert!(names(target, layer), "{target}");
        }
        for target in ["ense", "attention", "layers.0", "x.dense", "dense_h_to_4h"] {
            assert!(!names(target, layer), "{target}");
        }
    }
}
