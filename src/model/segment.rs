//! The straight line between two states of a network's weights, and how fast a function of the logits changes along it, weight by weight.

use anyhow::ensure;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Int, Tensor, TensorData};

use super::kernels;
use super::layers::{on_flex, slice, token_tensor};
use super::parameters::flattened_parameters;
use super::{Network, Place};
use crate::readback::{all_values, values};
use crate::thread::in_pool;

/// A tensor of a network in one of its uses. Where the token table is the head too, it stands here twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weight {
    /// The parameter's name in the checkpoint, without the prefix of the family.
    pub tensor: String,
    /// Where it is used.
    pub place: Place,
}

/// The line from one state of a network's weights to another: at 0 the first, at 1 the second.
pub struct Segment<'a> {
    from: &'a Network,
    /// Each tensor in both states, flattened.
    ends: Vec<[Tensor<1>; 2]>,
    /// How much the head `[vocab, D]` changes.
    head: Tensor<2>,
    weights: Vec<Weight>,
    /// Which of them is the head: a tensor of its own, or one behind all tensors where it is tied.
    head_at: usize,
    moves: bool,
}

impl<'a> Segment<'a> {
    /// Both networks must be off autodiff. No weights are copied.
    ///
    /// # Errors
    /// When the two do not have the same tensors.
    pub fn new(from: &'a Network, to: &Network) -> anyhow::Result<Self> {
        let both = [flattened_parameters(from), flattened_parameters(to)];
        let shapes = both.each_ref().map(|one| {
            let shapes = one.iter().map(|(name, value)| (name.clone(), value.dims()));
            shapes.collect::<Vec<_>>()
        });
        ensure!(
            shapes[0] == shapes[1],
            "the two states are not of one network: their tensors differ in name or size"
        );
        let weight = |(tensor, _): &(String, Tensor<1>)| Weight {
            tensor: tensor.clone(),
            place: from.place(tensor),
        };
        let mut weights: Vec<Weight> = both[0].iter().map(weight).collect();
        let head = Weight {
            tensor: from.head_name().to_owned(),
            place: Place::HEAD,
        };
        let head_at = weights.iter().position(|weight| *weight == head);
        if head_at.is_none() {
            weights.push(head);
        }
        let [first, second] = both;
        let ends = first.into_iter().zip(second);
        let ends: Vec<[Tensor<1>; 2]> = ends.map(|((_, from), (_, to))| [from, to]).collect();
        Ok(Self {
            from,
            head: to.said_table() - from.said_table(),
            moves: differ(&ends),
            ends,
            head_at: head_at.unwrap_or(weights.len() - 1),
            weights,
        })
    }

    /// Whether any weight differs between the two states.
    pub fn moves(&self) -> bool {
        self.moves
    }

    /// The tensors in the order of the network. A head that is tied to the token table stands behind them.
    pub fn weights(&self) -> &[Weight] {
        &self.weights
    }

    /// The network at `at`, from 0 to 1.
    pub fn point(&self, at: f64) -> Point<'_> {
        let mut onward = Onward {
            ends: &self.ends,
            at,
        };
        let network = self.from.clone().map(&mut onward);
        Point {
            segment: self,
            trained: network.clone().train(),
            network,
        }
    }
}

/// Whether any value differs between the two ends.
fn differ(ends: &[[Tensor<1>; 2]]) -> bool {
    let mut elsewhere = Vec::new();
    for [from, to] in ends {
        match (on_flex(from), on_flex(to)) {
            (Some(from), Some(to)) if slice(&from) != slice(&to) => return true,
            (Some(_), Some(_)) => {}
            _ => elsewhere.push((from.clone() - to.clone()).abs().max()),
        }
    }
    all_values(elsewhere).iter().any(|apart| *apart != 0.0)
}

/// Moves each tensor from its first state towards its second.
struct Onward<'a> {
    /// Of the tensors that are still to come.
    ends: &'a [[Tensor<1>; 2]],
    at: f64,
}

impl ModuleMapper for Onward<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(([_, to], rest)) = self.ends.split_first() else {
            return param;
        };
        self.ends = rest;
        param.map(|from| {
            let to = to.clone().reshape(from.shape());
            from.clone() + (to - from) * self.at
        })
    }
}

/// A network on a [`Segment`].
pub struct Point<'a> {
    segment: &'a Segment<'a>,
    network: Network,
    /// The same weights on an autodiff device.
    trained: Network,
}

impl Point<'_> {
    /// A pass over `rows` `[batch][time]` of any lengths from `last` on, without dropout, for what follows the last `last` tokens of each. What
    /// stands behind the end of a shorter one is seen by nothing that stands before it.
    pub fn pass(&self, rows: &[&[u32]], last: usize) -> Pass<'_> {
        // Where nothing moves, there is nothing to go back for.
        let model = if self.segment.moves {
            &self.trained
        } else {
            &self.network
        };
        let time = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let filled = rows.iter().map(|row| {
            let mut row = row.to_vec();
            row.resize(time, 0);
            row
        });
        let filled: Vec<Vec<u32>> = filled.collect();
        let filled: Vec<&[u32]> = filled.iter().map(Vec::as_slice).collect();
        let places = rows.iter().enumerate().flat_map(|(index, row)| {
            let end = index * time + row.len();
            (end.saturating_sub(last)..end).map(|place| place as i32)
        });
        let places: Vec<i32> = places.collect();
        let count = places.len();
        let places = TensorData::new(places, [count]);
        let last = in_pool(|| {
            let hidden = model.hidden(token_tensor(&filled, &model.device()), None);
            let [batch, time, width] = hidden.dims();
            let places: Tensor<1, Int> = Tensor::from_data(places, &hidden.device());
            hidden.reshape([batch * time, width]).select(0, places)
        });
        Pass { point: self, last }
    }
}

/// A pass over texts.
pub struct Pass<'a> {
    point: &'a Point<'a>,
    /// The hidden states after the last tokens `[batch x last, D]`, with what a backward pass needs where one may follow.
    last: Tensor<2>,
}

impl Pass<'_> {
    fn hidden(&self) -> Tensor<2> {
        if self.last.is_autodiff() {
            self.last.clone().inner()
        } else {
            self.last.clone()
        }
    }

    /// The logits after the last tokens of each text, text by text and token by token: `[batch x last x vocab]`.
    pub fn logits(&self) -> Vec<f32> {
        in_pool(|| values(self.point.network.head(self.hidden())))
    }

    /// How fast a function of the logits changes along the segment: for each of [`Segment::weights`] the sum, over its values, of the
    /// function's derivative by the value times how much the value changes from one end to the other. `by_logits`
    /// `[batch x last x vocab]` has the function's derivatives by the logits.
    ///
    /// The head's part is made from the logits alone, and the backward pass begins at the hidden states. So the two uses of a table that is
    /// tied to the head stay apart, and the head's gradient `[vocab, D]` is never made.
    pub fn slopes(self, by_logits: Vec<f32>) -> Vec<f64> {
        let Point {
            segment,
            network,
            trained,
        } = self.point;
        if !segment.moves || by_logits.iter().all(|&slope| slope == 0.0) {
            return vec![0.0; segment.weights.len()];
        }
        let hidden = self.hidden();
        let shape = [hidden.dims()[0], network.config().vocab_size];
        in_pool(|| {
            let changes = values(hidden.matmul(segment.head.clone().transpose()));
            let products = changes.iter().zip(&by_logits);
            let head = products.map(|(change, slope)| f64::from(*change) * f64::from(*slope));
            let head = head.sum::<f64>();
            let device = network.device();
            let by_logits: Tensor<2> =
                Tensor::from_data(TensorData::new(by_logits, shape), &device);
            let by_hidden = by_logits.matmul(network.said_table());
            let sum = (self.last * Tensor::from_inner(by_hidden)).sum();
            let mut slopes = Slopes {
                gradients: GradientsParams::from_grads(sum.backward(), trained),
                ends: &segment.ends,
                found: Vec::with_capacity(segment.weights.len()),
                elsewhere: Vec::new(),
            };
            trained.visit(&mut slopes);
            let mut found = slopes.found;
            found.extend(all_values(slopes.elsewhere).into_iter().map(f64::from));
            found.resize(segment.weights.len(), 0.0);
            found[segment.head_at] = head;
            found
        })
    }
}

/// The product of each tensor's gradient and its change.
struct Slopes<'a> {
    gradients: GradientsParams,
    /// Of the tensors that are still to come.
    ends: &'a [[Tensor<1>; 2]],
    /// In double precision, where there are kernels of our own.
    found: Vec<f64>,
    /// On other devices, still there.
    elsewhere: Vec<Tensor<1>>,
}

impl ModuleVisitor for Slopes<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(([from, to], rest)) = self.ends.split_first() else {
            return;
        };
        self.ends = rest;
        let gradient = self.gradients.remove::<D>(param.id);
        // A tensor that the hidden states do not depend on, such as an untied head, has none.
        let gradient = match gradient {
            Some(gradient) => gradient.reshape(from.dims()),
            None => from.zeros_like(),
        };
        if let [Some(gradient), Some(from), Some(to)] = [&gradient, from, to].map(on_flex) {
            let [gradient, from, to] = [&gradient, &from, &to].map(slice);
            self.found.push(kernels::change_along(gradient, from, to));
            return;
        }
        let slope = (gradient * (to.clone() - from.clone())).sum();
        self.elsewhere.push(slope);
    }
}
