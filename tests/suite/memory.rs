//! A device without memory: batches of milestones are halved until they fit, and what cannot be halved is one message. `MILEPOST_FAULT_ROWS` is the
//! number of rows that fit.

use crate::harness::{Project, timeless};

fn finetune(project: &Project, name: &str, rows: &str) -> assert_cmd::assert::Assert {
    let arguments = ["finetune", "small.toml", "--name", name];
    let mut command = project.milepost(&arguments);
    command.env("MILEPOST_FAULT_ROWS", rows).assert()
}

#[test]
fn hooks_measure_the_same_with_memory_for_two_rows() {
    let project = Project::new();
    let whole = project.run("whole", &[]);
    // Eight prompts do not fit, nor four.
    let output = finetune(&project, "halves", "2").success();
    let errors = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(
        !errors.contains("out of memory") && !errors.contains("panicked"),
        "{errors}"
    );
    let halves = project.path().join("runs/small/halves");
    assert_eq!(timeless(&halves), timeless(&whole));
}

#[test]
fn a_hook_fails_with_one_message_when_not_even_one_row_fits() {
    let project = Project::new();
    let output = finetune(&project, "none", "0").code(7);
    let errors = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    for words in [
        "`template-kl` failed at step 0: out of memory on the device (CUDA out of memory. Tried to allocate 1 rows",
        "`match-disparity` failed at step 0: out of memory on the device (CUDA out of memory. Tried to allocate 1 rows",
        "though one prompt was decoded at a time: lower `decode.max_new_tokens`",
    ] {
        assert!(errors.contains(words), "{words:?} is not in:\n{errors}");
    }
    let hook = errors
        .lines()
        .find(|line| line.contains("`match-disparity`"));
    let times = hook.unwrap().matches("CUDA out of memory").count();
    assert!(times == 1 && !errors.contains("panicked"), "{errors}");
    // What measures alone ends with it.
    let mut measure = project.milepost(&["measure", "--templates", "templates.tsv"]);
    let output = measure.env("MILEPOST_FAULT_ROWS", "0").assert().code(7);
    let errors = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(
        errors.starts_with("error: out of memory on the device"),
        "{errors}"
    );
}

#[test]
fn a_micro_batch_that_does_not_fit_is_one_message_and_the_run_can_go_on() {
    let project = Project::new();
    let whole = project.run("whole", &[]);
    let output = finetune(&project, "full", "1").code(7);
    let errors = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    for words in [
        "out of memory on the device",
        "in step 1: lower `train.batch`",
        "--resume",
    ] {
        assert!(errors.contains(words), "{words:?} is not in:\n{errors}");
    }
    assert_eq!(
        errors.matches("out of memory on the device").count(),
        1,
        "{errors}"
    );
    assert!(!errors.contains("panicked"), "{errors}");
    // On a card that has the memory it becomes what it would have been.
    let resume = ["finetune", "small.toml", "--resume", "full"];
    project.milepost(&resume).assert().success();
    let full = project.path().join("runs/small/full");
    assert_eq!(timeless(&full), timeless(&whole));
}
