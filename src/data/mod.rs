//! Text, tokens and prompts: where they come from and how they are cut.

pub mod ag_news;
pub mod blocks;
mod counterparts;
pub mod csv_rows;
pub mod order;
pub mod source;
mod template_matches;
mod template_rows;
pub mod templates;
pub mod tokenizer;
