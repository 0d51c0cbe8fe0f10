//! The derivatives of the losses of tokens along a direction, by passes alone.

use anyhow::ensure;

use crate::model::{Direction, Network};

/// How far the weights are moved for a central difference, as a part of their own size. Against PyTorch's exact derivatives rounding costs
/// 2.4e-8 / fraction of the largest influence and curvature 800 fraction^2 (tests/suite/influence.rs): here they are about equal.
pub const FRACTION: f64 = 2e-4;

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
