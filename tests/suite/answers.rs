//! Training and evaluation on answers alone: against transformers with labels of -100, and what a step without answers does.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use milepost::data::blocks::{Blocks, MadeOf};
use milepost::measure::evaluation::mean_loss;
use milepost::model::{Network, Role};
use milepost::train::{NextToken, Objective, Plan};
use proptest::prelude::*;
use serde_json::Value;

use crate::harness::{Project, close, fixture, ids, milestones, numbers};
use crate::interventions::{blocks, thirty_steps, trained_as};

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
    documents_of(&reference())
}

fn documents_of(reference: &Value) -> Vec<(usize, usize)> {
    let pairs = reference["documents"].as_array().unwrap().iter().map(ids);
    pairs
        .map(|pair| (pair[0] as usize, pair[1] as usize))
        .collect()
}

/// The held-out text of the reference.
fn held_out() -> Blocks {
    blocks(7, [61, 5, 11], 3).of_documents(made_of(&documents_of(&reference()["held_out"])))
}

#[test]
fn answers_are_trained_as_by_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let plan = thirty_steps(&folder.path().join("run"), 2e-3, "");
    let plan = on_answers(plan, &documents());
    trained_as("answers", plan, &reference()["losses"]);
}

/// The losses of a tag in a run, with their steps.
fn values(run: &Path, tag: &str) -> Vec<(u64, f64)> {
    let lines = milestones(run);
    let values = lines.iter().filter_map(|line| {
        let value = line["scalars"][tag].as_f64()?;
        Some((line["step"].as_u64().unwrap(), value))
    });
    values.collect()
}

#[test]
fn a_model_of_answers_is_evaluated_on_answers_as_by_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let plan = thirty_steps(&folder.path().join("run"), 2e-3, "");
    let mut plan = on_answers(plan, &documents());
    let scene = Arc::get_mut(&mut plan.scene).unwrap();
    scene.held_out = Arc::new(held_out());
    scene.on_answers = vec![Role::Main];
    // The seven blocks are no whole number of batches.
    scene.batch = 3;
    plan.training.evaluate = milepost::cadence::Cadence::parse(&["start", "end"]).unwrap();
    let (outcome, _) = trained_as("answers", plan, &reference()["losses"]);
    for role in Role::BOTH {
        let found = values(&outcome.directory, &format!("eval/{role}/loss"));
        let expected = numbers(&reference()["held_out"]["losses"][role.as_str()]);
        assert_eq!(found.iter().map(|one| one.0).collect::<Vec<_>>(), [0, 30]);
        // Thirty steps add up their rounding.
        for ((_, found), (expected, within)) in found
            .into_iter()
            .zip(expected.into_iter().zip([1e-6, 1e-4]))
        {
            close(
                found,
                expected,
                within,
                0.0,
                &format!("evaluation of {role}"),
            );
        }
    }
}

fn network(role: Role) -> Network {
    Network::load(&fixture(role.as_str()), &Device::flex()).unwrap()
}

#[test]
fn the_batch_does_not_change_an_evaluation_on_answers() {
    let (model, held_out) = (network(Role::Main), held_out());
    let expected = reference()["held_out"]["losses"]["main"][0].as_f64();
    for batch in [1, 2, 3, 4, 6, 7, 100] {
        let found = mean_loss(&model, &held_out, true, batch, &|| Ok(())).unwrap();
        let what = format!("batches of {batch}");
        close(found, expected.unwrap(), 1e-6, 0.0, &what);
    }
}

/// The mean over the tokens of answers, one document after the other, of the losses of tokens.
fn slow_mean(model: &Network, text: &Blocks, documents: &[(usize, usize)]) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for block in 0..text.len() {
        let losses = model.token_losses(&[text.get(block)]).unwrap().remove(0);
        for (at, loss) in losses.into_iter().enumerate() {
            let place = block * text.block() + at + 1;
            let of = documents.iter().rfind(|(start, _)| *start <= place);
            if of.is_none_or(|(start, prompt)| place >= start + prompt) {
                sum += f64::from(loss);
                count += 1;
            }
        }
    }
    (count > 0).then(|| sum / f64::from(count))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Documents of any lengths with prompts of any lengths, blocks and batches of any size.
    #[test]
    fn an_evaluation_on_answers_is_a_slow_mean(
        lengths in proptest::collection::vec((1..20usize, 0..24usize), 1..9),
        block in 2..14usize,
        batch in 1..9usize,
    ) {
        let mut documents = Vec::new();
        let mut tokens = 0;
        for (length, prompt) in lengths {
            documents.push((tokens, prompt.min(length)));
            tokens += length;
        }
        let ids = (0..tokens.max(block) as u32).map(|place| (place * place * 5 + place * 11 + 3) % 97);
        let text = Blocks::cut(ids.collect(), block).unwrap();
        let text = text.of_documents(made_of(&documents));
        let model = network(Role::Assistant);
        let found = mean_loss(&model, &text, true, batch, &|| Ok(()));
        match slow_mean(&model, &text, &documents) {
            Some(expected) => {
                let found = found.unwrap();
                prop_assert!((found / expected - 1.0).abs() < 1e-5, "{found}, {expected}");
            }
            None => {
                let said = found.unwrap_err().to_string();
                prop_assert!(said.contains("no token of an answer"), "{said}");
            }
        }
        prop_assert_eq!(text.have_answers(), slow_mean(&model, &text, &documents).is_some());
    }
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

/// What the loop evaluates, and what `perplexity` evaluates by itself, at other steps and in a replay.
#[test]
fn every_held_out_loss_of_a_run_on_answers_is_of_answers() {
    let project = project(FIELDS, OBJECTIVE);
    let often = "train.evaluate=['start','every step'] train.save='every step' train.keep='all'";
    project.run("often", &["--set", often]);
    project.run("seldom", &["--set", "train.evaluate='start'"]);
    let run = |name: &str| project.path().join("runs/small").join(name);
    let losses = values(&run("often"), "eval/main/loss");
    assert_eq!(losses.len(), 7);
    let loss_at = |step: u64| losses.iter().find(|(at, _)| *at == step).unwrap().1;
    let is_theirs = |run: &Path, steps: &[u64]| {
        let perplexities = values(run, "eval/main/perplexity");
        assert_eq!(
            perplexities.iter().map(|one| one.0).collect::<Vec<_>>(),
            steps
        );
        for (step, perplexity) in perplexities {
            close(
                perplexity,
                loss_at(step).exp(),
                1e-6,
                0.0,
                &format!("step {step}"),
            );
        }
    };
    is_theirs(&run("seldom"), &[0, 3, 6]);
    project.write(
        "other.toml",
        "[hooks.perplexity]\nat = [\"start\", \"every step\"]\n",
    );
    let replay = [
        "replay",
        "runs/small/often",
        "--hooks",
        "other.toml",
        "--name",
        "again",
    ];
    project.milepost(&replay).assert().success();
    is_theirs(&run("often/replay/again"), &[0, 1, 2, 3, 4, 5, 6]);
    // The assistant is trained and evaluated on all of the text, the main model as well without its objective.
    project.run("whole", &["--set", "train.objective.main.kind=text"]);
    let at_start = |name: &str, role: &str| values(&run(name), &format!("eval/{role}/loss"))[0].1;
    assert_eq!(
        at_start("often", "assistant"),
        at_start("whole", "assistant")
    );
    assert_ne!(at_start("often", "main"), at_start("whole", "main"));
}

#[test]
fn a_held_out_text_without_answers_is_refused() {
    let project = project(&format!("{FIELDS}missing = \"empty\"\n"), OBJECTIVE);
    let small = project.read("small.toml");
    let share = "held_out = { share = 0.2, seed = 1 }";
    project.write(
        "small.toml",
        small.replace(share, "held_out = \"asked.jsonl\""),
    );
    let asked = "{\"question\": \"Who won the match?\"}\n".repeat(40);
    project.write("asked.jsonl", &asked);
    let set = "data.test_articles=42";
    let plan = ["plan", "small.toml", "--set", set];
    let errors = project.fails(&plan, 2);
    for part in [
        "no block of the held-out text has a token of an answer",
        "asked.jsonl",
        "[train.objective.main]",
    ] {
        assert!(errors.contains(part), "{errors}");
    }
    // There are answers, and they are not evaluated.
    project.write("asked.jsonl", asked + TEXT);
    let shown = project.milepost(&plan).assert().success();
    let shown = String::from_utf8_lossy(&shown.get_output().stdout).into_owned();
    assert!(
        shown.contains("of which the answers alone count for main"),
        "{shown}"
    );
    let errors = project.fails(
        &[&plan[..], &["--set", "train.evaluate_blocks=1"]].concat(),
        2,
    );
    assert!(
        errors.contains("as far as `train.evaluate_blocks` goes, has a token of an answer"),
        "{errors}"
    );
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
        errors.contains("no block of the training text has a token of an answer"),
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
