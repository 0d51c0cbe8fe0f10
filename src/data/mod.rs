//! Text, tokens and prompts: where they come from, and how text is cut into blocks.

pub mod blocks;
pub mod corpus;
pub mod csv_rows;
pub mod honest;
pub mod order;
pub mod source_error;
pub mod sources;
pub mod store;
pub mod subset;
pub mod templates;
pub mod tokenizer;
pub mod tokens;
