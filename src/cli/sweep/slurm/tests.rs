//! What is read of Slurm's programs, and what is written for them.

use std::process::Command;
use std::time::Duration;

use proptest::prelude::*;

use super::job::Job;
use super::queue::{Exit, Stage, Task, parse};
use super::reason::{Meaning, meaning};
use super::script::{begins_at, escaped};
use crate::cli::sweep::printing::quoted;

/// Three lines of Slurm 22.05, and one that a site or another cluster adds.
#[test]
fn what_squeue_prints_is_read() {
    let line = |words: [&str; 6]| {
        let [id, index, state, exit, time, reason] = words;
        format!("{id:<20}{index:<20}{state:<20}{exit:<20}{time:<20}{reason:<200}\n")
    };
    let account = "Job's account not known, so it can't use this partition (denied allows good)";
    let printed = "CLUSTER: one\n".to_owned()
        + &line(["12", "3", "PENDING", "0", "0:00", account])
        + &line(["12", "10", "FAILED", "768", "1-02:03:04", "NonZeroExitCode"])
        + &line(["12", "11", "CANCELLED", "15", "1:00:07", "None"]);
    let task = |state: &str, exit, seconds, reason: &str| Task {
        state: state.to_owned(),
        exit,
        time: Some(Duration::from_secs(seconds)),
        reason: reason.to_owned(),
    };
    let tasks = [
        (3, task("PENDING", None, 0, account)),
        (
            10,
            task("FAILED", Some(Exit::Code(3)), 93_784, "NonZeroExitCode"),
        ),
        (11, task("CANCELLED", Some(Exit::Signal(15)), 3607, "None")),
    ];
    let expected = tasks.map(|(index, task)| ("12".to_owned(), index, task));
    assert_eq!(parse(&printed), expected);
}

proptest! {
    #[test]
    fn every_task_that_squeue_prints_is_found(
        tasks in prop::collection::btree_map(0usize..2000, (any::<u8>(), 0u8..64, 0u64..400_000, "[A-Z][A-Za-z]{0,30}"), 0..20),
        id in 1u32..,
        colon: bool,
    ) {
        let mut printed = String::new();
        for (index, (code, signal, seconds, reason)) in &tasks {
            let exit = if colon {
                format!("{code}:{signal}")
            } else {
                (u32::from(*code) << 8 | u32::from(*signal)).to_string()
            };
            let (days, rest) = (seconds / 86_400, seconds % 86_400);
            let (hours, minutes, left) = (rest / 3600, rest / 60 % 60, rest % 60);
            let time = match (days, hours) {
                (0, 0) => format!("{minutes}:{left:02}"),
                (0, _) => format!("{hours}:{minutes:02}:{left:02}"),
                _ => format!("{days}-{hours:02}:{minutes:02}:{left:02}"),
            };
            printed += &format!("{id:<20}{index:<20}{:<20}{exit:<20}{time:<20}{reason:<200}\n", "RUNNING");
        }
        let found = parse(&printed);
        prop_assert_eq!(found.len(), tasks.len());
        for ((found_id, found_index, task), (index, (code, signal, seconds, reason))) in found.iter().zip(&tasks) {
            prop_assert_eq!(found_id, &id.to_string());
            prop_assert_eq!(found_index, index);
            prop_assert_eq!(&task.reason, reason);
            prop_assert_eq!(task.time, Some(Duration::from_secs(*seconds)));
            let exit = match (code, signal) {
                (0, 0) => None,
                (code, 0) => Some(Exit::Code(*code)),
                (_, signal) => Some(Exit::Signal(*signal)),
            };
            prop_assert_eq!(task.exit, exit);
        }
    }

    /// Nothing that squeue may print ends the program.
    #[test]
    fn any_text_can_be_read(text in any::<String>(), fields in "([0-9:;-]{0,30}[ \n]{0,3}){0,30}") {
        parse(&text);
        parse(&fields);
        Job::parse(&text);
        meaning(&text);
    }

    #[test]
    fn the_number_of_a_job_is_read(id in "[0-9]{1,9}", cluster in proptest::option::of("[a-z][a-z0-9]{0,8}"), before in "(module loaded\n){0,2}") {
        let line = match &cluster {
            Some(cluster) => format!("{before}{id};{cluster}\n"),
            None => format!("{before}{id}\n"),
        };
        prop_assert_eq!(Job::parse(&line), Some(Job { id, cluster }));
        prop_assert_eq!(Job::parse("sbatch: error"), None);
    }

    /// As sbatch reads a line of a script (`get_argument` of its slurm_opt.c): a space outside of quotes parts options, even behind a
    /// backslash; a backslash takes any other letter after it as it is; # begins a comment.
    #[test]
    fn an_option_comes_out_of_a_script_as_it_went_in(value in "[ -~é]{1,40}") {
        let option = format!("--comment={value}");
        let line = escaped(&option);
        let (mut found, mut letters, mut quote) = (String::new(), line.chars(), None);
        while let Some(letter) = letters.next() {
            match (letter, quote) {
                ('\\', _) => match letters.next() {
                    Some(' ') if quote.is_none() => break,
                    next => found.extend(next),
                },
                ('"' | '\'', None) => quote = Some(letter),
                (letter, Some(open)) if letter == open => quote = None,
                (' ' | '#', None) => break,
                (letter, _) => found.push(letter),
            }
        }
        prop_assert_eq!(found, option);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    #[cfg(unix)]
    fn a_word_comes_out_of_a_shell_as_it_went_in(words in prop::collection::vec("[^\0]{0,20}", 1..4)) {
        let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let script = format!("printf '%s\\0' {}", quoted.join(" "));
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let expected: String = words.iter().map(|word| format!("{word}\0")).collect();
        prop_assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
}

/// The states of squeue's manual, by what follows for the run. One that is not known here is not submitted twice.
#[test]
fn states_say_how_far_a_task_is() {
    for (state, expected) in [
        ("PENDING", Stage::Waiting),
        ("REQUEUE_HOLD", Stage::Waiting),
        ("RUNNING", Stage::Running),
        ("SUSPENDED", Stage::Running),
        ("SOMETHING_NEW", Stage::Running),
        ("COMPLETING", Stage::Ending),
        ("COMPLETED", Stage::Over),
        ("PREEMPTED", Stage::Over),
        ("NODE_FAIL", Stage::Over),
    ] {
        let task = Task {
            state: state.to_owned(),
            exit: None,
            time: None,
            reason: String::new(),
        };
        assert_eq!(task.stage(), expected, "{state}");
    }
}

/// Reasons of Slurm's list, and texts that Slurm 22.05 gave in their place.
#[test]
fn reasons_say_whether_a_task_can_ever_begin() {
    for reason in [
        "PartitionTimeLimit",
        "PartitionDown",
        "PartitionConfig",
        "BadConstraints",
        "JobHeldUser",
        "JobHeldAdmin",
        "AssocGrpCPUMinutesLimit",
        "AssocGrpGRESMinutes",
        "QOSGrpMemoryMinutes",
        "QOSMaxWallDurationPerJobLimit",
        "AssocMaxCpuPerJobLimit",
        "QOSMaxGRESPerNode",
        "QOSMinCpuNotSatisfied",
        "Job's account not known, so it can't use this partition (denied allows good)",
        "Job's QOS not permitted to use this partition (a allows b not c)",
    ] {
        assert!(matches!(meaning(reason), Meaning::Never(_)), "{reason}");
    }
    for reason in [
        "",
        "None",
        "Resources",
        "Priority",
        "Licenses",
        "BeginTime",
        "QOSMaxJobsPerUserLimit",
        "QOSMaxCpuPerUserLimit",
        "AssocGrpCpuLimit",
        "AssocGrpCPURunMinutesLimit",
        "AssocMaxJobsLimit",
        "ReqNodeNotAvail, UnavailableNodes:vm[1-3]",
        "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
        "SomethingNew",
    ] {
        assert!(matches!(meaning(reason), Meaning::Waits(_)), "{reason}");
    }
}

#[test]
fn a_task_is_blamed_for_its_own_words_alone() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("a.log");
    let text = "== Slurm task 12 1 on a\nerror: old\n== Slurm task 12 1 on b\nnew\n";
    std::fs::write(&log, text).unwrap();
    assert_eq!(&text[begins_at(&log, "12", 1)..], "b\nnew\n");
    // One that never came so far has said nothing.
    assert_eq!(begins_at(&log, "12", 11), text.len());
    assert_eq!(begins_at(&folder.path().join("none"), "12", 1), 0);
}
