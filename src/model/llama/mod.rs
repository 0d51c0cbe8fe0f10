//! Llama (Touvron et al. 2023) and those that are made like it: Mistral, Qwen2, Qwen3, SmolLM3. One family of networks.

mod checkpoint;
mod config;
mod kind;
mod network;
mod reading;

pub use network::Llama;
