//! What a hook has recorded in a run that is over, for a section of the report that declarations cannot make.

/// The records of one hook in a run, under the names by which its kind reports them: a hook with a name of its own sees its own.
pub trait Recorded {
    /// Steps and values of a scalar, in the order of steps; none where it was never reported.
    fn points(&self, tag: &str) -> &[(u64, f64)];

    /// A column's values at the run's first step, one for each prompt; None where it was not measured there.
    fn column_at_start(&self, column: &str) -> Option<&[f64]>;

    /// A column's values at the run's last step; None where it was not measured there, or the run is not over.
    fn column_at_end(&self, column: &str) -> Option<&[f64]>;

    /// The prompts, in the order of columns.
    fn prompts(&self) -> &[String];
}

/// Makes the end of a hook's section of the report, as HTML; an empty text adds nothing. What comes from the run must be escaped, as `maud` does it.
pub type Section = fn(&dyn Recorded) -> String;
