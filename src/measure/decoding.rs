//! Counts of assisted decoding over a set of prompts.

use crate::decode::{Decoding, Round};

/// Sums over all rounds of a set of prompts, and the ratios that are reported. A ratio is None when its denominator is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DecodingTotals {
    /// Number of prompts.
    pub prompts: u64,
    /// Passes of the main model, one per round.
    pub main_passes: u64,
    /// Rounds with at least one drafted token.
    pub rounds_with_draft: u64,
    /// Drafted tokens.
    pub drafted: u64,
    /// Drafted tokens that the main model chose or accepted.
    pub matched: u64,
    /// Drafted tokens that the main model checked: the matches, and of each round the first token that is none.
    pub checked: u64,
    /// New tokens in all continuations.
    pub new_tokens: u64,
}

impl DecodingTotals {
    /// The totals of a set of decodings.
    pub fn of(decodings: &[Decoding]) -> Self {
        let mut totals = Self::default();
        for decoding in decodings {
            totals.prompts += 1;
            totals.new_tokens += decoding.tokens.len() as u64;
            for round in &decoding.rounds {
                totals.main_passes += 1;
                totals.rounds_with_draft += u64::from(round.drafted > 0);
                totals.drafted += round.drafted as u64;
                totals.matched += round.matched as u64;
                totals.checked += round.drafted.min(round.matched + 1) as u64;
            }
        }
        totals
    }

    /// Mean matches per round with a draft. A round at the length limit drafts nothing, so it says nothing about the assistant.
    pub fn n_matches_per_round(&self) -> Option<f64> {
        ratio(self.matched, self.rounds_with_draft)
    }

    /// Mean n_matches per prompt.
    pub fn n_matches_per_prompt(&self) -> Option<f64> {
        ratio(self.matched, self.prompts)
    }

    /// Matches per new token, which is 1 - main passes / new tokens. Rounds without a draft count.
    pub fn assistant_share(&self) -> Option<f64> {
        ratio(self.matched, self.new_tokens)
    }

    /// Matches per drafted token. With lazy drafts use [`Self::token_acceptance`]: their length is not known.
    pub fn acceptance(&self) -> Option<f64> {
        ratio(self.matched, self.drafted)
    }

    /// Matches per checked token: how often the next drafted token is accepted when all before it were. It does not depend on the length
    /// of the drafts as such, and estimates the acceptance rate of Leviathan et al. 2023 (arXiv 2211.17192), section 3.1.
    pub fn token_acceptance(&self) -> Option<f64> {
        ratio(self.matched, self.checked)
    }

    /// New tokens per pass of the main model.
    pub fn tokens_per_main_pass(&self) -> Option<f64> {
        ratio(self.new_tokens, self.main_passes)
    }
}

/// What became of the drafted tokens at one position of the drafts, counted from the first token of each draft.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DraftPosition {
    /// Rounds in which the main model checked the token there: it was drafted, and all before it matched.
    pub checked: u64,
    /// Rounds in which it matched.
    pub matched: u64,
}

impl DraftPosition {
    /// The name of the column of `checked` at a position, counted from 1.
    pub fn checked_column(position: usize) -> String {
        format!("checked_{position}")
    }

    /// The name of the column of `matched` at a position, counted from 1.
    pub fn matched_column(position: usize) -> String {
        format!("matched_{position}")
    }

    /// Whether a column has one of these names.
    pub fn is_column(name: &str) -> bool {
        ["checked_", "matched_"].iter().any(|of| {
            let position = name.strip_prefix(of);
            position.is_some_and(|position| position.parse::<usize>().is_ok())
        })
    }
}

/// The rounds of one prompt by position of the draft, up to the last position that any of them checked. The sum of `matched` over the positions
/// is `n_matches`. A drafted end-of-text token is no match, as everywhere.
pub fn by_position(rounds: &[Round]) -> Vec<DraftPosition> {
    let mut found: Vec<DraftPosition> = Vec::new();
    for round in rounds {
        let checked = round.drafted.min(round.matched + 1);
        found.resize(found.len().max(checked), DraftPosition::default());
        for (place, position) in found.iter_mut().take(checked).enumerate() {
            position.checked += 1;
            position.matched += u64::from(place < round.matched);
        }
    }
    found
}

fn ratio(numerator: u64, denominator: u64) -> Option<f64> {
    (denominator > 0).then(|| numerator as f64 / denominator as f64)
}
