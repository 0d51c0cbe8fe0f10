//! Documents on their way through the treatments of the text: each treatment asks the one before it for as many as it needs.

use std::collections::VecDeque;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::TreatmentError;
use super::account::{Account, Amount};
use crate::checksum::Sum;
use crate::data::corpus::{Document, Reading};
use crate::data::source_error::SourceError;
use crate::data::tokenizer::{Tokenizer, TokenizerError};

/// A document on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// Its place among the documents of the source, from 0.
    pub place: usize,
    /// Its text.
    pub text: String,
    /// Its label, where the source has labels.
    pub topic: Option<String>,
    /// The byte of the text at which its answer begins, where the source has prompts.
    pub answer: Option<usize>,
    /// The tokens of its text, with the one that ends it.
    pub ids: Vec<u32>,
    /// How many of them are of its prompt, where the source has prompts.
    pub prompt: Option<usize>,
}

impl Passage {
    /// Its prompt, and its answer. Without a prompt, all of it is answer.
    pub(super) fn parts(&self) -> [&str; 2] {
        self.text.split_at(self.answer.unwrap_or(0)).into()
    }
}

/// How much text is wanted. Without a limit, all that there is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limit {
    /// At most this many documents.
    pub documents: Option<usize>,
    /// No further document after this many tokens.
    pub tokens: Option<usize>,
}

impl Limit {
    /// Whether these documents are enough.
    pub fn is_reached(&self, amount: &Amount) -> bool {
        let reached =
            |limit: Option<usize>, amount: usize| limit.is_some_and(|limit| amount >= limit);
        reached(self.documents, amount.documents) || reached(self.tokens, amount.tokens)
    }
}

/// A treatment of texts.
pub trait TextTreatment {
    /// The next document that it gives. `before` gives the documents that it is made of.
    ///
    /// # Errors
    /// When the source cannot be read, or the tokenizer refuses a text.
    fn next(
        &mut self,
        before: &mut Before,
        account: &mut Account,
    ) -> Result<Option<Passage>, TreatmentError>;
}

/// A treatment with the account of what it did.
pub(super) struct Stage {
    pub treatment: Box<dyn TextTreatment>,
    pub account: Account,
}

/// How many documents are encoded at the same time, and how many bytes of them, up to the document that goes beyond.
const AHEAD: (usize, usize) = (256, 1 << 20);

/// The documents of the source.
pub(super) struct Documents<'a> {
    source: Reading<'a>,
    encoder: Encoder<'a>,
    /// Those that were read ahead, with their tokens.
    ahead: VecDeque<(Document, Result<Encoded, TokenizerError>)>,
    /// Why nothing can be read behind them.
    failed: Option<SourceError>,
    /// How many were given.
    pub read: usize,
    /// The checksum of those that were given.
    pub sum: Sum,
}

/// The tokens of a text, and how many of them are of its prompt.
type Encoded = (Vec<u32>, Option<usize>);

impl<'a> Documents<'a> {
    pub fn new(source: Reading<'a>, tokenizer: &'a Tokenizer, end: Option<u32>) -> Self {
        Self {
            source,
            encoder: Encoder { tokenizer, end },
            ahead: VecDeque::new(),
            failed: None,
            read: 0,
            sum: Sum::default(),
        }
    }

    fn next(&mut self) -> Result<Option<Passage>, TreatmentError> {
        if self.ahead.is_empty() {
            self.read_ahead();
        }
        let Some((document, encoded)) = self.ahead.pop_front() else {
            return self
                .failed
                .take()
                .map_or(Ok(None), |error| Err(error.into()));
        };
        let (ids, prompt) = encoded?;
        document.add_to(&mut self.sum);
        self.read += 1;
        let Document {
            text,
            topic,
            answer,
            ..
        } = document;
        Ok(Some(Passage {
            place: self.read - 1,
            text,
            topic,
            answer,
            ids,
            prompt,
        }))
    }

    /// Reads some documents, and encodes them by all threads.
    fn read_ahead(&mut self) {
        let (mut documents, mut bytes) = (Vec::new(), 0);
        while documents.len() < AHEAD.0 && bytes < AHEAD.1 && self.failed.is_none() {
            match self.source.next() {
                Some(Ok(document)) => {
                    bytes += document.text.len();
                    documents.push(document);
                }
                Some(Err(error)) => self.failed = Some(error),
                None => break,
            }
        }
        let encoder = self.encoder;
        let encoded = documents.into_par_iter().map(|document| {
            let encoded = encoder.encode(&document.text, document.answer);
            (document, encoded)
        });
        self.ahead = encoded.collect::<Vec<_>>().into();
    }
}

/// Makes tokens of texts.
#[derive(Clone, Copy)]
struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    /// The token to put behind each document.
    end: Option<u32>,
}

impl Encoder<'_> {
    /// The tokens of a text. Those of prompt and answer are made apart, so that a prompt has the same tokens whatever the answer.
    fn encode(self, text: &str, answer: Option<usize>) -> Result<Encoded, TokenizerError> {
        let (prompt, rest) = text.split_at(answer.unwrap_or(0));
        let (mut ids, first);
        if prompt.is_empty() {
            ids = self.tokenizer.encode(rest)?;
            first = self.tokenizer.beginning().len();
        } else {
            ids = self.tokenizer.encode(prompt)?;
            first = ids.len();
            ids.extend(self.tokenizer.encode_behind(rest)?);
        }
        ids.extend(self.end);
        Ok((ids, answer.map(|_| first)))
    }
}

/// What stands before a treatment: the source, and the treatments that come first.
pub struct Before<'a, 'b> {
    pub(super) stages: &'a mut [Stage],
    pub(super) source: &'a mut Documents<'b>,
    /// How much was asked for.
    pub(super) taken: Amount,
}

impl Before<'_, '_> {
    /// The next document; None after the last.
    ///
    /// # Errors
    /// When the source cannot be read, or the tokenizer refuses a text.
    pub fn next(&mut self) -> Result<Option<Passage>, TreatmentError> {
        let given = match self.stages.split_last_mut() {
            None => self.source.next()?,
            Some((stage, stages)) => {
                let mut before = Before {
                    stages,
                    source: &mut *self.source,
                    taken: Amount::default(),
                };
                let given = stage.treatment.next(&mut before, &mut stage.account)?;
                stage.account.before += before.taken;
                stage.account.after += Amount::of(given.as_ref());
                given
            }
        };
        self.taken += Amount::of(given.as_ref());
        Ok(given)
    }

    /// A document with another prompt and another answer. That of a document without prompts is empty. The account has the change, if it
    /// is one.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn rewritten(
        &self,
        passage: Passage,
        parts: [String; 2],
        account: &mut Account,
    ) -> Result<Passage, TreatmentError> {
        if parts == passage.parts() {
            return Ok(passage);
        }
        account.change(passage.place, &passage.text, &parts.concat());
        let (answer, text) = (passage.answer.map(|_| parts[0].len()), parts.concat());
        let (ids, prompt) = self.source.encoder.encode(&text, answer)?;
        Ok(Passage {
            text,
            answer,
            ids,
            prompt,
            ..passage
        })
    }
}
