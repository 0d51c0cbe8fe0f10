//! Permutes the topics among the documents.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::seq::SliceRandom;

use super::account::Account;
use super::chain::{Before, Passage, TextTreatment};
use super::{Draws, TreatmentError};
use crate::data::blocks::interned;
use crate::data::corpus::Reading;

/// Gives each document the topic of another one of the source, so that a topic says nothing of the text, and stands as often as before.
pub(super) struct Relabel {
    /// The new topic of each document of the source.
    topics: Vec<Option<Arc<str>>>,
}

impl Relabel {
    /// Reads the topics of all documents of the source.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn new(documents: Reading, draws: Draws) -> Result<Self, TreatmentError> {
        let (mut topics, mut known) = (Vec::new(), BTreeSet::new());
        for document in documents {
            topics.push(document?.topic.map(|topic| interned(&mut known, &topic)));
        }
        topics.shuffle(&mut draws.of(0));
        Ok(Self { topics })
    }
}

impl TextTreatment for Relabel {
    fn next(
        &mut self,
        before: &mut Before,
        account: &mut Account,
    ) -> Result<Option<Passage>, TreatmentError> {
        let Some(mut passage) = before.next()? else {
            return Ok(None);
        };
        let topic = self.topics.get(passage.place).cloned().flatten();
        let topic = topic.map(|topic| topic.to_string());
        if topic != passage.topic {
            let labelled = |topic: &Option<String>| {
                format!(
                    "{}: {}",
                    topic.as_deref().unwrap_or("no topic"),
                    passage.text
                )
            };
            account.change(passage.place, &labelled(&passage.topic), &labelled(&topic));
            passage.topic = topic;
        }
        Ok(Some(passage))
    }
}
