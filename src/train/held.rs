//! A run that stands still between two steps, as whoever holds it sees it.

use std::path::Path;
use std::sync::Arc;

use super::HookSpec;
use super::measuring::{Called, Moment};
use crate::clock::Extent;
use crate::hook::{Evaluation, Milestone, Scene, Watch};
use crate::model::Pair;

/// What a run that stands still does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It goes on with the next step.
    GoOn,
    /// It saves a checkpoint, which hooks are not told of, and still stands.
    Save,
    /// It ends as by Ctrl-C, for this reason. A resume goes on with it.
    End(String),
}

/// A run that stands still after a step. Every hook of that step has reported. Nothing that is asked of it here is recorded.
pub struct Held<'a> {
    pub(super) milestone: Milestone,
    pub(super) extent: &'a Extent,
    pub(super) evaluated: Option<(u64, &'a Evaluation)>,
    pub(super) saved: bool,
    pub(super) directory: &'a Path,
    pub(super) scene: &'a Arc<Scene>,
    pub(super) pair: &'a dyn Fn() -> Pair,
    pub(super) start: Option<Arc<Pair>>,
}

impl<'a> Held<'a> {
    /// The end of the step: clock, losses, learning rate.
    pub fn milestone(&self) -> &Milestone {
        &self.milestone
    }

    /// The whole run in numbers.
    pub fn extent(&self) -> &'a Extent {
        self.extent
    }

    /// The run's last evaluation on the held-out text, with its step.
    pub fn evaluated(&self) -> Option<(u64, &'a Evaluation)> {
        self.evaluated
    }

    /// Whether a checkpoint of this very step is saved.
    pub fn is_saved(&self) -> bool {
        self.saved
    }

    /// The run's folder.
    pub fn directory(&self) -> &'a Path {
        self.directory
    }

    /// Prompts, tokenizer, held-out text and settings of the run.
    pub fn scene(&self) -> &'a Arc<Scene> {
        self.scene
    }

    /// Main model and assistant as they are now, without autodiff. They share memory with the run's.
    pub fn pair(&self) -> Pair {
        (self.pair)()
    }

    /// Evaluates the pair on the run's held-out text, in nats a token.
    ///
    /// # Errors
    /// When there is no held-out text, or none of an answer.
    pub fn evaluate(&self) -> anyhow::Result<Evaluation> {
        self.scene.evaluation(&self.pair(), &|| Ok(()))
    }

    /// Calls hooks once on the pair as it is now. `watch` is told how far long measurements are.
    pub fn measure(&self, hooks: Vec<HookSpec>, watch: Option<Arc<Watch>>) -> Called {
        let moment = Moment {
            milestone: Arc::new(self.milestone.clone()),
            pair: Arc::new(self.pair()),
            start: self.start.clone(),
            scene: self.scene.clone(),
            probes: Arc::default(),
            watch,
        };
        moment.call(hooks)
    }
}
