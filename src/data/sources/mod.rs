//! Where the text of a training comes from.

pub mod ag_news;
pub mod search;
