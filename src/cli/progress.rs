//! Progress while a run goes on: a bar with an estimate on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::hold::Hold;
use super::terminal::remark;
use crate::clock::Clock;
use crate::event::Event;
use crate::hook::{Milestone, Watch};
use crate::train::{Held, Next, Reporter};

/// A bar when standard error is a terminal, plain lines otherwise. `hold` says where the run stands still, if it does.
pub(super) fn reporter(steps: u64, hold: Option<Hold<'_>>) -> Box<dyn Reporter + '_> {
    if !std::io::stderr().is_terminal() {
        return Box::new(Lines {
            every: (steps / 20).max(1),
            started: Instant::now(),
            first: None,
            measurement: Shared::default(),
            said: None,
            hold,
        });
    }
    let bar = ProgressBar::new(steps);
    let style = "{elapsed_precise} {wide_bar:.cyan/blue} step {pos}/{len} eta {eta} {msg}";
    // The template is fixed; if it were wrong, the default bar would do.
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    let measurement = Shared::default();
    Box::new(Bar {
        bar,
        measurement,
        hold,
    })
}

fn losses(milestone: &Milestone) -> String {
    let losses = milestone.losses.iter();
    let losses = losses.map(|(role, loss)| format!("{role} {loss:.4}"));
    let losses = losses.collect::<Vec<_>>().join(", ");
    if losses.is_empty() {
        // A replay trains nothing.
        losses
    } else {
        format!("loss {losses}")
    }
}

fn evaluation(milestone: &Milestone) -> Option<String> {
    let evaluation = milestone.evaluation.as_ref()?;
    let losses = evaluation.losses.iter();
    let losses = losses.map(|(role, loss)| format!("{role} {:.3}", loss.exp()));
    let losses = losses.collect::<Vec<_>>().join(", ");
    Some(format!(
        "step {}: held-out perplexity {losses}",
        milestone.step
    ))
}

struct Bar<'a> {
    bar: ProgressBar,
    /// Which measurement the background hooks are working on.
    measurement: Shared,
    hold: Option<Hold<'a>>,
}

impl Reporter for Bar<'_> {
    fn event(&mut self, event: Event, milestone: &Milestone) {
        match event {
            Event::StepEnd => {
                self.bar.set_position(milestone.step);
                self.bar.set_message(losses(milestone));
            }
            Event::Evaluated => {
                if let Some(line) = evaluation(milestone) {
                    self.bar.println(line);
                }
            }
            Event::RunEnd => self.bar.set_message("waiting for hooks"),
            _ => {}
        }
    }

    fn say(&mut self, line: &str) {
        self.bar.println(line);
    }

    fn watch(&self) -> Option<Arc<Watch>> {
        Some(Measurement::watch(self.measurement.clone(), |_| ()))
    }

    fn waiting(&mut self) {
        let measurement = self.measurement.lock();
        let measurement = measurement.unwrap_or_else(PoisonError::into_inner);
        let line = measurement.line().unwrap_or_default();
        self.bar.set_message(format!("waiting for hooks {line}"));
    }

    fn saved(&mut self, path: &Path) {
        self.bar.println(format!("saved {}", path.display()));
    }

    fn holds(&mut self, clock: &Clock) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.holds(clock))
    }

    fn held(&mut self, held: &Held) -> Next {
        let hold = self.hold.as_mut();
        let next = hold.map(|hold| self.bar.suspend(|| hold.held(held)));
        self.bar.reset_eta();
        next.unwrap_or(Next::GoOn)
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

struct Lines<'a> {
    every: u64,
    started: Instant,
    /// The step and time from which the rate is estimated.
    first: Option<(u64, Instant)>,
    measurement: Shared,
    /// When the measurement's progress was last printed.
    said: Option<Instant>,
    hold: Option<Hold<'a>>,
}

impl Reporter for Lines<'_> {
    fn event(&mut self, event: Event, milestone: &Milestone) {
        if event == Event::StepEnd {
            let now = Instant::now();
            let (first, since) = *self.first.get_or_insert((milestone.step, now));
            if milestone.step.is_multiple_of(self.every) {
                let done = milestone.step - first;
                let left = milestone.total_steps - milestone.step;
                let eta = match done {
                    0 => "?".to_owned(),
                    _ => clock((now - since).mul_f64(left as f64 / done as f64)),
                };
                remark!(
                    "{} step {}/{} eta {eta} {}",
                    clock(self.started.elapsed()),
                    milestone.step,
                    milestone.total_steps,
                    losses(milestone)
                );
            }
        }
        if event == Event::Evaluated
            && let Some(line) = evaluation(milestone)
        {
            remark!("{line}");
        }
    }

    fn say(&mut self, line: &str) {
        remark!("{line}");
    }

    fn watch(&self) -> Option<Arc<Watch>> {
        Some(Measurement::watch(self.measurement.clone(), |_| ()))
    }

    fn waiting(&mut self) {
        let measurement = self.measurement.lock();
        let measurement = measurement.unwrap_or_else(PoisonError::into_inner);
        say_seldom(&mut self.said, &measurement);
    }

    fn saved(&mut self, path: &Path) {
        remark!("saved {}", path.display());
    }

    fn holds(&mut self, clock: &Clock) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.holds(clock))
    }

    fn held(&mut self, held: &Held) -> Next {
        let began = Instant::now();
        let next = self.hold.as_mut().map(|hold| hold.held(held));
        // The time at the prompt says nothing about how long the rest takes.
        self.started += began.elapsed();
        self.first = None;
        next.unwrap_or(Next::GoOn)
    }
}

/// Formats a duration as minutes and seconds, such as 3:07.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Shows downloads: each as a bar on a terminal, as a line elsewhere.
#[derive(Default)]
pub(super) struct Downloads {
    current: Option<(String, ProgressBar)>,
}

impl Downloads {
    pub fn report(&mut self, name: &str, done: u64, total: Option<u64>) {
        if self
            .current
            .as_ref()
            .is_none_or(|(current, _)| current != name)
        {
            let bar = if std::io::stderr().is_terminal() {
                ProgressBar::new(total.unwrap_or(0))
            } else {
                ProgressBar::hidden()
            };
            let style =
                format!("downloading {name} {{bytes}}/{{total_bytes}} {{wide_bar}} eta {{eta}}");
            if let Ok(style) = ProgressStyle::with_template(&style) {
                bar.set_style(style);
            }
            if !std::io::stderr().is_terminal() {
                remark!("downloading {name}");
            }
            self.current = Some((name.to_owned(), bar));
        }
        if let Some((_, bar)) = &self.current {
            bar.set_position(done);
        }
    }
}

/// The progress of a measurement. Any thread may update it.
#[derive(Default)]
struct Measurement {
    what: String,
    done: usize,
    total: usize,
    started: Option<Instant>,
}

type Shared = Arc<Mutex<Measurement>>;

impl Measurement {
    /// A watch that stores progress in `shared` and then calls `show`.
    fn watch(shared: Shared, show: impl Fn(&Self) + Send + Sync + 'static) -> Arc<Watch> {
        Arc::new(move |what: &str, done: usize, total: usize| {
            // After a panic of a watch, the state is still usable.
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if state.started.is_none() || state.what != what || done < state.done {
                state.what = what.to_owned();
                state.started = Some(Instant::now());
            }
            (state.done, state.total) = (done, total);
            show(&state);
            if done == total {
                state.started = None;
            }
        })
    }

    /// A line such as `assisted decoding 300/724 eta 0:12`. None when no measurement is under way.
    fn line(&self) -> Option<String> {
        let spent = self.started?.elapsed();
        let eta = match self.done {
            0 => "?".to_owned(),
            done => clock(spent.mul_f64((self.total - done) as f64 / done as f64)),
        };
        Some(format!(
            "{} {}/{} eta {eta}",
            self.what, self.done, self.total
        ))
    }
}

/// Prints the progress of a measurement, at most every 20 seconds.
fn say_seldom(said: &mut Option<Instant>, measurement: &Measurement) {
    let now = Instant::now();
    let since = *said.get_or_insert(now);
    if now - since > Duration::from_secs(20)
        && let Some(line) = measurement.line()
    {
        *said = Some(now);
        remark!("{line}");
    }
}

/// A watch that shows a long measurement: a bar on a terminal, elsewhere a line every 20 seconds.
pub(super) fn watch() -> Arc<Watch> {
    if !std::io::stderr().is_terminal() {
        let said = Mutex::new(None);
        return Measurement::watch(Shared::default(), move |measurement| {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            say_seldom(&mut said, measurement);
        });
    }
    let bar = ProgressBar::hidden();
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {pos}/{len} {wide_bar:.cyan/blue} eta {eta}")
    {
        bar.set_style(style);
    }
    Measurement::watch(Shared::default(), move |measurement| {
        if measurement.done == 0 {
            bar.reset();
            bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
            bar.set_length(measurement.total as u64);
            bar.set_message(measurement.what.clone());
        }
        bar.set_position(measurement.done as u64);
        if measurement.done == measurement.total {
            bar.finish_and_clear();
        }
    })
}
