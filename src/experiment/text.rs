//! The text of an experiment as tokens in blocks: what is trained on, and what is held out.

use std::path::Path;

use super::Written;
use crate::data::blocks::{Blocks, MadeOf};
use crate::data::corpus::{Corpus, Documents, Split};
use crate::data::subset::Subset;
use crate::data::templates::Templates;
use crate::data::tokenizer::Tokenizer;
use crate::data::tokens::{IN_MEMORY, TokensWriter};
use crate::diagnostic::Diagnostic;
use crate::model::Pair;
use crate::treatment::{Account, Limit, Request, Treated, Treatment, TreatmentError, treat};

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

/// Documents of a source that were read.
pub(super) struct Used {
    /// How many.
    pub documents: usize,
    /// Their checksum.
    pub sha256: String,
}

/// The text to train on.
pub(super) struct TrainingText {
    pub blocks: Blocks,
    /// What each entry of `data.intervene` did.
    pub accounts: Vec<Account>,
    /// The documents of the source that were read.
    pub used: Used,
    /// What should be said of it.
    pub notes: Vec<String>,
}

/// Encodes the documents of the training split, changed as `data.intervene` says, and cuts the tokens into blocks. `folder` is for those of a long text.
///
/// # Errors
/// A diagnostic when an entry cannot be used, when no document is left, or when the text is too short.
pub(super) fn training(
    written: &Written,
    corpus: &Corpus,
    treatments: Vec<(String, Treatment)>,
    makers: Makers,
    folder: &Path,
) -> anyhow::Result<TrainingText> {
    let data = &written.experiment.data;
    let block = written.experiment.train.block;
    written.check_entries(corpus, &makers)?;
    let limit = Limit {
        documents: data.train_articles,
        tokens: data.blocks.map(|blocks| blocks.saturating_mul(block)),
    };
    let request = request(written, &*corpus.train.documents, limit, makers)?;
    let (text, treated) = encoded(&request, treatments, folder)?;
    let empty = (treated.accounts.iter()).position(|account| account.after.documents == 0);
    if let Some(index) = empty {
        let message = format!(
            "`{}` leaves no document of {}",
            data.intervene[index].name(),
            treated.accounts[index].before.documents
        );
        return Err(written.at_entry(index, message).into());
    }
    let documents = text.made_of.documents();
    let wanted = data.train_articles.filter(|wanted| {
        documents < *wanted && *wanted <= corpus.train.count && data.blocks.is_none()
    });
    let note = wanted.map(|wanted| {
        format!("`data.intervene` leaves {documents} documents of the {wanted} of `data.train_articles`, and the source has no more: the same `data.blocks` in every run makes their texts equally long")
    });
    let blocks = cut(written, text, "training")?;
    written.check_answers("training text", &corpus.train, &blocks)?;
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
        used: Used::of(&treated),
        accounts: treated.accounts,
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

/// Encodes the documents of the held-out split, which are never changed, and cuts the tokens into blocks: as many as are evaluated.
///
/// # Errors
/// A diagnostic when the text is too short, or has no answer for a model that is evaluated on answers.
pub(super) fn held_out(
    written: &Written,
    corpus: &Corpus,
    makers: Makers,
    folder: &Path,
) -> anyhow::Result<(Blocks, Used)> {
    let limit = Limit {
        documents: written.experiment.data.test_articles,
        tokens: None,
    };
    let request = request(written, &*corpus.held_out.documents, limit, makers)?;
    let (text, treated) = encoded(&request, Vec::new(), folder)?;
    let blocks = cut(written, text, "held-out")?;
    let (blocks, name) = match written.experiment.train.evaluate_blocks {
        Some(count) => (
            blocks.take(count),
            "held-out text, as far as `train.evaluate_blocks` goes,",
        ),
        None => (blocks, "held-out text"),
    };
    written.check_answers(name, &corpus.held_out, &blocks)?;
    Ok((blocks, Used::of(&treated)))
}

fn request<'a>(
    written: &Written,
    documents: &'a dyn Documents,
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

/// A text as tokens.
struct Encoded {
    tokens: TokensWriter,
    made_of: MadeOf,
}

/// Takes documents through treatments. Their texts are forgotten one by one.
fn encoded(
    request: &Request,
    treatments: Vec<(String, Treatment)>,
    folder: &Path,
) -> Result<(Encoded, Treated), TreatmentError> {
    let mut text = Encoded {
        tokens: TokensWriter::new(IN_MEMORY, folder),
        made_of: MadeOf::default(),
    };
    let treated = treat(request, treatments, &mut |passage| {
        let start = text.tokens.len();
        let topic = passage.topic.as_deref();
        text.made_of.add(start, topic, passage.prompt);
        Ok(text.tokens.add(&passage.ids)?)
    })?;
    Ok((text, treated))
}

/// Cuts the tokens of documents into blocks.
fn cut(written: &Written, text: Encoded, name: &str) -> anyhow::Result<Blocks> {
    let tokens = text.tokens.finish()?;
    let blocks = Blocks::of(tokens, written.experiment.train.block).map_err(|error| {
        let message = format!("the {name} split: {error}");
        written.wrong(&["train", "block"], message)
    })?;
    Ok(blocks.of_documents(text.made_of))
}

impl Used {
    fn of(treated: &Treated) -> Self {
        Self {
            documents: treated.read,
            sha256: treated.sha256.clone(),
        }
    }
}

impl Written {
    /// Refuses an objective of answers where there is none. `name` is what the blocks of the split are called.
    fn check_answers(&self, name: &str, split: &Split, blocks: &Blocks) -> Result<(), Diagnostic> {
        let of_answers = self.experiment.train.objective.of_answers();
        let Some(role) = of_answers.first() else {
            return Ok(());
        };
        let message = if !blocks.have_prompts() {
            "the text has no prompts: `data.prompt` names the field that they are in".to_owned()
        } else if !blocks.have_answers() {
            format!(
                "no block of the {name} has a token of an answer ({})",
                split.from.path
            )
        } else {
            return Ok(());
        };
        Err(self.wrong(&["train", "objective", role.as_str()], message))
    }
}
