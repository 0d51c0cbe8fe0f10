//! Draws each token from the frequencies of the tokens of the text.

use rand::Rng;

use super::Draws;
use super::chain::Passage;

/// Draws every token of the documents, each by itself, from all of them. A token `end` at the end of a document stays, and is not drawn.
pub(super) fn draw(passages: &mut [Passage], end: Option<u32>, draws: Draws) {
    let drawn = |ids: &[u32]| ids.len() - usize::from(end.is_some() && ids.last() == end.as_ref());
    // A token drawn by its place in the text has the probability of its frequency.
    let all: Vec<u32> = (passages.iter())
        .flat_map(|passage| passage.ids[..drawn(&passage.ids)].to_vec())
        .collect();
    for passage in passages {
        let (mut rng, count) = (draws.of(passage.place), drawn(&passage.ids));
        for id in &mut passage.ids[..count] {
            *id = all[rng.random_range(0..all.len())];
        }
        passage.topic = None;
    }
}
