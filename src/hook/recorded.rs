//! What a hook recorded in a finished run, for a section of the report that declarations cannot make.

/// The records of one hook in a run, by the tags that its kind uses: the prefix of a hook with another name is left out.
pub trait Recorded {
    /// The steps and values of a scalar, in the order of steps. Empty when it was never reported.
    fn points(&self, tag: &str) -> &[(u64, f64)];

    /// The values of a column at the run's first step, one for each prompt. None when it was not measured there.
    fn column_at_start(&self, column: &str) -> Option<&[f64]>;

    /// The values of a column at the run's last step, one for each prompt. None when it was not measured there, or when the run is not
    /// over.
    fn column_at_end(&self, column: &str) -> Option<&[f64]>;

    /// The prompts, in the order of the columns' values.
    fn prompts(&self) -> &[String];
}

/// A function that writes the end of a hook's section of the report as HTML. An empty text adds nothing. Texts from the run must be
/// escaped, as `maud` does.
pub type Section = fn(&dyn Recorded) -> String;
