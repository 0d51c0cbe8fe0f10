//! The files that are built into the program, so that it runs anywhere: the mini pair and the project's own templates.

use std::path::Path;

use burn::tensor::Device;

use crate::data::tokenizer::{Tokenizer, TokenizerError};
use crate::model::{ModelFiles, Network, Role, WeightsError};

/// The project's own templates, a TSV file in the layout of HONEST's.
pub const TEMPLATES: &str = include_str!("../datasets/prompt_templates.tsv");

/// Loads one model of the mini pair onto `device`.
///
/// # Errors
/// When the built-in files are damaged.
pub fn model(role: Role, device: &Device) -> Result<Network, WeightsError> {
    let (config, weights): (&str, &[u8]) = match role {
        Role::Main => (
            include_str!("../datasets/mini/main/config.json"),
            include_bytes!("../datasets/mini/main/model.safetensors"),
        ),
        Role::Assistant => (
            include_str!("../datasets/mini/assistant/config.json"),
            include_bytes!("../datasets/mini/assistant/model.safetensors"),
        ),
    };
    let files = ModelFiles::Memory {
        origin: Path::new("mini").join(role.as_str()),
        config,
        weights,
    };
    Network::from_files(&files, device)
}

/// The mini pair's tokenizer.
///
/// # Errors
/// When the built-in file is damaged.
pub fn tokenizer() -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_bytes(
        Path::new("mini/main/tokenizer.json"),
        include_bytes!("../datasets/mini/main/tokenizer.json"),
    )
}

/// The files of one model of the mini pair, as names with contents, for the manifest.
pub fn files(role: Role) -> [(&'static str, &'static [u8]); 3] {
    let tokenizer: &[u8] = include_bytes!("../datasets/mini/main/tokenizer.json");
    let (config, weights): (&[u8], &[u8]) = match role {
        Role::Main => (
            include_bytes!("../datasets/mini/main/config.json"),
            include_bytes!("../datasets/mini/main/model.safetensors"),
        ),
        Role::Assistant => (
            include_bytes!("../datasets/mini/assistant/config.json"),
            include_bytes!("../datasets/mini/assistant/model.safetensors"),
        ),
    };
    [
        ("config.json", config),
        ("model.safetensors", weights),
        ("tokenizer.json", tokenizer),
    ]
}
