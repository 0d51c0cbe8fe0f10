//! Tokenizers of the families, as the hub has them, give the ids of transformers (tests/fixtures/tokenizers).

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use milepost::checksum::sha256;
use milepost::data::tokenizer::Tokenizer;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

fn fixture(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers");
    serde_json::from_str(&std::fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

static REFERENCE: LazyLock<Value> = LazyLock::new(|| fixture("reference.json"));
static MODELS: LazyLock<Value> = LazyLock::new(|| fixture("models.json"));

/// The texts of the reference.
pub fn texts() -> Vec<&'static str> {
    let texts = REFERENCE["texts"].as_array().unwrap().iter();
    texts.map(|text| text.as_str().unwrap()).collect()
}

fn cases() -> &'static [Value] {
    REFERENCE["cases"].as_array().unwrap()
}

/// The case of this name.
pub fn named(name: &str) -> &'static Value {
    let found = cases().iter().find(|case| case["name"] == name);
    found.unwrap_or_else(|| panic!("no case {name}"))
}

/// The names of the cases that have one: the forms of the hub.
fn names() -> Vec<&'static str> {
    let names = cases().iter().map(|case| case["name"].as_str().unwrap());
    names.filter(|name| *name != "by chance").collect()
}

/// Writes the files of a case into a folder.
pub fn write(folder: &Path, case: &Value) {
    let put = |name: &str, value: &Value| {
        std::fs::write(folder.join(name), value.to_string()).unwrap();
    };
    let model = &MODELS[case["vocabulary"].as_str().unwrap()];
    match case["form"].as_str().unwrap() {
        "two files" => {
            put("vocab.json", &model["vocab"]);
            let merges = model["merges"].as_array().unwrap().iter();
            let lines = merges.map(|merge| {
                let [left, right] = [0, 1].map(|side| merge[side].as_str().unwrap());
                format!("{left} {right}\n")
            });
            let text = format!("#version: 0.2\n{}", lines.collect::<String>());
            std::fs::write(folder.join("merges.txt"), text).unwrap();
        }
        form => put("tokenizer.json", &tokenizer_json(case, form, model)),
    }
    for (name, value) in case["files"].as_object().unwrap() {
        put(name, value);
    }
}

fn tokenizer_json(case: &Value, form: &str, model: &Value) -> Value {
    let mut document = json!({"version": "1.0", "truncation": null, "padding": null});
    let plain = json!({"single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false});
    let added = case["added"].as_array().unwrap().iter().map(|token| {
        let mut all = plain.clone();
        extend(&mut all, token);
        all
    });
    document["added_tokens"] = added.collect();
    extend(&mut document, &REFERENCE["forms"][form]);
    extend(&mut document["model"], model);
    document
}

fn extend(object: &mut Value, with: &Value) {
    let with: Map<String, Value> = with.as_object().unwrap().clone();
    object.as_object_mut().unwrap().extend(with);
}

fn folder(case: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), case);
    folder
}

/// The ids of all texts.
fn ids(tokenizer: &Tokenizer) -> Vec<Vec<u32>> {
    let texts = texts().into_iter();
    texts.map(|text| tokenizer.encode(text).unwrap()).collect()
}

fn digest(value: &Value) -> String {
    sha256(value.to_string().as_bytes())[..16].to_owned()
}

#[test]
fn the_hubs_forms_give_the_ids_and_texts_of_transformers() {
    for name in names() {
        let case = named(name);
        let tokenizer = Tokenizer::load(folder(case).path());
        let tokenizer = tokenizer.unwrap_or_else(|error| panic!("{name}: {error}"));
        let given = &case["given"];
        assert_eq!(json!(tokenizer.ends().unwrap()), given["around"], "{name}");
        for (index, text) in texts().into_iter().enumerate() {
            let found = tokenizer.encode(text).unwrap();
            assert_eq!(json!(found), given["ids"][index], "{name}: {text:?}");
            let again = tokenizer.decode(&found).unwrap();
            assert_eq!(json!(again), given["texts"][index], "{name}: {text:?}");
        }
        let end = given["special"].get("eos_token");
        let end = end.and_then(|end| end[1].as_u64());
        assert_eq!(tokenizer.end_of_text().map(u64::from), end, "{name}");
        // The hub's forms put tokens before a text, and none behind it.
        let begins = tokenizer.clone().with_beginning().unwrap();
        assert_eq!(json!(begins.beginning()), given["around"], "{name}");
        for text in ["The nurse", " ", ""] {
            let whole = [begins.beginning(), &tokenizer.encode(text).unwrap()].concat();
            assert_eq!(begins.encode(text).unwrap(), whole, "{name}: {text:?}");
            let behind = tokenizer.encode_behind(text).unwrap();
            assert_eq!(begins.encode_behind(text).unwrap(), behind, "{name}");
        }
    }
}

/// Settings do not change what the file's own post-processor puts there, as in transformers.
#[test]
fn the_beginning_is_that_of_the_post_processor() {
    for (name, beginning) in [("tinyllama", vec![1]), ("pythia", vec![])] {
        for (begin, end) in [(false, true), (true, true), (true, false), (false, false)] {
            let folder = folder(named(name));
            let path = folder.path().join("tokenizer_config.json");
            let settings = std::fs::read(&path).unwrap();
            let mut settings: Value = serde_json::from_slice(&settings).unwrap();
            settings["add_bos_token"] = json!(begin);
            settings["add_eos_token"] = json!(end);
            std::fs::write(&path, settings.to_string()).unwrap();
            let tokenizer = Tokenizer::load(folder.path()).unwrap();
            let tokenizer = tokenizer.with_beginning().unwrap();
            assert_eq!(tokenizer.beginning(), beginning, "{name}: {begin}, {end}");
        }
    }
}

#[test]
fn every_class_on_every_form_gives_the_ids_of_transformers_or_is_refused() {
    let (mut equal, mut refused) = (0, 0);
    let mut problems = Vec::new();
    for case in cases() {
        let folder = folder(case);
        let given = &case["given"];
        match Tokenizer::load(folder.path()) {
            Ok(tokenizer) => {
                let found = json!(ids(&tokenizer));
                let same = found == given["ids"] || json!(digest(&found)) == given["ids"];
                equal += usize::from(same);
                if !same {
                    problems.push(format!("other ids: {case}"));
                }
            }
            Err(error) => {
                refused += 1;
                let said = error.to_string();
                let named = said.contains('`') || said.contains("needs a tokenizer.json");
                if !named || !(said.contains(".json") || said.contains(".txt")) {
                    problems.push(format!("{said}: {case}"));
                }
            }
        }
    }
    println!("{equal} equal, {refused} refused");
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
    assert!(equal > 200 && refused < equal / 2, "{equal}, {refused}");
}

#[test]
fn what_is_saved_is_the_same_tokenizer() {
    for case in cases() {
        let Ok(tokenizer) = Tokenizer::load(folder(case).path()) else {
            continue;
        };
        let again = tempfile::tempdir().unwrap();
        let config = case["files"]["config.json"].to_string();
        std::fs::write(again.path().join("config.json"), config).unwrap();
        tokenizer.save(again.path()).unwrap();
        let again = Tokenizer::load(again.path()).unwrap_or_else(|error| panic!("{error}: {case}"));
        let what = &case["files"];
        assert_eq!(tokenizer.difference(&again), None, "{what}");
        assert_eq!(tokenizer.end_of_text(), again.end_of_text(), "{what}");
        assert_eq!(tokenizer.ends().unwrap(), again.ends().unwrap(), "{what}");
        assert_eq!(ids(&tokenizer), ids(&again), "{what}");
        assert_eq!(again.left_out(), None, "{what}");
    }
}

/// The hub's forms, and some that put a space before a text in other ways.
fn with_other_spaces() -> Vec<(&'static str, Tokenizer)> {
    let load = |name| (name, Tokenizer::load(folder(named(name)).path()).unwrap());
    let mut all: Vec<_> = names().into_iter().map(load).collect();
    // A decoder of older files.
    let older = folder(named("mistral, metaspace"));
    let path = older.path().join("tokenizer.json");
    let mut file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let decoders = json!([{"type": "ByteFallback"}, file["pre_tokenizer"]]);
    file["decoder"] = json!({"type": "Sequence", "decoders": decoders});
    std::fs::write(&path, file.to_string()).unwrap();
    all.push((
        "a decoder of spaces",
        Tokenizer::load(older.path()).unwrap(),
    ));
    let mut case = named("pythia").clone();
    case["form"] = json!("two files");
    case["files"]["tokenizer_config.json"]["add_prefix_space"] = json!(true);
    let bytes = Tokenizer::load(folder(&case).path()).unwrap();
    for (name, tokenizer) in [
        ("bytes", &bytes),
        ("a decoder of spaces", &all[all.len() - 1].1),
    ] {
        let both = [tokenizer.encode("she"), tokenizer.encode_behind("she")];
        let [before, behind] = both.map(Result::unwrap);
        assert_ne!(before, behind, "{name}");
    }
    all.push(("bytes", bytes));
    all
}

/// A text cut in two anywhere has the same text when both parts are decoded, the second as it stands behind the first.
#[test]
fn a_text_behind_another_goes_on_as_it_is_written() {
    for (name, tokenizer) in with_other_spaces() {
        for text in [
            "The nurse waited for the bus",
            "a  b   c\n  d",
            "she said she said",
        ] {
            let ids = tokenizer.encode(text).unwrap();
            let whole = tokenizer.decode(&ids).unwrap();
            assert!(whole.ends_with(text), "{name}: {whole}");
            for cut in 1..ids.len() {
                let (before, behind) = ids.split_at(cut);
                let found =
                    tokenizer.decode(before).unwrap() + &tokenizer.decode_behind(behind).unwrap();
                assert_eq!(found, whole, "{name}: {cut}");
            }
            for (cut, _) in text.char_indices().skip(1) {
                let (before, behind) = text.split_at(cut);
                let mut ids = tokenizer.encode(before).unwrap();
                ids.extend(tokenizer.encode_behind(behind).unwrap());
                assert_eq!(tokenizer.decode(&ids).unwrap(), whole, "{name}: {cut}");
            }
        }
    }
}

#[test]
fn a_sentence_piece_model_alone_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("config.json"),
        r#"{"model_type": "llama"}"#,
    )
    .unwrap();
    std::fs::write(folder.path().join("tokenizer.model"), "pieces").unwrap();
    let said = Tokenizer::load(folder.path()).unwrap_err().to_string();
    assert!(
        said.contains("tokenizer.model") && said.contains("save_pretrained"),
        "{said}"
    );
}

/// Where transformers' class leaves out a part of the file, that is said.
#[test]
fn a_part_that_the_class_leaves_out_is_named() {
    for name in names() {
        let tokenizer = Tokenizer::load(folder(named(name)).path()).unwrap();
        let part = match name {
            "smollm2" => Some("`pre_tokenizer`"),
            "llama 2" | "tinyllama" | "tinyllama with another token" | "an older llama 2" => {
                Some("`normalizer`")
            }
            "llama, no space put before" => Some("`normalizer`"),
            _ => None,
        };
        match (part, tokenizer.left_out()) {
            (Some(part), Some(said)) => assert!(
                said.contains(part) && said.contains("tokenizer.json"),
                "{said}"
            ),
            (expected, found) => assert_eq!(expected, found, "{name}"),
        }
    }
}

/// Saves every form of the hub, for transformers (tests/fixtures/tokenizers/check_saved.py).
#[test]
fn saved_tokenizers_are_written_for_transformers() {
    let Some(to) = std::env::var_os("MILEPOST_SAVED_TOKENIZERS").map(PathBuf::from) else {
        return println!("skipped: MILEPOST_SAVED_TOKENIZERS names no folder");
    };
    for (index, case) in cases().iter().enumerate() {
        let Ok(tokenizer) = Tokenizer::load(folder(case).path()) else {
            continue;
        };
        let folder = to.join(index.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let config = case["files"]["config.json"].to_string();
        std::fs::write(folder.join("config.json"), config).unwrap();
        tokenizer.save(&folder).unwrap();
    }
}
