//! Drops documents with a word of a list.

use super::TreatmentError;
use super::account::Account;
use super::chain::{Before, Passage, TextTreatment};
use super::word_list::WordList;

/// Gives the documents that have no word of the list.
pub(super) struct Without(pub WordList);

impl TextTreatment for Without {
    fn next(
        &mut self,
        before: &mut Before,
        account: &mut Account,
    ) -> Result<Option<Passage>, TreatmentError> {
        while let Some(passage) = before.next()? {
            let found = self.0.find(&passage.text);
            let Some(first) = found.first() else {
                return Ok(Some(passage));
            };
            account.drop(&passage, first.place.start);
            for one in found {
                account.words.count(one.listed);
            }
        }
        Ok(None)
    }
}
