//! Swaps words with their counterparts: counterfactual data augmentation (Zmigrod et al. 2019, Maudslay et al. 2019).

use super::TreatmentError;
use super::account::Account;
use super::chain::{Before, Passage, TextTreatment};
use super::word_list::WordList;

/// Puts the counterpart, in the same way of writing, in the place of each word of the list.
pub(super) struct Swap(pub WordList);

impl Swap {
    fn swapped(&self, text: &str, account: &mut Account) -> String {
        let (mut made, mut done) = (String::with_capacity(text.len()), 0);
        for found in self.0.find(text) {
            let Some([listed, written]) = found.counterpart else {
                continue;
            };
            made.push_str(&text[done..found.place.start]);
            made.push_str(written);
            done = found.place.end;
            account.words.count(format!("{} > {listed}", found.listed));
            if !self.0.gives_back(&text[found.place]) {
                account.not_given_back.count(found.listed);
            }
        }
        made + &text[done..]
    }
}

impl TextTreatment for Swap {
    fn next(
        &mut self,
        before: &mut Before,
        account: &mut Account,
    ) -> Result<Option<Passage>, TreatmentError> {
        let Some(passage) = before.next()? else {
            return Ok(None);
        };
        let parts = passage.parts().map(|part| self.swapped(part, account));
        before.rewritten(passage, parts, account).map(Some)
    }
}
