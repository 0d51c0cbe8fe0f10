//! All that is said of a study, for its file, its page and the terminal.

use super::{Arm, Outcome, Placebo, outcomes};
use crate::record::treatments;
use crate::report::verdict::{of_material, seeds};
use crate::report::{
    LeftOut, PooledAttribution, PooledHeatMap, pooled_attributions, pooled_heat_maps,
};
use crate::treatment::Account;

/// A study with its outcomes.
#[derive(Debug)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// The name of the baseline.
    pub baseline: String,
    /// The seeds of each arm.
    pub seeds: Vec<u64>,
    /// What each arm is, in the order of the study.
    pub arms: Vec<AboutArm>,
    /// The arms without training.
    pub placebos: Vec<Placebo>,
    /// What each contrast shows; its arms have the order of `arms`.
    pub outcomes: Vec<Outcome>,
    /// The runs that are not over or cannot be read.
    pub left_out: Vec<LeftOut>,
    /// The reasons not to take the outcomes for more than they are.
    pub caveats: Vec<String>,
}

/// What an arm is.
#[derive(Debug, Clone)]
pub struct AboutArm {
    /// Its name.
    pub name: String,
    /// What it sets, as `--set` takes it.
    pub sets: Vec<String>,
    /// What was done to its text; None where nothing was, or no run is over.
    pub text: Option<Text>,
    /// What each of the two models did to the measures, over the arm's seeds; empty where its runs have no hook that says so.
    pub attributions: Vec<PooledAttribution>,
    /// Tables with coloured cells over the arm's seeds, such as the shares of places in the weights.
    pub heat_maps: Vec<PooledHeatMap>,
}

/// What was done to the text of an arm.
#[derive(Debug, Clone)]
pub struct Text {
    /// The run that says so.
    pub run: String,
    /// Each treatment, in their order.
    pub accounts: Vec<Account>,
}

impl Summary {
    /// The outcomes of arms. `baseline` is an index into them, `planned` are the seeds of the study.
    ///
    /// # Errors
    /// When the baseline has no run.
    pub fn new(
        name: &str,
        arms: &[Arm],
        baseline: usize,
        planned: &[u64],
        left_out: Vec<LeftOut>,
    ) -> Result<Self, String> {
        let outcomes = outcomes(arms, baseline)?;
        let all: Vec<_> = arms.iter().flat_map(|arm| arm.runs.clone()).collect();
        let mut caveats: Vec<String> = seeds(planned.len()).into_iter().collect();
        caveats.extend(of_material(&all));
        let mut about = Vec::new();
        for arm in arms {
            let text = text(arm).unwrap_or_else(|unreadable| {
                caveats.push(format!(
                    "What was done to a text is not known: {unreadable}."
                ));
                None
            });
            about.push(AboutArm {
                name: arm.name.to_owned(),
                sets: arm.sets.to_vec(),
                text,
                attributions: pooled_attributions(&arm.runs),
                heat_maps: pooled_heat_maps(&arm.runs),
            });
        }
        Ok(Self {
            name: name.to_owned(),
            baseline: arms[baseline].name.to_owned(),
            seeds: planned.to_vec(),
            arms: about,
            placebos: Placebo::among(arms),
            outcomes,
            left_out,
            caveats,
        })
    }
}

/// What the first run of an arm says of its text.
fn text(arm: &Arm) -> Result<Option<Text>, String> {
    let Some(run) = arm.runs.first() else {
        return Ok(None);
    };
    let accounts = treatments::read(&run.path).map_err(|error| error.to_string())?;
    Ok((!accounts.is_empty()).then(|| Text {
        run: run.name(),
        accounts,
    }))
}
