//! The intervention `loss-spike-rollback`: goes back to the last checkpoint when a training loss jumps, and passes over the data since then, as
//! Chowdhery et al. (2022, arXiv 2204.02311, section 5.1) did for PaLM.

use milepost::measure::spike::{self, LastLosses};
use milepost::prelude::*;

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields, default)]
struct Options {
    window: usize,
    threshold: f64,
    pass_over: bool,
    rate_factor: f64,
    limit: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window: 50,
            threshold: 4.0,
            pass_over: true,
            rate_factor: 1.0,
            limit: 3,
        }
    }
}

struct LossSpikeRollback {
    options: Options,
    /// The last losses of each trained model, main model first.
    losses: [LastLosses; 2],
}

/// The kind `loss-spike-rollback`.
pub fn kind() -> InterventionKind {
    InterventionKind::new(
        "loss-spike-rollback",
        "goes back to the last checkpoint when a training loss lies far above those before it",
        |options: Options| LossSpikeRollback {
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
    .option(
        "pass_over",
        "whether the data of the steps that are undone is passed over",
    )
    .option(
        "rate_factor",
        "what the learning rate is multiplied by each time",
    )
    .option(
        "limit",
        "how often it goes back; a spike after that ends the run",
    )
    .rolls_back()
}

impl Intervention for LossSpikeRollback {
    fn prepare(&mut self, _: &RunFacts) -> Result<()> {
        let options = &self.options;
        OptionError::unless(
            options.window >= spike::LEAST,
            "window",
            "must be at least 8: fewer losses say little about the next",
        )?;
        OptionError::unless(
            options.threshold > 0.0,
            "threshold",
            "must be above 0: it is a number of standard deviations",
        )?;
        OptionError::unless(
            options.rate_factor > 0.0 && options.rate_factor.is_finite(),
            "rate_factor",
            "must be above 0",
        )?;
        OptionError::unless(
            options.pass_over || options.rate_factor != 1.0,
            "pass_over",
            "the same steps would come to the same spike: pass over their data, or give a rate_factor below 1",
        )?;
        Ok(())
    }

    fn intervene(&mut self, control: &mut Control) -> Result<()> {
        let milestone = control.milestone();
        let step = milestone.step;
        let mut spikes = Vec::new();
        for (role, &loss) in &milestone.losses {
            let before = &mut self.losses[*role as usize];
            let deviations = before.deviations(loss, self.options.window);
            if let Some(far) = deviations.filter(|far| *far > self.options.threshold) {
                spikes.push(format!(
                    "the {role} model's loss of step {step}, {}, lies {} standard deviations above those before it",
                    number(loss),
                    number(far)
                ));
            }
        }
        if spikes.is_empty() {
            return Ok(());
        }
        let reason = spikes.join(", and ");
        let done = control.rollbacks();
        if done < self.options.limit {
            let Options {
                pass_over,
                rate_factor,
                ..
            } = self.options;
            control.roll_back(pass_over, rate_factor, reason);
        } else {
            control.stop(format!("{reason}, after {done} rollbacks"));
        }
        Ok(())
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!(self.losses)
    }

    fn restore(&mut self, state: serde_json::Value) -> Result<()> {
        self.losses = restored(state)?;
        Ok(())
    }
}
