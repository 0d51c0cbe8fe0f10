//! Permutes the topics among the documents.

use rand::seq::SliceRandom;

use super::Draws;
use super::account::Account;
use super::chain::{Before, Passage, TextTreatment};
use crate::data::corpus::Document;
use crate::data::tokenizer::TokenizerError;

/// Gives each document the topic of another one of the source, so that a topic says nothing of the text, and stands as often as before.
pub(super) struct Relabel {
    /// The new topic of each document of the source.
    topics: Vec<Option<String>>,
}

impl Relabel {
    pub fn new(documents: &[Document], draws: Draws) -> Self {
        let mut topics: Vec<Option<String>> = (documents.iter())
            .map(|document| document.topic.clone())
            .collect();
        topics.shuffle(&mut draws.of(0));
        Self { topics }
    }
}

impl TextTreatment for Relabel {
    fn next(
        &mut self,
        before: &mut Before,
        account: &mut Account,
    ) -> Result<Option<Passage>, TokenizerError> {
        let Some(mut passage) = before.next()? else {
            return Ok(None);
        };
        let topic = self.topics.get(passage.place).cloned().flatten();
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
