//! The text of an experiment as tokens in blocks: what is trained on, and what is held out.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Written;
use crate::data::blocks::Blocks;
use crate::data::corpus::{Corpus, Document};
use crate::data::subset::Subset;
use crate::data::templates::Templates;
use crate::data::tokenizer::Tokenizer;
use crate::diagnostic::Diagnostic;
use crate::model::Pair;
use crate::treatment::{Account, Limit, Passage, Request, Treated, Treatment, treat};

/// What a text is made with.
#[derive(Clone, Copy)]
pub(super) struct Makers<'a> {
    pub pair: &'a Pair,
    pub tokenizer: &'a Tokenizer,
    pub eos: Option<u32>,
    pub templates: &'a Templates,
    /// The prompts of the templates as tokens.
    pub prompts: &'a [Vec<u32>],
}

/// The text to train on.
pub(super) struct TrainingText {
    pub blocks: Blocks,
    /// What each entry of `data.intervene` did.
    pub accounts: Vec<Account>,
    /// How many documents of the source were read.
    pub read: usize,
    /// What should be said of it.
    pub notes: Vec<String>,
}

/// Encodes the documents of the training split, changed as `data.intervene` says, and cuts the tokens into blocks.
///
/// # Errors
/// A diagnostic when an entry cannot be used, when no document is left, or when the text is too short.
pub(super) fn training(
    written: &Written,
    corpus: &Corpus,
    treatments: Vec<(String, Treatment)>,
    makers: Makers,
) -> anyhow::Result<TrainingText> {
    let data = &written.experiment.data;
    let block = written.experiment.train.block;
    written.check_entries(corpus, &makers)?;
    let limit = Limit {
        documents: data.train_articles,
        tokens: data.blocks.map(|blocks| blocks.saturating_mul(block)),
    };
    let request = request(written, &corpus.train, limit, makers)?;
    let treated = treat(&request, treatments)?;
    let empty = (treated.accounts.iter()).position(|account| account.after.documents == 0);
    if let Some(index) = empty {
        let message = format!(
            "`{}` leaves no document of {}",
            data.intervene[index].name(),
            treated.accounts[index].before.documents
        );
        return Err(written.at_entry(index, message).into());
    }
    let documents = treated.passages.len();
    let wanted = data.train_articles.filter(|wanted| {
        documents < *wanted && *wanted <= corpus.train.len() && data.blocks.is_none()
    });
    let note = wanted.map(|wanted| {
        format!("`data.intervene` leaves {documents} documents of the {wanted} of `data.train_articles`, and the source has no more: the same `data.blocks` in every run makes their texts equally long")
    });
    let Treated {
        passages,
        accounts,
        read,
    } = treated;
    let blocks = cut(written, passages, "training")?;
    if let Some(wanted) = data.blocks.filter(|wanted| blocks.len() < *wanted) {
        let message = format!(
            "the training text has only {} blocks of {block} tokens in {documents} documents, not {wanted}; as many as the shortest text of the runs to be compared has are enough for all",
            blocks.len()
        );
        return Err(written.wrong(&["data", "blocks"], message).into());
    }
    let (blocks, chosen) = match data.subset {
        Some(subset) => (blocks.counting(subset), counted(subset, documents)),
        None => (blocks, None),
    };
    Ok(TrainingText {
        blocks,
        accounts,
        read,
        notes: note.into_iter().chain(chosen).collect(),
    })
}

/// How many documents of a subset count, in words. None where all do.
fn counted(subset: Subset, documents: usize) -> Option<String> {
    let counting = subset.of(documents).into_iter().filter(|counts| *counts);
    let counting = counting.count();
    (counting < documents).then(|| {
        format!("`data.subset`: {counting} of {documents} documents count in the loss; the others are read")
    })
}

/// Encodes the documents of the held-out split, which are never changed, and cuts the tokens into blocks.
///
/// # Errors
/// A diagnostic when the text is too short.
pub(super) fn held_out(
    written: &Written,
    corpus: &Corpus,
    makers: Makers,
) -> anyhow::Result<Blocks> {
    let limit = Limit {
        documents: written.experiment.data.test_articles,
        tokens: None,
    };
    let request = request(written, &corpus.held_out, limit, makers)?;
    let treated = treat(&request, Vec::new())?;
    Ok(cut(written, treated.passages, "held-out")?)
}

fn request<'a>(
    written: &Written,
    documents: &'a [Document],
    limit: Limit,
    makers: Makers<'a>,
) -> Result<Request<'a>, Diagnostic> {
    let Makers {
        pair,
        tokenizer,
        eos,
        templates,
        prompts,
    } = makers;
    let ends = written.experiment.data.end_of_text;
    if ends && eos.is_none() {
        let message = "the main model's config.json has no `eos_token_id`, and its tokenizer no token that ends a text";
        return Err(written.wrong(&["data", "end_of_text"], message));
    }
    Ok(Request {
        documents,
        limit,
        tokenizer,
        eos,
        ends,
        pair,
        templates,
        prompts,
        new_tokens: written.experiment.decode.max_new_tokens,
        seed: written.experiment.seed,
    })
}

/// Cuts the tokens of documents into blocks.
fn cut(written: &Written, passages: Vec<Passage>, name: &str) -> Result<Blocks, Diagnostic> {
    let (mut ids, mut starts) = (Vec::new(), Vec::new());
    let mut topics: BTreeSet<Arc<str>> = BTreeSet::new();
    for passage in passages {
        let topic = passage.topic.as_deref();
        topics.extend(topic.map(Arc::from));
        starts.push((
            ids.len(),
            topic.and_then(|topic| topics.get(topic).cloned()),
        ));
        ids.extend(passage.ids);
    }
    let blocks = Blocks::cut(ids, written.experiment.train.block).map_err(|error| {
        let message = format!("the {name} split: {error}");
        written.wrong(&["train", "block"], message)
    })?;
    Ok(blocks.made_of(starts))
}
