//! Permutes the words within each document.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::account::Account;
use super::chain::{Before, Passage, TextTreatment};
use super::words::words;
use super::{Draws, TreatmentError};

/// Permutes the words of each document, those of its prompt apart from those of its answer. Spaces and punctuation stay where they are.
pub(super) struct Shuffle(pub Draws);

impl TextTreatment for Shuffle {
    fn next(
        &mut self,
        before: &mut Before,
        account: &mut Account,
    ) -> Result<Option<Passage>, TreatmentError> {
        let Some(passage) = before.next()? else {
            return Ok(None);
        };
        let mut draws = self.0.of(passage.place);
        let parts = passage.parts().map(|part| shuffled(part, &mut draws));
        before.rewritten(passage, parts, account).map(Some)
    }
}

fn shuffled(text: &str, rng: &mut ChaCha8Rng) -> String {
    let places = words(text);
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.shuffle(rng);
    let (mut made, mut done) = (String::with_capacity(text.len()), 0);
    for (place, other) in places.iter().zip(order) {
        made.push_str(&text[done..place.start]);
        made.push_str(&text[places[other].clone()]);
        done = place.end;
    }
    made + &text[done..]
}
