//! GPT-2 (Radford et al. 2019): one family of networks.

pub(super) mod config;
pub(super) mod network;

pub use config::{ConfigError, Gpt2Config};
pub use network::Gpt2;
