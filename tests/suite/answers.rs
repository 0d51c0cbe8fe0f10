//! Training on answers alone: against transformers with labels of -100, and what a step without answers does.

use milepost::data::blocks::{Blocks, MadeOf};
use milepost::train::{NextToken, Objective, Plan};
use serde_json::Value;

use crate::harness::{Project, close, ids, milestones};
use crate::interventions::{thirty_steps, trained_as};

fn reference() -> Value {
    serde_json::from_str(include_str!("../fixtures/answers/reference.json")).unwrap()
}

/// Documents, each with its beginning and the length of its prompt.
fn made_of(documents: &[(usize, usize)]) -> MadeOf {
    let mut made_of = MadeOf::default();
    for (start, prompt) in documents {
        made_of.add(*start, None, Some(*prompt));
    }
    made_of
}

/// The main model is trained on the answers of these documents, the assistant on all of the text.
fn on_answers(mut plan: Plan, documents: &[(usize, usize)]) -> Plan {
    plan.blocks = plan.blocks.of_documents(made_of(documents));
    plan.training.objectives.main = Objective::Answers(NextToken {});
    plan
}

fn documents() -> Vec<(usize, usize)> {
    let all = reference()["documents"].clone();
    let pairs = all.as_array().unwrap().iter().map(ids);
    pairs
        .map(|pair| (pair[0] as usize, pair[1] as usize))
        .collect()
}

#[test]
fn answers_are_trained_as_by_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let plan = thirty_steps(&folder.path().join("run"), 2e-3, "");
    let plan = on_answers(plan, &documents());
    trained_as("answers", plan, &reference()["losses"]);
}

/// The tokens that count are those whose label is not -100.
#[test]
fn prompts_are_where_the_labels_say() {
    let labels = reference()["labels"].clone();
    let labels = labels.as_array().unwrap().iter();
    let labels: Vec<Vec<i64>> = labels
        .map(|row| {
            row.as_array()
                .unwrap()
                .iter()
                .map(|one| one.as_i64().unwrap())
                .collect()
        })
        .collect();
    let blocks = Blocks::cut((0..192).collect(), 16).unwrap();
    let blocks = blocks.of_documents(made_of(&documents()));
    for (index, labels) in labels.iter().enumerate() {
        for piece in blocks.pieces(index) {
            let prompt = blocks.prompt_of_piece(index, &piece);
            for (place, at) in piece.tokens.clone().enumerate() {
                assert_eq!(
                    place < prompt,
                    labels[at] == -100,
                    "block {index}, token {at}"
                );
            }
        }
    }
}

/// A text that is all prompt, but for one token: most steps have no loss, and move nothing but by weight decay.
#[test]
fn a_step_without_answers_has_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = on_answers(
        thirty_steps(&folder.path().join("run"), 2e-3, ""),
        &[(0, 100), (101, 99)],
    );
    plan.training.weight_decay = 0.0.into();
    let (outcome, _) = crate::small_run::go(plan);
    let lines = milestones(&outcome.directory);
    let losses: Vec<f64> = lines
        .iter()
        .filter_map(|line| line["scalars"]["train/main/loss"].as_f64())
        .collect();
    assert_eq!(losses.len(), 30);
    // Token 100 is in the seventh block, which an epoch of three steps reads once.
    for epoch in losses.chunks(3) {
        let with: Vec<f64> = epoch.iter().copied().filter(|loss| *loss != 0.0).collect();
        assert_eq!(with.len(), 1, "{epoch:?}");
        assert!(with[0].is_finite() && with[0] > 0.0, "{epoch:?}");
    }
}

const TEXT: &str = r#"{"question": "Who won the match?", "answer": " The team won."}
{"question": "What did the council say?", "answer": " It said that it would not vote."}
"#;

fn project(data: &str, objective: &str) -> Project {
    let project = Project::new();
    project.write("qa.jsonl", TEXT.repeat(40));
    let small = project.read("small.toml").replace(
        "builtin_sample = true\n",
        &format!("source = \"jsonl\"\ntrain = \"qa.jsonl\"\nheld_out = {{ share = 0.2, seed = 1 }}\n{data}"),
    );
    project.write("small.toml", format!("{small}\n{objective}"));
    project
}

const OBJECTIVE: &str = "[train.objective.main]\nkind = \"answers\"\n";
const FIELDS: &str = "prompt = \"Q: {question}\\nA:\"\ntext = \"answer\"\n";

#[test]
fn a_run_on_answers_says_so_and_is_what_it_is_without_its_hooks() {
    let project = project(FIELDS, OBJECTIVE);
    project.run("a", &[]);
    let experiment = project.read("runs/small/a/experiment.toml");
    assert!(experiment.contains("kind = \"answers\""), "{experiment}");
    project.run("b", &["--no-hooks"]);
    let losses = |run: &str| -> Vec<Value> {
        let lines = milestones(&project.path().join("runs/small").join(run));
        let losses = lines
            .iter()
            .map(|line| line["scalars"]["train/main/loss"].clone());
        losses.filter(|loss| !loss.is_null()).collect()
    };
    assert_eq!(losses("a").len(), 6);
    assert_eq!(losses("a"), losses("b"));
    // The same text as a whole is another loss.
    project.run(
        "c",
        &["--no-hooks", "--set", "train.objective.main.kind=text"],
    );
    assert_ne!(losses("a"), losses("c"));
}

#[test]
fn answers_without_prompts_are_refused() {
    let without = project("text = \"answer\"\n", OBJECTIVE);
    let errors = without.fails(&["plan", "small.toml"], 2);
    for part in [
        "the text has no prompts",
        "`data.prompt`",
        "[train.objective.main]",
    ] {
        assert!(errors.contains(part), "{errors}");
    }
    let sample = Project::new();
    let small = sample.read("small.toml");
    sample.write("small.toml", format!("{small}\n{OBJECTIVE}"));
    assert!(
        sample
            .fails(&["plan", "small.toml"], 2)
            .contains("no prompts")
    );
    let empty = project(
        "prompt = \"{question} {answer}\"\ntext = \"answer\"\nmissing = \"empty\"\n",
        OBJECTIVE,
    );
    empty.write(
        "qa.jsonl",
        "{\"question\": \"Who won the match?\", \"answer\": \"\"}\n".repeat(300),
    );
    let errors = empty.fails(&["plan", "small.toml"], 2);
    assert!(
        errors.contains("no block has a token of an answer"),
        "{errors}"
    );
}

/// The mean over one batch of everything, as transformers gives it without a count.
#[test]
fn the_loss_of_a_batch_is_transformers_mean() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = on_answers(
        thirty_steps(&folder.path().join("run"), 0.0, ""),
        &documents(),
    );
    plan.training.batch = 12;
    plan.training.accumulation = 1;
    plan.extent =
        milepost::clock::Extent::new(12, 12, 1, 16, milepost::clock::Length::Steps(1)).unwrap();
    let (outcome, _) = crate::small_run::go(plan);
    let lines = milestones(&outcome.directory);
    let found = lines
        .iter()
        .find_map(|line| line["scalars"]["train/main/loss"].as_f64());
    close(
        found.unwrap(),
        reference()["mean"].as_f64().unwrap(),
        1e-5,
        0.0,
        "mean",
    );
}
