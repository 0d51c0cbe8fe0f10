//! What an estimate of influence says, in words, and as a page.

mod page;
mod tables;
mod words;

pub use page::page;
pub use words::{evidence, score_in_words, step_sum_in_words};
