//! The tokenizer in GPT-2's two files, and pairs whose tokenizers are not one.

use std::path::Path;

use milepost::data::tokenizer::Tokenizer;

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
