//! Hooks: what measures the pair. A hook is one small type with one required method; the loop calls it at the milestones that its
//! cadence names and hands it a [`Context`]; whatever it reports streams to TensorBoard and `milestones.jsonl`.

mod context;
mod gap;
mod gradients;
mod kind;
mod milestone;
mod output;
mod preparation;
mod probe;
mod recorded;
mod scene;
mod shows;
pub mod testing;

pub use context::{Context, Watch, When};
pub use gradients::Gradients;
pub(crate) use gradients::square_sum;
pub use kind::{Input, Kind, Registry, Runs};
pub use milestone::{Evaluation, Milestone};
pub use output::{Output, Request, markdown_cell};
pub use preparation::{OptionError, Preparation, PreparationError, read_text};
pub(crate) use probe::Deadline;
pub use probe::{Probes, Stopped};
pub use recorded::{Recorded, Section};
pub use scene::Scene;
pub use shows::{Bars, Cells, Row, Shows, TWO_BY_TWO, TwoByTwo};

/// Something that measures.
pub trait Hook: Send {
    /// Called at each milestone that the hook's cadence names. Report through `context`; an error (or a panic) ends neither the run
    /// nor another hook, but is named on the terminal, in TensorBoard and in the exit status, and handled as `on_error` says.
    ///
    /// A background hook works on a snapshot while training goes on, so it must not assume that the run still stands where
    /// `context.milestone()` says.
    fn at_milestone(&mut self, context: &mut Context) -> anyhow::Result<()>;

    /// Called once, before the run has written anything: the place to read files and models that the options name, so that a mistake in
    /// them is said before the first step.
    ///
    /// # Errors
    /// When what an option names cannot be used.
    fn prepare(&mut self, preparation: &mut Preparation) -> anyhow::Result<()> {
        let _ = preparation;
        Ok(())
    }

    /// What the hook must remember across a kill and a resume. It is saved with every checkpoint, in one piece with the models.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Takes back what [`Hook::state`] gave, before the first milestone of a resumed run.
    ///
    /// # Errors
    /// When the state is not the hook's own.
    fn restore(&mut self, state: serde_json::Value) -> anyhow::Result<()> {
        let _ = state;
        Ok(())
    }
}
