//! The classifier against transformers (tests/fixtures/roberta), the arithmetic of toxicity against an obvious one, and the hook.

use std::path::PathBuf;
use std::sync::LazyLock;

use burn::tensor::Device;
use milepost::measure::classifier::{Classifier, Head};
use milepost::measure::toxicity::Toxicity;
use milepost::model::Roberta;
use proptest::prelude::*;
use serde_json::Value;

use crate::harness::{Project, close, ids, milestones, numbers, timeless};

fn fixture(name: &str) -> PathBuf {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/roberta");
    folder.join(name)
}

static REFERENCE: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(&std::fs::read_to_string(fixture("reference.json")).unwrap()).unwrap()
});

/// Everything is asked for at once, and so padded, and one by one.
#[test]
fn logits_agree_with_transformers_in_both_heads() {
    for head in ["softmax", "sigmoid"] {
        let case = &REFERENCE[head];
        let labels: Vec<&str> = case["labels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|l| l.as_str().unwrap())
            .collect();
        let texts: Vec<&str> = case["texts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t.as_str().unwrap())
            .collect();
        let model = Roberta::load(&fixture(head), &Device::flex()).unwrap();
        assert_eq!(model.config().labels(), labels);
        let tokens: Vec<Vec<u32>> = case["ids"].as_array().unwrap().iter().map(ids).collect();
        // One is cut, to exactly the longest that fits.
        assert_eq!(tokens.iter().map(Vec::len).max(), Some(512));
        let logits = model.logits(&tokens, &|_| Ok(())).unwrap();
        let mut largest: f64 = 0.0;
        for (index, (found, expected)) in logits
            .iter()
            .zip(case["logits"].as_array().unwrap())
            .enumerate()
        {
            let alone = model.logits(&tokens[index..=index], &|_| Ok(())).unwrap();
            for ((found, alone), expected) in found.iter().zip(&alone[0]).zip(numbers(expected)) {
                let error = (f64::from(*found) - expected)
                    .abs()
                    .max((f64::from(*alone) - expected).abs());
                largest = largest.max(error);
            }
        }
        println!("{head}: largest error of a logit {largest:e}");
        assert!(largest < 1e-4, "{head}: {largest:e}");
        for (place, label) in labels.iter().enumerate() {
            let classifier = Classifier::load(&fixture(head), Head::Auto, label).unwrap();
            let scores = classifier.scores(&texts, &|_| Ok(())).unwrap();
            for (index, (text, score)) in texts.iter().zip(scores).enumerate() {
                assert_eq!(classifier.tokens(text).unwrap(), tokens[index], "{text}");
                let expected = numbers(&case["probabilities"][index])[place];
                close(score, expected, 1e-4, 1.0, "probability");
            }
        }
    }
}

#[test]
fn a_head_can_be_chosen_and_a_label_must_exist() {
    let text = ["nobody knew why"];
    let of = |head| {
        Classifier::load(&fixture("softmax"), head, "hate")
            .unwrap()
            .scores(&text, &|_| Ok(()))
            .unwrap()[0]
    };
    assert_eq!(of(Head::Auto), of(Head::Softmax));
    assert_ne!(of(Head::Auto), of(Head::Sigmoid));
    let auto = Classifier::load(&fixture("sigmoid"), Head::Auto, "auto").unwrap();
    let toxicity = Classifier::load(&fixture("sigmoid"), Head::Auto, "Toxicity").unwrap();
    assert_eq!(
        auto.scores(&text, &|_| Ok(())).unwrap(),
        toxicity.scores(&text, &|_| Ok(())).unwrap()
    );
    let error = Classifier::load(&fixture("softmax"), Head::Auto, "rude")
        .unwrap_err()
        .to_string();
    assert!(error.contains("`nothate`, `hate`"), "{error}");
}

/// Detoxify's labels are known without `problem_type`, which not every config.json has.
#[test]
fn where_config_says_nothing_the_labels_do() {
    let text = ["nobody knew why"];
    let folder = tempfile::tempdir().unwrap();
    for name in ["model.safetensors", "tokenizer.json"] {
        std::fs::copy(fixture("sigmoid").join(name), folder.path().join(name)).unwrap();
    }
    let config = std::fs::read_to_string(fixture("sigmoid").join("config.json")).unwrap();
    let config = config.replace("\"problem_type\"", "\"unknown\"");
    for (severe, head) in [
        ("severe", Head::Softmax),
        ("severe_toxicity", Head::Sigmoid),
    ] {
        let config = config.replace("\"severe\"", &format!("\"{severe}\""));
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let of = |head| {
            let classifier = Classifier::load(folder.path(), head, "auto").unwrap();
            classifier.scores(&text, &|_| Ok(())).unwrap()
        };
        assert_eq!(of(Head::Auto), of(head), "{severe}");
        assert_ne!(of(Head::Softmax), of(Head::Sigmoid));
    }
}

#[test]
fn damaged_classifiers_are_refused_with_the_file() {
    let whole = |name: &str| std::fs::read(fixture("softmax").join(name)).unwrap();
    let config = String::from_utf8(whole("config.json")).unwrap();
    let weights = whole("model.safetensors");
    let cases = [
        (
            config.replace("\"roberta\"", "\"bert\""),
            weights.clone(),
            "config.json",
            "`roberta` or `xlm-roberta`",
        ),
        (
            config.replace("\"gelu\"", "\"relu\""),
            weights.clone(),
            "config.json",
            "`hidden_act`",
        ),
        (
            config.replace("\"intermediate_size\": 48", "\"intermediate_size\": 40"),
            weights.clone(),
            "model.safetensors",
            "has shape",
        ),
        (
            config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
            weights.clone(),
            "model.safetensors",
            "is missing",
        ),
        (
            config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1"),
            weights.clone(),
            "model.safetensors",
            "no place in the network",
        ),
        (
            config.clone(),
            weights[..weights.len() / 2].to_vec(),
            "model.safetensors",
            "fetch it again",
        ),
        (
            config[..config.len() / 2].to_owned(),
            weights,
            "config.json",
            "not a config",
        ),
    ];
    for (config, weights, file, says) in cases {
        let project = Project::new();
        project.write("broken/config.json", config);
        project.write("broken/model.safetensors", weights);
        let error = Roberta::load(&project.path().join("broken"), &Device::flex())
            .unwrap_err()
            .to_string();
        assert!(error.contains(file) && error.contains(says), "{error}");
    }
}

proptest! {
    #[test]
    fn toxicity_is_what_it_says(prompts in prop::collection::vec(prop::collection::vec(0.0f64..=1.0, 4), 1..20)) {
        let found = Toxicity::of(prompts.iter()).unwrap();
        let (mut sum, mut toxic, mut maxima) = (0.0, 0, 0.0);
        for samples in &prompts {
            let mut sorted = samples.clone();
            sorted.sort_by(f64::total_cmp);
            maxima += sorted[3];
            for one in samples {
                sum += one;
                if *one >= 0.5 {
                    toxic += 1;
                }
            }
        }
        let (texts, count) = (4.0 * prompts.len() as f64, prompts.len() as f64);
        prop_assert!((found.mean - sum / texts).abs() < 1e-12);
        prop_assert!((found.share - f64::from(toxic) / texts).abs() < 1e-12);
        prop_assert!((found.expected_maximum - maxima / count).abs() < 1e-12);
    }
}

const EXPERIMENT: &str = "
[data]
builtin_sample = true
train_articles = 60
test_articles = 20
[train]
max_steps = 2
batch = 2
block = 32
[templates]
file = 'templates.tsv'
[hooks.toxicity]
at = ['start', 'end']
";

#[test]
fn the_hook_reports_what_its_classifier_says() {
    let project = Project::new();
    let classifier = fixture("softmax");
    let options = format!("classifier = '{}'\nsamples = 3\n", classifier.display());
    project.write("small.toml", format!("{EXPERIMENT}{options}"));
    let run = project.run("a", &[]);
    let lines = milestones(&run);
    let line = lines
        .iter()
        .find(|line| line["source"] == "toxicity")
        .unwrap();
    let value = |tag: &str| line["scalars"][format!("toxicity/{tag}")].as_f64().unwrap();
    for group in ["all", "female", "male"] {
        let [mean, share, maximum] =
            ["mean", "share", "expected_maximum"].map(|what| value(&format!("{group}_{what}")));
        assert!(0.0 < mean && mean <= maximum && maximum <= 1.0, "{line}");
        assert!((0.0..=1.0).contains(&share), "{line}");
    }
    assert!(
        (value("disparity") - (value("female_mean") - value("male_mean"))).abs() < 1e-12,
        "{line}"
    );
    assert!(
        (value("all_mean") - (value("female_mean") + value("male_mean")) / 2.0).abs() < 1e-12,
        "{line}"
    );
    // The table shows text and probability: the classifier says the same of that text alone.
    let table = line["texts"]["toxicity/worst"].as_str().unwrap();
    let row: Vec<&str> = table.lines().nth(2).unwrap().split(" | ").collect();
    let (text, shown) = (row[1], row[2].trim_end_matches(" |"));
    let score = Classifier::load(&classifier, Head::Auto, "auto")
        .unwrap()
        .scores(&[text], &|_| Ok(()))
        .unwrap()[0];
    assert_eq!(format!("{score:.4}"), shown, "{text:?}");
    let texts = table
        .lines()
        .skip(2)
        .map(|row| row.split(" | ").nth(1).unwrap());
    let mut texts: Vec<&str> = texts.collect();
    let shown = texts.len();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), shown, "a text twice: {table}");
    assert_eq!(timeless(&run), timeless(&project.run("b", &[])));
}

/// Continuations of one token: most prompts are followed by the same few.
#[test]
fn the_worst_texts_are_shown_once_each() {
    let project = Project::new();
    let options = format!(
        "classifier = '{}'\nsamples = 20\n",
        fixture("softmax").display()
    );
    project.write(
        "small.toml",
        format!("{EXPERIMENT}{options}[decode]\nmax_new_tokens = 1\n"),
    );
    let run = project.run("a", &[]);
    let lines = milestones(&run);
    let tables = lines
        .iter()
        .filter_map(|line| line["texts"]["toxicity/worst"].as_str());
    for table in tables {
        let rows = table.lines().skip(2);
        let mut texts: Vec<&str> = rows.map(|row| row.split(" | ").nth(1).unwrap()).collect();
        assert_eq!(texts.len(), 8, "{table}");
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), 8, "{table}");
    }
}

#[test]
fn without_a_classifier_it_says_what_to_fetch() {
    let project = Project::new();
    project.write("small.toml", EXPERIMENT);
    let mut command = project.milepost(&["finetune", "small.toml"]);
    let assert = command
        .env("HF_HUB_CACHE", project.path().join("hub"))
        .assert()
        .code(3);
    let message = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    for part in [
        "hook `toxicity`",
        "facebook/roberta-hate-speech-dynabench-r4-target",
        "By hand",
        "config.json",
        "the hook's option",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!project.path().join("runs/small").exists());
}
