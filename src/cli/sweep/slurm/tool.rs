//! Calls of Slurm's own programs.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use super::error::SlurmError;

/// Calls one of Slurm's programs with what it reads, and waits for it.
///
/// # Errors
/// When it is not there, or cannot be started.
pub(super) fn call(
    program: &'static str,
    arguments: &[String],
    input: &str,
) -> Result<Output, SlurmError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => SlurmError::Missing { program },
        _ => SlurmError::Call {
            program,
            words: error.to_string(),
        },
    };
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C");
    // What a user has set for squeue could hide a job.
    let own = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SQUEUE_"));
    for (name, _) in own {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C is for this command alone: sbatch must not end in the middle.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut pipe) = child.stdin.take() {
        // One that does not read all of it says why.
        let _ = pipe.write_all(input.as_bytes());
    }
    child.wait_with_output().map_err(failed)
}

/// What a program said on standard error, in one line.
pub(super) fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = lines.collect::<Vec<_>>().join("; ");
    if said.is_empty() {
        format!("it ended with {}", output.status)
    } else {
        said
    }
}
