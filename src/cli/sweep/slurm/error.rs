//! Why runs cannot be run by Slurm.

/// Why runs cannot be run by Slurm.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum SlurmError {
    /// One of Slurm's programs is not there.
    #[error(
        "there is no `{program}` on the PATH: --engine slurm is for a login node of a Slurm cluster. Leave --engine out to run the runs here, or add --print for the script"
    )]
    Missing { program: &'static str },
    /// One of Slurm's programs cannot be started.
    #[error("cannot call {program}: {words}")]
    Call {
        program: &'static str,
        words: String,
    },
    /// The runs were not taken.
    #[error(
        "sbatch does not take the runs: {words}\n  no run was begun; call again with what this cluster takes (--account, --partition, --qos, --time, --gres, --cpus-per-task, --mem, --slurm-option)"
    )]
    Refused { words: String },
    /// It cannot be told whether runs are in the queue.
    #[error(
        "squeue does not say whether the runs are in the queue: {words}\n  nothing was submitted, so that no run is begun twice; call again when it answers"
    )]
    Silent { words: String },
    /// None of the runs that are left can begin.
    #[error(
        "{runs} can never begin; squeue says why:\n{why}\n  the queue keeps what is in it. `{cancel}` takes it out; the same command then submits it anew, with other options if you give some. Until then the same command attaches to it"
    )]
    Never {
        runs: String,
        why: String,
        cancel: String,
    },
}
