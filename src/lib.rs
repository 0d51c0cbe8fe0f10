//! milepost fine-tunes a pair of causal language models and watches, milestone by milestone, what the training does to them.

// `println!` panics when the reader of a pipe is gone. The command line has its own functions (`cli::terminal`).
#![deny(clippy::print_stdout, clippy::print_stderr)]

// So that a hook reads `use milepost::prelude::*` here exactly as in a crate of its own.
extern crate self as milepost;

pub mod allocator;
pub mod atomic;
pub mod cadence;
pub mod checksum;
pub mod cli;
pub mod clock;
pub mod condition;
pub mod data;
pub mod decode;
pub mod device;
pub mod diagnostic;
pub mod download;
pub mod event;
pub mod experiment;
mod foreign;
#[path = "../datasets/generator/mod.rs"]
pub mod generator;
pub mod hook;
#[path = "../hooks/mod.rs"]
pub mod hooks;
pub mod hub;
pub mod influence;
pub mod intervention;
pub mod measure;
mod memory;
pub mod mini;
pub mod model;
pub mod overrides;
pub mod prelude;
pub mod pretrain;
pub mod random;
pub mod readback;
pub mod record;
pub mod registry;
pub mod report;
pub mod statistics;
mod suggestion;
pub mod tensorboard;
pub mod thread;
pub mod train;
pub mod treatment;
