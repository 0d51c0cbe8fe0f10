//! Text, tokens and prompts: where they come from and how they are cut.

pub mod blocks;
pub mod corpus;
mod counterparts;
pub mod csv_rows;
pub mod honest;
pub mod order;
pub mod sources;
pub mod store;
mod template_matches;
mod template_rows;
pub mod templates;
pub mod tokenizer;
