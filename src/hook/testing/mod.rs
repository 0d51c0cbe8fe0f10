//! Tests of a hook without a run. A [`Bench`] builds the hook from the options that a user writes, calls it at milestones of small known
//! models, and returns what it reported. It can also kill and resume the hook in between.
//!
//! `docs/hooks.md` has an example, and so has every hook that `make hook` writes.

mod at;
mod bench;
mod live;
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
