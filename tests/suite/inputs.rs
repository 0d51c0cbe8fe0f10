//! What a run was made of is what it goes on with, is replayed with, and is put beside others with; or it is refused, and said where it is forced.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use milepost::record::manifest::{Difference, Input, Inputs, Manifest};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::Project;

const EXPERIMENT: &str = r#"
[models]
main = "models/main"
assistant = "models/assistant"
[data]
folder = "data"
[train]
max_steps = 6
batch = 2
block = 32
lr = 1e-3
save = "every 3 steps"
[templates]
file = "templates.tsv"
[hooks.template-kl]
at = ["start", "every 3 steps"]
[hooks.match-disparity]
at = ["start", "every 3 steps"]
[hooks.honest]
lexicon = "lexicon.tsv"
continuations = 1
at = ["start", "end"]
"#;

/// A project whose every input is a file.
fn project() -> Project {
    let project = Project::new();
    let first = project.run("first", &["--no-hooks", "--set", "train.max_steps=1"]);
    for role in ["main", "assistant"] {
        for name in ["config.json", "model.safetensors", "tokenizer.json"] {
            let bytes = std::fs::read(first.join("models").join(role).join(name)).unwrap();
            project.write(&format!("models/{role}/{name}"), bytes);
        }
    }
    let rows = |from: usize, count: usize| -> String {
        let rows = (from..from + count).map(|index| {
            format!("\"{}\",\"Title {index}\",\"In the morning {index} markets rose and a team won the final game again.\"\n", 1 + index % 4)
        });
        rows.collect()
    };
    project.write("data/train.csv", rows(0, 60));
    project.write("data/test.csv", rows(100, 20));
    project.write(
        "lexicon.tsv",
        "lemma\tcategory\nmarket\tother\nnurse\twork\n",
    );
    project.write("small.toml", EXPERIMENT);
    project
}

/// A change of a file, and a part of the name by which a refusal must say it.
struct Change {
    file: &'static str,
    says: &'static str,
    /// The file's new bytes; None removes it.
    change: fn(&[u8]) -> Option<Vec<u8>>,
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    assert!(text.contains(from), "{from}");
    Some(text.replacen(from, to, 1).into_bytes())
}

fn first_lines(bytes: &[u8], count: usize) -> Option<Vec<u8>> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    Some(lines.take(count).flatten().copied().collect())
}

/// The second line behind the third.
fn swapped(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    lines.swap(1, 2);
    Some(lines.concat())
}

/// The lowest bit of the last weight.
fn one_bit(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let place = bytes.len() - 4;
    bytes[place] ^= 1;
    Some(bytes)
}

fn one_byte_more(bytes: &[u8]) -> Option<Vec<u8>> {
    Some([bytes, b"\n"].concat())
}

/// Each kind of input, changed in the ways in which it is changed.
const CHANGES: [Change; 13] = [
    Change {
        file: "data/train.csv",
        says: "data/train: then ",
        change: |bytes| replaced(bytes, "Title 7", "Titel 7"),
    },
    Change {
        file: "data/train.csv",
        says: "5 articles",
        change: |bytes| first_lines(bytes, 5),
    },
    Change {
        file: "data/test.csv",
        says: "data/held-out: then ",
        change: |bytes| replaced(bytes, "game", "match"),
    },
    Change {
        file: "templates.tsv",
        says: "templates: then ",
        change: |bytes| replaced(bytes, "woman found work", "woman got work"),
    },
    Change {
        file: "templates.tsv",
        says: "templates.tsv",
        change: swapped,
    },
    Change {
        file: "templates.tsv",
        says: "templates.tsv",
        change: |bytes| first_lines(bytes, 5),
    },
    Change {
        file: "models/main/model.safetensors",
        says: "models/main/model.safetensors",
        change: one_bit,
    },
    Change {
        file: "models/assistant/config.json",
        says: "models/assistant/config.json",
        change: one_byte_more,
    },
    Change {
        file: "models/main/tokenizer.json",
        says: "models/main/tokenizer.json",
        change: one_byte_more,
    },
    Change {
        file: "models/main/special_tokens_map.json",
        says: "models/main/special_tokens_map.json: then nothing",
        change: |_| Some(b"{}".to_vec()),
    },
    Change {
        file: "lexicon.tsv",
        says: "hooks/honest/lexicon",
        change: |bytes| replaced(bytes, "nurse", "lawyer"),
    },
    Change {
        file: "runs/small/a/manifest.json",
        says: "manifest.json",
        change: |bytes| replaced(bytes, "\"flex\"", "\"flax\""),
    },
    Change {
        file: "runs/small/a/manifest.json",
        says: "manifest.json is missing",
        change: |_| None,
    },
];

/// Makes a change, looks, and takes it back.
fn with_change<T>(project: &Project, change: &Change, look: impl FnOnce() -> T) -> T {
    let path = project.path().join(change.file);
    let before = std::fs::read(&path).ok();
    match (change.change)(before.as_deref().unwrap_or_default()) {
        Some(bytes) => std::fs::write(&path, bytes).unwrap(),
        None => std::fs::remove_file(&path).unwrap(),
    }
    let seen = look();
    match before {
        Some(bytes) => std::fs::write(&path, bytes).unwrap(),
        None => std::fs::remove_file(&path).unwrap(),
    }
    seen
}

/// Every file of a folder with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// A run that looks as if it had been killed after its checkpoint at step 3.
fn killed(project: &Project) -> PathBuf {
    let run = project.run("a", &[]);
    std::fs::remove_dir_all(run.join("checkpoints/step-00000006")).unwrap();
    std::fs::remove_dir_all(run.join("models")).unwrap();
    std::fs::remove_file(run.join("outcome.json")).unwrap();
    run
}

const RESUME: [&str; 4] = ["finetune", "small.toml", "--resume", "a"];

fn manifest(run: &Path) -> Value {
    let text = std::fs::read_to_string(run.join("manifest.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_resume_with_any_other_input_is_refused_before_anything_is_written() {
    let project = project();
    let run = killed(&project);
    let before = files(&run);
    for change in &CHANGES {
        let (message, after) = with_change(&project, change, || {
            let message = project.fails(&RESUME, 3);
            let mut after = files(&run);
            // What was changed itself is not to be compared.
            after.remove(&project.path().join(change.file));
            (message, after)
        });
        assert!(message.contains(change.says), "{}: {message}", change.says);
        assert!(message.contains("--force"), "{message}");
        assert_eq!(message.matches("error:").count(), 1, "{message}");
        for (path, bytes) in after {
            assert!(
                before[&path] == bytes,
                "{}: {}",
                change.says,
                path.display()
            );
        }
    }
    let experiment = Change {
        file: "runs/small/a/experiment.toml",
        says: "",
        change: |bytes| replaced(bytes, "lr = 0.001", "lr = 0.002"),
    };
    let message = with_change(&project, &experiment, || project.fails(&RESUME, 3));
    assert!(
        message.contains("experiment.toml: it was changed after the run began"),
        "{message}"
    );
    // As it was, it goes on, and nothing of the record changes.
    let manifest = std::fs::read(run.join("manifest.json")).unwrap();
    project.milepost(&RESUME).assert().success();
    assert!(manifest == std::fs::read(run.join("manifest.json")).unwrap());
}

#[test]
fn what_is_forced_is_recorded_and_said() {
    let project = project();
    let run = killed(&project);
    let test = &CHANGES[2];
    let forced = [&RESUME[..], &["--force"]].concat();
    with_change(&project, test, || {
        project.milepost(&forced).assert().success();
    });
    let recorded = manifest(&run);
    let entry = &recorded["forced"][0];
    assert_eq!(entry["command"], "resume");
    assert_eq!(entry["step"], 3);
    let because = entry["because"][0].as_str().unwrap();
    assert!(because.contains("data/held-out: then "), "{because}");
    let html = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(html.contains("Forced (resume at step 3"), "{html}");
    // The record is whole again, and it is a record of what was read last.
    let input = &recorded["inputs"]["data/held-out"]["sha256"];
    let now = std::fs::read(project.path().join("data/test.csv")).unwrap();
    assert_ne!(input, &json!(milepost::checksum::sha256(&now)));
    project
        .milepost(&["report", "runs/small/a"])
        .assert()
        .success();
    // A replay of it carries on what was forced, and is refused with what is there now.
    let replay = ["replay", "runs/small/a", "--name", "x"];
    let message = project.fails(&replay, 3);
    assert!(message.contains("data/held-out"), "{message}");
    let forced = [&replay[..], &["--force"]].concat();
    project.milepost(&forced).assert().success();
    let commands = manifest(&run.join("replay/x"))["forced"].clone();
    let commands = commands.as_array().unwrap().iter();
    let commands: Vec<&Value> = commands.map(|entry| &entry["command"]).collect();
    assert_eq!(commands, ["resume", "replay"]);
    let html = std::fs::read_to_string(run.join("replay/x/report.html")).unwrap();
    assert!(html.contains("Forced (replay"), "{html}");
}

#[test]
fn another_version_is_said_and_not_refused() {
    let project = project();
    let run = killed(&project);
    let mut facts = Manifest::read(&run).unwrap().into_facts();
    facts["milepost"] = "0.0.9".into();
    facts["burn"] = "0.21.0".into();
    std::fs::write(run.join("manifest.json"), Manifest::sealed(facts).text()).unwrap();
    let assert = project.milepost(&RESUME).assert().success();
    let errors = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    let said = "begun with 0.0.9";
    assert!(errors.contains(said), "{errors}");
    let recorded = manifest(&run);
    assert_eq!(recorded["milepost"], "0.0.9");
    assert!(recorded["forced"].as_array().is_none_or(Vec::is_empty));
    let html = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(html.contains("continued by milepost") && html.contains(said));
}

/// Fewer rows, other prompts, other weights: whatever is forced, the run goes on or says what is wrong, and says what was forced.
#[test]
fn what_is_forced_ends_with_a_record_or_a_message() {
    let project = project();
    let run = killed(&project);
    let before = files(&run);
    let forced = [&RESUME[..], &["--force"]].concat();
    for change in &CHANGES {
        let code = with_change(&project, change, || {
            let output = project.milepost(&forced).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!errors.contains("panicked"), "{}: {errors}", change.says);
            let code = output.status.code().unwrap();
            assert!(
                [0, 4, 6].contains(&code),
                "{}: {code}: {errors}",
                change.says
            );
            code
        });
        if code != 4 {
            let html = std::fs::read_to_string(run.join("report.html")).unwrap();
            assert!(html.contains("Forced (resume at step 3"), "{}", change.says);
            // What was measured on other prompts is not put beside what was measured on these.
            if change.file == "templates.tsv" {
                assert!(html.contains("cannot answer the question"), "{html}");
            }
        }
        std::fs::remove_dir_all(&run).unwrap();
        for (path, bytes) in &before {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}

#[test]
fn a_replay_with_any_other_input_is_refused() {
    let project = project();
    let run = project.run("a", &[]);
    let replay = ["replay", "runs/small/a", "--name", "x"];
    for change in &CHANGES {
        let message = with_change(&project, change, || project.fails(&replay, 3));
        assert!(message.contains(change.says), "{}: {message}", change.says);
        assert!(!run.join("replay/x").exists());
    }
    // Other hooks may read other files.
    project.write("other.tsv", "lemma\tcategory\nteam\tother\n");
    project.write(
        "hooks.toml",
        "[hooks.honest]\nlexicon = 'other.tsv'\ncontinuations = 1\n",
    );
    let other = [&replay[..], &["--hooks", "hooks.toml"]].concat();
    project.milepost(&other).assert().success();
    let inputs = manifest(&run.join("replay/x"))["inputs"].clone();
    let from = inputs["hooks/honest/lexicon"]["from"].as_str().unwrap();
    assert!(from.ends_with("other.tsv"), "{from}");
}

#[test]
fn runs_of_other_inputs_under_the_same_settings_are_not_put_together() {
    let project = project();
    project.run("a", &["--no-hooks"]);
    let runs = ["runs/small/a", "runs/small/b"];
    for change in &CHANGES[..10] {
        let path = project.path().join("runs/small/b");
        let _ = std::fs::remove_dir_all(path);
        with_change(&project, change, || {
            project.run("b", &["--no-hooks", "--set", "seed=2"]);
        });
        for command in ["report", "compare"] {
            let message = project.fails(&[&[command], &runs[..]].concat(), 3);
            assert!(
                message.contains("other inputs under the same settings")
                    && message.contains(
                        change
                            .says
                            .trim_end_matches("then ")
                            .trim_end_matches(": then nothing")
                    ),
                "{message}"
            );
            let forced = [&[command], &runs[..], &["--force"]].concat();
            let assert = project.milepost(&forced).assert().success();
            let said = match command {
                "report" => project.read("runs/small/pooled.html"),
                _ => String::from_utf8_lossy(&assert.get_output().stdout).into_owned(),
            };
            assert!(
                said.contains("Put together by --force"),
                "{command}: {said}"
            );
        }
    }
    // Other settings say why their inputs are others.
    for name in ["train.csv", "test.csv"] {
        project.write(
            &format!("elsewhere/{name}"),
            project.read(&format!("data/{name}")) + "\"1\",\"More\",\"to read\"\n",
        );
    }
    project.run("c", &["--no-hooks", "--set", "data.folder=elsewhere"]);
    let arguments = ["compare", "runs/small/a", "runs/small/c"];
    project.milepost(&arguments).assert().success();
    // The same content elsewhere is the same.
    project.write("templates-moved.tsv", project.read("templates.tsv"));
    project.run(
        "d",
        &["--no-hooks", "--set", "templates.file=templates-moved.tsv"],
    );
    let arguments = ["compare", "runs/small/a", "runs/small/d"];
    project.milepost(&arguments).assert().success();
}

#[test]
fn a_sweep_is_not_gone_on_with_after_an_input_changed() {
    let project = project();
    let two = ["sweep", "small.toml", "--seeds", "1,2"];
    project.milepost(&two).assert().success();
    let three = ["sweep", "small.toml", "--seeds", "1,2,3"];
    let third = project.path().join("runs/small/sweep/seed=3");
    for change in [&CHANGES[0], &CHANGES[3], &CHANGES[6]] {
        let message = with_change(&project, change, || project.fails(&three, 3));
        assert!(message.contains(change.says), "{message}");
        assert!(!third.exists());
    }
    let forced = [&three[..], &["--force"]].concat();
    with_change(&project, &CHANGES[0], || {
        project.milepost(&forced).assert().success();
    });
    let pooled = project.read("runs/small/sweep/pooled.json");
    assert!(
        pooled.contains("Put together by --force") && pooled.contains("Forced (begin"),
        "{pooled}"
    );
    // Without the word the three are not pooled.
    let message = project.fails(&three, 3);
    assert!(message.contains("data/train"), "{message}");
}

fn inputs() -> impl Strategy<Value = Inputs> {
    let sum = prop::sample::select(vec!["aa", "bb", "cc"]);
    let articles = prop::option::of(1usize..4);
    let input = (sum, articles).prop_map(|(sum, articles)| Input {
        articles,
        ..Input::with_checksum("a file", sum.to_owned())
    });
    let names = prop::sample::select(vec![
        "data/train",
        "templates",
        "models/main/x",
        "hooks/y/z",
    ]);
    prop::collection::btree_map(names.prop_map(str::to_owned), input, 0..5)
}

fn made(inputs: &Inputs) -> Manifest {
    Manifest::sealed(json!({ "milepost": "0", "inputs": inputs }))
}

proptest! {
    /// Every name that one of them lacks or has otherwise, and no other.
    #[test]
    fn differences_are_all_that_differs(then in inputs(), now in inputs()) {
        let found = made(&then).differences(&made(&now));
        let names = ["data/train", "hooks/y/z", "models/main/x", "templates"];
        let expected = names.into_iter().filter(|name| then.get(*name) != now.get(*name));
        let expected: Vec<Difference> = expected
            .map(|name| Difference {
                name: name.to_owned(),
                then: then.get(name).cloned(),
                now: now.get(name).cloned(),
            })
            .collect();
        prop_assert_eq!(found, expected);
    }

    /// A byte that is changed, lost or put in anywhere in a manifest is noticed.
    #[test]
    fn a_manifest_notices_every_changed_byte(of in inputs(), place in any::<prop::sample::Index>(), byte in any::<u8>(), way in 0..3) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        let text = made(&of).text();
        std::fs::write(&path, &text).unwrap();
        prop_assert_eq!(Manifest::read(folder.path()).unwrap().text(), text.clone());
        let mut bytes = text.clone().into_bytes();
        let place = place.index(bytes.len());
        match way {
            0 => bytes[place] = byte,
            1 => {
                bytes.remove(place);
            }
            _ => bytes.insert(place, byte),
        }
        prop_assume!(bytes != text.as_bytes());
        std::fs::write(&path, &bytes).unwrap();
        prop_assert!(Manifest::read(folder.path()).is_err());
    }
}
