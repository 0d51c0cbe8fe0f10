//! `milepost data`: shows the text of an experiment as it would be trained on: files, counts, and the first documents as tokens.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Args;

use super::plan::read;
use super::{Selection, progress, terminal};
use crate::data::blocks::Blocks;
use crate::data::tokenizer::{Tokenizer, TokenizerError};
use crate::experiment::{Resolved, resolve};
use crate::registry::Registry;

/// The most tokens of a document, and topics of a split, that are shown.
const SHOWN: usize = 24;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// How many documents of each split to show as tokens.
    #[arg(long, default_value_t = 2, value_name = "DOCUMENTS")]
    first: usize,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> anyhow::Result<u8> {
    let (written, places) = read(&arguments.selection, Path::new(""))?;
    let mut downloads = progress::Downloads::default();
    let resolved = resolve(&written, registry, &places, &mut |name, done, total| {
        downloads.report(name, done, total);
    })?;
    drop(downloads);
    terminal::out(&described(&resolved, arguments.first)?);
    Ok(0)
}

/// All that is said of the text.
fn described(resolved: &Resolved, first: usize) -> Result<String, TokenizerError> {
    let plan = &resolved.plan;
    let mut text = format!("data      {}\n", plan.origin);
    for account in &plan.treatments {
        text += &format!("changed   {}\n", account.sentence());
    }
    for note in &resolved.notes {
        text += &format!("note      {note}\n");
    }
    text += "files\n";
    for (name, input) in plan.manifest.inputs() {
        let Some(name) = name.strip_prefix("data/") else {
            continue;
        };
        text += &format!("  {name:14}  {}  {}\n", input.sha256, input.from);
        if let (Some(count), Some(sum)) = (input.articles, &input.articles_sha256) {
            text += &format!("  {:14}  {sum}  the {count} documents that were read\n", "");
        }
    }
    let tokenizer = &plan.scene.tokenizer;
    for (name, blocks) in [("train", &plan.blocks), ("held out", &plan.scene.held_out)] {
        text += &counts(name, blocks);
        for document in 0..first.min(blocks.documents()) {
            text += &as_tokens(blocks, document, tokenizer)?;
        }
    }
    Ok(text)
}

/// How much text a split has.
fn counts(name: &str, blocks: &Blocks) -> String {
    let (mut prompts, mut empty, mut longest) = (0, 0, 0);
    let mut topics: BTreeMap<&str, usize> = BTreeMap::new();
    for document in 0..blocks.documents() {
        let tokens = blocks.document(document).len();
        prompts += blocks.prompt(document).min(tokens);
        empty += usize::from(tokens == 0);
        longest = longest.max(tokens);
        *topics
            .entry(blocks.topic(document).unwrap_or(""))
            .or_default() += 1;
    }
    let (count, block) = (blocks.len(), blocks.block());
    let mut text = format!(
        "{name}\n  {} documents, {} tokens in {count} blocks of {block}; the longest document has {longest}\n",
        blocks.documents(),
        count * block,
    );
    if blocks.have_prompts() {
        text += &format!(
            "  {prompts} tokens are of prompts, {} of answers\n",
            count * block - prompts
        );
    }
    if empty > 0 {
        text += &format!("  documents without a token in a block: {empty}\n");
    }
    let without = topics.remove("").unwrap_or(0);
    let mut ranked: Vec<(&str, usize)> = topics.into_iter().collect();
    ranked.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let shown = ranked.iter().take(SHOWN);
    let mut shown: Vec<String> = shown
        .map(|(topic, count)| format!("{topic} {count}"))
        .collect();
    if ranked.len() > SHOWN {
        shown.push(format!("and {} more", ranked.len() - SHOWN));
    }
    if without > 0 {
        shown.push(format!("none {without}"));
    }
    text + &format!("  topics: {}\n", shown.join(", "))
}

/// A document as tokens: each with its id.
fn as_tokens(
    blocks: &Blocks,
    document: usize,
    tokenizer: &Tokenizer,
) -> Result<String, TokenizerError> {
    let ids = blocks.document(document);
    let (prompt, answer) = ids.split_at(blocks.prompt(document).min(ids.len()));
    let topic = blocks.topic(document);
    let topic = topic.map_or(String::new(), |topic| format!(", topic {topic}"));
    let mut text = format!("  document {}{topic}, {} tokens\n", document + 1, ids.len());
    let parts = if blocks.have_prompts() {
        vec![("prompt", prompt), ("answer", answer)]
    } else {
        vec![("text", answer)]
    };
    for (name, ids) in parts {
        let shown = ids.iter().take(SHOWN).map(|&id| {
            let token = tokenizer.decode_behind(&[id])?;
            Ok(format!("{id} {token:?}"))
        });
        let mut shown: Vec<String> = shown.collect::<Result<_, TokenizerError>>()?;
        if ids.len() > SHOWN {
            shown.push(format!("and {} more", ids.len() - SHOWN));
        }
        text += &format!("    {name:6}  {}\n", shown.join(", "));
    }
    Ok(text)
}
