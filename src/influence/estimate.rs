//! The influence of all documents on several goals.

use super::goal::{GoOn, Goal, direction, measured};
use super::passes::derivatives;
use super::seen::Seen;
use super::spread::{Node, Spread, spread};
use crate::clock::MicroBatch;
use crate::data::blocks::Blocks;
use crate::model::{Dropout, Network, Pair, Role};
use crate::train::AdamW;

/// What a rate may be, as a part of its step's whole, and is left out for the passes that it would need.
const NEGLIGIBLE: f64 = 1e-3;

/// The pair, on an autodiff device, and the optimisers of the models that are trained.
pub type Loaded = (Pair, [Option<AdamW>; 2]);

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
    /// Where gradients are taken: [`nodes`](super::nodes) of the checkpoints that are used.
    pub nodes: &'a [Node],
    /// The steps at which the pair is known, from 0 to the end of the run, ascending.
    pub states: &'a [u64],
    /// The seed of the run's dropout, where passes are to have it as they had it in training.
    pub dropout: Option<u64>,
    /// How far weights are moved for a difference; [`FRACTION`](super::FRACTION).
    pub fraction: f64,
}

/// Where the states of a run come from.
pub trait States {
    /// The pair after a step.
    ///
    /// # Errors
    /// When it cannot be read.
    fn pair(&self, step: u64) -> anyhow::Result<Pair>;
    /// The pair after one step, on an autodiff device, with the optimisers after another.
    ///
    /// # Errors
    /// When one of them cannot be read.
    fn loaded(&self, node: Node) -> anyhow::Result<Loaded>;
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
    let Request {
        goals,
        blocks,
        seen,
        ..
    } = request;
    let rates: Vec<f64> = seen.steps.iter().map(|step| step.rate).collect();
    let spreads = spread(&rates, request.nodes, &request.states[1..]);
    let nodes: Vec<Vec<Pass>> = (0..request.nodes.len())
        .map(|node| passes(node, seen, &spreads))
        .collect();
    let rows = |passes: &[Pass]| passes.iter().map(|pass| pass.blocks.len()).sum::<usize>();
    let all = 4 * goals.len() * nodes.iter().map(|passes| rows(passes)).sum::<usize>();
    let mut found: Vec<OfGoal> = goals.iter().map(|_| OfGoal::new(request)).collect();
    for &step in request.states {
        progress(0, all)?;
        let go_on = || progress(0, all);
        let values = measured(&states.pair(step)?, request.prompts, goals, &go_on)?;
        for (found, value) in found.iter_mut().zip(values) {
            found.values.push(value);
        }
    }
    let mut done = 0;
    for (&node, passes) in request.nodes.iter().zip(&nodes) {
        let (pair, optimisers) = states.loaded(node)?;
        for (goal, found) in goals.iter().zip(&mut found) {
            let go_on: &GoOn = &|| progress(done, all);
            let directions = direction(&pair, &optimisers, request.prompts, goal, go_on)?;
            for (role, direction) in Role::BOTH.into_iter().zip(directions) {
                if let Some(direction) = direction {
                    let losses =
                        |network: &Network, pass: &Pass| request.losses(network, role, pass);
                    let go_on = |read: usize| progress(done + read, all);
                    let (network, fraction) = (pair.get(role), request.fraction);
                    let slopes =
                        derivatives(network, &direction, fraction, passes, &losses, &go_on)?;
                    found.add(role, passes, &slopes, blocks);
                }
                done += 2 * rows(passes);
            }
        }
    }
    progress(all, all)?;
    Ok(Estimate {
        goals: found,
        seen: predictions(blocks, seen),
    })
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

/// A micro-batch with what the derivatives of its tokens' losses are multiplied by at a node: for each segment and both models
/// `- rate x clipping / predictions`.
struct Pass {
    number: MicroBatch,
    blocks: Vec<usize>,
    factors: Vec<(usize, [f64; 2])>,
}

/// The micro-batches whose gradients have a part in a node.
fn passes(node: usize, seen: &Seen, spreads: &[Spread]) -> Vec<Pass> {
    let mut passes = Vec::new();
    for (step, spread) in seen.steps.iter().zip(spreads) {
        let own = spread.iter().filter(|((other, _), _)| *other == node);
        let here: f64 = own.clone().map(|(_, rate)| rate).sum();
        if here <= NEGLIGIBLE * spread.values().sum::<f64>() {
            continue;
        }
        let factors = own.map(|(&(_, segment), rate)| {
            let factor = |clipped: f64| -rate * clipped / step.predictions;
            (segment, step.clipped.map(factor))
        });
        let factors: Vec<(usize, [f64; 2])> = factors.collect();
        passes.extend(step.passes.iter().map(|(number, blocks)| Pass {
            number: *number,
            blocks: blocks.clone(),
            factors: factors.clone(),
        }));
    }
    passes
}

impl Request<'_> {
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

    /// Adds what the micro-batches of a node do through one model. `slopes` are the derivatives of their tokens.
    fn add(&mut self, role: Role, passes: &[Pass], slopes: &[Vec<Vec<f64>>], blocks: &Blocks) {
        let role = role as usize;
        for (pass, slopes) in passes.iter().zip(slopes) {
            let whole: f64 = slopes.iter().flatten().sum();
            for (segment, factors) in &pass.factors {
                self.predicted[*segment][role] += factors[role] * whole;
            }
            let factor: f64 = pass.factors.iter().map(|(_, factors)| factors[role]).sum();
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
