//! Documents on their way through the treatments of the text: each treatment asks the one before it for as many as it needs.

use super::account::{Account, Amount};
use crate::data::corpus::Document;
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
    /// The tokens of its text, with the one that ends it.
    pub ids: Vec<u32>,
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
    /// When the tokenizer refuses a text.
    fn next(
        &mut self,
        before: &mut Before,
        account: &mut Account,
    ) -> Result<Option<Passage>, TokenizerError>;
}

/// A treatment with the account of what it did.
pub(super) struct Stage {
    pub treatment: Box<dyn TextTreatment>,
    pub account: Account,
}

/// The documents of the source.
pub(super) struct Documents<'a> {
    pub documents: &'a [Document],
    pub tokenizer: &'a Tokenizer,
    /// The token to put behind each document.
    pub end: Option<u32>,
    /// How many were read.
    pub read: usize,
}

impl Documents<'_> {
    fn next(&mut self) -> Result<Option<Passage>, TokenizerError> {
        let Some(document) = self.documents.get(self.read) else {
            return Ok(None);
        };
        self.read += 1;
        Ok(Some(Passage {
            place: self.read - 1,
            text: document.text.clone(),
            topic: document.topic.clone(),
            ids: self.encode(&document.text)?,
        }))
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = self.tokenizer.encode(text)?;
        ids.extend(self.end);
        Ok(ids)
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
    /// When the tokenizer refuses a text.
    pub fn next(&mut self) -> Result<Option<Passage>, TokenizerError> {
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

    /// A document with another text.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn rewritten(&self, passage: Passage, text: String) -> Result<Passage, TokenizerError> {
        let ids = self.source.encode(&text)?;
        Ok(Passage {
            text,
            ids,
            ..passage
        })
    }
}
