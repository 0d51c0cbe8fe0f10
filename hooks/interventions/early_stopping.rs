//! The intervention `early-stopping`: ends the run when a measure has not become better for some time.

use milepost::prelude::*;

#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields, default)]
struct Options {
    best: Best,
    patience: u64,
    least_change: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            best: Best {
                tag: "eval/main/loss".to_owned(),
                highest: false,
            },
            patience: 3,
            least_change: 0.0,
        }
    }
}

struct EarlyStopping {
    options: Options,
    seen: Seen,
}

/// What was seen of the measure so far.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Seen {
    best: Option<f64>,
    /// The values since the best one.
    since: u64,
}

/// The kind `early-stopping`.
pub fn kind() -> InterventionKind {
    InterventionKind::new(
        "early-stopping",
        "ends the run when a measure has not become better for `patience` values in a row",
        |options: Options| EarlyStopping {
            options,
            seen: Seen::default(),
        },
    )
    .option(
        "best",
        "the measure, of the loop or of an inline hook, and which value of it is the best",
    )
    .option(
        "patience",
        "the values in a row without a better one that end the run",
    )
    .option(
        "least_change",
        "by how much a value must be better to count",
    )
}

impl Intervention for EarlyStopping {
    fn tags(&self) -> Vec<String> {
        vec![self.options.best.tag.clone()]
    }

    fn prepare(&mut self, _: &RunFacts) -> Result<()> {
        let options = &self.options;
        OptionError::unless(options.patience >= 1, "patience", "must be at least 1")?;
        OptionError::unless(
            options.least_change >= 0.0,
            "least_change",
            "must not be below 0",
        )?;
        Ok(())
    }

    fn intervene(&mut self, control: &mut Control) -> Result<()> {
        let Options {
            best,
            patience,
            least_change,
        } = &self.options;
        let tag = &best.tag;
        let Some(value) = control.news(tag) else {
            return Ok(());
        };
        let change = if best.highest {
            *least_change
        } else {
            -least_change
        };
        let is_better = |than: f64| best.is_better(value, than + change);
        // A value that is not a number is never better.
        if !value.is_nan() && self.seen.best.is_none_or(is_better) {
            self.seen = Seen {
                best: Some(value),
                since: 0,
            };
            return Ok(());
        }
        self.seen.since += 1;
        if self.seen.since >= *patience {
            let found = self.seen.best.map_or("none".to_owned(), number);
            control.stop(format!(
                "{tag} is {}, and its best, {found}, was {} values before",
                number(value),
                self.seen.since
            ));
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
