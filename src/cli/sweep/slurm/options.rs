//! The options that are handed on to sbatch.

use clap::Args;

use crate::diagnostic::Diagnostic;

/// Where `--help` lists them.
const HEADING: &str = "With --engine slurm";

/// Options of sbatch.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct Options {
    /// Account that the runs are charged to.
    #[arg(long, help_heading = HEADING, value_name = "NAME")]
    account: Option<String>,
    /// Partition that they are run in.
    #[arg(long, help_heading = HEADING, value_name = "NAME")]
    partition: Option<String>,
    /// Quality of service.
    #[arg(long, help_heading = HEADING, value_name = "NAME")]
    qos: Option<String>,
    /// Time limit of a run, as in 12:00:00; the run saves two minutes before it.
    #[arg(long, help_heading = HEADING, value_name = "LIMIT")]
    time: Option<String>,
    /// What a run needs besides cores, as in gpu:1.
    #[arg(long, help_heading = HEADING, value_name = "LIST")]
    gres: Option<String>,
    /// Cores of a run.
    #[arg(long, help_heading = HEADING, value_name = "N")]
    cpus_per_task: Option<String>,
    /// Memory of a run, as in 16G.
    #[arg(long, help_heading = HEADING, value_name = "SIZE")]
    mem: Option<String>,
    /// Any other option of sbatch, as in --slurm-option constraint=a100; may be given several times.
    #[arg(long = "slurm-option", help_heading = HEADING, value_name = "KEY=VALUE")]
    others: Vec<String>,
}

/// What the sweep itself tells sbatch, and what would keep it from submitting.
const OURS: [&str; 15] = [
    "array",
    "chdir",
    "clusters",
    "error",
    "help",
    "input",
    "job-name",
    "open-mode",
    "output",
    "parsable",
    "test-only",
    "usage",
    "version",
    "wait",
    "wrap",
];

impl Options {
    /// The options that are given, as sbatch takes them.
    ///
    /// # Errors
    /// A diagnostic that names an option that sbatch cannot take, or that is the sweep's own.
    pub fn given(&self) -> Result<Vec<String>, Diagnostic> {
        let named = [
            ("account", &self.account),
            ("partition", &self.partition),
            ("qos", &self.qos),
            ("time", &self.time),
            ("gres", &self.gres),
            ("cpus-per-task", &self.cpus_per_task),
            ("mem", &self.mem),
        ];
        let mut given = Vec::new();
        for (key, value) in named {
            if let Some(value) = value {
                check_value(&format!("--{key}"), value)?;
                given.push(format!("--{key}={value}"));
            }
        }
        for other in &self.others {
            let at = format!("--slurm-option {other:?}");
            let (key, value) = match other.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (other.as_str(), None),
            };
            let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if key.is_empty() || key.starts_with('-') || !key.chars().all(letter) {
                let message = "write it as KEY=VALUE, with the long name of an option of sbatch and without its dashes";
                return Err(Diagnostic::file(at, message));
            }
            if OURS.contains(&key) {
                let message = match key {
                    "clusters" => {
                        "set SLURM_CLUSTERS, which squeue and scancel read, too".to_owned()
                    }
                    _ => format!("the sweep itself says {key}; it cannot be given"),
                };
                return Err(Diagnostic::file(at, message));
            }
            if let Some(value) = value {
                check_value(&at, value)?;
            }
            given.push(format!("--{other}"));
        }
        Ok(given)
    }
}

/// Checks that a value can stand in a line of a script.
fn check_value(option: &str, value: &str) -> Result<(), Diagnostic> {
    if value.is_empty() {
        return Err(Diagnostic::file(option, "a value is missing"));
    }
    if value.contains(char::is_control) {
        let message = "the value has a line break or another letter that does not show";
        return Err(Diagnostic::file(option, message));
    }
    Ok(())
}
