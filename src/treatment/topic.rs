//! Keeps the documents of one topic, or those of all others.

use super::TreatmentError;
use super::account::Account;
use super::chain::{Before, Passage, TextTreatment};

/// Gives the documents of a topic, or all others.
pub(super) struct Topic {
    pub name: String,
    /// Whether the documents of the topic are kept, not dropped.
    pub keeps: bool,
}

impl TextTreatment for Topic {
    fn next(
        &mut self,
        before: &mut Before,
        account: &mut Account,
    ) -> Result<Option<Passage>, TreatmentError> {
        while let Some(passage) = before.next()? {
            let is_of_it = passage.topic.as_ref() == Some(&self.name);
            if is_of_it == self.keeps {
                return Ok(Some(passage));
            }
            account.drop(&passage, 0);
        }
        Ok(None)
    }
}
