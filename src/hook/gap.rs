//! The gap between female and male prompts in whatever a hook measured prompt by prompt.

use super::Context;
use crate::statistics::disparity::{Disparity, PairObservation, Settings};

impl Context<'_> {
    /// Reports the mean difference female - male of `values`, one for each template, on the matched pairs, as `<tag>/disparity` with its 95%
    /// interval `<tag>/disparity_low` and `<tag>/disparity_high`. Nothing where no prompts match.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn gap(&mut self, tag: &str, values: &[f64]) -> anyhow::Result<()> {
        let observations = PairObservation::of_pairs(self.scene.templates.pairs(), values);
        if observations.is_empty() {
            return Ok(());
        }
        let settings = Settings {
            // The same draws at every milestone, so that the band moves only because the data does.
            seed: self.scene.seed,
            ..Settings::default()
        };
        let gap = Disparity::of(&observations, &settings)?;
        self.scalar(format!("{tag}/disparity"), gap.difference);
        self.scalar(format!("{tag}/disparity_low"), gap.low);
        self.scalar(format!("{tag}/disparity_high"), gap.high);
        Ok(())
    }
}
