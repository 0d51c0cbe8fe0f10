//! Where the gradient of a step takes effect. AdamW's first moment carries it on into the updates of later steps.

use std::collections::BTreeMap;

use crate::train::AdamW;

/// What a later update may take of a gradient and is still counted, as a part of what the first one takes.
const LEAST: f64 = 1e-6;

/// The effective rate of the gradient of one step, in parts: for each node and each segment the sum, over the updates of that segment, of
/// how much of the gradient the update takes, times its learning rate, times how near it is to the node.
pub type Spread = BTreeMap<(usize, usize), f64>;

/// Where gradients and directions are taken for the updates of some steps: with the weights after the step `weights`, and with the moments of
/// AdamW after the step `moments`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// The step of the weights.
    pub weights: u64,
    /// The step of the moments.
    pub moments: u64,
}

/// The nodes of checkpoints, whose steps are ascending: for the updates up to each of them the weights before them and behind them, with the
/// moments behind them. The moments before would not do: they have seen nothing of the gradients that are to come, and a weight that had
/// hardly any gradient before would seem to move without bound.
pub fn nodes(checkpoints: &[u64]) -> Vec<Node> {
    let before = std::iter::once(&0).chain(checkpoints);
    let nodes = before
        .zip(checkpoints)
        .flat_map(|(&before, &moments)| [before, moments].map(|weights| Node { weights, moments }));
    nodes.collect()
}

/// The spread of each step's gradient. `rates` are the learning rates of all steps. `nodes` are those of [`nodes`]. An update belongs to the two
/// of the first checkpoint that is not before it, to each in proportion to how near it is; behind the last checkpoint to the weights there. `ends`
/// are the last steps of the segments, ascending, the last of them the run's.
///
/// All parts together are the step's effective rate, `sum over u >= s of rate_u (1 - beta_1) beta_1^(u - s) / (1 - beta_1^u)`.
pub fn spread(rates: &[f64], nodes: &[Node], ends: &[u64]) -> Vec<Spread> {
    let steps = rates.len() as u64;
    let of_step = |from: u64| {
        let mut parts = Spread::new();
        for to in from..=steps {
            let momentum = AdamW::momentum(from, to);
            if momentum < LEAST * AdamW::momentum(from, from) {
                break;
            }
            let segment = ends.partition_point(|&end| end < to);
            for (node, nearness) in around(nodes, to) {
                let part = nearness * momentum * rates[to as usize - 1];
                if part > 0.0 {
                    *parts.entry((node, segment)).or_default() += part;
                }
            }
        }
        parts
    };
    (1..=steps).map(of_step).collect()
}

/// The two nodes that an update belongs to, with how near it is to each: together 1.
fn around(nodes: &[Node], update: u64) -> [(usize, f64); 2] {
    let first = nodes.partition_point(|node| node.moments < update);
    let first = first.min(nodes.len().saturating_sub(2));
    let [low, high] = [first, first + 1].map(|node| nodes[node].weights as f64);
    // An update goes from the weights after the step before it to those after it.
    let share = ((update as f64 - 0.5 - low) / (high - low)).min(1.0);
    [(first, 1.0 - share), (first + 1, share)]
}
