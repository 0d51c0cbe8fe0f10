//! Hooks, which measure the pair. A hook is a type with one required method. The loop calls it at the milestones that its cadence names and
//! hands it a [`Context`]; what it reports goes to TensorBoard and `milestones.jsonl`.

mod batch;
mod context;
mod cost;
mod gap;
mod gradients;
mod kind;
mod live;
mod milestone;
mod optimiser;
mod output;
mod parameter_values;
mod preparation;
mod probe;
mod recorded;
mod scene;
mod seen;
mod shows;
pub mod testing;

pub(crate) use batch::Pass;
pub use batch::{Batch, BatchRow, RowDocument};
pub use context::{Context, Watch, When};
pub use cost::Cost;
pub use gradients::Gradients;
pub use kind::{Input, Kind, Runs};
pub(crate) use live::Live;
pub use milestone::{Evaluation, Milestone, StepTimes};
pub use optimiser::Optimiser;
pub use output::{Output, Request, markdown_cell};
pub use parameter_values::ParameterValues;
pub use preparation::{OptionError, Preparation, PreparationError, read_text};
pub(crate) use probe::{Deadline, ProbeTimes};
pub use probe::{Probes, Stopped};
pub use recorded::{Recorded, Section};
pub use scene::Scene;
pub use seen::{Predicate, Seen, Values};
pub use shows::{Bars, Cells, HeatMap, Row, Shows, TWO_BY_TWO, TwoByTwo};

/// Something that measures the pair at milestones.
pub trait Hook: Send {
    /// Measures at one milestone and reports through `context`. It is called at each milestone that the hook's cadence names.
    ///
    /// A background hook works on a snapshot while training goes on, so the run may already be further than `context.milestone()` says.
    ///
    /// # Errors
    /// Those of the hook. An error or a panic ends neither the run nor another hook. It is shown on the terminal, in TensorBoard and in the
    /// exit status, and handled as `on_error` says.
    fn at_milestone(&mut self, context: &mut Context) -> anyhow::Result<()>;

    /// Reads files and models that the options name. It is called once before the run has written anything, so that a mistake in them is
    /// reported before the first step.
    ///
    /// # Errors
    /// When what an option names cannot be used.
    fn prepare(&mut self, preparation: &mut Preparation) -> anyhow::Result<()> {
        let _ = preparation;
        Ok(())
    }

    /// The state that the hook must keep across a kill and a resume. It is part of every checkpoint.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Restores the state that [`Hook::state`] returned. It is called before the first milestone of a resumed run.
    ///
    /// # Errors
    /// When the state is not one of this hook's.
    fn restore(&mut self, state: serde_json::Value) -> anyhow::Result<()> {
        let _ = state;
        Ok(())
    }
}
