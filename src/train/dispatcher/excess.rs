//! Whether hooks take more of a run's time than they should, which is said once during the run and at its end.

use std::time::Duration;

use super::Dispatcher;
use crate::clock::Clock;
use crate::train::Reporter;

/// The share of a run's time for which the training may stand still for hooks, before that is said.
const HALF: f64 = 0.5;

/// A share of the run's time that hooks should keep to, and what they took.
struct Limit {
    /// The hook whose limit it is; None for all hooks together.
    of: Option<usize>,
    share: f64,
    took: Duration,
    /// What they may have taken beyond the share.
    leeway: Duration,
    /// Who took it, and of whom the share is.
    words: [String; 2],
}

impl Limit {
    fn is_over(&self, run: Duration) -> bool {
        let took = self.took.saturating_sub(self.leeway);
        took.as_secs_f64() > self.share * run.as_secs_f64()
    }

    /// What there is to say of it. `of` is the run's time in words.
    fn said(&self, run: Duration, of: &str) -> String {
        let [who, whose] = &self.words;
        format!(
            "{who} {:.1} s, {:.1}% of {of}: more than {whose} {}%",
            self.took.as_secs_f64(),
            100.0 * self.took.as_secs_f64() / run.as_secs_f64(),
            100.0 * self.share,
        )
    }
}

impl Dispatcher {
    /// Says it once of each limit that is exceeded already by what the whole run will take, however seldom hooks are still called.
    pub(super) fn warn(&mut self, clock: &Clock, reporter: &mut dyn Reporter) {
        let Some(run) = self.whole(clock) else {
            return;
        };
        for limit in self.limits() {
            if limit.is_over(run) && self.warned.insert(limit.of) {
                let of = format!("the {:.0} s that the run may take", run.as_secs_f64());
                reporter.say(&limit.said(run, &of));
            }
        }
    }

    /// The limits that were exceeded in a run that took `elapsed`, in words.
    pub fn excesses(&self, elapsed: Duration) -> Vec<String> {
        let over = self.limits().into_iter();
        let over = over.filter(|limit| limit.is_over(elapsed));
        over.map(|limit| limit.said(elapsed, "the run")).collect()
    }

    /// The time of the whole run, as far as it can be told: its other steps take as long as those that are done, apart from hooks. None
    /// before the first step is done.
    fn whole(&self, clock: &Clock) -> Option<Duration> {
        let done = clock.step.0;
        let left = self.extent.steps().saturating_sub(done);
        let trained = clock.elapsed.saturating_sub(self.stood_still());
        (done > 0).then(|| clock.elapsed + trained.mul_f64(left as f64 / done as f64))
    }

    /// How long the training stood still for hooks.
    fn stood_still(&self) -> Duration {
        let entries = self.entries.iter();
        entries.map(|entry| entry.time.cost.training_waited).sum()
    }

    fn limits(&self) -> Vec<Limit> {
        let spent = self.spent_so_far();
        let of_hook = |(index, share): (usize, f64)| {
            let name = &self.entries[index].name;
            Limit {
                of: Some(index),
                share,
                took: spent.total,
                // A budget is kept to within half a milestone.
                leeway: spent.last / 2,
                words: [
                    "hooks that have a budget took".to_owned(),
                    format!("the budget of hook `{name}`,"),
                ],
            }
        };
        let entries = self.entries.iter().enumerate();
        let budgets = entries.filter_map(|(index, entry)| Some((index, entry.budget()?)));
        let mut limits: Vec<Limit> = budgets.map(of_hook).collect();
        limits.push(Limit {
            of: None,
            share: HALF,
            took: self.stood_still(),
            leeway: Duration::ZERO,
            words: [
                "the training stood still for hooks for".to_owned(),
                "a fair share,".to_owned(),
            ],
        });
        limits
    }
}
