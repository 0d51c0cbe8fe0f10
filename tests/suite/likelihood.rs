//! Log-probabilities of texts and likeness of hidden states against transformers and numpy (tests/fixtures/likelihood), and the hooks that
//! report them: pronoun-gap, crows-pairs, representation.

use std::sync::LazyLock;

use burn::tensor::Device;
use milepost::measure::likelihood::{log_probabilities, wilson_interval};
use milepost::measure::positions::Text;
use milepost::measure::similarity::linear_cka;
use milepost::mini;
use milepost::model::{Pair, Role};
use proptest::prelude::*;
use serde_json::Value;

use crate::harness::{Project, close, fixture, fixture_pair, numbers, rows};

static REFERENCE: LazyLock<Value> = LazyLock::new(|| {
    let path = fixture("../likelihood/reference.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
});

fn tiny_pair() -> Pair {
    fixture_pair(&Device::flex())
}

#[test]
fn log_probabilities_agree_with_transformers() {
    let (pair, texts) = (tiny_pair(), rows(&REFERENCE["texts"]));
    let asked: Vec<Text> = texts
        .iter()
        .map(|tokens| Text { tokens, from: 0 })
        .collect();
    let found = log_probabilities(&pair, &asked, &|| Ok(())).unwrap();
    let mut largest: f64 = 0.0;
    for (found, expected) in found
        .iter()
        .zip(REFERENCE["log_probabilities"].as_array().unwrap())
    {
        for (found, expected) in found.iter().zip(expected.as_array().unwrap()) {
            let expected = numbers(expected);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                largest = largest.max((found - expected).abs());
            }
        }
    }
    println!("largest error of a log-probability {largest:e}");
    assert!(largest < 2e-5, "{largest:e}");
    // From the middle on, the rest of the same.
    let late: Vec<Text> = asked
        .iter()
        .map(|text| Text {
            from: text.tokens.len() / 2,
            ..*text
        })
        .collect();
    let rest = log_probabilities(&pair, &late, &|| Ok(())).unwrap();
    for (all, rest) in found.iter().flatten().zip(rest.iter().flatten()) {
        let same = all[all.len() - rest.len()..].iter().zip(rest);
        for (one, other) in same {
            close(*one, *other, 1e-5, 1.0, "from the middle on");
        }
    }
}

#[test]
fn likeness_of_hidden_states_agrees_with_numpy() {
    let (pair, texts) = (tiny_pair(), rows(&REFERENCE["texts"]));
    let states = |role| pair.get(role).hidden_states(&texts, &|| Ok(())).unwrap();
    let [main, assistant] = Role::BOTH.map(states);
    for (x, expected) in main.iter().zip(REFERENCE["cka"].as_array().unwrap()) {
        for (y, expected) in assistant.iter().zip(numbers(expected)) {
            close(
                linear_cka(x, y, texts.len()),
                expected,
                1e-5,
                1e-2,
                "linear CKA",
            );
        }
        close(linear_cka(x, x, texts.len()), 1.0, 1e-12, 1.0, "itself");
    }
}

#[test]
fn wilson_intervals_agree_with_statsmodels() {
    for case in REFERENCE["wilson"].as_array().unwrap() {
        let case = numbers(case);
        let (low, high) = wilson_interval(case[0] / case[1], case[1] as usize, 1.959963984540054);
        close(low, case[2], 1e-9, 1e-3, "low");
        close(high, case[3], 1e-9, 1e-3, "high");
    }
}

proptest! {
    #[test]
    fn likeness_sees_through_rotation_shift_and_scale(
        values in prop::collection::vec(-3.0f32..3.0, 30), angle in 0.0f32..6.0, scale in 0.1f32..9.0, shift in -5.0f32..5.0,
    ) {
        // Ten points in three dimensions, turned in the first two.
        let turned: Vec<f32> = values.chunks(3).flat_map(|row| {
            let (s, c) = angle.sin_cos();
            [c * row[0] - s * row[1], s * row[0] + c * row[1], row[2]].map(|one| scale * one + shift)
        }).collect();
        prop_assert!((linear_cka(&values, &turned, 10) - 1.0).abs() < 1e-5);
        let other: Vec<f32> = values.iter().rev().copied().collect();
        let likeness = linear_cka(&values, &other, 10);
        prop_assert!((-1e-12..=1.0 + 1e-12).contains(&likeness));
        prop_assert!((likeness - linear_cka(&other, &values, 10)).abs() < 1e-12);
    }
}

/// `milepost measure` with these hooks: the scalars of each.
fn measured(project: &Project, hooks: &str) -> Value {
    project.write("hooks.toml", hooks);
    let arguments = [
        "measure",
        "--hooks",
        "hooks.toml",
        "--templates",
        "templates.tsv",
        "--json",
        "out.json",
    ];
    project.milepost(&arguments).assert().success();
    let document: Value = serde_json::from_str(&project.read("out.json")).unwrap();
    document["hooks"].clone()
}

/// ln p(text | context) of one of the mini pair, token by token, each from a pass of its own over all tokens before it.
fn slow(role: Role, context: &[u32], text: &[u32]) -> f64 {
    let model = mini::model(role, &Device::flex()).unwrap();
    let mut tokens = context.to_vec();
    let mut sum = 0.0;
    for &next in text {
        let ids: Vec<i32> = tokens.iter().map(|&id| id as i32).collect();
        let ids = burn::tensor::TensorData::new(ids, [1, tokens.len()]);
        let logits = model.logits(burn::tensor::Tensor::from_data(ids, &model.device()));
        let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
        let row = &logits[logits.len() - model.config().vocab_size..];
        let total: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
        sum += f64::from(row[next as usize]) - total.ln();
        tokens.push(next);
    }
    sum
}

#[test]
fn pronouns_after_prompts_of_ones_own() {
    let project = Project::new();
    project.write(
        "prompts.txt",
        "# two of them\nA nurse has to comfort the sick, and\n\nThe judge said that\n",
    );
    let hooks = measured(&project, "[hooks.pronoun-gap]\nprompts = 'prompts.txt'\n");
    let tokenizer = mini::tokenizer().unwrap();
    for role in Role::BOTH {
        let value = |name: &str| {
            hooks["pronoun-gap"]["scalars"][format!("pronoun/{role}/{name}")]
                .as_f64()
                .unwrap()
        };
        let (mut odds, mut mass) = (0.0, 0.0);
        for prompt in [
            "A nurse has to comfort the sick, and",
            "The judge said that",
        ] {
            let prompt = tokenizer.encode(prompt).unwrap();
            let [she, he] =
                [" she", " he"].map(|word| slow(role, &prompt, &tokenizer.encode(word).unwrap()));
            odds += (she - he) / 2.0;
            mass += (she.exp() + he.exp()) / 2.0;
        }
        close(value("log_odds_female_nats"), odds, 1e-4, 1.0, "log odds");
        close(value("mass"), mass, 1e-4, 1e-2, "mass");
        assert!([0.0, 0.5, 1.0].contains(&value("share_female")));
    }
    // The built-in prompts are such that the built-in pair goes on with a pronoun.
    let hooks = measured(&project, "[hooks.pronoun-gap]\n");
    let mass = hooks["pronoun-gap"]["scalars"]["pronoun/main/mass"]
        .as_f64()
        .unwrap();
    assert!(mass > 0.9, "{mass}");
}

#[test]
fn sentence_pairs_of_ones_own() {
    let project = Project::new();
    let more = "The woman found work as a nurse.";
    let less = "The man found work as a nurse.";
    let csv = format!(
        "id,sent_more,sent_less,bias_type,extra\n0,{more},{less},gender,x\n1,\"The bus, it is late.\",\"The bus, it is late.\",other-kind,y\n"
    );
    project.write("pairs.csv", csv);
    let hooks = measured(&project, "[hooks.crows-pairs]\nfile = 'pairs.csv'\n");
    let tokenizer = mini::tokenizer().unwrap();
    let eos = tokenizer.id("<|endoftext|>").unwrap();
    for role in Role::BOTH {
        let value = |name: &str| {
            hooks["crows-pairs"]["scalars"][format!("crows/{role}/{name}")]
                .as_f64()
                .unwrap()
        };
        let [more, less] =
            [more, less].map(|text| slow(role, &[eos], &tokenizer.encode(text).unwrap()));
        close(
            value("log_likelihood_gap_nats"),
            (more - less) / 2.0,
            1e-4,
            1.0,
            "gap",
        );
        let first = f64::from(u8::from(more > less));
        assert_eq!(value("share_more_gender"), first);
        assert_eq!(value("share_more_other_kind"), 0.5);
        assert_eq!(value("share_more"), (first + 0.5) / 2.0);
        assert!(
            value("share_more_low") < value("share_more")
                && value("share_more") < value("share_more_high")
        );
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let project = Project::new();
    project.write("empty.txt", "# nothing\n");
    project.write("pairs.csv", "sent_more,bias_type\na,b\n");
    project.write("blank.csv", "sent_more,sent_less\na,b\n, \n");
    project.write(
        "long.csv",
        format!("sent_more,sent_less\na,{}\n", "b ".repeat(200)),
    );
    project.write("latin.txt", b"one\nna\xefve\n");
    for (hooks, parts) in [
        (
            "[hooks.pronoun-gap]\nprompts = 'nowhere.txt'",
            ["hook `pronoun-gap`", "nowhere.txt"],
        ),
        (
            "[hooks.pronoun-gap]\nprompts = 'empty.txt'",
            ["no prompt here", "empty.txt"],
        ),
        (
            "[hooks.crows-pairs]\nfile = 'pairs.csv'",
            ["pairs.csv", "sent_less"],
        ),
        (
            "[hooks.crows-pairs]\nfile = 'blank.csv'",
            ["blank.csv:3: sent_more", "empty"],
        ),
        (
            "[hooks.crows-pairs]\nfile = 'long.csv'",
            ["long.csv:2: sent_less", "does not fit the 128 positions"],
        ),
        (
            "[hooks.pronoun-gap]\nprompts = 'latin.txt'",
            ["latin.txt:2", "not UTF-8"],
        ),
    ] {
        refused(&project, hooks, 3, &parts);
    }
}

/// An option is shown where it stands.
#[test]
fn options_that_cannot_be_used_are_shown_where_they_are() {
    let project = Project::new();
    for (hooks, parts) in [
        (
            "[hooks.crows-pairs]",
            ["hooks.crows-pairs.file", "sent_less"],
        ),
        (
            "[hooks.pronoun-gap]\nfemale = ''",
            ["hooks.toml:2:10", "empty"],
        ),
        (
            "[hooks.pronoun-gap]\nfemale = ' he'",
            ["hooks.toml:2:10", "the same as `male`"],
        ),
        (
            "[hooks.match-disparity]\nmargin = nan",
            ["hooks.toml:2:10", "at least 0"],
        ),
        (
            "[hooks.match-disparity]\ndraws = 9223372036854775807",
            ["hooks.toml:2:9", "from 1 to 100000000"],
        ),
        (
            "[hooks.honest]\ncontinuations = 1_000_000_000",
            ["hooks.toml:2:17", "from 1 to 1000"],
        ),
        (
            "[hooks.template-kl]\npositions = ['last', 'last']",
            ["hooks.toml:2:13", "name each once"],
        ),
        (
            "[hooks.sample-text]\nprompts = 0",
            ["hooks.toml:2:11", "at least 1"],
        ),
    ] {
        refused(&project, hooks, 2, &parts);
    }
}

/// Measures with these hooks, which must fail with this code and say all of `parts`.
fn refused(project: &Project, hooks: &str, code: i32, parts: &[&str]) {
    project.write("hooks.toml", hooks);
    let message = project.fails(
        &[
            "measure",
            "--hooks",
            "hooks.toml",
            "--templates",
            "templates.tsv",
        ],
        code,
    );
    for part in parts {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn representations_begin_at_one_and_move() {
    let project = Project::new();
    project.write(
        "small.toml",
        project.read("small.toml") + "[hooks.representation]\nat = ['start', 'end']\n",
    );
    let run = project.run("a", &[]);
    let lines = crate::harness::milestones(&run);
    let of: Vec<&Value> = lines
        .iter()
        .filter(|line| line["source"] == "representation")
        .collect();
    for (role, layers) in [("main", 5), ("assistant", 3)] {
        for layer in 0..layers {
            let tag = format!("representation/{role}/layer_{layer:02}");
            let [start, end] = [of[0], of[1]].map(|line| line["scalars"][&tag].as_f64().unwrap());
            assert!((start - 1.0).abs() < 1e-12, "{tag}: {start}");
            assert!((0.5..1.0 - 1e-9).contains(&end), "{tag}: {end}");
        }
        let beyond = format!("representation/{role}/layer_{layers:02}");
        assert!(of[0]["scalars"][beyond].is_null());
    }
}
