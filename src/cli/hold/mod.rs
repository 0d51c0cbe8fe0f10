//! `finetune --until` and `--hold`: a run ends early, or stands still between two steps and asks at a prompt what next.

mod command;

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use self::command::{Command, help};
use super::experiments::read_source;
use super::terminal::{self, remark, say};
use super::{failure, measure, progress};
use crate::cadence::Place;
use crate::clock::{Clock, Extent, Step};
use crate::experiment::{Places, parse, resolve_hooks};
use crate::hook::Evaluation;
use crate::registry::Registry;
use crate::thread;
use crate::train::{Held, Next};

/// Decides after each step whether the run is held there, and what it does then.
pub(super) struct Hold<'a> {
    /// The step to hold at, or to end at without a prompt.
    step: Option<u64>,
    /// Why the run ends where there is no prompt.
    reason: String,
    prompt: Option<Prompt<'a>>,
}

impl<'a> Hold<'a> {
    /// A run that ends at a place, if one is given, as by Ctrl-C. `step` is the place's.
    pub fn ending(place: Option<&Place>, step: Option<u64>) -> Self {
        Self {
            step,
            reason: place.map_or(String::new(), |place| format!("--until \"{place}\"")),
            prompt: None,
        }
    }

    /// With a prompt in place of the end. The first Ctrl-C, which sets `interrupt`, then leads to the prompt, too.
    pub fn prompting(
        self,
        registry: &'a Registry,
        places: &'a Places,
        interrupt: Arc<AtomicBool>,
    ) -> Self {
        let prompt = Prompt {
            registry,
            places,
            interrupt,
            shown: None,
        };
        Self {
            prompt: Some(prompt),
            ..self
        }
    }

    pub fn holds(&self, clock: &Clock) -> bool {
        let interrupted = |prompt: &Prompt| prompt.interrupt.swap(false, Ordering::Relaxed);
        let interrupted = self.prompt.as_ref().is_some_and(interrupted);
        interrupted || self.step.is_some_and(|step| clock.step.0 >= step)
    }

    pub fn held(&mut self, held: &Held) -> Next {
        let Some(prompt) = &mut self.prompt else {
            return Next::End(self.reason.clone());
        };
        match prompt.ask(held) {
            Answer::Go(step) => {
                self.step = step;
                Next::GoOn
            }
            Answer::Save => Next::Save,
            Answer::Quit(reason) => Next::End(reason.to_owned()),
        }
    }
}

/// The end of a dialog, or a break of it.
enum Answer {
    /// The run goes on to a step, or to its end.
    Go(Option<u64>),
    Save,
    Quit(&'static str),
}

/// The dialog with whoever holds the run.
struct Prompt<'a> {
    registry: &'a Registry,
    places: &'a Places,
    interrupt: Arc<AtomicBool>,
    /// The step of which it was said last where the run is.
    shown: Option<u64>,
}

impl Prompt<'_> {
    /// Reads commands and answers them, until one of them is for the run itself.
    fn ask(&mut self, held: &Held) -> Answer {
        let step = held.milestone().step;
        if self.shown.replace(step) != Some(step) {
            terminal::out(&place(held));
        }
        loop {
            terminal::out("milepost> ");
            let line = match self.line() {
                Line::Read(line) => line,
                Line::End => {
                    terminal::out("\n");
                    return Answer::Quit("the end of input at the prompt");
                }
                Line::Interrupted => return Answer::Quit("Ctrl-C"),
            };
            let answered = Command::read(&line).and_then(|command| match command {
                Some(command) => self.answer(command, held),
                None => Ok(None),
            });
            match answered {
                Ok(Some(answer)) => return answer,
                Ok(None) => {}
                Err(message) => say!("{message}"),
            }
        }
    }

    fn answer(&self, command: Command, held: &Held) -> Result<Option<Answer>, String> {
        let (step, extent) = (held.milestone().step, held.extent());
        match command {
            Command::Go => return Ok(Some(Answer::Go(None))),
            Command::Step(more) if step < extent.steps() => {
                let last = step.saturating_add(more).min(extent.steps());
                return Ok(Some(Answer::Go(Some(last))));
            }
            Command::Step(_) => say!("all {step} steps are done; `go` ends the run"),
            Command::Until(place) => {
                let target = ahead(&place, extent, step)?;
                return Ok(Some(Answer::Go(Some(target))));
            }
            Command::Save if !held.is_saved() => return Ok(Some(Answer::Save)),
            Command::Save => say!("the state after step {step} is saved already"),
            Command::Measure(path) => self.measure(&path, held)?,
            Command::Evaluate => {
                let evaluation = held.evaluate().map_err(|error| format!("{error:#}"))?;
                say!("step {step}: {}", losses(&evaluation));
            }
            Command::Where => terminal::out(&place(held)),
            Command::Quit => return Ok(Some(Answer::Quit("`quit` at the prompt"))),
            Command::Help => terminal::out(&help()),
        }
        Ok(None)
    }

    /// Calls the hooks of a file once, and prints their numbers.
    fn measure(&self, path: &Path, held: &Held) -> Result<(), String> {
        let said = |error: anyhow::Error| failure::message(&error);
        let written = read_source(path).map_err(|error| error.to_string())?;
        let written = parse(written, &[]).map_err(|error| error.to_string())?;
        let places = Places {
            base: path.parent().unwrap_or(Path::new("")).to_owned(),
            ..self.places.clone()
        };
        let mut downloads = progress::Downloads::default();
        let (pair, scene) = (held.pair(), held.scene());
        let (hooks, notes) = resolve_hooks(
            &written,
            scene,
            &pair,
            self.registry,
            &places,
            &mut |name, done, total| downloads.report(name, done, total),
        )
        .map_err(said)?;
        for note in notes {
            remark!("note: {note}");
        }
        if hooks.is_empty() {
            return Err(format!(
                "{}: no hook that could be called; name some in [hooks]",
                path.display()
            ));
        }
        let called = held.measure(hooks, Some(progress::watch()));
        terminal::out(measure::by_hook(&called).trim_start_matches('\n'));
        for failure in &called.failures {
            say!("hook `{}` failed: {}", failure.name, failure.message);
        }
        Ok(())
    }

    /// The next line of standard input. It is read by a thread, so that Ctrl-C need not wait for it.
    fn line(&self) -> Line {
        let (send, lines) = mpsc::channel();
        let started = thread::start("standard input", move || {
            let _ = send.send(Line::read());
        });
        if started.is_err() {
            return Line::read();
        }
        loop {
            if self.interrupt.load(Ordering::Relaxed) {
                return Line::Interrupted;
            }
            match lines.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => return line,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Line::End,
            }
        }
    }
}

/// What came of waiting for a line.
enum Line {
    Read(String),
    End,
    Interrupted,
}

impl Line {
    /// Waits for the next line of standard input. What is not text is an unknown command, and an input that cannot be read has ended.
    fn read() -> Self {
        let mut line = String::new();
        match std::io::stdin().lock().read_line(&mut line) {
            Ok(0) => Self::End,
            Err(error) if error.kind() != std::io::ErrorKind::InvalidData => Self::End,
            _ => Self::Read(line),
        }
    }
}

/// The step of a place, which must lie ahead of the last step that is done.
///
/// # Errors
/// Says that the place is behind, or is never reached.
pub(super) fn ahead(place: &Place, extent: &Extent, done: u64) -> Result<u64, String> {
    let Some(step) = place.step(extent) else {
        let end = extent.clock_after(Step(extent.steps()));
        return Err(format!(
            "`{place}` is never reached: the run has {} steps, {} whole epochs, {} samples and {} tokens",
            end.step, end.epoch, end.samples, end.tokens
        ));
    };
    if step.0 <= done {
        return Err(format!(
            "`{place}` is behind: it is the end of step {step}, and the run is at the end of step {done}"
        ));
    }
    Ok(step.0)
}

/// Where the run is.
fn place(held: &Held) -> String {
    let (milestone, extent) = (held.milestone(), held.extent());
    let epoch = extent.epoch_of(milestone.clock.step).0 + 1;
    let losses_now: Vec<String> = (milestone.losses.iter())
        .map(|(role, loss)| format!("{role} {loss:.4}"))
        .collect();
    let evaluated = match held.evaluated() {
        Some((step, evaluation)) => format!("step {step}: {}", losses(evaluation)),
        None => "not yet".to_owned(),
    };
    format!(
        "\nheld after step {} of {}, in epoch {epoch} of {}, {} tokens\n  training loss  {}\n  learning rate  {:.4e}\n  evaluated      {evaluated}\n  run            {}\n",
        milestone.step,
        extent.steps(),
        extent.epochs(),
        milestone.clock.tokens,
        losses_now.join(", "),
        milestone.learning_rate,
        held.directory().display()
    )
}

/// The losses of an evaluation with their perplexities, in words.
fn losses(evaluation: &Evaluation) -> String {
    let losses = evaluation
        .losses
        .iter()
        .map(|(role, loss)| format!("{role} {loss:.4} (perplexity {:.3})", loss.exp()));
    format!("held-out loss {}", losses.collect::<Vec<_>>().join(", "))
}
