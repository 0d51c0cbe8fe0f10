//! Tokenizers from changed files.

use std::path::{Path, PathBuf};

use milepost::data::tokenizer::{Tokenizer, TokenizerError};

use crate::runner::Target;

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read(folder.join(name)).unwrap()
}

/// Uses a tokenizer that could be read, as the program does.
fn used(tokenizer: Result<Tokenizer, TokenizerError>) {
    let Ok(tokenizer) = tokenizer else { return };
    for text in ["the nurse waited", "", " é☃\n<s></s><|endoftext|>x"] {
        if let Ok(ids) = tokenizer.encode(text) {
            let _ = tokenizer.decode(&ids);
        }
    }
    let _ = (
        tokenizer.ends(),
        tokenizer.check_table(300),
        tokenizer.end_of_text(),
    );
    if let Ok(json) = tokenizer.to_json() {
        let again = Tokenizer::from_bytes(Path::new("again"), json.as_bytes());
        let _ = again.map(|again| tokenizer.difference(&again));
    }
}

/// `tokenizer.json`, as GPT-2's and as one of its own kind.
pub fn json() -> Target {
    let folder = crate::runner::folder();
    let settings = r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
    std::fs::write(folder.path().join("tokenizer_config.json"), settings).unwrap();
    let small = r#"{"version": "1.0", "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 24}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "a"},
        "added_tokens": [{"id": 4, "content": "<s>", "single_word": false, "lstrip": true, "rstrip": false, "normalized": true, "special": false}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": "a+"}, "content": "a"}]},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[ab]"}, "behavior": "Isolated", "invert": false},
        "post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": 0.5, "unk_token": "a", "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": {"a": 0, "b": 1, "ab": 2, "t": 3}, "merges": ["a b"]}}"#;
    let words = vec![
        "Unigram",
        "WordPiece",
        "WordLevel",
        "Metaspace",
        "Precompiled",
        "ByteLevel",
        "\"prepend_scheme\":\"always\"",
        "BertNormalizer",
        "Punctuation",
        "Digits",
        "FixedLength",
        "\"length\":0",
        "continuing_subword_prefix\":\"é",
        "dropout",
        "unk_id",
        "Lowercase",
        "Prepend",
    ];
    let read = move |input: &[u8]| {
        used(Tokenizer::from_bytes(Path::new("tokenizer.json"), input));
        std::fs::write(folder.path().join("tokenizer.json"), input).unwrap();
        used(Tokenizer::load(folder.path()));
    };
    Target {
        seeds: vec![small.into(), fixture("roberta/sigmoid/tokenizer.json")],
        words,
        read: Box::new(read),
    }
}

/// `vocab.json` and `merges.txt`, with a byte 0 between them.
pub fn vocabulary() -> Target {
    let folder = crate::runner::folder();
    let seed = "{\"a\": 0, \"b\": 1, \"c\": 2, \"ab\": 3, \"bc\": 4, \"<|endoftext|>\": 5}\0#version: 0.2\na b\nb c\n";
    let fixture = [
        fixture("roberta/softmax/vocab.json"),
        vec![0],
        fixture("roberta/softmax/merges.txt"),
    ];
    let read = move |input: &[u8]| {
        let mut parts = input.splitn(2, |byte| *byte == 0);
        for name in ["vocab.json", "merges.txt"] {
            std::fs::write(folder.path().join(name), parts.next().unwrap_or_default()).unwrap();
        }
        used(Tokenizer::load(folder.path()));
    };
    Target {
        seeds: vec![seed.into(), fixture.concat()],
        words: vec!["#version", "Ġ", "a b\n"],
        read: Box::new(read),
    }
}

/// `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`, with bytes 0 between them.
pub fn settings() -> Target {
    let folder = crate::runner::folder();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    std::fs::write(path("vocab.json"), fixture("roberta/softmax/vocab.json")).unwrap();
    std::fs::write(path("merges.txt"), fixture("roberta/softmax/merges.txt")).unwrap();
    let flags = r#""lstrip": false, "rstrip": true, "single_word": false, "normalized": true"#;
    let legacy = format!(
        "{{\"add_prefix_space\": true, \"eos_token\": \"</s>\", \"image_token\": \"<image>\"}}\0{{\"pad_token\": {{\"content\": \"<pad>\", {flags}}}, \"additional_special_tokens\": [\"<x>\"]}}\0{{\"<new>\": 330}}"
    );
    let current = format!(
        "{{\"tokenizer_class\": \"GPT2TokenizerFast\", \"added_tokens_decoder\": {{\"330\": {{\"content\": \"<new>\", {flags}, \"special\": true}}}}, \"extra_special_tokens\": {{\"a_token\": \"<a>\"}}, \"unk_token\": null}}\0{{}}\0{{}}"
    );
    let read = {
        let folder = folder;
        move |input: &[u8]| {
            let mut parts = input.splitn(3, |byte| *byte == 0);
            for name in [
                "tokenizer_config.json",
                "special_tokens_map.json",
                "added_tokens.json",
            ] {
                let bytes = parts.next().unwrap_or_default();
                std::fs::write(folder.path().join(name), bytes).unwrap();
            }
            used(Tokenizer::load(folder.path()));
        }
    };
    Target {
        seeds: vec![legacy.into(), current.into()],
        words: vec![
            "RobertaTokenizer",
            "\"__type\": \"AddedToken\",",
            "model_specific_special_tokens",
            "additional_special_tokens",
        ],
        read: Box::new(read),
    }
}
