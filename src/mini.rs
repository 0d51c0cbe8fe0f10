//! What is built into the program: the mini pair and the project's own templates, so that it runs anywhere without a file.

use std::path::Path;

use burn::tensor::Device;

use crate::data::tokenizer::{Tokenizer, TokenizerError};
use crate::model::{ModelFiles, Network, Role, WeightsError};

/// The project's own templates, in HONEST layout.
pub const TEMPLATES: &str = include_str!("../datasets/prompt_templates.tsv");

/// One of the mini pair's models, on `device`.
///
/// # Errors
/// When the files that were built in are damaged.
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
/// When the file that was built in is damaged.
pub fn tokenizer() -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_bytes(
        Path::new("mini/main/tokenizer.json"),
        include_bytes!("../datasets/mini/main/tokenizer.json"),
    )
}

/// The files of one of the mini pair's models, by their names, for the manifest.
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
