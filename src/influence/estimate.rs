//! The influence of all documents on several goals.

use std::collections::BTreeMap;

use super::goal::{GoOn, Goal, direction, measured};
use super::passes::derivatives;
use super::seen::Seen;
use super::spread::{Spread, segment, spread};
use crate::clock::MicroBatch;
use crate::data::blocks::Blocks;
use crate::model::{Direction, Dropout, Network, Pair, Role};
use crate::train::AdamW;

/// What a rate may be, as a part of its step's whole, and is left out for the passes that it would need.
const NEGLIGIBLE: f64 = 1e-3;

/// What is estimated.
pub struct Request<'a> {
    /// What the documents have influence on.
    pub goals: &'a [Goal],
    /// The prompts of the goals.
    pub prompts: &'a [Vec<u32>],
    /// The text.
    pub blocks: &'a Blocks,
    /// What the run saw of it.
    pub seen: &'a Seen,
    /// The steps of the checkpoints with moments that are used, ascending.
    pub checkpoints: &'a [u64],
    /// The steps between which gradients are taken: 0, those of the checkpoints, and the end of the run where no checkpoint is.
    pub states: &'a [u64],
    /// The seed of the run's dropout, where passes are to have it as they had it in training.
    pub dropout: Option<u64>,
    /// How far weights are moved for a difference; [`FRACTION`](super::FRACTION).
    pub fraction: f64,
}

/// Where the states of a run come from.
pub trait States {
    /// The pair after a step, on an autodiff device.
    ///
    /// # Errors
    /// When it cannot be read.
    fn pair(&self, step: u64) -> anyhow::Result<Pair>;
    /// The optimisers of main model and assistant after a step. None for a model that is not trained.
    ///
    /// # Errors
    /// When one of them cannot be read.
    fn optimisers(&self, step: u64) -> anyhow::Result<[Option<AdamW>; 2]>;
}

/// What was found for one goal.
#[derive(Debug, Clone, PartialEq)]
pub struct OfGoal {
    /// Its value at each state.
    pub values: Vec<f64>,
    /// How much the documents change it from each state to the next, through the main model and through the assistant.
    pub predicted: Vec<[f64; 2]>,
    /// The influence of each document through the main model and through the assistant.
    pub documents: Vec<[f64; 2]>,
}

/// The influence of all documents.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Of each goal.
    pub goals: Vec<OfGoal>,
    /// How many predictions of each document's tokens the run was trained on, over all steps. 0 for one that it never saw.
    pub seen: Vec<u64>,
}

/// Estimates the influence of all documents on each goal. `progress` gets the number of rows that were read and of all that are to be, before
/// each pass; its error ends the work.
///
/// # Errors
/// Those of `states` and `progress`; when prompts or blocks do not fit the models, or numbers are not finite.
pub fn estimate(
    request: &Request,
    states: &dyn States,
    progress: &dyn Fn(usize, usize) -> anyhow::Result<()>,
) -> anyhow::Result<Estimate> {
    let Request { goals, seen, .. } = request;
    let rates: Vec<f64> = seen.steps.iter().map(|step| step.rate).collect();
    let spreads = spread(&rates, request.ends());
    let segments = 0..request.ends().len();
    // What was seen in a segment, and takes effect in it or in a later one.
    let work = segments.clone().flat_map(|saw| {
        let parts = segments.clone().skip(saw).map(move |takes| (saw, takes));
        parts.map(|(saw, takes)| (saw, takes, passes(request, saw, takes, &spreads)))
    });
    let work = work.filter(|(.., passes)| !passes.is_empty());
    let work: Vec<(usize, usize, Vec<Pass>)> = work.collect();
    let all = work
        .iter()
        .map(|(.., passes)| 4 * goals.len() * rows(passes));
    let (all, mut done) = (all.sum(), 0);
    let mut found: Vec<OfGoal> = goals.iter().map(|_| OfGoal::new(request)).collect();
    for &step in request.states {
        let go_on = || progress(done, all);
        let values = measured(&states.pair(step)?, request.prompts, goals, &go_on)?;
        for (found, value) in found.iter_mut().zip(values) {
            found.values.push(value);
        }
    }
    let mut known: BTreeMap<usize, Vec<Directions>> = BTreeMap::new();
    for (saw, takes, passes) in work {
        known.retain(|&segment, _| segment >= saw);
        let directions = match known.remove(&takes) {
            Some(directions) => directions,
            None => request.directions(takes, states, &|| progress(done, all))?,
        };
        let pair = states.pair(request.states[saw])?;
        for (goal, found) in found.iter_mut().enumerate() {
            for role in Role::BOTH {
                if let Some(direction) = &directions[goal][role as usize] {
                    let losses =
                        |network: &Network, pass: &Pass| request.losses(network, role, pass);
                    let go_on = |read: usize| progress(done + read, all);
                    let (network, fraction) = (pair.get(role), request.fraction);
                    let slopes =
                        derivatives(network, direction, fraction, &passes, &losses, &go_on)?;
                    found.add(role, takes, &passes, &slopes, request.blocks);
                }
                done += 2 * rows(&passes);
            }
        }
        known.insert(takes, directions);
    }
    progress(all, all)?;
    Ok(Estimate {
        goals: found,
        seen: predictions(request.blocks, seen),
    })
}

/// The direction of a goal for each model.
type Directions = [Option<Direction>; 2];

fn rows(passes: &[Pass]) -> usize {
    passes.iter().map(|pass| pass.blocks.len()).sum()
}

/// How many predictions of each document's tokens a run was trained on.
pub fn predictions(blocks: &Blocks, seen: &Seen) -> Vec<u64> {
    let mut counts = vec![0; blocks.documents()];
    let passes = seen.steps.iter().flat_map(|step| &step.passes);
    for &block in passes.flat_map(|(_, blocks)| blocks) {
        for piece in blocks.pieces(block) {
            // The first token of a block is not predicted.
            let predicted = piece.tokens.end - piece.tokens.start.max(1).min(piece.tokens.end);
            counts[piece.document] += predicted as u64;
        }
    }
    counts
}

/// A micro-batch with what the derivatives of its tokens' losses are multiplied by for each model, `- rate x clipping / predictions`.
struct Pass {
    number: MicroBatch,
    blocks: Vec<usize>,
    factors: [f64; 2],
}

/// The micro-batches of the steps of segment `saw`, as far as their gradients take effect in segment `takes`.
fn passes(request: &Request, saw: usize, takes: usize, spreads: &[Spread]) -> Vec<Pass> {
    let mut passes = Vec::new();
    for (index, (step, spread)) in request.seen.steps.iter().zip(spreads).enumerate() {
        let rate = spread.get(&takes).copied().unwrap_or(0.0);
        let whole: f64 = spread.values().sum();
        if segment(request.ends(), index as u64 + 1) != saw || rate <= NEGLIGIBLE * whole {
            continue;
        }
        let factors = step
            .clipped
            .map(|clipped| -rate * clipped / step.predictions);
        passes.extend(step.passes.iter().map(|(number, blocks)| Pass {
            number: *number,
            blocks: blocks.clone(),
            factors,
        }));
    }
    passes
}

impl Request<'_> {
    /// The last steps of the segments.
    fn ends(&self) -> &[u64] {
        &self.states[1..]
    }

    /// The direction of each goal in a segment: the mean of its gradients at both ends, preconditioned by the moments at the first checkpoint
    /// that is not before the segment's end, or the last one. The moments at its beginning would not do: they have seen nothing of its gradients, so that
    /// a weight that had hardly any gradient before would seem to move without bound.
    fn directions(
        &self,
        segment: usize,
        states: &dyn States,
        go_on: &GoOn,
    ) -> anyhow::Result<Vec<Directions>> {
        let end = self.states[segment + 1];
        let behind = self.checkpoints.iter().find(|&&step| step >= end);
        let moments = behind.or(self.checkpoints.last());
        let optimisers = states.optimisers(*moments.unwrap_or(&end))?;
        let pairs = [states.pair(self.states[segment])?, states.pair(end)?];
        let of_goal = |goal| direction(&pairs, &optimisers, self.prompts, goal, go_on);
        self.goals.iter().map(of_goal).collect()
    }

    /// The loss of each token of a micro-batch, without dropout or with that of the training.
    fn losses(&self, network: &Network, role: Role, pass: &Pass) -> Vec<Vec<f32>> {
        let rows = pass.blocks.iter().map(|&block| self.blocks.get(block));
        let rows: Vec<&[u32]> = rows.collect();
        let mut dropout = self
            .dropout
            .map(|seed| Dropout::of(seed, role, pass.number.0));
        network.pass_losses(&rows, dropout.as_mut())
    }
}

impl OfGoal {
    fn new(request: &Request) -> Self {
        Self {
            values: Vec::new(),
            predicted: vec![[0.0; 2]; request.states.len() - 1],
            documents: vec![[0.0; 2]; request.blocks.documents()],
        }
    }

    /// Adds what micro-batches do in a segment through one model. `slopes` are the derivatives of their tokens.
    fn add(
        &mut self,
        role: Role,
        segment: usize,
        passes: &[Pass],
        slopes: &[Vec<Vec<f64>>],
        blocks: &Blocks,
    ) {
        let role = role as usize;
        for (pass, slopes) in passes.iter().zip(slopes) {
            let factor = pass.factors[role];
            self.predicted[segment][role] += factor * slopes.iter().flatten().sum::<f64>();
            for (&block, slopes) in pass.blocks.iter().zip(slopes) {
                for piece in blocks.pieces(block) {
                    // Slope t is that of token t + 1: the first token of a block is not predicted.
                    let tokens = piece.tokens.start.max(1)..piece.tokens.end.max(1);
                    let sum: f64 = slopes[tokens.start - 1..tokens.end - 1].iter().sum();
                    self.documents[piece.document][role] += factor * sum;
                }
            }
        }
    }

    /// The influence of each document through both models.
    pub fn totals(&self) -> Vec<f64> {
        self.documents
            .iter()
            .map(|parts| parts.iter().sum())
            .collect()
    }
}
