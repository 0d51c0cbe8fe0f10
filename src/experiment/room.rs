//! The room that decoding has: the models' positions behind the longest prompt.

use super::Written;
use crate::decode::Settings;
use crate::diagnostic::Diagnostic;
use crate::model::Pair;

/// How long prompts are and how long a text may become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Tokens of the longest prompt.
    longest: usize,
    /// Positions that both models have.
    positions: usize,
}

impl Room {
    pub fn of(prompts: &[Vec<u32>], pair: &Pair) -> Self {
        Self {
            longest: prompts.iter().map(Vec::len).max().unwrap_or(0),
            positions: pair.n_positions(),
        }
    }

    /// Refuses a decode section that does not fit; `path` is where it stands.
    ///
    /// # Errors
    /// A diagnostic at its key.
    pub fn check(
        self,
        written: &Written,
        path: &[&str],
        settings: &Settings,
    ) -> Result<(), Diagnostic> {
        settings
            .fit(self.longest, self.positions)
            .map_err(|misfit| written.wrong(&[path, &[misfit.key]].concat(), misfit.message))
    }
}
