//! Tests of a hook without a run: a [`Bench`] builds the hook from the options that a user writes, calls it at milestones of small known models
//! and gives back what it reported, also when it was killed and resumed in between.
//!
//! `docs/hooks.md` has an example, and so has every hook that `make hook` writes.

mod at;
mod bench;
mod models;
mod moment;
mod reported;
mod slow;

pub use at::At;
pub use bench::Bench;
pub use models::changed;
pub use reported::Reported;
pub use slow::{decoded, probabilities};

#[cfg(test)]
mod tests;
