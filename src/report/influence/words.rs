//! What an estimate of influence says, in sentences.

use crate::influence::summary::{OfOneGoal, Scored, Summary};
use crate::report::number::{number, range, signed};

/// Whether the tables of an estimate are evidence.
pub fn evidence(summary: &Summary) -> String {
    let Some(check) = &summary.check else {
        return "NOT CHECKED: nothing says yet whether this influence is to be believed, so its tables are kept back. --check 32 retrains on 32 random halves of the documents and says so.".to_owned();
    };
    let judged = |holds: bool| {
        let goals = summary.goals.iter();
        let goals = goals.filter(|goal| goal.score.as_ref().is_some_and(Scored::predicts) == holds);
        let titles: Vec<&str> = goals.map(|goal| goal.title.as_str()).collect();
        titles.join("; ")
    };
    let (holds, fails) = (judged(true), judged(false));
    let mut text = format!(
        "Checked by {} retrainings on halves of the documents.",
        check.subsets.len()
    );
    if !holds.is_empty() {
        text += &format!(" Influence predicts what comes out, better than chance, for: {holds}.");
    }
    if !fails.is_empty() {
        text += &format!(
            " Influence does not predict what comes out better than chance for: {fails}. Their tables are no evidence."
        );
    }
    text
}

/// The datamodeling score of a goal.
pub fn score_in_words(what: &str, score: &Scored, subsets: usize) -> String {
    format!(
        "datamodeling score, {what}: {} {} over {subsets} subsets; random influence {} {}, p {}",
        signed(score.value),
        range(score.low, score.high),
        signed(score.random),
        range(score.random_low, score.random_high),
        number(score.p_value)
    )
}

/// How nearly the influence of all documents adds up to the change.
pub fn step_sum_in_words(goal: &OfOneGoal) -> String {
    let whole = goal.whole;
    let along = match goal.correlation {
        Some(correlation) => format!(
            "correlation over {} segments {}",
            goal.segments.len(),
            number(correlation)
        ),
        None => format!("{} segments, too few to correlate", goal.segments.len()),
    };
    format!(
        "all documents: {} predicted, {} observed from step {} to {}; {along}",
        signed(whole.predicted),
        signed(whole.observed),
        whole.from,
        whole.to
    )
}

impl Scored {
    /// Whether it is above 0 and above that of random influence.
    pub fn predicts(&self) -> bool {
        self.low > 0.0 && self.p_value <= 0.05
    }
}

impl OfOneGoal {
    /// Every score that there is: of which outcome and by which method, where it stands below the goal in `influence.json`, and the score.
    pub fn scores(&self) -> Vec<(String, String, &Scored)> {
        let own = (None, String::new(), &self.score, &self.n_matches_score);
        let others = self.others.iter().enumerate().map(|(index, other)| {
            let at = format!("others/{index}/");
            (
                Some(other.name.as_str()),
                at,
                &other.score,
                &other.n_matches_score,
            )
        });
        let all = std::iter::once(own).chain(others);
        let both = all.flat_map(|(by, at, score, n_matches)| {
            [
                (self.title.as_str(), "score", score),
                ("gap of n_matches", "n_matches_score", n_matches),
            ]
            .map(|(outcome, key, score)| {
                let what = match by {
                    Some(by) => format!("{outcome}, by {by}"),
                    None => outcome.to_owned(),
                };
                Some((what, format!("{at}{key}"), score.as_ref()?))
            })
        });
        both.flatten().collect()
    }
}
