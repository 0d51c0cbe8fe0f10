//! Event files for TensorBoard, made with tensorboard-rs's record writer and tensorboard-proto's messages.
//!
//! tensorboard-rs's own `SummaryWriter` panics on a full disk, lets two writers in one second overwrite each other, and has an unbounded
//! queue. Here a file is never overwritten, the queue is bounded, and every error is returned to the caller.

mod events_file;
mod histogram;
mod message;
mod writer;

pub use events_file::{EventsFile, TensorboardError};
pub use message::{Chart, HparamValue, Layout};
pub use writer::{Entry, Writer};
