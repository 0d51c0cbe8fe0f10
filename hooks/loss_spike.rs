//! The hook `loss-spike`: how far the training loss of a step lies above the losses before it. It emits `loss-spike` where that is far.

use milepost::measure::spike::{self, LastLosses};
use milepost::prelude::*;

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields, default)]
struct Options {
    window: usize,
    threshold: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window: 50,
            threshold: 4.0,
        }
    }
}

struct LossSpike {
    options: Options,
    /// The last losses of each trained model, main model first.
    losses: [LastLosses; 2],
}

/// The kind `loss-spike`.
pub fn kind() -> Kind {
    Kind::new(
        "loss-spike",
        "how far a step's training loss lies above those before it; emits `loss-spike`",
        |options: Options| LossSpike {
            options,
            losses: Default::default(),
        },
    )
    .option(
        "window",
        "the steps before it that a loss is compared with, at least 8",
    )
    .option(
        "threshold",
        "standard deviations above their mean from which a loss is a spike",
    )
    .named("deviations of the loss, main", "loss_spike/main_deviations")
    .named(
        "deviations of the loss, assistant",
        "loss_spike/assistant_deviations",
    )
    .emits(&["loss-spike"])
    .inline()
}

impl Hook for LossSpike {
    fn prepare(&mut self, _: &mut Preparation) -> Result<()> {
        OptionError::unless(
            self.options.window >= spike::LEAST,
            "window",
            "must be at least 8: fewer losses say little about the next",
        )?;
        OptionError::unless(
            self.options.threshold > 0.0,
            "threshold",
            "must be above 0: it is a number of standard deviations",
        )?;
        Ok(())
    }

    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let mut is_spike = false;
        for (role, &loss) in &context.milestone().losses {
            let before = &mut self.losses[*role as usize];
            if let Some(deviations) = before.deviations(loss, self.options.window) {
                context.scalar(format!("loss_spike/{role}_deviations"), deviations);
                is_spike |= deviations > self.options.threshold;
            }
        }
        if is_spike {
            context.emit("loss-spike");
        }
        Ok(())
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!(self.losses)
    }

    fn restore(&mut self, state: serde_json::Value) -> Result<()> {
        self.losses = serde_json::from_value(state)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::{At, Bench};

    use super::*;

    /// Losses around 2, with a spike in step 12.
    fn loss(step: u64) -> f64 {
        match step {
            12 => 3.0,
            _ => 2.0 + 0.1 * (step as f64).sin(),
        }
    }

    #[test]
    fn the_deviations_are_those_of_two_sums_and_a_spike_is_emitted() -> Result<()> {
        let bench = Bench::new()?;
        let steps = 1..=14;
        let at = steps.map(|step| {
            At::step(step)
                .loss(Role::Main, loss(step))
                .loss(Role::Assistant, 2.0)
        });
        let reported = bench.killed_and_resumed(&kind(), "window = 8", at.collect::<Vec<_>>())?;
        let tag = "loss_spike/main_deviations";
        assert_eq!(reported.scalars(tag).len(), 14 - 8);
        for (step, found) in reported.scalars(tag) {
            let before: Vec<f64> = (step - 8..step).map(loss).collect();
            // The variance by the sums of the values and of their squares.
            let [sum, squares] =
                [1, 2].map(|power| before.iter().map(|one| one.powi(power)).sum::<f64>());
            let variance = (squares - sum * sum / 8.0) / 7.0;
            let expected = (loss(step) - sum / 8.0) / variance.sqrt();
            assert!(
                (found / expected - 1.0).abs() < 1e-6,
                "{step}: {found}, {expected}"
            );
            let emitted = &reported.output(step)?.emitted;
            let spikes: &[&str] = if step == 12 { &["loss-spike"] } else { &[] };
            assert_eq!(emitted, spikes, "{step}");
        }
        // Losses that never change have no spike.
        let flat = reported.scalars("loss_spike/assistant_deviations");
        assert!(flat.iter().all(|(_, found)| *found == 0.0));
        Ok(())
    }

    #[test]
    fn options_that_say_nothing_are_refused() -> Result<()> {
        let bench = Bench::new()?;
        for (options, key) in [("window = 7", "window"), ("threshold = 0.0", "threshold")] {
            let refused = bench.build(&kind(), options).err();
            let refused = refused
                .map(|error| format!("{error:#}"))
                .unwrap_or_default();
            assert!(refused.contains(key), "{options}: {refused}");
        }
        Ok(())
    }
}
