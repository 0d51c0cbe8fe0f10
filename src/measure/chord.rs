//! Where in the weights a measure's change comes from: its exact decomposition along the straight line between two states of a pair.
//!
//! `m(b) - m(a)` is the integral over s from 0 to 1 of the gradient of m at `a + s (b - a)`, times `b - a`. The product is a sum over weights,
//! so each weight has a share, and the shares add up to the change. Integrated gradients (Sundararajan, Taly and Yan 2017, arXiv 1703.01365)
//! are the same along the line between two inputs. The integral is a sum of a few points by Gauss and Legendre's rule. What the shares then
//! lack of the change, the residual, says how good it is.

use std::cell::Cell;
use std::collections::BTreeMap;

use anyhow::ensure;
use rayon::prelude::*;

use super::quadrature::gauss_legendre;
use super::smooth::SmoothMeasure;
use crate::device::room::{allocate, in_parts};
use crate::model::{Pair, Place, Point, Role, Segment, Weight, padded_batches};

/// The largest residual that needs no more points, as a part of the change.
const OF_CHANGE: f64 = 0.02;
/// The same, as a part of all shares without their signs. Where large shares cancel, the change is small, and a fiftieth of it would ask for
/// more digits of the shares than anyone reads.
const OF_SHARES: f64 = 0.001;

/// A mean over prompts, or a gap between means: a sum of the prompts' values, each times its weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighting {
    /// The weight of each prompt.
    pub weights: Vec<f64>,
    /// How much the sum changed from the first state to the second.
    pub observed: f64,
}

/// How many points an integral has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Points {
    /// At first. They are doubled while a residual is too large.
    pub first: usize,
    /// At most.
    pub most: usize,
}

/// The share of a tensor, in one of its uses, in a change.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// The model.
    pub role: Role,
    /// The tensor and its use.
    pub weight: Weight,
    /// The share, in units of the measure.
    pub value: f64,
}

/// A change and the shares of all tensors of both models in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The change as it was measured at both ends.
    pub observed: f64,
    /// The shares: those of the main model in the order of its tensors, then the assistant's.
    pub shares: Vec<Share>,
}

/// The changes of several weightings of one measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Decomposition {
    /// A change for each weighting.
    pub changes: Vec<Change>,
    /// The points that the integrals have. 0 where no weight has moved.
    pub points: usize,
}

impl Change {
    /// What the shares of one model, or of both, add up to.
    pub fn sum(&self, role: Option<Role>) -> f64 {
        let shares = self.shares.iter();
        let shares = shares.filter(|share| role.is_none_or(|role| share.role == role));
        shares.map(|share| share.value).sum()
    }

    /// What the shares lack of the change.
    pub fn residual(&self) -> f64 {
        self.observed - self.sum(None)
    }

    /// The residual up to which a change counts as explained: 2% of it, or 0.1% of the sum of its places' shares without their signs,
    /// whichever is more.
    pub fn tolerance(&self) -> f64 {
        let sizes = self.places().into_values().map(f64::abs);
        (OF_CHANGE * self.observed.abs()).max(OF_SHARES * sizes.sum::<f64>())
    }

    /// Whether the residual is within the tolerance. A number that is not finite never is.
    pub fn is_explained(&self) -> bool {
        self.residual().abs() <= self.tolerance()
    }

    /// The shares of places, each with the tensors that stand there.
    pub fn places(&self) -> BTreeMap<(Role, Place), f64> {
        self.sums(|share| (share.role, share.weight.place))
    }

    /// The shares of tensors, each with all its uses.
    pub fn tensors(&self) -> BTreeMap<(Role, &str), f64> {
        self.sums(|share| (share.role, share.weight.tensor.as_str()))
    }

    /// What the shares with the same key add up to.
    fn sums<'a, K: Ord>(&'a self, key: impl Fn(&'a Share) -> K) -> BTreeMap<K, f64> {
        let mut sums = BTreeMap::new();
        for share in &self.shares {
            *sums.entry(key(share)).or_default() += share.value;
        }
        sums
    }
}

/// The straight line between two states of a pair. Both models move along it at once.
pub struct Chord<'a> {
    /// Main model, assistant.
    segments: [Segment<'a>; 2],
    from: &'a Pair,
    texts: &'a [Vec<u32>],
}

/// How fast a measure's sum over some texts changes along the chord: for each model the part of each of its weights.
type Slopes = [Vec<f64>; 2];

impl<'a> Chord<'a> {
    /// The chord from one state to another, for measures at the last tokens of each text: of a prompt, or of one with a draft behind it.
    ///
    /// # Errors
    /// When the states are not of the same networks.
    pub fn new(from: &'a Pair, to: &Pair, texts: &'a [Vec<u32>]) -> anyhow::Result<Self> {
        let segments = [
            Segment::new(&from.main, &to.main)?,
            Segment::new(&from.assistant, &to.assistant)?,
        ];
        Ok(Self {
            segments,
            from,
            texts,
        })
    }

    /// Decomposes the change of each weighting of `measure`. All of them come from the same passes: for each point one forward and one backward
    /// pass of each model over the texts, in batches. `go_on` gets the number of texts that are done and the number that there are, all
    /// points together, before each batch.
    ///
    /// # Errors
    /// Those of `go_on`; when a weighting has not one weight for each text, a text does not fit the models or is shorter than the measure's
    /// positions, or logits are not finite.
    pub fn decompose(
        &self,
        measure: SmoothMeasure,
        weightings: &[Weighting],
        points: Points,
        go_on: &dyn Fn(usize, usize) -> anyhow::Result<()>,
    ) -> anyhow::Result<Decomposition> {
        for weighting in weightings {
            ensure!(
                weighting.weights.len() == self.texts.len(),
                "{} weights for {} texts",
                weighting.weights.len(),
                self.texts.len()
            );
        }
        let positions = measure.positions();
        ensure!(positions > 0, "the measure is of no position");
        for (index, text) in self.texts.iter().enumerate() {
            ensure!(
                text.is_empty() || text.len() >= positions,
                "text {index} has {} tokens; the measure is of the last {positions}",
                text.len()
            );
        }
        let classes = classes(weightings);
        let moves = self.segments.iter().any(Segment::moves);
        let mut count = if moves { points.first } else { 0 };
        loop {
            let slopes = self.integrated(measure, &classes, count, go_on)?;
            let changes = weightings.iter();
            let changes: Vec<Change> = changes
                .map(|weighting| self.change(weighting, &classes, &slopes))
                .collect();
            let next = 2 * count;
            if changes.iter().all(Change::is_explained) || next > points.most || next == 0 {
                return Ok(Decomposition {
                    changes,
                    points: count,
                });
            }
            count = next;
        }
    }

    /// The integrals of the slopes of each class.
    fn integrated(
        &self,
        measure: SmoothMeasure,
        classes: &[Vec<usize>],
        points: usize,
        go_on: &dyn Fn(usize, usize) -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Slopes>> {
        let zeros = || {
            self.segments
                .each_ref()
                .map(|one| vec![0.0; one.weights().len()])
        };
        let mut sums: Vec<Slopes> = classes.iter().map(|_| zeros()).collect();
        let all = points * classes.iter().map(Vec::len).sum::<usize>();
        let done = Cell::new(0);
        for (at, weight) in gauss_legendre(points) {
            let here = self.segments.each_ref().map(|segment| segment.point(at));
            for (class, sums) in classes.iter().zip(&mut sums) {
                let texts: Vec<&[u32]> = class.iter().map(|&one| &self.texts[one][..]).collect();
                for batch in self.batches(&texts)? {
                    in_parts(
                        &batch,
                        &mut |part| {
                            go_on(done.get(), all)?;
                            allocate(part.len());
                            let rows: Vec<&[u32]> = part.iter().map(|&one| texts[one]).collect();
                            slopes(measure, &here, &rows)
                        },
                        &mut |part, slopes| {
                            let slopes = slopes.iter().flatten();
                            for (sum, slope) in sums.iter_mut().flatten().zip(slopes) {
                                *sum += weight * slope;
                            }
                            done.set(done.get() + part.len());
                            Ok(())
                        },
                    )?;
                }
            }
        }
        Ok(sums)
    }

    /// Batches that fit both models.
    fn batches(&self, texts: &[&[u32]]) -> anyhow::Result<Vec<Vec<usize>>> {
        padded_batches(texts, self.from.assistant.config())?;
        padded_batches(texts, self.from.main.config())
    }

    /// The change of a weighting, of the integrals of each class.
    fn change(&self, weighting: &Weighting, classes: &[Vec<usize>], slopes: &[Slopes]) -> Change {
        let mut shares = Vec::new();
        for (role, segment) in Role::BOTH.into_iter().zip(&self.segments) {
            for (index, weight) in segment.weights().iter().enumerate() {
                let each = classes.iter().zip(slopes);
                let each = each.filter_map(|(class, slopes)| {
                    let factor = weighting.weights[*class.first()?];
                    Some(factor * slopes[role as usize][index])
                });
                shares.push(Share {
                    role,
                    weight: weight.clone(),
                    value: each.sum(),
                });
            }
        }
        Change {
            observed: weighting.observed,
            shares,
        }
    }
}

/// The texts by their weights: those of a class weigh the same in every weighting. Texts that weigh nothing are left out.
fn classes(weightings: &[Weighting]) -> Vec<Vec<usize>> {
    let texts = weightings.first().map_or(0, |one| one.weights.len());
    let mut classes: BTreeMap<Vec<u64>, Vec<usize>> = BTreeMap::new();
    for text in 0..texts {
        let weights = weightings.iter().map(|one| one.weights[text]);
        if weights.clone().any(|weight| weight != 0.0) {
            let key = weights.map(f64::to_bits).collect();
            classes.entry(key).or_default().push(text);
        }
    }
    classes.into_values().collect()
}

/// The slopes of the sum of `measure` over texts.
fn slopes(
    measure: SmoothMeasure,
    here: &[Point<'_>; 2],
    rows: &[&[u32]],
) -> anyhow::Result<Slopes> {
    let positions = measure.positions();
    let [main, assistant] = here.each_ref().map(|point| point.pass(rows, positions));
    let (p, q) = (main.logits(), assistant.logits());
    let of_text = p.len() / rows.len();
    let each = p.par_chunks_exact(of_text).zip(q.par_chunks_exact(of_text));
    let each = each.map(|(p, q)| measure.slope(p, q));
    let each: Vec<_> = each.collect::<Result<_, _>>()?;
    let by_main = each.iter().flat_map(|slope| slope.by_main.iter().copied());
    let by_assistant = (each.iter()).flat_map(|slope| slope.by_assistant.iter().copied());
    Ok([
        main.slopes(by_main.collect()),
        assistant.slopes(by_assistant.collect()),
    ])
}
