//! One test binary, one module a feature.

mod ag_news;
mod batching;
mod cadence;
mod checkpoints;
mod command_line;
mod corpus;
mod decoding;
mod devices;
mod diagnostic;
mod disparity;
mod divergence;
mod download;
mod full_size;
mod gpt2;
mod harness;
mod honest;
mod hooks;
mod hub;
mod loopback_hub;
mod measuring;
mod run;
mod sampling;
mod statistics;
mod templates;
mod tensorboard;
mod tokenizer;
