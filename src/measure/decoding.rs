//! Counts of assisted decoding over a set of prompts.

use crate::decode::Decoding;

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

fn ratio(numerator: u64, denominator: u64) -> Option<f64> {
    (denominator > 0).then(|| numerator as f64 / denominator as f64)
}
