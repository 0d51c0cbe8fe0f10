//! Runs with `data.intervene`, and the keys of an entry.

use milepost::experiment::Resolved;
use serde_json::Value;

use super::{PAIRS, resolved};
use crate::harness::{Project, timeless};

fn with(project: &Project, entries: &str) {
    let text = project.read("small.toml");
    let text = text.replace("[data]\n", &format!("[data]\nintervene = {entries}\n"));
    project.write("changed.toml", text);
}

#[test]
fn an_entry_that_cannot_be_used_is_refused_at_its_place() {
    let project = Project::new();
    project.write("words.tsv", PAIRS);
    project.write("column.tsv", "she\n");
    project.write("all.tsv", "the\na\nof\nin\nto\nsaid\n");
    for (entries, place, says) in [
        ("[{ swop = 'words.tsv' }]", "swop", "did you mean `swap`?"),
        ("[{ topics = 'World' }]", "topics", "did you mean `topic`?"),
        (
            "[{ swap = 'words.tsv', shuffle = 'words' }]",
            "shuffle",
            "this has `swap` and `shuffle`",
        ),
        ("[{}]", "{", "this entry says nothing"),
        ("['swap']", "'swap", "expected a table with one key"),
        (
            "[{ shuffle = 'letters' }]",
            "'letters",
            "unknown value `letters`",
        ),
        (
            "[{ swap = 'none.tsv' }]",
            "'none",
            "cannot read the word list none.tsv",
        ),
        (
            "[{ topic = 'Sport' }]",
            "'Sport",
            "this text has Business, Sci/Tech, Sports, World",
        ),
        (
            "[{ random = 'tokens' }, { swap = 'words.tsv' }]",
            "'words",
            "`random tokens` before it leaves tokens",
        ),
        (
            "[{ topic = 'Sports' }, { without_topic = 'Sports' }]",
            "'Sports' }]",
            "`without_topic Sports` leaves no document of",
        ),
        (
            "[{ without = 'all.tsv' }]",
            "'all",
            "`without all.tsv` leaves no document of 4000",
        ),
        (
            "[{ sampled = 'third' }]",
            "'third",
            "known: main, assistant",
        ),
    ] {
        with(&project, entries);
        let errors = project.fails(&["plan", "changed.toml"], 2);
        assert!(errors.contains(says), "{entries}: {errors}");
        let column = 1 + "intervene = ".len() + entries.find(place).unwrap();
        let place = format!("changed.toml:3:{column}\n");
        assert!(errors.contains(&place), "{entries}: {errors}");
    }
    with(&project, "[{ swap = 'column.tsv' }]");
    let errors = project.fails(&["plan", "changed.toml"], 2);
    assert!(
        errors.contains("column.tsv:1:1") && errors.contains("no counterpart"),
        "{errors}"
    );
    let errors = project.fails(&["plan", "small.toml", "--set", "data.blocks=9999"], 2);
    assert!(
        errors.contains("the training text has only") && errors.contains("not 9999"),
        "{errors}"
    );
    let errors = project.fails(&["plan", "small.toml", "--set", "data.blocks=0"], 2);
    assert!(errors.contains("must be at least 1"), "{errors}");
}

/// Every arm has as many blocks, of the right documents and topics, and the held-out text is the same.
#[test]
fn the_blocks_of_an_arm_are_as_many_and_made_of_its_documents() {
    let project = Project::new();
    let held_out = |resolved: &Resolved| {
        let blocks = &resolved.plan.scene.held_out;
        (0..blocks.len())
            .map(|index| blocks.get(index).to_vec())
            .collect::<Vec<_>>()
    };
    let plain = resolved(&project, "data.blocks=50 hooks={}");
    assert!(plain.plan.treatments.is_empty());
    for (entry, topics) in [
        ("swap='builtin'", None),
        ("without='builtin'", None),
        ("shuffle='words'", None),
        ("shuffle='topics'", None),
        ("plant={topic='Sports',group='male'}", None),
        ("topic='Sports'", Some(&["Sports"][..])),
        (
            "without_topic='Sports'",
            Some(&["Business", "Sci/Tech", "World"][..]),
        ),
        ("random='tokens'", Some(&[][..])),
        ("sampled='assistant'", Some(&[][..])),
    ] {
        let settings = format!(
            "data.train_articles=400 data.blocks=50 hooks={{}} data.intervene=[{{{entry}}}]"
        );
        let arm = resolved(&project, &settings);
        let blocks = &arm.plan.blocks;
        assert_eq!(blocks.len(), 50, "{entry}");
        assert_eq!(arm.plan.extent.steps(), plain.plan.extent.steps());
        assert_eq!(held_out(&arm), held_out(&plain), "{entry}");
        let mut tokens = 0;
        let mut found = std::collections::BTreeSet::new();
        for index in 0..blocks.len() {
            for piece in blocks.pieces(index) {
                tokens += piece.tokens.len();
                found.extend(blocks.topic(piece.document).map(str::to_owned));
            }
        }
        assert_eq!(tokens, 50 * 32, "{entry}");
        match topics {
            Some(topics) => assert!(found.iter().eq(topics), "{entry}: {found:?}"),
            None => assert_eq!(found.len(), 4, "{entry}: {found:?}"),
        }
    }
}

fn file(run: &std::path::Path, name: &str) -> Vec<u8> {
    std::fs::read(run.join(name)).unwrap()
}

#[test]
fn a_run_without_entries_is_the_run_without_the_key() {
    let project = Project::new();
    let run = project.run("plain", &[]);
    let text = project.read("small.toml");
    project.write(
        "small.toml",
        text.replace("[data]\n", "[data]\nintervene = []\n"),
    );
    let other = project.run("empty", &[]);
    for name in [
        "experiment.toml",
        "manifest.json",
        "models/main/model.safetensors",
        "models/assistant/model.safetensors",
    ] {
        assert!(file(&run, name) == file(&other, name), "{name}");
    }
    assert_eq!(timeless(&run), timeless(&other));
    assert!(!run.join("text_interventions.json").exists());
}

#[test]
fn a_run_records_what_was_done_to_its_text() {
    let project = Project::new();
    project.write("lists/words.tsv", "spokesman\tspokeswoman\nshe\the\n");
    with(
        &project,
        "[{ swap = 'lists/words.tsv' }, { shuffle = 'words' }]",
    );
    let run = |name: &str, more: &[&str]| {
        let arguments = [&["finetune", "changed.toml", "--name", name], more].concat();
        let assert = project.milepost(&arguments).assert().success();
        let said = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
        (project.path().join("runs/changed").join(name), said)
    };
    let (first, said) = run("first", &["--set", "train.save='every 3 steps'"]);
    let done: Value = serde_json::from_slice(&file(&first, "text_interventions.json")).unwrap();
    assert_eq!(done[0]["treatment"], "swap words.tsv");
    assert_eq!(done[0]["before"]["documents"], 60);
    let changed = done[0]["words"]["spokesman > spokeswoman"]
        .as_u64()
        .unwrap();
    let said_line = format!("words: spokesman > spokeswoman {changed}");
    assert!(changed > 0 && said.contains(&said_line), "{said}");
    assert!(
        said.contains("; changed: swap words.tsv, shuffle words"),
        "{said}"
    );
    let example = &done[0]["examples"][0];
    assert!(example["before"].as_str().unwrap().contains("spokesman"));
    assert!(example["after"].as_str().unwrap().contains("spokeswoman"));
    assert_eq!(done[1]["treatment"], "shuffle words");
    assert_eq!(done[1]["before"], done[0]["after"]);
    // The list is an input of the run, and its path is absolute in the resolved experiment.
    let manifest: Value = serde_json::from_slice(&file(&first, "manifest.json")).unwrap();
    let input = &manifest["inputs"]["data/intervene/1"];
    let bytes = std::fs::read(project.path().join("lists/words.tsv")).unwrap();
    assert_eq!(input["sha256"], milepost::checksum::sha256(&bytes));
    let resolved = String::from_utf8(file(&first, "experiment.toml")).unwrap();
    let absolute = format!(
        "swap = \"{}\"",
        project.path().join("lists/words.tsv").display()
    );
    assert!(resolved.contains(&absolute), "{resolved}");
    // The same again, and another one by another seed.
    let (again, _) = run("again", &["--set", "train.save='every 3 steps'"]);
    assert_eq!(timeless(&first), timeless(&again));
    assert_eq!(
        file(&first, "text_interventions.json"),
        file(&again, "text_interventions.json")
    );
    let (other, _) = run("other", &["--set", "seed=2"]);
    assert_ne!(
        file(&first, "text_interventions.json"),
        file(&other, "text_interventions.json")
    );
    // A killed run goes on with the same text, and not with another list.
    std::fs::remove_dir_all(again.join("checkpoints/step-00000006")).unwrap();
    std::fs::remove_file(again.join("outcome.json")).unwrap();
    let resume = ["finetune", "changed.toml", "--resume", "again"];
    project.write("lists/words.tsv", "spokesman\tspokesperson\n");
    let errors = project.fails(&resume, 3);
    assert!(errors.contains("data/intervene/1"), "{errors}");
    project.write("lists/words.tsv", bytes);
    project.milepost(&resume).assert().success();
    assert_eq!(timeless(&first), timeless(&again));
    assert_eq!(
        file(&first, "models/main/model.safetensors"),
        file(&again, "models/main/model.safetensors")
    );
    // A plan shows examples.
    let assert = project
        .milepost(&["plan", "changed.toml"])
        .assert()
        .success();
    let said = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let shown = said.split("swap words.tsv, document").nth(1).unwrap();
    let mut lines = shown.lines().skip(1);
    assert!(lines.next().unwrap().contains("spokesman"), "{shown}");
    assert!(lines.next().unwrap().contains("spokeswoman"), "{shown}");
}
