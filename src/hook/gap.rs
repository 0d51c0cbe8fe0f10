//! The gap between the groups of each contrast, in any measure with one value per prompt.

use super::Context;
use crate::statistics::disparity::{Disparity, Settings};

impl Context<'_> {
    /// Reports the gap of `values`, one for each prompt: for each contrast the mean of the first group minus that of the second, as
    /// `<tag>/disparity`, with its 95% interval as `<tag>/disparity_low` and `<tag>/disparity_high`. In a run with several contrasts the
    /// tag is `<tag>/<contrast>/disparity`.
    ///
    /// # Errors
    /// When a value is not finite.
    pub fn gap(&mut self, tag: &str, values: &[f64]) -> anyhow::Result<()> {
        let settings = Settings {
            // The same draws at every milestone, so that the interval changes only when the data does.
            seed: self.scene.seed,
            ..Settings::default()
        };
        let templates = &self.scene.templates;
        for contrast in templates.contrasts() {
            let gap = Disparity::of(&contrast.observations(values), &settings)?;
            let tag = templates.gap_tag(tag, contrast);
            self.scalar(&tag, gap.difference);
            self.scalar(format!("{tag}_low"), gap.low);
            self.scalar(format!("{tag}_high"), gap.high);
        }
        Ok(())
    }
}
