//! The commands of the prompt.

use std::path::PathBuf;

use crate::cadence::{CadenceError, Place};
use crate::suggestion::did_you_mean;

/// A command of the prompt.
pub(super) enum Command {
    Go,
    Step(u64),
    Until(Place),
    Save,
    Measure(PathBuf),
    Evaluate,
    Where,
    Quit,
    Help,
}

/// The commands: name, what stands behind it, what it does.
const COMMANDS: [(&str, &str, &str); 9] = [
    ("go", "", "go on to the end of the run"),
    ("step", "[N]", "do N more steps (1), then ask again"),
    (
        "until",
        "WHERE",
        "go on to `step 120`, `epoch 1`, `50%`, `100k tokens` or `end`, then ask again",
    ),
    ("save", "", "save a checkpoint"),
    (
        "measure",
        "FILE",
        "call the hooks of a TOML file once; nothing is recorded",
    ),
    (
        "evaluate",
        "",
        "evaluate both models on the held-out text; nothing is recorded",
    ),
    ("where", "", "say again where the run is"),
    ("quit", "", "save and end as Ctrl-C does; --resume goes on"),
    ("help", "", "show this"),
];

impl Command {
    /// Reads a line. None when it is empty.
    pub fn read(line: &str) -> Result<Option<Self>, String> {
        let line = line.trim();
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let command = match (name, rest) {
            ("", _) => return Ok(None),
            ("step", "") => Self::Step(1),
            ("step", count) => match count.parse() {
                Ok(more) if more > 0 => Self::Step(more),
                _ => return Err(format!("`{count}` is no number of steps; write `step 10`")),
            },
            ("until", place) => {
                Self::Until(
                    place
                        .parse()
                        .map_err(|error: CadenceError| match error.help {
                            Some(help) => format!("{}; {help}", error.message),
                            None => error.message,
                        })?,
                )
            }
            ("measure", "") => {
                return Err(
                    "measure what? write `measure FILE.toml`, a file with [hooks]".to_owned(),
                );
            }
            ("measure", file) => Self::Measure(file.into()),
            ("go", "") => Self::Go,
            ("save", "") => Self::Save,
            ("evaluate", "") => Self::Evaluate,
            ("where", "") => Self::Where,
            ("quit", "") => Self::Quit,
            ("help", "") => Self::Help,
            (name, _) => return Err(not_a_command(name)),
        };
        Ok(Some(command))
    }
}

fn not_a_command(name: &str) -> String {
    let known = COMMANDS.map(|(command, ..)| command);
    if known.contains(&name) {
        return format!("nothing stands behind `{name}`");
    }
    match did_you_mean(name, known) {
        Some(command) => format!("unknown command `{name}`: did you mean `{command}`?"),
        None => format!("unknown command `{name}`; `help` lists the commands"),
    }
}

/// The list of commands.
pub(super) fn help() -> String {
    let lines = COMMANDS.map(|(name, rest, about)| format!("  {name:<9}{rest:<7}{about}\n"));
    lines.concat()
}
