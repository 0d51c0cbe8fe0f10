//! The tokenizer in GPT-2's two files, and pairs whose tokenizers are not one.

use std::path::Path;

use milepost::data::tokenizer::Tokenizer;

use crate::harness::Project;

const VOCAB: &str = r#"{"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "<|endoftext|>": 5}"#;

fn tokenizer(folder: &Path, vocab: &str, merges: &str) -> Tokenizer {
    std::fs::write(folder.join("vocab.json"), vocab).unwrap();
    std::fs::write(
        folder.join("merges.txt"),
        format!("#version: 0.2\n{merges}\n"),
    )
    .unwrap();
    Tokenizer::load(folder).unwrap()
}

#[test]
fn the_end_of_text_is_one_token() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = tokenizer(folder.path(), VOCAB, "a b\nb c");
    assert_eq!(
        tokenizer.encode("abc<|endoftext|>bc").unwrap(),
        [3, 2, 5, 4]
    );
    assert_eq!(tokenizer.encode("").unwrap(), [0u32; 0]);
    assert_eq!(tokenizer.vocab_size(), 6);
    // What is saved of it reads the same.
    let json = tokenizer.to_json().unwrap();
    let again = Tokenizer::from_bytes(Path::new("saved"), json.as_bytes()).unwrap();
    assert_eq!(again.encode("abc<|endoftext|>bc").unwrap(), [3, 2, 5, 4]);
    assert_eq!(tokenizer.difference(&again), None);
}

#[test]
fn the_first_difference_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let ours = tokenizer(folder.path(), VOCAB, "a b\nb c");
    // The same tokens, but texts are cut otherwise.
    let merges = tokenizer(folder.path(), VOCAB, "b c\na b");
    assert_ne!(ours.encode("abc").unwrap(), merges.encode("abc").unwrap());
    let said = ours.difference(&merges).unwrap();
    assert!(
        said.contains("merge 0 is `a b`") && said.contains("`b c`"),
        "{said}"
    );
    let fewer = tokenizer(folder.path(), VOCAB, "a b");
    let said = ours.difference(&fewer).unwrap();
    assert!(
        said.contains("merge 1 is `b c`") && said.contains("none"),
        "{said}"
    );
    let other = tokenizer(
        folder.path(),
        &VOCAB.replace("\"c\": 2", "\"d\": 2").replace("bc", "bd"),
        "a b\nb d",
    );
    let said = ours.difference(&other).unwrap();
    assert!(said.contains("token 2 is \"c\""), "{said}");
}

/// A project whose models are copies of the mini pair in folders, after `change` of each.
fn project(change: impl Fn(&Path)) -> Project {
    let project = Project::new();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/mini");
    for role in ["main", "assistant"] {
        let folder = project.path().join(role);
        std::fs::create_dir(&folder).unwrap();
        for name in ["config.json", "model.safetensors", "tokenizer.json"] {
            std::fs::copy(shipped.join(role).join(name), folder.join(name)).unwrap();
        }
        change(&folder);
    }
    project
}

/// Changes a text in a file.
fn replace(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

/// What `plan` says of the copies, which it must refuse with this code.
fn refused(project: &Project, code: i32, more: &[&str]) -> String {
    let models = ["--set", "models.main='main' models.assistant='assistant'"];
    project.fails(&[&["plan", "small.toml"], &models[..], more].concat(), code)
}

#[test]
fn an_end_of_text_that_nothing_names_is_refused_at_the_key() {
    let project = project(|folder| {
        replace(
            &folder.join("config.json"),
            "\"eos_token_id\": 0",
            "\"eos_token_id\": null",
        );
        replace(&folder.join("tokenizer.json"), "<|endoftext|>", "<nothing>");
        let class = r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
        std::fs::write(folder.join("tokenizer_config.json"), class).unwrap();
    });
    let experiment = project
        .read("small.toml")
        .replace("[data]", "[data]\nend_of_text = true");
    project.write("small.toml", experiment);
    let said = refused(&project, 2, &[]);
    assert!(
        said.contains("eos_token_id") && said.contains("end_of_text = true"),
        "{said}"
    );
}

#[test]
fn ids_beyond_the_table_are_refused_before_training() {
    let project = project(|folder| {
        std::fs::write(folder.join("added_tokens.json"), r#"{"<more>": 2048}"#).unwrap();
    });
    let said = refused(&project, 2, &[]);
    for part in ["`<more>`", "2048", "tokenizer.json"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let project = self::project(|folder| {
        replace(
            &folder.join("config.json"),
            "\"eos_token_id\": 0",
            "\"eos_token_id\": 50256",
        );
    });
    let said = refused(&project, 3, &[]);
    assert!(
        said.contains("config.json") && said.contains("`eos_token_id` is 50256"),
        "{said}"
    );
}

#[test]
fn pairs_whose_added_tokens_have_other_flags_are_refused() {
    let project = project(|folder| {
        let strips = folder.ends_with("main");
        let json = folder.join("tokenizer.json");
        replace(&json, "\"lstrip\":false", &format!("\"lstrip\":{strips}"));
    });
    let said = refused(&project, 2, &[]);
    assert!(
        said.contains("added token 0") && said.contains("\"lstrip\":true"),
        "{said}"
    );
}

/// The library panics on some of these.
#[test]
fn a_tokenizer_cut_anywhere_is_refused_with_its_file() {
    let project = project(|_| {});
    let folder = project.path().join("main");
    let path = folder.join("tokenizer.json");
    let whole = std::fs::read(&path).unwrap();
    // Densely where the small parts are, then through the vocabulary.
    let lengths = (0..700).chain((700..whole.len()).step_by(997));
    for length in lengths {
        std::fs::write(&path, &whole[..length]).unwrap();
        let said = Tokenizer::load(&folder).unwrap_err().to_string();
        assert!(said.contains("tokenizer.json"), "{length}: {said}");
    }
}
