//! Text, tokens and prompts: where they come from and how they are cut.

pub mod blocks;
mod counterparts;
pub mod csv_rows;
pub mod order;
pub mod sources;
mod template_matches;
mod template_rows;
pub mod templates;
pub mod tokenizer;
