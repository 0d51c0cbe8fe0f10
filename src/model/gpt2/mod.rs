//! GPT-2 (Radford et al. 2019): one family of networks.

mod checkpoint;
mod config;
mod network;
mod reading;

pub use network::Gpt2;
