//! The derivatives of the losses of tokens along a direction, by passes alone.

use anyhow::ensure;

use crate::model::{Direction, Network};

/// How far the weights are moved for a central difference at first, as a part of their own size. Against PyTorch's exact derivatives rounding costs
/// 2.4e-8 / fraction of the largest influence and curvature 800 fraction^2 (tests/suite/influence.rs): here they are about equal.
pub const FRACTION: f64 = 2e-4;

/// The root of the mean square of how much the losses of the first pass are to change, in nats: far more than the 1e-6 to which they are rounded,
/// and little enough for the change to be straight.
const CHANGE: f64 = 5e-3;
/// The most times that the distance is tried.
const TRIES: usize = 4;

/// The derivative of each token's next-token loss along `direction`, in nats, for each of `passes`: `[passes][rows][time - 1]`. By central
/// differences, `(L(theta + e w) - L(theta - e w)) / 2e`, where `|e w|` is `fraction` of `|theta|`. A pass is the rows of a micro-batch, which
/// `losses` reads. `go_on` gets the number of rows that are read, before each pass; each row is read twice.
///
/// # Errors
/// Those of `go_on`; when a loss is not finite.
pub fn derivatives<P>(
    network: &Network,
    direction: &Direction,
    fraction: f64,
    passes: &[P],
    losses: &dyn Fn(&Network, &P) -> Vec<Vec<f32>>,
    go_on: &dyn Fn(usize) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Vec<Vec<f64>>>> {
    // Without a direction, the derivative is 0 along any.
    let norm = direction.norm();
    let by = fraction * Direction::weights(network).norm() / if norm > 0.0 { norm } else { 1.0 };
    let by = tuned(network, direction, by, passes, losses);
    ensure!(
        by.is_finite(),
        "the gradient of the measure is not finite: the weights or the moments of the checkpoint are not"
    );
    let mut read = 0;
    let mut all = |by: f64| {
        let moved = direction.moved(network, by);
        let mut found = Vec::with_capacity(passes.len());
        for pass in passes {
            go_on(read)?;
            found.push(losses(&moved, pass));
            read += found.last().map_or(0, Vec::len);
        }
        anyhow::Ok(found)
    };
    let (up, down) = (all(by)?, all(-by)?);
    let slope = |(up, down): (&f32, &f32)| (f64::from(*up) - f64::from(*down)) / (2.0 * by);
    let row = |(up, down): (&Vec<f32>, &Vec<f32>)| up.iter().zip(down).map(slope).collect();
    let pass =
        |(up, down): (&Vec<Vec<f32>>, &Vec<Vec<f32>>)| up.iter().zip(down).map(row).collect();
    let found: Vec<Vec<Vec<f64>>> = up.iter().zip(&down).map(pass).collect();
    let finite = found
        .iter()
        .flatten()
        .flatten()
        .all(|slope| slope.is_finite());
    ensure!(
        finite,
        "the loss of a token is not finite beside a checkpoint"
    );
    Ok(found)
}

/// How far to move for the losses of tokens to change by about [`CHANGE`], beginning with `by`. Where most of a direction lies in weights that the
/// losses hardly depend on, such as those of tokens that are not in the text, the size of the weights says little of that, and the losses would change by
/// less than their rounding.
fn tuned<P>(
    network: &Network,
    direction: &Direction,
    mut by: f64,
    passes: &[P],
    losses: &dyn Fn(&Network, &P) -> Vec<Vec<f32>>,
) -> f64 {
    let Some(first) = passes.first() else {
        return by;
    };
    for _ in 0..TRIES {
        let at = |by: f64| losses(&direction.moved(network, by), first).concat();
        let (up, down) = (at(by), at(-by));
        let changes = up.iter().zip(&down);
        let changes = changes.map(|(up, down)| (f64::from(*up) - f64::from(*down)) / 2.0);
        let square = changes.map(|change| change * change).sum::<f64>() / up.len() as f64;
        let factor = CHANGE / square.sqrt();
        if !factor.is_finite() || (0.5..2.0).contains(&factor) {
            break;
        }
        by *= factor.clamp(0.01, 100.0);
    }
    by
}
