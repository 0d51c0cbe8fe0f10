//! A device that breaks in the middle of the work is one message and an exit code, and nothing is lost. `MILEPOST_FAULT_READ` is the number of the
//! first read of values that fails.

use crate::harness::{Project, timeless};

const WORDS: &str = "the device failed (CUDA error: an illegal memory access was encountered)";

fn failed(project: &Project, arguments: &[&str], read: usize) -> String {
    let mut command = project.milepost(arguments);
    command.env("MILEPOST_FAULT_READ", read.to_string());
    let output = command.assert().code(4);
    let errors = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(!errors.contains("panicked"), "read {read}: {errors}");
    let ends: Vec<&str> = (errors.lines())
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert!(
        ends.len() == 1 && ends[0].contains(WORDS),
        "read {read}: {errors}"
    );
    errors
}

#[test]
fn a_run_ends_with_one_message_wherever_the_device_breaks_and_can_go_on() {
    let project = Project::new();
    project.run("whole", &["--no-hooks"]);
    let whole = timeless(&project.path().join("runs/small/whole"));
    for read in [1, 2, 3, 5, 8] {
        let name = format!("read{read}");
        let begin = ["finetune", "small.toml", "--no-hooks", "--name", &name];
        let errors = failed(&project, &begin, read);
        assert!(errors.contains("--resume goes on"), "{errors}");
        let resume = ["finetune", "small.toml", "--resume", &name];
        project.milepost(&resume).assert().success();
        let run = project.path().join("runs/small").join(&name);
        assert_eq!(timeless(&run), whole, "read {read}");
    }
}

#[test]
fn hooks_and_measure_say_that_the_device_failed() {
    let project = Project::new();
    let begin = ["finetune", "small.toml", "--name", "hooks"];
    let errors = failed(&project, &begin, 3);
    let hook = errors.lines().find(|line| line.starts_with("hook `"));
    assert!(hook.is_some_and(|line| line.contains(WORDS)), "{errors}");
    let measure = ["measure", "--templates", "templates.tsv"];
    for read in [1, 4] {
        failed(&project, &measure, read);
    }
}
