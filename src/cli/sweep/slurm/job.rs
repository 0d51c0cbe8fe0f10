//! An array job: its number, and how it is submitted.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::SlurmError;
use super::script::Script;
use super::tool;

/// An array job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Job {
    /// Its number, `ArrayJobID`.
    pub id: String,
    /// The cluster it was given to, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

impl Job {
    /// Reads what `sbatch --parsable` prints: `12`, or `12;cluster`. Other lines may stand before it, since sites add some.
    pub fn parse(printed: &str) -> Option<Self> {
        let line = printed
            .lines()
            .map(str::trim)
            .rfind(|line| !line.is_empty())?;
        let (id, cluster) = match line.split_once(';') {
            Some((id, cluster)) => (id, Some(cluster)),
            None => (line, None),
        };
        let is_number = !id.is_empty() && id.chars().all(|c| c.is_ascii_digit());
        is_number.then(|| Self {
            id: id.to_owned(),
            cluster: cluster.filter(|name| !name.is_empty()).map(str::to_owned),
        })
    }

    /// The option of squeue and scancel that names its cluster.
    pub fn clusters(&self) -> Option<String> {
        let cluster = self.cluster.as_ref();
        cluster.map(|cluster| format!("--clusters={cluster}"))
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.id)
    }
}

/// Submits a script.
///
/// # Errors
/// When sbatch is not there, or does not take it, with its own words.
pub(super) fn submit(script: &Script) -> Result<Job, SlurmError> {
    // What a user has set for sbatch in the environment comes before the script, and after the command line.
    let parsable = ["--parsable".to_owned()];
    let arguments = [&parsable[..], &script.options].concat();
    let output = tool::call("sbatch", &arguments, &script.text)?;
    let job = Job::parse(&String::from_utf8_lossy(&output.stdout));
    match job {
        Some(job) if output.status.success() => Ok(job),
        Some(_) | None => Err(SlurmError::Refused {
            words: tool::complaint(&output),
        }),
    }
}

/// The command that takes jobs out of the queue.
pub(super) fn cancel(jobs: &[Job]) -> String {
    let all = jobs.iter().map(|job| match job.clusters() {
        Some(cluster) => format!("scancel {cluster} {job}"),
        None => format!("scancel {job}"),
    });
    all.collect::<Vec<_>>().join("; ")
}
