//! The intervention `learning-rate`: multiplies the learning rate wherever it is asked.

use milepost::prelude::*;

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields, default)]
struct Options {
    factor: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { factor: 0.5 }
    }
}

struct LearningRate(Options);

/// The kind `learning-rate`.
pub fn kind() -> InterventionKind {
    InterventionKind::new(
        "learning-rate",
        "multiplies the learning rate of all further steps, each time that it is asked",
        LearningRate,
    )
    .option("factor", "what the schedule's rate is multiplied by")
    .at(None)
}

impl Intervention for LearningRate {
    fn prepare(&mut self, _: &RunFacts) -> Result<()> {
        let factor = self.0.factor;
        OptionError::unless(
            factor > 0.0 && factor.is_finite(),
            "factor",
            "must be a number above 0; to train no further, use `stop`",
        )?;
        Ok(())
    }

    fn intervene(&mut self, control: &mut Control) -> Result<()> {
        control.scale_rate(self.0.factor, "it was due");
        Ok(())
    }
}
