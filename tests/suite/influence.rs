//! The influence of documents: against PyTorch's exact derivatives (tests/fixtures/influence), and from runs.

use std::path::Path;

use burn::tensor::Device;
use milepost::clock::Length;
use milepost::data::blocks::Blocks;
use milepost::data::order::epoch_order;
use milepost::data::subset::Subset;
use milepost::hook::testing::changed;
use milepost::influence::{Estimate, Goal, Request, Seen, SeenStep, States, estimate, spread};
use milepost::measure::smooth::SmoothMeasure;
use milepost::model::{Network, Pair, Role, named_parameters};
use milepost::statistics::log_odds::{Counts, markings};
use milepost::statistics::rank::{pearson, ranks, spearman};
use milepost::statistics::sample::{Estimated, difference, total};
use milepost::train::AdamW;
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use crate::harness::{Project, close, fixture, milestones, numbers, rows, timeless, until};

fn reference() -> Value {
    let text = include_str!("../fixtures/influence/reference.json");
    serde_json::from_str(text).unwrap()
}

/// The pair of the fixture after a step, with moments by the script's formula.
struct Formula {
    amount: f64,
    square: f64,
}

impl Formula {
    fn network(&self, role: Role, step: u64) -> Network {
        let start = Network::load(&fixture(role.as_str()), &Device::flex()).unwrap();
        let moved = changed(&start, |_, index, weight| {
            let by = self.amount * step as f64 * (index as f64 + 1.0).sin();
            (f64::from(weight) + by) as f32
        });
        use burn::module::Module;
        moved.train()
    }

    fn optimiser(&self, network: &Network, step: u64) -> AdamW {
        let mut parts: Vec<(String, Vec<u8>, usize)> = Vec::new();
        for (name, data) in named_parameters(network) {
            let count = data.shape().num_elements();
            let squares = (0..count).map(|index| match index % 11 {
                0 => 0.0f32,
                _ => (self.square * (1.0 + ((index as f64) + step as f64).sin()).powi(2)) as f32,
            });
            let bytes = squares.flat_map(f32::to_le_bytes).collect();
            parts.push((format!("square.{name}"), bytes, count));
            parts.push((format!("mean.{name}"), vec![0; 4 * count], count));
        }
        let views = parts.iter().map(|(name, bytes, count)| {
            (
                name.as_str(),
                TensorView::new(Dtype::F32, vec![*count], bytes).unwrap(),
            )
        });
        let metadata = [("steps".to_owned(), step.to_string())];
        let bytes = safetensors::serialize(views, Some(metadata.into())).unwrap();
        AdamW::new(0.0.into()).restored(&bytes, network).unwrap()
    }
}

impl States for Formula {
    fn pair(&self, step: u64) -> anyhow::Result<Pair> {
        let [main, assistant] = Role::BOTH.map(|role| self.network(role, step));
        Ok(Pair::new(main, assistant)?)
    }

    fn optimisers(&self, step: u64) -> anyhow::Result<[Option<AdamW>; 2]> {
        let pair = self.pair(step)?;
        Ok(Role::BOTH.map(|role| Some(self.optimiser(pair.get(role), step))))
    }
}

/// The estimate for the fixture's run, with the names of its goals.
fn estimated(reference: &Value) -> (Vec<String>, Estimate) {
    let prompts = rows(&reference["prompts"]);
    let names = reference["goals"].as_object().unwrap().keys();
    let names: Vec<String> = names.cloned().collect();
    let goals = names.iter().map(|name| {
        let (measure, weighting) = name.split_once('/').unwrap();
        Goal {
            name: name.clone(),
            measure: match measure {
                "kl" => SmoothMeasure::Kl,
                _ => SmoothMeasure::Acceptance,
            },
            weights: numbers(&reference["weightings"][weighting]),
        }
    });
    let goals: Vec<Goal> = goals.collect();
    let starts = numbers(&reference["starts"]);
    let documents = starts.iter().map(|&start| (start as usize, None));
    let blocks = Blocks::cut(rows(&reference["blocks"]).concat(), 16).unwrap();
    let blocks = blocks.made_of(documents.collect());
    let rates = numbers(&reference["rates"]);
    let clipped = Role::BOTH.map(|role| numbers(&reference["clipped"][role.as_str()]));
    let steps = rows(&reference["seen"]).into_iter().enumerate();
    let steps = steps.map(|(step, blocks)| SeenStep {
        predictions: (blocks.len() * 15) as f64,
        blocks: blocks.into_iter().map(|block| block as usize).collect(),
        rate: rates[step],
        clipped: clipped.each_ref().map(|factors| factors[step]),
    });
    let seen = Seen {
        steps: steps.collect(),
        unknown_clipping: Vec::new(),
    };
    let request = Request {
        goals: &goals,
        prompts: &prompts,
        blocks: &blocks,
        seen: &seen,
        checkpoints: &[4, 7],
        states: &[0, 4, 7],
    };
    let states = Formula {
        amount: reference["amount"].as_f64().unwrap(),
        square: reference["square"].as_f64().unwrap(),
    };
    let found = estimate(&request, &states, &|_, _| Ok(())).unwrap();
    (names, found)
}

/// The largest error of a document's influence, as a part of the largest influence of its goal.
fn worst(reference: &Value, names: &[String], found: &Estimate) -> f64 {
    let mut worst = 0.0f64;
    for (name, goal) in names.iter().zip(&found.goals) {
        let expected =
            Role::BOTH.map(|role| numbers(&reference["goals"][name]["documents"][role.as_str()]));
        let all = expected.iter().flatten();
        let largest = all.fold(0.0f64, |largest, one| largest.max(one.abs()));
        for (document, found) in goal.documents.iter().enumerate() {
            for role in Role::BOTH {
                let error = found[role as usize] - expected[role as usize][document];
                worst = worst.max(error.abs() / largest);
            }
        }
    }
    worst
}

#[test]
fn influence_is_that_of_exact_derivatives() {
    let reference = &reference()["influence"];
    let (names, found) = estimated(reference);
    assert_eq!(names.len(), 4);
    let error = worst(reference, &names, &found);
    println!("the largest error of a document: {error:e} of the largest influence");
    assert!(error < 1e-4, "{error:e}");
    for (name, goal) in names.iter().zip(&found.goals) {
        let expected = &reference["goals"][name];
        for (found, expected) in goal.values.iter().zip(numbers(&expected["values"])) {
            close(*found, expected, 1e-5, 0.1, name);
        }
        let predicted = Role::BOTH.map(|role| numbers(&expected["predicted"][role.as_str()]));
        let largest = predicted
            .iter()
            .flatten()
            .fold(0.0f64, |most, one| most.max(one.abs()));
        for (segment, found) in goal.predicted.iter().enumerate() {
            for role in Role::BOTH {
                close(
                    found[role as usize],
                    predicted[role as usize][segment],
                    1e-3,
                    largest,
                    name,
                );
            }
        }
        // The parts by document and by segment are parts of the same.
        let by_document: f64 = goal.totals().iter().sum();
        let by_segment: f64 = goal.predicted.iter().flatten().sum();
        close(by_document, by_segment, 1e-9, largest, name);
    }
    // The last document is in a block that no step had.
    assert_eq!(found.seen[4], 0);
    assert!(found.goals.iter().all(|goal| goal.documents[4] == [0.0; 2]));
    assert_eq!(found.seen.iter().sum::<u64>(), 13 * 15);
}

#[test]
fn effective_rates_are_those_of_the_first_moment() {
    let reference = &reference()["influence"];
    let rates = numbers(&reference["rates"]);
    let spreads = spread(&rates, &[4, 7]);
    for (spread, expected) in spreads.iter().zip(numbers(&reference["effective"])) {
        close(
            spread.values().sum(),
            expected,
            1e-5,
            0.0,
            "an effective rate",
        );
    }
    // The gradient of the first step takes effect in both segments, that of the last in the second alone.
    assert_eq!(spreads[0].keys().collect::<Vec<_>>(), [&0, &1]);
    assert_eq!(spreads[6].keys().collect::<Vec<_>>(), [&1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The first moment is run for each step's gradient alone.
    #[test]
    fn rates_are_those_of_a_slow_simulation(
        rates in prop::collection::vec(0.0..1e-2f64, 1..60), cut in 0u64..60,
    ) {
        let steps = rates.len() as u64;
        let ends = if cut > 0 && cut < steps { vec![cut, steps] } else { vec![steps] };
        let spreads = spread(&rates, &ends);
        for (start, spread) in spreads.iter().enumerate() {
            let mut expected = vec![0.0; ends.len()];
            let mut moment = 0.0;
            for step in 0..rates.len() {
                moment = 0.9 * moment + if step == start { 0.1 } else { 0.0 };
                let taken = rates[step] * moment / (1.0 - 0.9f64.powi(step as i32 + 1));
                expected[usize::from(ends.len() == 2 && step as u64 + 1 > cut)] += taken;
            }
            let largest = expected.iter().fold(0.0f64, |most, one| most.max(*one));
            for (segment, expected) in expected.into_iter().enumerate() {
                let found = spread.get(&segment).copied().unwrap_or(0.0);
                prop_assert!((found - expected).abs() <= 1e-5 * largest + 1e-15, "{segment}: {found} {expected}");
            }
        }
    }

    /// Each token of a text is in one document, and in no block twice.
    #[test]
    fn documents_are_where_their_tokens_are(lengths in prop::collection::vec(0usize..9, 1..20), block in 2usize..7) {
        // The token at a place says its document.
        let ids: Vec<u32> = lengths.iter().enumerate().flat_map(|(document, &length)| vec![document as u32; length]).collect();
        prop_assume!(ids.len() >= block);
        let starts = lengths.iter().scan(0, |at, length| { let start = *at; *at += length; Some((start, None)) });
        let whole = ids.len() / block * block;
        let blocks = Blocks::cut(ids.clone(), block).unwrap().made_of(starts.collect());
        prop_assert_eq!(blocks.documents(), lengths.len());
        let mut counts = vec![0; lengths.len()];
        for index in 0..blocks.len() {
            let mut next = 0;
            for piece in blocks.pieces(index) {
                prop_assert_eq!(piece.tokens.start, next);
                next = piece.tokens.end;
                let tokens = &blocks.get(index)[piece.tokens.clone()];
                prop_assert!(tokens.iter().all(|&token| token as usize == piece.document));
                counts[piece.document] += tokens.len();
            }
            prop_assert_eq!(next, block);
        }
        for (document, count) in counts.into_iter().enumerate() {
            let tokens = blocks.document(document);
            prop_assert_eq!(tokens.len(), count);
            prop_assert!(tokens.iter().all(|&token| token as usize == document));
        }
        prop_assert_eq!((0..lengths.len()).map(|document| blocks.document(document).len()).sum::<usize>(), whole);
    }

    #[test]
    fn a_subset_has_exactly_its_share(seed in any::<u64>(), share in 0.01..1.0f64, count in 1usize..500) {
        let drawn = Subset { seed, share }.of(count);
        let counted = drawn.iter().filter(|counts| **counts).count();
        prop_assert_eq!(drawn.len(), count);
        prop_assert_eq!(counted, ((share * count as f64).round() as usize).max(1));
        prop_assert_eq!(&drawn, &Subset { seed, share }.of(count));
        // A smaller share of the same seed is a part of a larger one.
        let fewer = Subset { seed, share: share / 2.0 }.of(count);
        prop_assert!(fewer.iter().zip(&drawn).all(|(few, many)| *many || !few));
    }
}

#[test]
fn correlations_are_those_of_scipy() {
    let reference = &reference()["statistics"];
    for case in reference["correlations"].as_array().unwrap() {
        let (a, b) = (numbers(&case["a"]), numbers(&case["b"]));
        let found = |one: Option<f64>| one.unwrap();
        close(
            found(spearman(&a, &b)),
            case["spearman"].as_f64().unwrap(),
            1e-12,
            0.1,
            "spearman",
        );
        close(
            found(pearson(&a, &b)),
            case["pearson"].as_f64().unwrap(),
            1e-12,
            0.1,
            "pearson",
        );
        assert_eq!(ranks(&a), numbers(&case["ranks"]));
    }
    assert_eq!(spearman(&[1.0, 1.0], &[0.0, 2.0]), None);
    assert_eq!(spearman(&[1.0], &[0.0]), None);
}

#[test]
fn totals_and_differences_are_those_of_scipy() {
    let reference = &reference()["statistics"];
    let same = |found: Estimated, expected: &Value, what: &str| {
        let found = [
            found.value,
            found.interval.0,
            found.interval.1,
            found.p_value,
        ];
        for (found, expected) in found.into_iter().zip(numbers(expected)) {
            close(found, expected, 1e-6, 1e-3, what);
        }
    };
    for case in reference["samples"].as_array().unwrap() {
        let (a, b) = (numbers(&case["a"]), numbers(&case["b"]));
        same(difference(&a, &b), &case["difference"], "difference");
        same(total(&a), &case["total"], "total");
    }
    // One value says nothing of others.
    let one = total(&[3.0]);
    assert_eq!((one.value, one.p_value), (3.0, 1.0));
    assert_eq!(one.interval, (f64::NEG_INFINITY, f64::INFINITY));
    assert_eq!(difference(&[3.0], &[1.0, 2.0]).p_value, 1.0);
    assert_eq!(total(&[]).value, 0.0);
}

#[test]
fn words_are_marked_as_the_closed_form_has_it() {
    let reference = &reference()["statistics"]["words"];
    let counts = |key: &str| {
        let mut counts = Counts::new();
        for word in reference[key].as_array().unwrap() {
            *counts.entry(word.as_str().unwrap().to_owned()).or_default() += 1;
        }
        counts
    };
    let (first, second) = (counts("first"), counts("second"));
    let found = markings([&first, &second], &counts("background"));
    let expected = reference["markings"].as_object().unwrap();
    assert_eq!(found.len(), expected.len());
    for marking in &found {
        let numbers = numbers(&expected[&marking.word]);
        close(marking.log_odds, numbers[0], 1e-12, 1e-3, &marking.word);
        close(marking.z, numbers[1], 1e-12, 1e-3, &marking.word);
    }
    assert!(found.windows(2).all(|two| two[0].z >= two[1].z));
    assert_eq!((found[0].word.as_str(), found[0].counts), ("fell", [2, 0]));
}

/// A step's loss is the sum over the tokens that count, divided by the subset's share of all.
#[test]
fn only_documents_of_the_subset_count_in_the_loss() {
    use crate::small_run::{go, plan};
    let folder = tempfile::TempDir::new().unwrap();
    let subset = Subset {
        seed: 5,
        share: 0.5,
    };
    let mut plan = plan(folder.path(), 8, Length::Steps(1), Vec::new());
    let undropped = |model: &Network| model.clone().with_dropout(0.0);
    plan.pair = Pair::new(undropped(&plan.pair.main), undropped(&plan.pair.assistant)).unwrap();
    let starts = [0, 3, 21, 33, 48, 70, 90, 101].map(|start| (start, None));
    plan.blocks = plan.blocks.made_of(starts.clone().into()).counting(subset);
    let (blocks, pair) = (plan.blocks.clone(), plan.pair.clone());
    let counts = subset.of(8);
    assert_eq!(counts.iter().filter(|counts| **counts).count(), 4);
    let run = plan.directory.clone();
    go(plan);
    let lines = milestones(&run);
    let line = lines.iter().find(|line| line["source"] == "train").unwrap();
    let order = epoch_order(3, 0, 8);
    for role in Role::BOTH {
        let (mut sum, mut left_out) = (0.0, 0);
        for &block in &order[..4] {
            let losses = pair
                .snapshot()
                .get(role)
                .token_losses(&[blocks.get(block)])
                .unwrap();
            for (place, loss) in losses[0].iter().enumerate() {
                let token = 16 * block + place + 1;
                let document = starts
                    .iter()
                    .rposition(|(start, _)| *start <= token)
                    .unwrap();
                if counts[document] {
                    sum += f64::from(*loss);
                } else {
                    left_out += 1;
                }
            }
        }
        assert!(left_out > 0);
        let found = line["scalars"][format!("train/{role}/loss")]
            .as_f64()
            .unwrap();
        close(found, sum / (0.5 * 60.0), 1e-5, 0.0, role.as_str());
    }
}

#[test]
fn a_subset_of_all_documents_is_the_run_itself() {
    let project = Project::new();
    let subset = |share: &str| format!("data.subset={{ seed = 3, share = {share} }}");
    let one = project.run("one", &[]);
    let whole = project.run("whole", &["--set", &subset("1.0")]);
    let half = project.run("half", &["--set", &subset("0.5")]);
    assert_eq!(timeless(&one), timeless(&whole));
    let weights = |run: &Path| std::fs::read(run.join("models/main/model.safetensors")).unwrap();
    assert_eq!(weights(&one), weights(&whole));
    assert_ne!(weights(&one), weights(&half));
    for share in ["0.0", "1.5"] {
        let said = project.fails(&["finetune", "small.toml", "--set", &subset(share)], 2);
        assert!(said.contains("must be above 0 and at most 1"), "{said}");
    }
}

fn summary(run: &Path, name: &str) -> Value {
    let text = std::fs::read_to_string(run.join("influence").join(name).join("influence.json"));
    serde_json::from_str(&text.unwrap()).unwrap()
}

#[test]
fn without_a_check_no_table_is_shown() {
    let project = Project::new();
    let each_step = "train.save='every step' train.keep='all'";
    let run = project.run("one", &["--set", each_step]);
    let assert = project
        .milepost(&["influence", "runs/small/one"])
        .assert()
        .success();
    let said = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let json = summary(&run, "kl");
    // Without a check, no table is shown.
    let page = std::fs::read_to_string(run.join("influence/kl/influence.html")).unwrap();
    for text in [&said, &page] {
        assert!(text.contains("NOT CHECKED"), "{text}");
        assert!(!text.contains("Sports"), "{text}");
    }
    let topics = json["goals"][0]["topics"].as_array().unwrap();
    assert!(topics.len() >= 3);
    let sum = |topics: &[Value]| -> f64 {
        let sums = topics
            .iter()
            .map(|topic| topic["both"]["sum"]["value"].as_f64().unwrap());
        sums.sum()
    };
    close(
        sum(topics),
        json["goals"][0]["whole"]["predicted"].as_f64().unwrap(),
        1e-9,
        0.0,
        "topics",
    );
    let seen = json["seen"].as_u64().unwrap();
    assert!(seen > 0 && seen < json["documents"].as_u64().unwrap());
}

/// With small steps nothing is left but the first order: the documents' influence adds up to the change of the measure, step by step. Expected
/// acceptance has corners, so it is not asked here.
#[test]
fn the_influence_of_all_documents_is_what_each_step_changed() {
    let project = Project::new();
    let settings = "train.lr=1e-4 train.max_steps=5 train.dropout=0.0 train.save='every step' train.keep='all' hooks.gradient-norm.at='every step'";
    let run = project.run("one", &["--set", settings]);
    project
        .milepost(&["influence", "runs/small/one"])
        .assert()
        .success();
    let json = summary(&run, "kl");
    for goal in json["goals"].as_array().unwrap() {
        let values = numbers(&goal["values"]);
        let largest = values
            .windows(2)
            .fold(0.0f64, |most, pair| most.max((pair[1] - pair[0]).abs()));
        let segments = goal["segments"].as_array().unwrap();
        assert_eq!(segments.len(), 5);
        for (segment, pair) in segments.iter().zip(values.windows(2)) {
            let part = |role: &str| segment[role].as_f64().unwrap();
            let predicted = part("main") + part("assistant");
            let name = goal["name"].as_str().unwrap();
            println!(
                "{name}: {predicted:e} predicted, {:e} observed",
                pair[1] - pair[0]
            );
            close(predicted, pair[1] - pair[0], 0.01, largest, name);
        }
    }
}

#[test]
fn runs_that_cannot_be_estimated_are_refused_by_name() {
    let project = Project::new();
    let refused = |name: &str, set: &str, code: i32, says: &str| {
        if !set.is_empty() {
            project.run(name, &["--set", set]);
        }
        let said = project.fails(&["influence", &format!("runs/small/{name}")], code);
        assert!(said.contains(says), "{said}");
    };
    refused("bare", "seed=1", 2, "`train.save = \"every 10%\"`");
    let save = "train.save='every 3 steps'";
    let distil = format!("{save} train.objective.assistant.kind='distil'");
    refused(
        "distil",
        &distil,
        2,
        "`train.objective.assistant` is not `text`",
    );
    let weighs = format!(
        "{save} interventions.data-weight.topic='Sports' interventions.data-weight.weight=2.0"
    );
    refused(
        "weighs",
        &weighs,
        2,
        "`interventions.data-weight` weighs documents",
    );
    let half = format!("{save} data.subset={{seed=1,share=0.5}}");
    refused("half", &half, 2, "`data.subset` leaves documents out");
    let f16 = format!("{save} train.precision=f16");
    refused("f16", &f16, 2, "`train.precision` is f16");
    project.run("sound", &["--set", save]);
    for (more, says) in [
        (["--contrast", "age"], "the run has no contrast `age`"),
        (
            ["--checkpoints", "2"],
            "no checkpoint of step 2; there are 3, 6",
        ),
        (["--measure", "kl,kl"], "name each once"),
    ] {
        let said = project.fails(&[&["influence", "runs/small/sound"], &more[..]].concat(), 2);
        assert!(said.contains(says), "{said}");
    }
    let stopped = project.fails(&["influence", "runs/small/none"], 2);
    assert!(stopped.contains("runs/small/none"), "{stopped}");
}

#[test]
fn a_check_that_was_killed_goes_on_and_shows_the_tables() {
    let project = Project::new();
    let run = project.run("one", &["--set", "train.save='every 3 steps'"]);
    let arguments = ["influence", "runs/small/one", "--check", "4"];
    let mut child = project.spawn(&arguments);
    let first = run.join("influence/kl/check/subsets/subset=1/outcome.json");
    until("the first retraining", || first.is_file());
    child.kill().unwrap();
    child.wait().unwrap();
    let began = std::fs::metadata(&first).unwrap().modified().unwrap();
    // Its runs save and end when their parent is killed.
    let lock = run.join("influence/kl/check/subsets/subset=2/.lock");
    let free = || !lock.is_file() || milepost::record::lock(lock.parent().unwrap()).is_ok();
    until("the second retraining has ended", free);
    let assert = project.milepost(&arguments).assert().success();
    let said = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert_eq!(
        std::fs::metadata(&first).unwrap().modified().unwrap(),
        began
    );
    assert!(
        said.contains("datamodeling score, KL, nats:") && said.contains("Sports"),
        "{said}"
    );
    assert!(
        said.contains("datamodeling score, gap of n_matches:"),
        "{said}"
    );
    let json = summary(&run, "kl");
    let subsets = json["check"]["subsets"].as_array().unwrap();
    assert_eq!(subsets.len(), 4);
    let goal = &json["goals"][0];
    let outcomes: Vec<f64> = subsets
        .iter()
        .map(|one| one["outcomes"][0].as_f64().unwrap())
        .collect();
    let predicted = numbers(&goal["score"]["predicted"]);
    assert_eq!(
        goal["score"]["value"].as_f64(),
        spearman(&predicted, &outcomes)
    );
    // What a subset is predicted to come to is the sum of the rows of its documents.
    let table = std::fs::read_to_string(run.join("influence/kl/documents.tsv")).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(rows[0][5], "kl/mean/both");
    for (subset, predicted) in subsets.iter().zip(predicted) {
        let counts = Subset {
            seed: subset["seed"].as_u64().unwrap(),
            share: 0.5,
        };
        let counted = counts.of(rows.len() - 1);
        let own = rows[1..].iter().zip(counted).filter(|(_, counts)| *counts);
        let sum: f64 = own.map(|(row, _)| row[5].parse().unwrap_or(0.0)).sum();
        close(predicted, sum, 1e-9, 1e-12, "a prediction");
    }
    // Each number of the page stands in the file at the place that it says.
    let page = std::fs::read_to_string(run.join("influence/kl/influence.html")).unwrap();
    assert!(page.contains("Sports") && !page.contains("NOT CHECKED"));
    let mut cited = 0;
    for part in page.split("data-at=\"").skip(1) {
        let (at, rest) = part.split_once('"').unwrap();
        let shown = rest.split_once('>').unwrap().1.split_once('<').unwrap().0;
        let value = json
            .pointer(&format!("/{at}"))
            .unwrap_or_else(|| panic!("{at}"));
        let (value, shown) = (value.as_f64().unwrap(), shown.parse::<f64>().unwrap());
        assert!(
            (value - shown).abs() <= 1e-3 * value.abs() + 1e-4,
            "{at}: {value}, {shown}"
        );
        cited += 1;
    }
    assert!(cited > 100, "{cited}");
    other_methods_are_scored_beside(&project, &run, &rows);
    // The same command reads what is there, and other options are refused under its name.
    project.milepost(&arguments).assert().success();
    let other = [
        &arguments[..2],
        &["--name", "kl", "--measure", "acceptance"],
    ]
    .concat();
    let said = project.fails(&other, 2);
    assert!(said.contains("made with other options"), "{said}");
}

/// Another method that says the same has the same score; one that says the opposite of the gap, and nothing of the mean, the opposite. What is no
/// table of these documents is refused.
fn other_methods_are_scored_beside(project: &Project, run: &Path, rows: &[Vec<&str>]) {
    let name = "kl/gender/both";
    let gap = rows[0].iter().position(|cell| *cell == name).unwrap();
    let mut same = "document\tkl/mean\tkl/gender\n".to_owned();
    let mut opposite = "kl/gender\tdocument\n".to_owned();
    // From the last document to the first, without those that were never seen.
    for row in rows[1..].iter().rev().filter(|row| !row[5].is_empty()) {
        let of_gap: f64 = row[gap].parse().unwrap();
        same += &format!("{}\t{}\t{of_gap}\n", row[0], row[5]);
        opposite += &format!("{}\t{}\n", -of_gap, row[0]);
    }
    project.write("same.tsv", same);
    project.write("opposite.tsv", opposite);
    fn beside(given: &str) -> Vec<&str> {
        vec![
            "influence",
            "runs/small/one",
            "--check",
            "4",
            "--beside",
            given,
        ]
    }
    let both = [
        &beside("mine=same.tsv")[..],
        &["--beside", "no=opposite.tsv"],
    ]
    .concat();
    let said = project.milepost(&both).assert().success();
    let said = String::from_utf8_lossy(&said.get_output().stdout).into_owned();
    assert!(
        said.contains("datamodeling score, KL, nats, by mine:"),
        "{said}"
    );
    let json = summary(run, "kl");
    let [mean, gap] = [0, 1].map(|goal| &json["goals"][goal]);
    assert_eq!(mean["others"].as_array().unwrap().len(), 1);
    assert_eq!(mean["others"][0]["score"]["value"], mean["score"]["value"]);
    let [of_gap, mine, no] = [
        &gap["score"],
        &gap["others"][0]["score"],
        &gap["others"][1]["score"],
    ]
    .map(|score| score["value"].as_f64().unwrap());
    assert_eq!((mine, no), (of_gap, -of_gap));
    let page = std::fs::read_to_string(run.join("influence/kl/influence.html")).unwrap();
    assert!(page.contains("by mine") && page.contains("goals/1/others/1/score/value"));
    for (table, wrong) in [
        ("kl/mean\n0\n", "no column `document`"),
        ("document\tloss\n0\t1\n", "the goals are kl/mean, kl/gender"),
        (
            "document\tkl/mean\n0\t1\n0\t1\n",
            "line 3: document 0 was there before",
        ),
        (
            "document\tkl/mean\n100000\t1\n",
            "line 2: `100000` is no document",
        ),
        (
            "document\tkl/mean\n0\tnan\n",
            "line 2: `nan` in column `kl/mean`",
        ),
        ("document\tkl/mean\n0\n", "line 2: `` in column `kl/mean`"),
    ] {
        project.write("wrong.tsv", table);
        let said = project.fails(&beside("wrong=wrong.tsv"), 2);
        assert!(said.contains(wrong) && said.contains("wrong.tsv"), "{said}");
    }
    let said = project.fails(&beside("nowhere"), 2);
    assert!(said.contains("NAME=FILE"), "{said}");
}
