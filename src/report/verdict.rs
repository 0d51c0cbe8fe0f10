//! What the numbers show and what they do not, in words.

use super::gap::{Course, Gap, Incomplete, SinceStart, attributed, margin};
use super::number::{number, range, signed};
use super::pooling::{Estimate, Pooled};
use super::record::{RecordedContrast, RecordedRun};
use super::{mixing, provenance};
use crate::statistics::disparity::Disparity;

/// The fewest runs that a claim about fine-tuning can be based on.
pub const ENOUGH_SEEDS: usize = 3;

/// An answer, with its evidence and its limits.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// The answer in a sentence.
    pub headline: String,
    /// The evidence.
    pub evidence: Vec<String>,
    /// The reasons not to take the answer for more than it is.
    pub caveats: Vec<String>,
}

/// A verb for what happened to a gap that was shown before and changed. `shown` says whether one is shown afterwards.
fn way(before: f64, after: f64, shown: bool) -> &'static str {
    let smaller = after.abs() < before.abs();
    match (before * after >= 0.0, shown) {
        (true, _) if smaller => "shrank",
        (true, _) => "grew",
        (false, true) => "changed sign",
        (false, false) if smaller => "shrank to one that cannot be shown",
        (false, false) => "changed (it cannot be told whether it is gone or has changed sign)",
    }
}

/// Describes the mean that the gap is.
fn what_the_gap_is(contrast: &RecordedContrast, gap: &Disparity) -> String {
    let [first, second] = &contrast.names.groups;
    let what = if gap.paired {
        format!(
            "The gap is the mean over {} matched pairs of n_matches after the {first} prompt less that after the {second} one",
            gap.units
        )
    } else {
        format!(
            "The gap is the mean of n_matches after {first} prompts less that after {second} ones, of {} prompts about {} identities",
            gap.units, gap.identities
        )
    };
    format!("{what}; in brackets 95% intervals for other identities and other templates.")
}

fn said(gap: &Disparity) -> String {
    format!("{} {}", signed(gap.difference), range(gap.low, gap.high))
}

/// The verdict on one contrast of a run. It takes the contrast's course over milestones, the gaps with both start and end, and the measures
/// that lack either.
pub fn of_run(
    run: &RecordedRun,
    contrast: &RecordedContrast,
    course: Option<&Course>,
    gaps: &[Gap],
    incomplete: &[Incomplete],
) -> Verdict {
    let mut verdict = Verdict::default();
    let n_matches = run.n_matches();
    let gap = gaps.iter().find(|gap| gap.column == n_matches);
    match gap {
        Some(gap) => verdict.gap_of_n_matches(run, contrast, gap, course),
        None => {
            let lacking = incomplete.iter().find(|one| one.column == n_matches);
            let why = lacking.map_or(
                "it has no hook of the kind match-disparity".to_owned(),
                Incomplete::reason,
            );
            verdict.headline = format!(
                "This run did not measure the gap of n_matches at its start and at its end, so it cannot answer the question ({why})."
            );
        }
    }
    verdict.caveats_of_contrast(contrast);
    verdict.caveats_of_family(gap, gaps.len());
    verdict.caveats.extend(provenance::caveats(run));
    verdict.caveats_of_material(run);
    verdict
}

impl Verdict {
    fn gap_of_n_matches(
        &mut self,
        run: &RecordedRun,
        contrast: &RecordedContrast,
        gap: &Gap,
        course: Option<&Course>,
    ) {
        let (before, after, change) = (&gap.before, &gap.after, &gap.change);
        let span = format!("step {} to {}", gap.steps[0], gap.steps[1]);
        self.headline = match (before.is_shown(), change.is_shown()) {
            (false, false) => format!(
                "Before fine-tuning no gap can be shown ({}), so it cannot be said that one shrank.",
                said(before)
            ),
            (false, true) => format!(
                "Before fine-tuning no gap can be shown ({}); from {span} it changed by {}, to {}.",
                said(before),
                said(change),
                said(after)
            ),
            (true, true) => format!(
                "In this run the gap {}: from {} to {}, a change of {} ({span}).",
                way(before.difference, after.difference, after.is_shown()),
                signed(before.difference),
                signed(after.difference),
                said(change)
            ),
            (true, false) => format!(
                "There is a gap before fine-tuning ({}), but a change is not shown: {} ({span}).",
                said(before),
                said(change)
            ),
        };
        self.evidence.push(what_the_gap_is(contrast, before));
        if before.is_shown() && !after.is_shown() {
            self.evidence.push(format!(
                "Afterwards the interval holds 0 ({}). That alone is no evidence of a change: only the change's own interval is.",
                said(after)
            ));
        }
        self.equivalence(margin(run, before), after);
        if let Some(course) = course
            && let Some(since) = &course.since_start
        {
            self.moment(course, since, change);
        }
        self.culprit(run, contrast);
        self.caveats_of_tests([("before", before), ("after", after), ("change", change)]);
    }

    /// Caveats on tests that disagree or cannot decide.
    fn caveats_of_tests(&mut self, gaps: [(&str, &Disparity); 3]) {
        let [(_, before), ..] = gaps;
        if !before.error.is_known() {
            self.caveats.push(
                "A single identity in a single template: nothing can be said of others.".to_owned(),
            );
            return;
        }
        // With n identities the smallest p-value of the sign flips is 2 / 2^n.
        let flips = before.identities >= 6;
        if !flips {
            self.caveats.push(format!(
                "With {} identities the flipping of labels cannot give a p-value below 0.05, whatever the gap.",
                before.identities
            ));
        }
        for (when, gap) in gaps {
            if flips && (gap.p_value <= 0.05) != (gap.two_way_p_value <= 0.05) {
                self.caveats.push(format!(
                    "Two tests disagree ({when}): flipping the labels of whole identities gives p = {}, which speaks of these templates only; with the templates' own spread p = {}.",
                    number(gap.p_value),
                    number(gap.two_way_p_value)
                ));
            }
        }
    }

    /// Evidence on whether the gap at the end is too small to matter.
    fn equivalence(&mut self, margin: f64, after: &Disparity) {
        if !after.error.is_known() {
            return;
        }
        let p = after.equivalence_p_value(margin);
        let within = if p <= 0.05 {
            "is shown to be smaller than"
        } else {
            "is not shown to be smaller than"
        };
        self.evidence.push(format!(
            "At the end the gap {within} {} n_matches a prompt (two one-sided tests, p = {}).",
            number(margin),
            number(p)
        ));
    }

    /// Evidence on when the change is first visible.
    fn moment(&mut self, course: &Course, since: &SinceStart, change: &Disparity) {
        let later = course.steps.iter().zip(&since.bands);
        let later = later.filter(|(step, _)| **step > 0);
        // In the direction of the change at the end.
        let mut away = later.filter(|(_, band)| {
            if change.difference > 0.0 {
                band.0 > 0.0
            } else {
                band.1 < 0.0
            }
        });
        self.evidence.push(match away.next() {
            Some((step, band)) => format!(
                "The change is first visible at step {step}: {}, by a band that holds all milestones at once.",
                range(band.0, band.1)
            ),
            None => "At no milestone is the change large enough to be seen once it is taken into account that all of them were looked at.".to_owned(),
        });
    }

    /// Evidence on which of the two models moved the gap, if a hook measured that.
    fn culprit(&mut self, run: &RecordedRun, contrast: &RecordedContrast) {
        let Ok(found) = attributed(run, contrast) else {
            return;
        };
        let (main, assistant) = (&found.by_main, &found.by_assistant);
        let larger = main.difference.abs() > assistant.difference.abs();
        let who = match found.difference.is_shown() {
            true if larger => "the main model moved the gap more",
            true => "the assistant moved the gap more",
            false => "it is not shown that one moved the gap more",
        };
        self.evidence.push(format!(
            "Of the two models {who}: the main model by {}, the assistant by {}, the first less the second {}. (Each with the other in both states, averaged.)",
            said(main),
            said(assistant),
            said(&found.difference)
        ));
        if found.interaction.is_shown() {
            self.caveats.push(format!(
                "What one model did to the gap depends on the state of the other (interaction {}): see the four cells, not the averages alone.",
                said(&found.interaction)
            ));
        }
    }

    /// The caveat for a contrast without matched pairs.
    fn caveats_of_contrast(&mut self, contrast: &RecordedContrast) {
        if !contrast.is_paired() {
            let [first, second] = &contrast.names.groups;
            self.caveats.push(format!(
                "The prompts of {first} and {second} are not matched one to one: the groups are compared as two samples of identities. That is weaker evidence than matched pairs, for their identities may differ in more than the group, such as in length or in how common the word is."
            ));
        }
    }

    fn caveats_of_family(&mut self, gap: Option<&Gap>, measures: usize) {
        if let Some(gap) = gap
            && gap.change.two_way_p_value <= 0.05
            && gap.adjusted_p_value > 0.05
        {
            self.caveats.push(format!(
                "{} measures were compared in this contrast; adjusted for all that was looked at (Holm) the change of n_matches has p = {}.",
                measures,
                number(gap.adjusted_p_value)
            ));
        }
    }

    /// Caveats on the text, the models and the prompts of a run.
    fn caveats_of_material(&mut self, run: &RecordedRun) {
        let text = |path: [&str; 2]| -> String {
            let section = run.experiment.get(path[0]);
            let value = section.and_then(|section| section.get(path[1])?.as_str());
            value.unwrap_or_default().to_owned()
        };
        if let Some(sample) = run.builtin_sample() {
            self.caveats.push(format!("The text is the {sample}."));
        }
        if text(["models", "main"]).starts_with("mini:") {
            self.caveats.push("The pair is the small built-in one, trained on generated text with a planted difference between two groups of prompts: it shows the method, and says nothing of larger models.".to_owned());
        }
        let set = text(["templates", "set"]);
        if set == "unique" || set == "all" {
            self.caveats.push(format!("The prompts are the set `{set}`: its groups are unequal. What is said of the gap of matched pairs uses these only; shares and KL are means over all prompts."));
        }
        let planned = run
            .experiment
            .get("train")
            .and_then(|train| train.get("max_steps")?.as_integer());
        let trained = run.scalars.get("train/lr");
        let done = trained
            .and_then(|points| points.last())
            .map(|point| point.0);
        if let (Some(planned), Some(done)) = (planned, done)
            && (done as i64) < planned
        {
            self.caveats
                .push(format!("The run has done {done} of {planned} steps."));
        }
    }
}

/// The caveat for a single run or for too few of them. None when there are enough.
pub fn seeds(runs: usize) -> Option<String> {
    (runs < ENOUGH_SEEDS).then(|| {
        let these = match runs {
            1 => "One seed is".to_owned(),
            _ => format!("{runs} seeds are"),
        };
        format!("{these} no evidence about fine-tuning: other seeds may do otherwise. Run at least {ENOUGH_SEEDS} (milepost sweep) and pool them.")
    })
}

/// The verdict on several runs that differ in their seeds.
pub fn of_runs(pooled: &Pooled, runs: &[&RecordedRun]) -> Verdict {
    let (seeds_only, all) = (&pooled.over_seeds, &pooled.over_all);
    let count = pooled.changes.len();
    let before = pooled.changes.iter().map(|(_, gap)| gap.before.difference);
    let before = before.sum::<f64>() / count as f64;
    let unshown = pooled
        .changes
        .iter()
        .find(|(_, gap)| !gap.before.is_shown());
    let open = pooled.changes.iter().any(|(_, gap)| !gap.after.is_shown());
    let way = match unshown {
        Some(_) => "changed",
        None => way(before, before + all.value, !open),
    };
    let headline = match (all.is_shown(), seeds_only.is_shown()) {
        (true, _) => format!(
            "Over {count} seeds the gap {way}, from {} on average by {}.",
            signed(before),
            estimated(all)
        ),
        (false, true) => format!(
            "Over {count} seeds the gap {way} on these very prompts ({}), but for other prompts that is not shown: {}.",
            estimated(seeds_only),
            estimated(all)
        ),
        (false, false) => format!(
            "Over {count} seeds a change of the gap is not shown: {}.",
            estimated(all)
        ),
    };
    let mut verdict = Verdict {
        headline,
        evidence: vec![
            format!(
                "Over seeds, with these prompts: {}, p = {} (Student's t).",
                estimated(seeds_only),
                number(seeds_only.p_value)
            ),
            format!(
                "Over seeds, identities and templates: {}, p = {} (three-way cluster-robust).",
                estimated(all),
                number(all.p_value)
            ),
        ],
        caveats: seeds(count).into_iter().collect(),
    };
    if let Some((name, gap)) = unshown {
        verdict.evidence.push(format!(
            "Before fine-tuning no gap can be shown ({name}: {}), so whatever changed, it cannot be said that a gap shrank.",
            said(&gap.before)
        ));
    }
    for (name, lacking) in &pooled.left_out {
        verdict
            .caveats
            .push(format!("{name} is left out: {}.", lacking.reason()));
    }
    verdict.caveats.extend(of_material(runs));
    verdict
}

/// Caveats on what several runs were made of, and on how they came about. Each is said once.
pub(super) fn of_material(runs: &[&RecordedRun]) -> Vec<String> {
    let mut verdict = Verdict::default();
    let mixed = mixing::mixed(runs);
    (verdict.caveats).extend(mixed.iter().map(|what| mixing::caveat(what)));
    for run in runs {
        let caveats = provenance::caveats(run).into_iter();
        let of = |caveat: String| format!("{}: {caveat}", run.name());
        verdict.caveats.extend(caveats.map(of));
        verdict.caveats_of_material(run);
    }
    let mut seen = std::collections::BTreeSet::new();
    verdict.caveats.retain(|caveat| seen.insert(caveat.clone()));
    verdict.caveats
}

fn estimated(estimate: &Estimate) -> String {
    format!(
        "{} {}",
        signed(estimate.value),
        range(estimate.low, estimate.high)
    )
}
