//! What runs the runs of a sweep.

use clap::{Args, ValueEnum};

use super::slurm;
use crate::diagnostic::Diagnostic;

/// What runs the runs of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Kind {
    /// Processes of this machine, which this command waits for.
    Processes,
    /// One array job of a Slurm cluster, a task a run, by its sbatch and squeue.
    Slurm,
}

/// Where the runs of a sweep are run.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Engine {
    /// What runs the runs.
    #[arg(
        long = "engine",
        value_enum,
        value_name = "ENGINE",
        default_value = "processes"
    )]
    pub kind: Kind,
    /// Runs at the same time [default: 1 with processes, which share the processor's cores; as many as the cluster lets with Slurm].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    #[command(flatten)]
    pub slurm: slurm::Options,
}

impl Engine {
    /// Runs at the same time, of processes.
    pub fn processes(&self) -> u16 {
        self.jobs.unwrap_or(1)
    }

    /// Checks that the options belong to the engine, and that Slurm's can be handed on.
    ///
    /// # Errors
    /// A diagnostic that names the option.
    pub fn check(&self) -> Result<(), Diagnostic> {
        let given = self.slurm.given()?;
        match (self.kind, given.first()) {
            (Kind::Processes, Some(option)) => {
                let name = option.split('=').next().unwrap_or(option);
                let message =
                    "an option of Slurm, and the runs are processes here; add --engine slurm";
                Err(Diagnostic::file(name, message))
            }
            (Kind::Processes, None) | (Kind::Slurm, _) => Ok(()),
        }
    }

    /// How many runs are run at the same time, in words.
    pub fn at_a_time(&self) -> String {
        match (self.kind, self.jobs) {
            (Kind::Processes, _) => format!("{} at a time", self.processes()),
            (Kind::Slurm, Some(jobs)) => format!("by Slurm, {jobs} at a time"),
            (Kind::Slurm, None) => "by Slurm".to_owned(),
        }
    }
}
