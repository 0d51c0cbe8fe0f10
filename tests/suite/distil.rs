//! Distillation: against PyTorch, in passes with dropout and in half precision, in runs, and what it is for.

use std::path::Path;

use burn::tensor::Device;
use milepost::generator;
use milepost::measure::divergence::Divergence;
use milepost::measure::evaluation::each_position;
use milepost::measure::positions::Text;
use milepost::model::{Network, Pair, Precision, Role, TrainingPass, next_token_loss};
use milepost::random::{Purpose, stream};
use milepost::train::{Direction, Distil, Learner};
use serde_json::{Value, json};

use crate::harness::{Project, close, milestones, numbers};

const ROWS: usize = 4;
const TIME: usize = 13;

fn reference() -> Value {
    serde_json::from_str(include_str!("../fixtures/distil/reference.json")).unwrap()
}

fn load(name: &str, device: &Device) -> Network {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    Network::load(&folder.join(name), device)
        .unwrap()
        .with_dropout(0.0)
}

/// A student with its teacher, on an autodiff device.
struct Couple {
    pair: Pair,
    tokens: usize,
}

impl Couple {
    /// That of a case of the fixtures. The student is the assistant.
    fn of(case: &Value) -> Self {
        let (student, teacher, tokens) = match case["pair"].as_str().unwrap() {
            "gpt2" => ("gpt2/assistant", "gpt2/main", 97),
            "padded_teacher" => ("families/neox", "families/qwen2_padded", 40),
            _ => ("families/qwen2_padded", "families/llama", 40),
        };
        let device = Device::flex().autodiff();
        let pair = Pair::over(load(teacher, &device), load(student, &device), tokens);
        Self {
            pair: pair.unwrap(),
            tokens,
        }
    }

    fn gpt2() -> Self {
        Self::of(&json!({ "pair": "gpt2" }))
    }

    fn learner(&self) -> Learner {
        Learner::new(self.pair.assistant.clone(), 0.0)
    }

    /// The rows of a step, as `make_fixtures.py` makes them.
    fn rows(&self, step: usize) -> Vec<Vec<u32>> {
        let token = |row: usize, at: usize| {
            (7 * row * row + 5 * at * (row + 1) + 11 * step + at * at) % self.tokens
        };
        let row = |row| (0..TIME).map(|at| token(row, at) as u32).collect();
        (0..ROWS).map(row).collect()
    }
}

fn slices(rows: &[Vec<u32>]) -> Vec<&[u32]> {
    rows.iter().map(Vec::as_slice).collect()
}

/// What each prediction weighs, as `make_fixtures.py` has it. None for all the same.
fn weights(case: &Value) -> Option<Vec<f32>> {
    let weight: fn(usize, usize) -> f32 = match case["weights"].as_str().unwrap() {
        "answers" => |row, at| if at < 3 + row { 0.0 } else { 1.0 },
        "mixed" => |row, at| match (row, at) {
            (3, 6..) => 0.0,
            _ => 0.5 + 0.25 * ((at + row) % 3) as f32,
        },
        _ => return None,
    };
    let places = (0..ROWS).flat_map(|row| (0..TIME - 1).map(move |at| (row, at)));
    Some(places.map(|(row, at)| weight(row, at)).collect())
}

fn distil(case: &Value) -> Distil {
    Distil {
        direction: match case["direction"].as_str().unwrap() {
            "forward" => Direction::Forward,
            _ => Direction::Reverse,
        },
        temperature: case["temperature"].as_f64().unwrap(),
        text: case["text"].as_f64().unwrap(),
        answers: false,
    }
}

fn name(case: &Value) -> String {
    let keys = ["pair", "direction", "temperature", "weights", "text"];
    keys.map(|key| case[key].to_string()).join(" ")
}

/// The largest distance of a learner's gradients from those of PyTorch, as a share of the largest number in the tensor's gradient.
fn furthest(learner: &Learner, expected: &Value) -> f64 {
    let tensors = expected.as_object().unwrap();
    assert!(tensors.len() >= 14);
    let mut furthest = 0.0f64;
    for (tensor, expected) in tensors {
        let found = learner.gradients().values(tensor).unwrap();
        let largest = expected["largest"].as_f64().unwrap();
        let stride = expected["stride"].as_u64().unwrap() as usize;
        let some = found.iter().step_by(stride).map(|&one| f64::from(one));
        let wanted = numbers(&expected["values"]);
        assert_eq!(some.len(), wanted.len());
        let squares = found.iter().map(|&one| f64::from(one).powi(2));
        let norm = squares.sum::<f64>().sqrt() - expected["norm"].as_f64().unwrap();
        let off = some.zip(wanted).map(|(found, wanted)| found - wanted);
        for off in off.chain([norm]) {
            furthest = furthest.max(off.abs() / largest);
        }
    }
    furthest
}

#[test]
fn loss_and_gradients_are_those_of_pytorch() {
    let reference = reference();
    let cases = reference["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 29);
    let (mut loss_off, mut gradient_off) = (0.0f64, 0.0f64);
    for case in cases {
        let couple = Couple::of(case);
        let (rows, weights) = (couple.rows(0), weights(case));
        let mut learner = couple.learner();
        learner.accumulate(1, |student| {
            let rows = slices(&rows);
            let teacher = &couple.pair.main;
            distil(case).loss(student, teacher, &rows, weights.as_deref(), None)
        });
        let (found, expected) = (learner.gather(), case["loss"].as_f64().unwrap());
        close(found, expected, 1e-5, 0.0, &name(case));
        let off = furthest(&learner, &case["gradients"]);
        assert!(off < 1e-4, "{}: {off:e}", name(case));
        loss_off = loss_off.max((found / expected - 1.0).abs());
        gradient_off = gradient_off.max(off);
    }
    println!("losses within {loss_off:.1e}, gradients within {gradient_off:.1e}");
}

#[test]
fn twenty_steps_lose_what_they_lose_by_pytorch() {
    let reference = reference();
    let trainings = reference["trainings"].as_array().unwrap();
    assert_eq!(trainings.len(), 6);
    let mut furthest = 0.0f64;
    for case in trainings {
        let couple = Couple::of(case);
        let mut learner = couple.learner();
        let weights = weights(case);
        let all: f32 = weights.iter().flatten().sum();
        for (step, expected) in numbers(&case["losses"]).into_iter().enumerate() {
            let rows = couple.rows(step);
            learner.forward(f64::from(all), |student| {
                let rows = slices(&rows);
                distil(case).loss(student, &couple.pair.main, &rows, weights.as_deref(), None)
            });
            learner.backward();
            let found = learner.gather();
            close(
                found,
                expected,
                1e-3,
                0.0,
                &format!("{}, step {step}", name(case)),
            );
            furthest = furthest.max((found / expected - 1.0).abs());
            learner.step(1e-3);
        }
    }
    println!("losses of 20 steps within {furthest:.1e}");
}

/// In bf16 the loss, and every gradient, is as near to PyTorch's by autocast as that is to its own in single precision.
#[test]
fn in_bf16_it_is_what_it_is_by_autocast() {
    let reference = reference();
    for case in reference["autocast"].as_array().unwrap() {
        let couple = Couple::gpt2();
        let rows = couple.rows(0);
        let passed = |precision: Precision| {
            let mut learner = couple.learner();
            learner.accumulate(1, |student| {
                let keys = stream(1, Purpose::Dropout, 0, 0);
                let mut pass = TrainingPass::new(keys).in_precision(precision);
                let teacher = &couple.pair.main;
                distil(case).loss(student, teacher, &slices(&rows), None, Some(&mut pass))
            });
            (learner.gather(), learner)
        };
        let loss = |precision: &str| case[precision]["loss"].as_f64().unwrap();
        let (single, learner) = passed(Precision::F32);
        close(single, loss("f32"), 1e-5, 0.0, &name(case));
        assert!(furthest(&learner, &case["f32"]["gradients"]) < 1e-4);
        let autocast = furthest(&learner, &case["bf16"]["gradients"]);
        let (half, learner) = passed(Precision::Bf16);
        assert_ne!(half, single);
        close(half, loss("bf16"), 2e-3, 0.0, &name(case));
        let found = furthest(&learner, &case["bf16"]["gradients"]);
        println!(
            "{}: gradients in bf16 within {found:.1e}, f32 within {autocast:.1e}",
            name(case)
        );
        assert!(found < 2.0 * autocast, "{}", name(case));
    }
}

#[test]
fn the_student_drops_and_the_teacher_does_not() {
    let couple = Couple::gpt2();
    let rows = couple.rows(0);
    let loss = |student: &Network, teacher: &Network, seed: u64| {
        let mut pass = TrainingPass::new(stream(seed, Purpose::Dropout, 0, 0));
        let loss = Distil::default().loss(student, teacher, &slices(&rows), None, Some(&mut pass));
        loss.into_scalar::<f32>()
    };
    let Pair { main, assistant } = &couple.pair;
    let plain = loss(assistant, main, 1);
    let dropping = main.clone().with_dropout(0.5);
    assert_eq!(loss(assistant, &dropping, 1), plain);
    let student = assistant.clone().with_dropout(0.5);
    let [one, other] = [1, 2].map(|seed| loss(&student, &dropping, seed));
    assert!(one != plain && one != other);
    assert_eq!(loss(&student, main, 1), one);
}

/// The loss of a step is the mean over its predictions, and the gradient that of this mean, however it is cut into micro-batches.
#[test]
fn micro_batches_add_up() {
    let couple = Couple::gpt2();
    let rows = couple.rows(0);
    for case in reference()["cases"].as_array().unwrap() {
        if case["pair"] != "gpt2" {
            continue;
        }
        let weights = weights(case);
        let all = weights
            .as_ref()
            .map_or((ROWS * (TIME - 1)) as f64, |weights| {
                f64::from(weights.iter().sum::<f32>())
            });
        let step = |cuts: &[std::ops::Range<usize>]| {
            let mut learner = couple.learner();
            for cut in cuts {
                let own = weights.as_ref();
                let own = own.map(|all| &all[cut.start * (TIME - 1)..cut.end * (TIME - 1)]);
                learner.forward(all, |student| {
                    let rows = slices(&rows[cut.clone()]);
                    distil(case).loss(student, &couple.pair.main, &rows, own, None)
                });
                learner.backward();
            }
            (
                learner.gather(),
                learner.gradients().values("wte.weight").unwrap(),
            )
        };
        let (loss, gradient) = step(std::slice::from_ref(&(0..ROWS)));
        let largest = gradient
            .iter()
            .fold(0.0f32, |most, one| most.max(one.abs()));
        for cuts in [&[0..1, 1..4][..], &[0..2, 2..3, 3..4]] {
            let (found, parts) = step(cuts);
            close(found, loss, 1e-6, 0.0, &name(case));
            let off = gradient
                .iter()
                .zip(&parts)
                .map(|(one, other)| (one - other).abs());
            assert!(off.fold(0.0, f32::max) < 1e-5 * largest, "{}", name(case));
        }
    }
}

#[test]
fn a_share_of_the_text_is_the_texts_own_loss() {
    let couple = Couple::gpt2();
    let rows = couple.rows(0);
    let rows = slices(&rows);
    let Pair { main, assistant } = &couple.pair;
    let text = next_token_loss(assistant, &rows, None).0;
    let text = f64::from(text.into_scalar::<f32>());
    for share in [0.0, 0.25, 0.9] {
        let loss = |text: f64| {
            let distil = Distil {
                temperature: 2.0,
                text,
                ..Distil::default()
            };
            f64::from(
                distil
                    .loss(assistant, main, &rows, None, None)
                    .into_scalar::<f32>(),
            )
        };
        let expected = (1.0 - share) * loss(0.0) + share * text;
        close(loss(share), expected, 1e-6, 0.0, "mixed");
    }
}

/// The main model stays as it came, and costs no backward pass: nothing of it is recorded as trained.
#[test]
fn an_assistant_learns_from_a_main_model_that_stays() {
    let project = Project::new();
    let set = "train.models=['assistant'] train.objective.assistant={kind='distil',text=0.2} train.accumulation=2";
    let run = project.run("frozen", &["--set", set]);
    let resolved = std::fs::read_to_string(run.join("experiment.toml")).unwrap();
    assert!(resolved.contains("text = 0.2"), "{resolved}");
    let lines = milestones(&run);
    let losses = |tag: &str| -> Vec<f64> {
        let scalars = lines
            .iter()
            .filter_map(|line| line["scalars"][tag].as_f64());
        scalars.collect()
    };
    assert!(losses("train/main/loss").is_empty());
    assert_eq!(losses("train/assistant/loss").len(), 6);
    let evaluated = losses("eval/main/loss");
    assert!(evaluated.len() > 1 && evaluated.iter().all(|one| *one == evaluated[0]));
    let evaluated = losses("eval/assistant/loss");
    assert_ne!(evaluated[0], evaluated[1]);
}

/// The prompts of a text weigh nothing: other words in them give other losses, but the same number of predictions counts.
#[test]
fn answers_alone_may_be_distilled() {
    let project = Project::new();
    let row = |at: usize| {
        format!(
            "{{\"q\": \"is {at} news ? \", \"a\": \"the team won the match in week {at} .\"}}\n"
        )
    };
    let rows: String = (0..80).map(row).collect();
    project.write("asked.jsonl", rows);
    let set = "data={source='jsonl',train='asked.jsonl',held_out={share=0.1,seed=1},text='a',prompt='q'} train.max_steps=3";
    let run = |name: &str, distil: &str| {
        let distil = format!("train.objective.assistant={{kind='distil'{distil}}}");
        let run = project.run(name, &["--set", set, "--set", &distil]);
        let lines = milestones(&run);
        ["train", "eval"].map(|part| {
            let tag = format!("{part}/assistant/loss");
            let losses = lines
                .iter()
                .filter_map(|line| line["scalars"][&tag].as_f64());
            losses.collect::<Vec<f64>>()
        })
    };
    let [[all, all_evaluated], [answers, evaluated]] =
        [run("all", ""), run("answers", ",answers=true")];
    assert!(all.len() == 3 && answers.len() == 3);
    assert_ne!(all[0], answers[0]);
    // The held-out loss is of the same tokens as the training's, and is that of the text.
    let set = format!("{set} train.objective.assistant={{kind='answers'}}");
    let of_text = project.run("of_text", &["--set", &set]);
    let at_start = |line: &serde_json::Value| line["scalars"]["eval/assistant/loss"].as_f64();
    let of_text = milestones(&of_text).iter().find_map(at_start);
    assert_ne!(evaluated[0], all_evaluated[0]);
    assert_eq!(Some(evaluated[0]), of_text);
}

/// The mean over all positions of held-out news of the chance that a sampled draft token is accepted.
fn acceptance(pair: &Pair) -> f64 {
    let tokenizer = milepost::mini::tokenizer().unwrap();
    let articles = generator::articles(2002).take(40);
    let texts: Vec<Vec<u32>> = articles
        .map(|article| {
            tokenizer
                .encode(&format!("{} {}", article.title, article.description))
                .unwrap()
        })
        .collect();
    let texts: Vec<Text> = texts
        .iter()
        .map(|tokens| Text { tokens, from: 0 })
        .collect();
    let (mut sum, mut count) = (0.0, 0);
    each_position(pair, &texts, &|| Ok(()), &mut |_, main, assistant| {
        sum += Divergence::between(main, assistant)?.acceptance_expected;
        count += 1;
        Ok(())
    })
    .unwrap();
    sum / f64::from(count)
}

/// What it is for: beside a main model that stays, an assistant that is distilled on a text drafts better than one that is trained on it.
#[test]
fn a_distilled_assistant_drafts_better_than_one_that_is_trained_on_the_text() {
    let project = Project::new();
    let main = milepost::mini::model(Role::Main, &Device::flex()).unwrap();
    let trained = |name: &str, objective: &str| {
        let set = format!(
            "train.models=['assistant'] train.objective.assistant={objective} train.max_steps=40 train.evaluate=['end'] hooks={{}}"
        );
        let run = ["finetune", "ag_news", "--name", name, "--set", &set];
        project.milepost(&run).assert().success();
        let folder = project.path().join("runs/ag_news").join(name);
        let assistant = Network::load(&folder.join("models/assistant"), &Device::flex());
        acceptance(&Pair::new(main.clone(), assistant.unwrap()).unwrap())
    };
    let text = trained("text", "{kind='text'}");
    for direction in ["forward", "reverse"] {
        let distilled = trained(
            direction,
            &format!("{{kind='distil',direction='{direction}'}}"),
        );
        println!(
            "expected acceptance: {text:.4} by the text, {distilled:.4} distilled, {direction}"
        );
        assert!(distilled > text + 0.02);
    }
}
