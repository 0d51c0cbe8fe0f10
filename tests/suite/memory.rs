//! A device without memory: batches of milestones are halved until they fit, and what cannot be halved is one message. `MILEPOST_FAULT_ROWS` is the
//! number of rows that fit.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::{Project, timeless};

fn finetune(project: &Project, name: &str, rows: &str) -> assert_cmd::assert::Assert {
    let arguments = ["finetune", "small.toml", "--name", name];
    let mut command = project.milepost(&arguments);
    command.env("MILEPOST_FAULT_ROWS", rows).assert()
}

/// Hooks that look into the networks, besides those of the small experiment.
const LOOKS: &str = r#"
[hooks.representation]
at = ["start", "end"]
[hooks.weight-attribution]
at = "end"
"#;

#[test]
fn hooks_measure_the_same_with_memory_for_two_rows() {
    let project = Project::new();
    let small = std::fs::read_to_string(project.path().join("small.toml")).unwrap();
    project.write("small.toml", small + LOOKS);
    let whole = project.run("whole", &[]);
    // Eight prompts do not fit, nor four.
    let output = finetune(&project, "halves", "2").success();
    let errors = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(
        !errors.contains("out of memory") && !errors.contains("panicked"),
        "{errors}"
    );
    let halves = project.path().join("runs/small/halves");
    let is_shares = |line: &Value| line["source"] == "weight-attribution";
    let [(shares, same), (its_shares, its_same)] = [&halves, &whole].map(|run| {
        timeless(run)
            .into_iter()
            .partition::<Vec<Value>, _>(is_shares)
    });
    assert_eq!(same, its_same);
    // Shares are sums over the passes, which were added in another order.
    assert_eq!((shares.len(), its_shares.len()), (1, 1));
    let (shares, its_shares) = (scalars(&shares[0]), scalars(&its_shares[0]));
    assert!(shares.keys().eq(its_shares.keys()) && shares.len() > 40);
    for (name, share) in &shares {
        let off = (share - its_shares[name]).abs();
        assert!(off < 1e-7, "{name}: {share}, {}", its_shares[name]);
    }
}

fn scalars(line: &Value) -> BTreeMap<String, f64> {
    let scalars = line["scalars"].as_object().unwrap().iter();
    scalars
        .map(|(name, value)| (name.clone(), value.as_f64().unwrap()))
        .collect()
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
