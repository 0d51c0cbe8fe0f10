//! The influence of all documents on several goals.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;

use super::goal::{GoOn, Goal, direction, measured};
use super::passes::Passes;
use super::seen::Seen;
use super::spread::{Spread, segment, spread};
use crate::data::blocks::Blocks;
use crate::model::{Direction, Network, Pair, Role};
use crate::train::AdamW;

/// What a rate may be, as a part of its step's whole, and is left out for the directions of a further segment that it would need.
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

/// Estimates the influence of all documents on each goal. `progress` gets the number of passes that were made and of all that are to be, before
/// each; its error ends the work.
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
    let work: Vec<Vec<Piece>> = segments.map(|saw| pieces(request, saw, &spreads)).collect();
    let passes = Passes::new(request.passes(&work, states)?, progress);
    let mut found: Vec<OfGoal> = goals.iter().map(|_| OfGoal::new(request)).collect();
    for &step in request.states {
        let ask = || passes.ask();
        let values = measured(&states.pair(step)?, request.prompts, goals, &ask)?;
        passes.next()?;
        for (found, value) in found.iter_mut().zip(values) {
            found.values.push(value);
        }
    }
    let mut known: BTreeMap<usize, Vec<Directions>> = BTreeMap::new();
    for (saw, pieces) in work.iter().enumerate() {
        known.retain(|&segment, _| segment >= saw);
        for &takes in pieces.iter().flat_map(|piece| piece.rates.keys()) {
            if let Entry::Vacant(entry) = known.entry(takes) {
                entry.insert(request.directions(takes, states, &|| passes.next())?);
            }
        }
        let pair = states.pair(request.states[saw])?;
        for piece in pieces {
            for role in Role::BOTH {
                passes.next()?;
                add_piece(
                    &mut found,
                    request.blocks,
                    pair.get(role),
                    role,
                    piece,
                    &known,
                )?;
            }
        }
    }
    passes.ask()?;
    Ok(Estimate {
        goals: found,
        seen: predictions(request.blocks, seen),
    })
}

/// The direction of a goal for each model.
type Directions = [Option<Direction>; 2];

/// Adds what a piece of a document does through one model to each goal. `directions` are those of the goals, by segment.
fn add_piece(
    found: &mut [OfGoal],
    blocks: &Blocks,
    network: &Network,
    role: Role,
    piece: &Piece,
    directions: &BTreeMap<usize, Vec<Directions>>,
) -> anyhow::Result<()> {
    let model = role as usize;
    let of_segment = |segment| directions.get(segment).into_iter().flatten();
    let mut all = piece.rates.keys().flat_map(of_segment);
    if all.all(|goal| goal[model].is_none()) {
        return Ok(());
    }
    let gradient = Direction::of_losses(network, blocks.get(piece.block), &piece.counts);
    for (segment, rates) in &piece.rates {
        for (found, goal) in found.iter_mut().zip(of_segment(segment)) {
            if let Some(direction) = &goal[model] {
                found.add(
                    role,
                    *segment,
                    piece,
                    rates[model] * gradient.dot(direction),
                )?;
            }
        }
    }
    Ok(())
}

/// How many predictions of each document's tokens a run was trained on.
pub fn predictions(blocks: &Blocks, seen: &Seen) -> Vec<u64> {
    let mut counts = vec![0; blocks.documents()];
    for &block in seen.steps.iter().flat_map(|step| &step.blocks) {
        for piece in blocks.pieces(block) {
            // The first token of a block is not predicted.
            let predicted = piece.tokens.end - piece.tokens.start.max(1).min(piece.tokens.end);
            counts[piece.document] += predicted as u64;
        }
    }
    counts
}

/// The part of a block that is of one document.
struct Piece {
    block: usize,
    document: usize,
    /// 1 for each prediction of the block that is of the document, and 0 for the others.
    counts: Vec<f32>,
    /// For each segment in which the gradient takes effect what it is multiplied by for each model, `- rate x clipping / predictions`, added up
    /// over the steps that saw the block.
    rates: BTreeMap<usize, [f64; 2]>,
}

/// What the steps of segment `saw` saw, piece by piece.
fn pieces(request: &Request, saw: usize, spreads: &[Spread]) -> Vec<Piece> {
    let mut blocks: BTreeMap<usize, BTreeMap<usize, [f64; 2]>> = BTreeMap::new();
    for (index, (step, spread)) in request.seen.steps.iter().zip(spreads).enumerate() {
        if segment(request.ends(), index as u64 + 1) != saw {
            continue;
        }
        let whole: f64 = spread.values().sum();
        let parts = spread
            .iter()
            .filter(|(_, rate)| **rate > NEGLIGIBLE * whole);
        for (&takes, rate) in parts {
            for &block in &step.blocks {
                let rates = blocks.entry(block).or_default().entry(takes).or_default();
                for (sum, clipped) in rates.iter_mut().zip(step.clipped) {
                    *sum -= rate * clipped / step.predictions;
                }
            }
        }
    }
    let mut pieces = Vec::new();
    for (block, rates) in blocks {
        for piece in request.blocks.pieces(block) {
            // Prediction t is that of token t + 1: the first token of a block is not predicted.
            let predicted = piece.tokens.start.max(1)..piece.tokens.end.max(1);
            if predicted.is_empty() {
                continue;
            }
            let mut counts = vec![0.0; request.blocks.block() - 1];
            counts[predicted.start - 1..predicted.end - 1].fill(1.0);
            pieces.push(Piece {
                block,
                document: piece.document,
                counts,
                rates: rates.clone(),
            });
        }
    }
    pieces
}

impl Request<'_> {
    /// The last steps of the segments.
    fn ends(&self) -> &[u64] {
        &self.states[1..]
    }

    /// How many passes the estimate makes: one to measure at each state, those for the gradients of the goals at both ends of each segment that
    /// takes a gradient, and one of each model for each piece of a document.
    fn passes(&self, work: &[Vec<Piece>], states: &dyn States) -> anyhow::Result<usize> {
        let pieces = || work.iter().flatten();
        let segments: BTreeSet<usize> = pieces()
            .flat_map(|piece| piece.rates.keys().copied())
            .collect();
        let start = states.pair(self.states[0])?;
        let of_goals = self
            .goals
            .iter()
            .map(|goal| goal.passes(self.prompts, &start));
        let of_goals = of_goals.sum::<anyhow::Result<usize>>()?;
        Ok(self.states.len() + 2 * segments.len() * of_goals + 2 * pieces().count())
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
}

impl OfGoal {
    fn new(request: &Request) -> Self {
        Self {
            values: Vec::new(),
            predicted: vec![[0.0; 2]; request.states.len() - 1],
            documents: vec![[0.0; 2]; request.blocks.documents()],
        }
    }

    /// Adds what a piece of a document does in a segment through one model.
    fn add(&mut self, role: Role, segment: usize, piece: &Piece, by: f64) -> anyhow::Result<()> {
        ensure!(
            by.is_finite(),
            "the influence of document {} is not finite: the weights or the moments of a checkpoint are not",
            piece.document + 1
        );
        self.predicted[segment][role as usize] += by;
        self.documents[piece.document][role as usize] += by;
        Ok(())
    }

    /// The influence of each document through both models.
    pub fn totals(&self) -> Vec<f64> {
        self.documents
            .iter()
            .map(|parts| parts.iter().sum())
            .collect()
    }
}
