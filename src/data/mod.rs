//! Text, tokens and prompts: where they come from and how they are cut.

pub mod ag_news;
pub mod blocks;
pub mod csv_rows;
pub mod order;
pub mod source;
pub mod templates;
pub mod tokenizer;
