//! Event files for TensorBoard, over tensorboard-rs's record writer and tensorboard-proto's messages.
//!
//! tensorboard-rs's own `SummaryWriter` panics on a full disk, lets two writers in one second overwrite each other, and queues without
//! bound; here a file is created anew or not at all, the queue is bounded, and every error comes back to whoever reports.

mod events_file;
mod histogram;
mod message;
mod writer;

pub use events_file::{EventsFile, TensorboardError};
pub use message::{Chart, HparamValue, Layout};
pub use writer::{Entry, Writer};
