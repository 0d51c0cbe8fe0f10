//! Runs on text of one's own, and the keys of `[data]`.

use milepost::checksum::{Sum, sha256};
use milepost::data::sources::Share;
use serde_json::{Value, json};

use super::{documents, read};
use crate::harness::{Project, milestones, timeless};

const NEWS: &str = r#"{"id": 7, "news": {"title": "Team wins", "body": "The team won the match in the city."}, "class": "Sports"}
{"id": 8, "news": {"title": "Vote", "body": "The council voted, and the spokesman said so."}, "class": "World"}
"#;

/// A project that trains on news.jsonl.
fn project(data: &str) -> Project {
    let project = Project::new();
    project.write("news.jsonl", NEWS.repeat(60));
    let small = project.read("small.toml");
    let section = format!("source = \"jsonl\"\n{data}");
    project.write(
        "small.toml",
        small.replace("builtin_sample = true\n", &section),
    );
    project
}

const FIELDS: &str = "text = \"{news.title}\\n{news.body}\"\ntopic = \"class\"\n";

const SHARE: &str = "train = \"news.jsonl\"\nheld_out = { share = 0.25, seed = 3 }\n";

fn inputs(project: &Project, run: &str) -> Value {
    let manifest = project.read(&format!("runs/small/{run}/manifest.json"));
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    manifest["inputs"].clone()
}

#[test]
fn a_run_on_ones_own_text_records_what_it_read() {
    let project = project(&format!("{SHARE}{FIELDS}"));
    project.run("a", &[]);
    let inputs = inputs(&project, "a");
    let train = &inputs["data/train"];
    assert_eq!(train["sha256"], sha256(NEWS.repeat(60).as_bytes()));
    assert_eq!(train["articles"], 60);
    let path = project.path().join("news.jsonl");
    let corpus = read(
        "jsonl",
        &path,
        &json!({"text": "{news.title}\n{news.body}", "topic": "class"}),
        Some(Share {
            share: 0.25,
            seed: 3,
        }),
    )
    .unwrap();
    let mut sum = Sum::default();
    for document in documents(&corpus).iter().take(60) {
        for part in [document.topic.as_deref().unwrap(), &document.text] {
            sum.add(&(part.len() as u64).to_le_bytes());
            sum.add(part.as_bytes());
        }
    }
    assert_eq!(train["articles_sha256"], sum.end().sha256);
    assert_eq!(inputs["data/held-out"]["articles"], 20);
    let experiment = project.read("runs/small/a/experiment.toml");
    let absolute = format!("train = \"{}\"", path.display());
    assert!(experiment.contains(&absolute), "{experiment}");
}

#[test]
fn a_run_goes_on_with_the_same_text_only() {
    let project = project(&format!("{SHARE}{FIELDS}"));
    let save = ["--set", "train.save='every 2 steps'"];
    let whole = project.run("whole", &save);
    let stopped = project.path().join("runs/small/stopped");
    let begin = [
        "finetune",
        "small.toml",
        "--name",
        "stopped",
        "--until",
        "step 3",
    ];
    let begin = [&begin[..], &save].concat();
    project.milepost(&begin).assert().code(130);
    assert!(milestones(&stopped).len() < milestones(&whole).len());
    let go_on = ["finetune", "small.toml", "--resume", "stopped"];
    project.write("news.jsonl", NEWS.replace("city", "town").repeat(60));
    let errors = project.fails(&go_on, 3);
    assert!(
        errors.contains("data/train: then ") && errors.contains("data/held-out: then "),
        "{errors}"
    );
    project.write("news.jsonl", NEWS.repeat(60));
    project.milepost(&go_on).assert().success();
    assert_eq!(timeless(&stopped).last(), timeless(&whole).last());
}

#[test]
fn topics_of_a_field_are_topics() {
    let project = project(&format!(
        "{SHARE}{FIELDS}intervene = [{{ without_topic = \"World\" }}]\n"
    ));
    let assert = project.milepost(&["data", "small.toml"]).assert().success();
    let shown = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(shown.contains("dropped"), "{shown}");
    let train = shown.split("held out\n").next().unwrap();
    assert!(
        train.contains("  topics: Sports ") && !train.contains("World "),
        "{shown}"
    );
    let errors = project.fails(
        &[
            "plan",
            "small.toml",
            "--set",
            "data.intervene=[{topic='Business'}]",
        ],
        2,
    );
    assert!(
        errors.contains("there is no topic `Business`; this text has Sports, World"),
        "{errors}"
    );
}

#[test]
fn data_shows_the_text_before_anything_is_trained() {
    let project = project(
        &format!("{SHARE}{FIELDS}prompt = \"Say: \"\n")
            .replace("prompt = \"Say: \"", "prompt = \"{id}: \""),
    );
    let assert = project
        .milepost(&["data", "small.toml", "--first", "1"])
        .assert()
        .success();
    let shown = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let tokenizer = milepost::mini::tokenizer().unwrap();
    let path = project.path().join("news.jsonl");
    let keys = json!({"text": "{news.title}\n{news.body}", "topic": "class", "prompt": "{id}: "});
    let corpus = read(
        "jsonl",
        &path,
        &keys,
        Some(Share {
            share: 0.25,
            seed: 3,
        }),
    )
    .unwrap();
    let first = &documents(&corpus)[0];
    let (prompt, answer) = first.text.split_at(first.answer.unwrap());
    let [prompt, answer] = [prompt, answer].map(|text| tokenizer.encode(text).unwrap());
    let all = prompt.len() + answer.len();
    let shown_ids = |ids: &[u32]| -> Vec<String> {
        let ids = ids.iter().take(24);
        ids.map(|&id| format!("{id} {:?}", tokenizer.decode(&[id]).unwrap()))
            .collect()
    };
    for part in [
        format!(
            "document 1, topic {}, {all} tokens",
            first.topic.as_deref().unwrap()
        ),
        format!("    prompt  {}\n", shown_ids(&prompt).join(", ")),
        format!("    answer  {}", shown_ids(&answer).join(", ")),
        format!("{}  {}\n", sha256(NEWS.repeat(60).as_bytes()), "news.jsonl"),
        "the 60 documents that were read".to_owned(),
        "90 train and 30 test documents".to_owned(),
    ] {
        assert!(shown.contains(&part), "{part}\n{shown}");
    }
    assert!(!project.path().join("runs").exists());
}

#[test]
fn keys_that_do_not_belong_together_are_refused_with_their_place() {
    let text = "text = \"id\"\n";
    for (data, place, says) in [
        (
            format!("train = \"news.jsonl\"\n{text}"),
            "`data.held_out`",
            "is missing",
        ),
        (
            format!("held_out = {{ share = 0.5, seed = 1 }}\n{text}"),
            "`data.train`",
            "is missing",
        ),
        (SHARE.to_owned(), "`data.text`", "is missing"),
        (
            format!("{SHARE}text = \"{{id\"\n"),
            ":6:8",
            "`{` is never closed",
        ),
        (
            format!("{SHARE}{text}topic = \"a}}\"\n"),
            ":7:9",
            "`}` closes nothing",
        ),
        (
            format!("{SHARE}{text}columns = [\"a\"]\n"),
            ":7:11",
            "does not know `data.columns`",
        ),
        (
            format!("{SHARE}{text}folder = \"a\"\n"),
            ":7:10",
            "name its files",
        ),
        (
            format!("{SHARE}{text}builtin_sample = true\n"),
            ":7:18",
            "has no stand-in",
        ),
        (
            format!("{SHARE}{text}missing = \"drop\"\n"),
            ":7:11",
            "unknown value `drop`",
        ),
        (
            format!("train = \"new.jsonl\"\nheld_out = {{ share = 0.5, seed = 1 }}\n{text}"),
            ":4:9",
            "there is no file ",
        ),
        (
            format!("train = \"news.jsonl\"\nheld_out = \"news.jsonl\"\n{text}"),
            ":5:12",
            "is trained on, too",
        ),
        (
            format!("train = \"news.jsonl\"\nheld_out = {{ share = 1.0, seed = 1 }}\n{text}"),
            ":5:22",
            "must be above 0 and below 1",
        ),
        (
            format!("train = \"news.jsonl\"\nheld_out = {{ share = 0.1 }}\n{text}"),
            ":5:12",
            "share of the documents such as",
        ),
        (
            format!("train = 3\nheld_out = \"b\"\n{text}"),
            ":4:9",
            "the name of a file or folder",
        ),
        (
            format!("hub = \"a\"\n{SHARE}{text}"),
            ":4:7",
            "is no data set of the hub",
        ),
    ] {
        let errors = project(&data).fails(&["plan", "small.toml"], 2);
        assert!(
            errors.contains(place) && errors.contains(says),
            "{data}\n{errors}"
        );
    }
    let errors = project(&format!("{SHARE}{text}"))
        .fails(&["plan", "small.toml", "--set", "data.source=ag_news"], 2);
    assert!(
        errors
            .contains("does not know `data.train`; sources of files are jsonl, csv, parquet, text"),
        "{errors}"
    );
    let set = "data.source=text data.text=body";
    let errors = project(SHARE).fails(&["plan", "small.toml", "--set", set], 2);
    assert!(errors.contains("has no field `body`"), "{errors}");
}

#[test]
fn a_file_that_cannot_be_used_ends_with_code_3() {
    let project = project(&format!("{SHARE}{FIELDS}"));
    project.write("news.jsonl", format!("{NEWS}{{\"news\": 3}}\n"));
    let errors = project.fails(&["finetune", "small.toml"], 3);
    assert!(
        errors.contains("news.jsonl:3: there is no field `news.title`"),
        "{errors}"
    );
    assert!(!project.path().join("runs").exists());
}

#[test]
fn a_data_set_of_the_hub_is_read_from_its_cache() {
    let project = project(&format!(
        "hub = \"someone/news\"\ntrain = \"data/train-*.jsonl\"\nheld_out = \"data/test.jsonl\"\n{FIELDS}"
    ));
    let command = |arguments: &[&str]| {
        let mut command = project.milepost(arguments);
        command.env("HF_HUB_CACHE", project.path().join("hub"));
        command
    };
    let assert = command(&["plan", "small.toml"]).assert().code(2);
    let errors = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(
        errors.contains("hf download someone/news --repo-type dataset --revision main"),
        "{errors}"
    );
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let folder = "hub/datasets--someone--news";
    project.write(&format!("{folder}/refs/main"), commit);
    for name in ["train-00000.jsonl", "train-00001.jsonl", "test.jsonl"] {
        project.write(
            &format!("{folder}/snapshots/{commit}/data/{name}"),
            NEWS.repeat(30),
        );
    }
    command(&["finetune", "small.toml", "--name", "a", "--no-hooks"])
        .assert()
        .success();
    let experiment = project.read("runs/small/a/experiment.toml");
    assert!(
        experiment.contains(&format!("hub = \"someone/news@{commit}\"")),
        "{experiment}"
    );
    assert!(
        experiment.contains("train = \"data/train-*.jsonl\""),
        "{experiment}"
    );
    let inputs = inputs(&project, "a");
    let sum = sha256(NEWS.repeat(30).as_bytes());
    assert_eq!(
        (
            &inputs["data/train/1"]["sha256"],
            &inputs["data/train/2"]["sha256"]
        ),
        (&json!(sum), &json!(sum))
    );
    assert_eq!(
        inputs["data/train"]["sha256"],
        sha256(format!("{sum}\n{sum}\n").as_bytes())
    );
}

/// The example that ships, and what docs/data.md says of it.
#[test]
fn the_example_that_ships_is_trained_on_its_answers() {
    let project = Project::new();
    let experiment = include_str!("../../../experiments/own_text.toml");
    let text = include_str!("../../../datasets/own_text/town_hall.jsonl");
    project.write("experiments/own_text.toml", experiment);
    project.write("datasets/own_text/town_hall.jsonl", text);
    let output = project.milepost(&["data", "own_text"]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    for says in [
        "216 train and 24 test documents",
        "6910 tokens are of prompts, 5122 of answers",
        "topics: pool 58, library 56, buses 55, waste 47",
    ] {
        assert!(shown.contains(says), "{says}: {shown}");
    }
    let page = include_str!("../../../docs/data.md");
    for line in text.lines().take(1).chain([
        "prompt = \"question ({about.town}): {question}\\nanswer: \"",
        "text = \"{answer}\\n\"",
        "216 questions",
        "6910 tokens of prompts, which are read, and 5122 of answers",
    ]) {
        assert!(page.contains(line), "{line}");
    }
    let set = "train.max_steps=2 train.evaluate=['end'] hooks={}";
    let run = ["finetune", "own_text", "--name", "one", "--set", set];
    project.milepost(&run).assert().success();
    let lines = milestones(&project.path().join("runs/own_text/one"));
    for model in ["main", "assistant"] {
        let tag = format!("train/{model}/loss");
        assert!(lines.iter().any(|line| line["scalars"][&tag].is_f64()));
    }
}
