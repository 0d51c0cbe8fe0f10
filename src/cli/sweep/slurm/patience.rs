//! A queue that starts nothing: says after a while why, and gives up where nothing can ever begin.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::reason::{Meaning, meaning, word};
use crate::cli::sweep::tally::clock;
use crate::cli::terminal::say;

/// How long nothing runs before it is said why.
const SAID_AFTER: Duration = Duration::from_secs(30);
/// How long every task has a reason by which it never begins before that is believed.
const BELIEVED_AFTER: Duration = Duration::from_secs(10);

/// How long nothing has run.
pub(super) struct Patience {
    /// Since when.
    idle: Option<Instant>,
    /// Since when nothing can ever begin.
    never: Option<Instant>,
    /// The reasons that were said.
    said: BTreeSet<String>,
}

impl Patience {
    pub fn new() -> Self {
        Self {
            idle: None,
            never: None,
            said: BTreeSet::new(),
        }
    }

    /// Takes a look at all runs: the reason of each that waits, and none of one that does not. Returns why none of them can ever begin, if
    /// that is so.
    pub fn look(&mut self, runs: &[Option<&str>]) -> Option<String> {
        let reasons: Option<BTreeSet<&str>> = runs.iter().copied().collect();
        let Some(reasons) = reasons.filter(|reasons| !reasons.is_empty()) else {
            (self.idle, self.never) = (None, None);
            return None;
        };
        let idle = self.idle.get_or_insert_with(Instant::now).elapsed();
        let never = |reason: &&str| matches!(meaning(reason), Meaning::Never(_));
        if reasons.iter().all(never) {
            let since = self.never.get_or_insert_with(Instant::now).elapsed();
            return (since >= BELIEVED_AFTER).then(|| lines(&reasons));
        }
        self.never = None;
        let new: BTreeSet<&str> = reasons
            .into_iter()
            .filter(|reason| word(reason) != "None" && !self.said.contains(word(reason)))
            .collect();
        if idle >= SAID_AFTER && !new.is_empty() {
            say!(
                "nothing has run for {}; squeue says why:\n{}\n  Ctrl-C ends the waiting and leaves them in the queue",
                clock(idle),
                lines(&new)
            );
            self.said
                .extend(new.into_iter().map(|reason| word(reason).to_owned()));
        }
        None
    }
}

/// Reasons with what they mean, one a line.
fn lines(reasons: &BTreeSet<&str>) -> String {
    let lines = reasons.iter().map(|reason| {
        let (Meaning::Waits(words) | Meaning::Never(words)) = meaning(reason);
        match words {
            "" => format!("  {reason}"),
            words => format!("  {reason}: {words}"),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}
