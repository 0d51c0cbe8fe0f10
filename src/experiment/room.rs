//! Checks that the longest prompt and its continuation fit into the models' positions.

use super::Written;
use crate::decode::Settings;
use crate::diagnostic::Diagnostic;
use crate::model::Pair;

/// The length of the longest prompt, and the limit for the length of a text.
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

    /// Refuses decode settings that do not fit. `path` is their place in the experiment.
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
