//! Where the gradient of a step takes effect. AdamW's first moment carries it on into the updates of later steps.

use std::collections::BTreeMap;

use crate::train::AdamW;

/// What a later update may take of a gradient and is still counted, as a part of what the first one takes.
const LEAST: f64 = 1e-6;

/// The effective rate of the gradient of one step, in parts: for each segment the sum, over the updates of that segment, of how much of the
/// gradient the update takes, times its learning rate.
pub type Spread = BTreeMap<usize, f64>;

/// The segment of an update. `ends` are the last steps of the segments, ascending, the last of them the run's.
pub(super) fn segment(ends: &[u64], update: u64) -> usize {
    ends.partition_point(|&end| end < update)
}

/// The spread of each step's gradient over segments. `rates` are the learning rates of all steps. All parts together are the step's effective
/// rate, `sum over u >= s of rate_u (1 - beta_1) beta_1^(u - s) / (1 - beta_1^u)`.
pub fn spread(rates: &[f64], ends: &[u64]) -> Vec<Spread> {
    let steps = rates.len() as u64;
    let of_step = |from: u64| {
        let mut parts = Spread::new();
        for to in from..=steps {
            let momentum = AdamW::momentum(from, to);
            if momentum < LEAST * AdamW::momentum(from, from) {
                break;
            }
            let part = momentum * rates[to as usize - 1];
            if part > 0.0 {
                *parts.entry(segment(ends, to)).or_default() += part;
            }
        }
        parts
    };
    (1..=steps).map(of_step).collect()
}
