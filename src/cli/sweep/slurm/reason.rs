//! Why a task waits: what squeue's word means, whether it can ever begin, and what to do.

/// What a reason means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It begins by itself when its turn comes.
    Waits(&'static str),
    /// It never begins unless something is changed.
    Never(&'static str),
}

/// A reason without the names of nodes and the like that stand behind it.
pub(super) fn word(reason: &str) -> &str {
    let word = reason.split([',', '(', ':']).next().unwrap_or_default();
    let word = word.trim();
    if word.is_empty() { "None" } else { word }
}

/// What a reason means, by the names of Slurm's own list (`job_reason_codes`).
pub(super) fn meaning(reason: &str) -> Meaning {
    use Meaning::{Never, Waits};
    let word = word(reason);
    match word {
        "Resources" => Waits("the nodes that they need are busy, or down (sinfo shows them)"),
        "Priority" => Waits("other jobs come first"),
        "Licenses" => Waits("all licences that they need are in use"),
        "JobArrayTaskLimit" => Waits("--jobs lets no more run at the same time"),
        "BeginTime" => {
            Waits("their earliest time has not come; after a restart that is up to two minutes")
        }
        "ReqNodeNotAvail" | "Reservation" | "NodeDown" => Waits(
            "nodes are reserved or down, perhaps for maintenance (sinfo -R, scontrol show reservation)",
        ),
        "Dependency" => Waits("they wait for another job"),
        "PartitionTimeLimit" => Never(
            "--time is more than the partition allows (sinfo --format='%P %l' shows its limit)",
        ),
        "PartitionNodeLimit" | "PartitionConfig" => Never(
            "the partition does not have or allow what they ask for: cores, memory or nodes (scontrol show partition)",
        ),
        "PartitionDown" | "PartitionInactive" => Never(
            "the partition starts no jobs at present (sinfo shows it): wait until it does, or name another --partition",
        ),
        "BadConstraints" => Never(
            "no node has what they ask for: --gres, --mem, --cpus-per-task or a constraint (scontrol show nodes)",
        ),
        "InvalidAccount" | "AccountNotAllowed" => Never("--account may not be used here"),
        "InvalidQOS" | "QOSNotAllowed" => Never("--qos may not be used here"),
        "DependencyNeverSatisfied" => Never("they wait for a job that failed"),
        "ReservationDeleted" => Never("their reservation is gone"),
        "JobHeldUser" => {
            Never("they are held by you: `scontrol release` with the job's number lets them go")
        }
        "JobHeldAdmin" | "JobHoldMaxRequeue" => {
            Never("they are held by the cluster or its administrator, whom to ask")
        }
        "MaxMemPerLimit" => Never("--mem is more than a job may have"),
        _ if word.starts_with("Job's account") => Never("--account may not be used here"),
        _ if word.starts_with("Job's QOS") => Never("--qos may not be used here"),
        _ if word.starts_with("Nodes required for job") => {
            Waits("sinfo shows which are down, drained or reserved")
        }
        _ => family(word),
    }
}

/// The limits of accounts and of qualities of service, whose names are made of parts.
fn family(word: &str) -> Meaning {
    use Meaning::{Never, Waits};
    let (account, qos) = (word.starts_with("Assoc"), word.starts_with("QOS"));
    if !account && !qos {
        return Waits("");
    }
    let rest = word.trim_end_matches("Limit");
    let of_one_job = rest.ends_with("PerJob") || rest.ends_with("PerNode");
    let budget = word.contains("Grp") && rest.ends_with("Minutes") && !rest.ends_with("RunMinutes");
    if of_one_job || word.starts_with("QOSMin") {
        Never(
            "a run asks for more, or less, than a job of this account or QOS may have: --time, --mem, --cpus-per-task or --gres",
        )
    } else if budget {
        Never(
            "the time that this account or QOS may use is used up: name another --account or --qos, or ask for more",
        )
    } else {
        Waits("this account or QOS has as much in use at once as it may")
    }
}
