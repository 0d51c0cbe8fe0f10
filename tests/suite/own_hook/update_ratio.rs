//! How far a step moves the main model's weights, as a share of their size, block by block.

use std::collections::BTreeMap;

use milepost::prelude::*;

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {}

struct UpdateRatio;

/// `update-ratio`.
pub fn kind() -> Kind {
    let about = "L2 norm of a step's update over that of the weights, by block of the main model";
    Kind::new("update-ratio", about, |_: Options| UpdateRatio)
        .on(Event::WeightsUpdated)
        .inline()
        .row("update over weights, block 0", "update_ratio/h.0")
        .reports(&["update_ratio/*"])
}

impl Hook for UpdateRatio {
    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let update = context.update(Role::Main)?.norms();
        let weights = ParameterValues::of(&context.pair().main).norms();
        let mut blocks: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for ((name, update), (_, weight)) in update.into_iter().zip(weights) {
            // `h.0.attn.c_attn.weight` belongs to `h.0`, `wte.weight` to none.
            if let Some((block, _)) = name
                .strip_prefix("h.")
                .and_then(|rest| rest.split_once('.'))
            {
                let (updates, weights) = blocks.entry(format!("h.{block}")).or_default();
                *updates += update * update;
                *weights += weight * weight;
            }
        }
        for (block, (updates, weights)) in blocks {
            context.scalar(format!("update_ratio/{block}"), (updates / weights).sqrt());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::Bench;

    use super::*;

    #[test]
    fn the_ratio_is_that_of_all_weights_one_by_one() -> Result<()> {
        let bench = Bench::new()?;
        let reported = bench.run(&kind(), "", [4])?;
        let [before, after] = [3, 4].map(|step| named_parameters(&bench.pair_at(step).main));
        let (mut updates, mut weights) = (0.0, 0.0);
        for ((name, before), (_, after)) in before.iter().zip(&after) {
            if name.starts_with("h.0.") {
                for (before, after) in before.iter::<f32>().zip(after.iter::<f32>()) {
                    updates += f64::from(after - before).powi(2);
                    weights += f64::from(after).powi(2);
                }
            }
        }
        let found = reported.scalar("update_ratio/h.0", 4)?;
        let expected = (updates / weights).sqrt();
        assert!(
            expected > 0.0 && (found / expected - 1.0).abs() < 1e-5,
            "{found}, {expected}"
        );
        Ok(())
    }
}
