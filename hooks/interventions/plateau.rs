//! The intervention `plateau`: lowers the learning rate where a measure no longer becomes better, as PyTorch's `ReduceLROnPlateau` does with
//! its relative threshold.

use milepost::prelude::*;

#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields, default)]
struct Options {
    best: Best,
    factor: f64,
    patience: u64,
    threshold: f64,
    cooldown: u64,
    least_factor: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            best: Best {
                tag: "eval/main/loss".to_owned(),
                highest: false,
            },
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            cooldown: 0,
            least_factor: 0.0,
        }
    }
}

struct Plateau {
    options: Options,
    seen: Seen,
}

/// What was seen of the measure so far.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Seen {
    best: Option<f64>,
    /// The values in a row that were not better.
    bad: u64,
    /// The values that are still to be passed over.
    cooling: u64,
}

/// The kind `plateau`.
pub fn kind() -> InterventionKind {
    InterventionKind::new(
        "plateau",
        "lowers the learning rate when a measure no longer becomes better, as PyTorch's ReduceLROnPlateau",
        |options: Options| Plateau {
            options,
            seen: Seen::default(),
        },
    )
    .option(
        "best",
        "the measure, of the loop or of an inline hook, and which value of it is the best",
    )
    .option("factor", "what the learning rate is multiplied by, below 1")
    .option("patience", "the values in a row without a better one that are borne")
    .option(
        "threshold",
        "the share of the best by which a value must be better to count",
    )
    .option("cooldown", "the values after a change that are not counted")
    .option(
        "least_factor",
        "the smallest share of the schedule's learning rate that is gone down to",
    )
}

impl Intervention for Plateau {
    fn tags(&self) -> Vec<String> {
        vec![self.options.best.tag.clone()]
    }

    fn prepare(&mut self, _: &RunFacts) -> Result<()> {
        let options = &self.options;
        let shares = [
            ("factor", options.factor, options.factor > 0.0),
            ("threshold", options.threshold, true),
            ("least_factor", options.least_factor, true),
        ];
        for (name, value, is_sound) in shares {
            OptionError::unless(
                is_sound && (0.0..1.0).contains(&value),
                name,
                if name == "factor" {
                    "must be above 0 and below 1"
                } else {
                    "must be at least 0 and below 1"
                },
            )?;
        }
        Ok(())
    }

    fn intervene(&mut self, control: &mut Control) -> Result<()> {
        let options = &self.options;
        let Some(value) = control.news(&options.best.tag) else {
            return Ok(());
        };
        let sign = if options.best.highest { 1.0 } else { -1.0 };
        let bar = |best: f64| best * (1.0 + sign * options.threshold);
        let is_better = |than: f64| options.best.is_better(value, bar(than));
        let seen = &mut self.seen;
        if !value.is_nan() && seen.best.is_none_or(is_better) {
            seen.best = Some(value);
            seen.bad = 0;
        } else {
            seen.bad += 1;
        }
        if seen.cooling > 0 {
            seen.cooling -= 1;
            seen.bad = 0;
        }
        if seen.bad <= options.patience {
            return Ok(());
        }
        (seen.cooling, seen.bad) = (options.cooldown, 0);
        let now = control.in_force().rate_factor;
        let next = (now * options.factor).max(options.least_factor);
        if next < now {
            let best = seen.best.map_or("none".to_owned(), number);
            let reason = format!(
                "{} is {}, and no value since the best, {best}, was better",
                options.best.tag,
                number(value)
            );
            control.scale_rate(next / now, reason);
        }
        Ok(())
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!(self.seen)
    }

    fn restore(&mut self, state: serde_json::Value) -> Result<()> {
        self.seen = restored(state)?;
        Ok(())
    }
}
