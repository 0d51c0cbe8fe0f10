//! The batch script of an array job: a task for each run.

use std::path::Path;

use anyhow::Context as _;

use crate::cli::sweep::grid::Cell;
use crate::cli::sweep::printing::{quoted, shown};
use crate::cli::sweep::runs::Sweep;

/// What Slurm itself says of the tasks, beside the runs' own logs.
pub(super) const LOG: &str = "slurm.log";

/// Where models and data are found, and how many threads compute: what a run reads from its environment, and is no secret.
const ENVIRONMENT: [&str; 10] = [
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_TOKEN_PATH",
    "XDG_CACHE_HOME",
    "LD_LIBRARY_PATH",
    "RAYON_NUM_THREADS",
];

/// A batch script, and the options that sbatch is given with it.
pub(super) struct Script {
    /// Such as `--array=0-5`. They stand in the text, too.
    pub options: Vec<String>,
    pub text: String,
}

impl Script {
    /// The script of the runs `cells`; the task `index` is the run at that index. The job is called `name`.
    ///
    /// # Errors
    /// When an option cannot be handed on, or this process has no working directory.
    pub fn new(sweep: &Sweep, cells: &[Cell], name: &str) -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("there is no working directory")?;
        let options = options(sweep, cells.len(), name, &here)?;
        let mut text = "#!/bin/sh\n".to_owned();
        for option in &options {
            text += &format!("#SBATCH {}\n", escaped(option));
        }
        text += &format!(
            "# Each task is a run in {}. A task that Slurm starts again goes on with its run.\n",
            sweep.folder.display()
        );
        text += &format!("cd {} || exit 1\n", quoted(&here.to_string_lossy()));
        for name in ENVIRONMENT {
            if let Ok(value) = std::env::var(name) {
                text += &format!("export {name}={}\n", quoted(&value));
            }
        }
        text += "export RAYON_NUM_THREADS=\"${RAYON_NUM_THREADS:-${SLURM_CPUS_ON_NODE:-1}}\"\n";
        text += "case \"$SLURM_ARRAY_TASK_ID\" in\n";
        for (index, cell) in cells.iter().enumerate() {
            let log = sweep.log(cell);
            text += &format!(
                "{index}) log={}\n   set -- {} ;;\n",
                quoted(&log.to_string_lossy()),
                shown(&sweep.command_at_any_time(cell))
            );
        }
        text += "*) echo \"this job has no task '$SLURM_ARRAY_TASK_ID'\" >&2; exit 1 ;;\nesac\n";
        text += "exec >>\"$log\" 2>&1\n";
        text += &format!(
            "echo \"{}$SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID on $(hostname)\"\n",
            HEADING
        );
        // The program takes the place of the shell, so that Slurm's signals reach it.
        text += "exec \"$@\"\n";
        Ok(Self { options, text })
    }
}

/// What the line in a run's log begins with that a task writes before the run says anything. The job and the task come after it.
const HEADING: &str = "== Slurm task ";

/// Where in a run's log the words of a task begin.
pub(super) fn begins_at(log: &Path, job: &str, index: usize) -> usize {
    let text = std::fs::read(log).unwrap_or_default();
    let heading = format!("{HEADING}{job} {index} on ");
    let mut starts = text.windows(heading.len()).enumerate();
    let last = starts.rfind(|(_, here)| *here == heading.as_bytes());
    last.map_or(text.len(), |(start, _)| start + heading.len())
}

/// The options of sbatch, the user's last.
fn options(sweep: &Sweep, runs: usize, name: &str, here: &Path) -> anyhow::Result<Vec<String>> {
    let engine = &sweep.arguments.engine;
    let at_a_time = engine.jobs.map_or(String::new(), |jobs| format!("%{jobs}"));
    let log = here.join(sweep.folder).join(LOG);
    // In this option, % stands before what sbatch fills in.
    let log = log.to_string_lossy().replace('%', "%%");
    let mut options = vec![
        format!("--job-name={name}"),
        format!("--array=0-{}{at_a_time}", runs - 1),
        format!("--output={log}"),
        "--open-mode=append".to_owned(),
        "--requeue".to_owned(),
        "--signal=B:TERM@120".to_owned(),
    ];
    options.extend(engine.slurm.given()?);
    Ok(options)
}

/// An option as a line of a batch script has it. In quotes, sbatch takes what follows a backslash as it is; outside of them a space parts
/// options even there.
pub(super) fn escaped(option: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@+%".contains(c);
    if option.chars().all(plain) {
        return option.to_owned();
    }
    let text = option.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{text}\"")
}
