//! Changed checkpoints and tokenizers are read as transformers reads them, or refused with the file and the name (tests/fixtures/perturbed).

mod recipe;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use burn::tensor::{Device, Int, Tensor, TensorData};
use milepost::data::tokenizer::Tokenizer;
use milepost::model::Network;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{ids, numbers, rows};

fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/perturbed");
    folder.join(name)
}

static CASES: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(&std::fs::read_to_string(fixture("cases.json")).unwrap()).unwrap()
});

fn cases(kind: &str) -> Vec<&'static Value> {
    let all = CASES["cases"].as_array().unwrap().iter();
    all.filter(|case| case["kind"] == kind).collect()
}

/// The base's files after a case's recipe.
fn folder(case: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture("base")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    for edit in case["recipe"].as_array().unwrap() {
        recipe::apply(folder.path(), edit);
    }
    folder
}

/// What is wrong with an outcome; None where it is one of the two that are allowed.
fn wrong(case: &Value, folder: &Path, outcome: Result<Option<String>, String>) -> Option<String> {
    let refused = &case["given"]["refused"];
    match outcome {
        Ok(_) if refused.is_string() => Some(format!("read, but transformers: {refused}")),
        Ok(difference) => difference,
        Err(message) if case["must"] == true => Some(format!("refused: {message}")),
        Err(message) => {
            // Without the folder, whose name is chance.
            let said = message.replace(&*folder.to_string_lossy(), "");
            let names = case["names"].as_array().unwrap().iter();
            let mut names = names.map(|name| name.as_str().unwrap());
            let file = [
                ".json",
                ".txt",
                ".safetensors",
                ".bin",
                "no weights here",
                "no tokenizer here",
            ];
            let named = file.iter().any(|file| said.contains(file));
            // What is not JSON has no name but its line.
            let unreadable = said.contains("line ") || said.contains("not a readable");
            let named = named && (unreadable || names.any(|name| said.contains(name)));
            (!named).then(|| format!("refused without a name: {said}"))
        }
    }
}

/// Fails with every case whose outcome is neither, and says how many had which.
fn check(kind: &str, read: impl Fn(&Value, &Path) -> Result<Option<String>, String>) {
    let (mut equal, mut refused, mut problems) = (0, 0, Vec::new());
    for (index, case) in cases(kind).into_iter().enumerate() {
        let folder = folder(case);
        let outcome = read(case, folder.path());
        match &outcome {
            Ok(None) => equal += 1,
            Ok(Some(_)) => {}
            Err(_) => refused += 1,
        }
        if let Some(problem) = wrong(case, folder.path(), outcome) {
            problems.push(format!(
                "{index} {}: {}\n   {problem}",
                case["name"], case["recipe"]
            ));
        }
    }
    println!("{kind}: {equal} equal, {refused} refused");
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
    assert!(equal > 40 && refused > 40);
}

/// The ids of the texts, or what is different in them.
fn compare_ids(tokenizer: &Tokenizer, expected: &Value) -> Option<String> {
    let texts = CASES["texts"].as_array().unwrap();
    let expected = expected.as_array()?;
    texts.iter().zip(expected).find_map(|(text, expected)| {
        let found = tokenizer.encode(text.as_str().unwrap()).unwrap();
        (found != ids(expected)).then(|| format!("{text}: {found:?}, not {expected}"))
    })
}

#[test]
fn tokenizers_give_the_ids_of_transformers_or_are_refused() {
    check("tokenizer", |case, folder| {
        let tokenizer = Tokenizer::load(folder).map_err(|error| error.to_string())?;
        let table = CASES["table"].as_u64().unwrap() as usize;
        tokenizer
            .check_table(table)
            .map_err(|error| error.to_string())?;
        Ok(compare_ids(&tokenizer, &case["given"]["ids"]))
    });
}

#[test]
fn what_is_saved_of_a_tokenizer_is_the_same_tokenizer() {
    let mut saved = 0;
    for case in cases("tokenizer") {
        let folder = folder(case);
        let Ok(tokenizer) = Tokenizer::load(folder.path()) else {
            continue;
        };
        let again = tempfile::tempdir().unwrap();
        std::fs::write(
            again.path().join("config.json"),
            r#"{"model_type": "gpt2"}"#,
        )
        .unwrap();
        tokenizer.save(again.path()).unwrap();
        let again = Tokenizer::load(again.path())
            .unwrap_or_else(|error| panic!("{error}: {}", case["recipe"]));
        assert_eq!(tokenizer.difference(&again), None, "{}", case["recipe"]);
        assert_eq!(
            tokenizer.end_of_text(),
            again.end_of_text(),
            "{}",
            case["recipe"]
        );
        assert_eq!(
            compare_ids(&again, &case["given"]["ids"]),
            None,
            "{}",
            case["recipe"]
        );
        saved += 1;
    }
    assert!(saved > 40, "{saved}");
}

#[test]
fn tokenizers_that_cut_texts_otherwise_are_told_apart() {
    let read = |case: &&'static Value| {
        let tokenizer = Tokenizer::load(folder(case).path()).ok()?;
        let ids = case["given"]["ids"].as_array()?;
        Some((tokenizer, ids))
    };
    let all: Vec<_> = cases("tokenizer").iter().filter_map(read).collect();
    let mut told_apart = 0;
    for (index, (ours, our_ids)) in all.iter().enumerate() {
        for (theirs, their_ids) in &all[index + 1..] {
            let difference = ours.difference(theirs);
            if our_ids != their_ids {
                assert!(difference.is_some(), "{our_ids:?}\n{their_ids:?}");
                told_apart += 1;
            }
        }
    }
    assert!(told_apart > 500, "{told_apart}");
}

#[test]
fn models_give_the_logits_of_transformers_or_are_refused() {
    let batch = rows(&CASES["ids"]);
    check("model", |case, folder| {
        let model = Network::load(folder, &Device::flex()).map_err(|error| error.to_string())?;
        let given = &case["given"];
        if given["refused"].is_string() {
            return Ok(None);
        }
        let (time, vocab) = (batch[0].len(), model.config().vocab_size);
        let tokens: Vec<i32> = batch.iter().flatten().map(|&id| id as i32).collect();
        let tokens = TensorData::new(tokens, [batch.len(), time]);
        let tokens: Tensor<2, Int> = Tensor::from_data(tokens, &Device::flex());
        let logits: Vec<f32> = model.logits(tokens).into_data().try_into_vec().unwrap();
        let square = logits.iter().map(|value| f64::from(*value).powi(2));
        let square = square.sum::<f64>() / logits.len() as f64;
        let mut pairs = vec![(square, given["square"].as_f64().unwrap())];
        for (row, expected) in given["logits"].as_array().unwrap().iter().enumerate() {
            let last = (row * time + time - 1) * vocab;
            let found = logits[last..].iter().map(|value| f64::from(*value));
            pairs.extend(found.zip(numbers(expected)));
        }
        let far = pairs
            .iter()
            .find(|(found, expected)| (found - expected).abs() > 1e-4 * expected.abs().max(1.0));
        Ok(far.map(|(found, expected)| format!("{found}, not {expected}")))
    });
}
