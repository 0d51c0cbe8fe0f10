//! GPT-NeoX (Black et al. 2022), of which Pythia is: one family of networks.

mod checkpoint;
mod config;
mod network;
mod reading;

pub use network::GptNeox;
