//! The program without the repository: experiments that are built into it.

use std::path::Path;

use crate::harness::Project;

/// The names of the files in `experiments/` of the project.
fn shipped() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| {
        let path = entry.unwrap().path();
        path.file_stem().unwrap().to_str().unwrap().to_owned()
    });
    names.collect()
}

/// What the program says, on either stream.
fn said(project: &Project, arguments: &[&str]) -> String {
    let output = project.milepost(arguments).output().unwrap();
    [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .concat()
}

#[test]
fn an_experiment_that_is_built_in_runs_in_any_folder() {
    let project = Project::new();
    let set = "train.max_steps=2 train.evaluate=['end'] train.save='end' hooks={}";
    let run = ["finetune", "ag_news", "--name", "one", "--set", set];
    let out = said(&project, &run);
    assert!(
        out.contains("settings  ag_news (built in) with --set\n"),
        "{out}"
    );
    assert!(out.contains("data      built-in sample"), "{out}");
    let resume = ["finetune", "ag_news", "--resume", "one"];
    let resume = [&resume[..], &["--extend", "train.max_steps=3"]].concat();
    let out = said(&project, &resume);
    assert!(
        out.contains("settings  runs/ag_news/one/experiment.toml"),
        "{out}"
    );
    let folder = project.path().join("runs/ag_news/one");
    assert!(folder.join("models/assistant/model.safetensors").is_file());
    let printed = said(&project, &["sweep", "ag_news", "--seeds", "1,2", "--print"]);
    assert_eq!(printed.matches("finetune ag_news ").count(), 2, "{printed}");
}

#[test]
fn a_file_of_the_same_name_comes_first() {
    let project = Project::new();
    let text = "seed = 7\n[data]\nbuiltin_sample = true\ntrain_articles = 60\n";
    project.write("experiments/ag_news.toml", text);
    let plan = said(&project, &["plan", "ag_news"]);
    assert!(
        plan.contains("settings  experiments/ag_news.toml\n") && plan.contains("seed = 7"),
        "{plan}"
    );
    project.write(
        "ag_news",
        "seed = 8\n[data]\nbuiltin_sample = true\ntrain_articles = 60\n",
    );
    let plan = said(&project, &["plan", "ag_news"]);
    assert!(plan.contains("settings  ag_news\n"), "{plan}");
    assert!(plan.contains("seed = 8"), "{plan}");
}

/// Each file of the project's is found in an empty folder, but those about files of one's own; help and messages name it.
#[test]
fn all_that_ship_are_built_in_and_named() {
    let project = Project::new();
    let unknown = project.fails(&["finetune", "nothing_like_it"], 2);
    assert!(unknown.contains("nor one that is built in"), "{unknown}");
    let helps = ["finetune", "study"].map(|command| said(&project, &[command, "--help"]));
    for name in shipped() {
        let text = std::fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("experiments/{name}.toml")),
        );
        let text = text.unwrap();
        if text.contains("../datasets/") {
            assert!(!unknown.contains(&name), "{name}: {unknown}");
            continue;
        }
        assert!(unknown.contains(&name), "{name}: {unknown}");
        let is_study = text.contains("[[arms]]");
        let help = &helps[usize::from(is_study)];
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let listed = help.split([' ', ',', '.']).any(|word| word == name);
        assert!(listed, "{name}: {help}");
        let shown = if is_study {
            said(&project, &["study", &name, "--print"])
        } else {
            let never = "nothing=1";
            said(&project, &["plan", &name, "--set", never])
        };
        let found = if is_study {
            shown.contains("finetune ag_news")
        } else {
            shown.contains(&format!("{name} (built in) with --set:"))
        };
        assert!(found, "{name}: {shown}");
    }
}

#[test]
fn a_mistake_is_shown_in_the_text_that_is_built_in() {
    let project = Project::new();
    let errors = project.fails(&["plan", "ag_news", "--set", "train.lr=-1.0"], 2);
    assert!(
        errors.contains("ag_news (built in) with --set:") && errors.contains("lr = -1.0"),
        "{errors}"
    );
}
