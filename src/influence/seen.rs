//! What a run saw in each step, and how fast it learned.

use crate::clock::{Extent, Step};
use crate::data::order::{epoch_order, micro_batches};
use crate::model::Role;
use crate::train::Plan;

/// A step of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenStep {
    /// The blocks of all of its micro-batches.
    pub blocks: Vec<usize>,
    /// The tokens that are predicted in them: its gradient is a mean over as many.
    pub predictions: f64,
    /// Its learning rate.
    pub rate: f64,
    /// What clipping multiplied the gradient of main model and assistant by.
    pub clipped: [f64; 2],
}

/// The steps of a run, the first one first.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The steps.
    pub steps: Vec<SeenStep>,
    /// The models for which the record has the norm of the gradient in some steps and not in all, or in none although gradients were clipped.
    pub unknown_clipping: Vec<Role>,
}

/// What a run recorded by step.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// Learning rates.
    pub rates: Vec<(u64, f64)>,
    /// Norms of the gradients of main model and assistant before clipping.
    pub norms: [Vec<(u64, f64)>; 2],
}

impl Seen {
    /// The first `steps` steps of a run with this plan, which went through its data as `extent` says.
    ///
    /// # Errors
    /// When the record has no learning rate for one of them.
    pub fn new(
        plan: &Plan,
        extent: &Extent,
        steps: u64,
        recorded: &Recorded,
    ) -> anyhow::Result<Self> {
        let training = &plan.training;
        let clipping = Role::BOTH.map(|role| {
            let norms = &recorded.norms[role as usize];
            Clipping::new(training.clip, norms, steps)
        });
        let unknown = Role::BOTH
            .into_iter()
            .filter(|&role| training.models.contains(&role) && !clipping[role as usize].is_known());
        let unknown_clipping = unknown.collect();
        let mut order = (None, Vec::new());
        let mut seen = Vec::new();
        for step in 1..=steps {
            let epoch = extent.epoch_of(Step(step));
            if order.0 != Some(epoch) {
                let blocks = epoch_order(plan.seed, epoch.0, plan.blocks.len());
                order = (Some(epoch), blocks);
            }
            let place = extent.place(Step(step - 1)) % extent.steps_per_epoch();
            let (batch, accumulation) = (training.batch, training.accumulation);
            let passes = micro_batches(&order.1, batch, accumulation, place as usize);
            let blocks: Vec<usize> = passes.flatten().copied().collect();
            let rate = at(&recorded.rates, step).ok_or_else(|| {
                anyhow::anyhow!("milestones.jsonl has no learning rate for step {step}")
            })?;
            seen.push(SeenStep {
                predictions: (blocks.len() * (plan.blocks.block() - 1)) as f64,
                blocks,
                rate,
                clipped: clipping.each_ref().map(|clipping| clipping.at(step)),
            });
        }
        Ok(Self {
            steps: seen,
            unknown_clipping,
        })
    }
}

fn at(points: &[(u64, f64)], step: u64) -> Option<f64> {
    let found = points.binary_search_by_key(&step, |(step, _)| *step).ok()?;
    Some(points[found].1)
}

/// By how much the gradients of a model were clipped.
enum Clipping {
    /// They were not.
    Never,
    /// The norms of all steps are recorded.
    Known { limit: f64, norms: Vec<(u64, f64)> },
    /// It is not recorded.
    Unknown,
}

impl Clipping {
    fn new(limit: Option<f64>, norms: &[(u64, f64)], steps: u64) -> Self {
        match limit {
            None => Self::Never,
            Some(limit) if (1..=steps).all(|step| at(norms, step).is_some()) => Self::Known {
                limit,
                norms: norms.to_vec(),
            },
            Some(_) => Self::Unknown,
        }
    }

    fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown)
    }

    /// As [`Learner::clip`](crate::train::Learner::clip) has it; 1 where it is not known.
    fn at(&self, step: u64) -> f64 {
        match self {
            Self::Known { limit, norms } => {
                at(norms, step).map_or(1.0, |norm| (limit / (norm + 1e-6)).min(1.0))
            }
            Self::Never | Self::Unknown => 1.0,
        }
    }
}
