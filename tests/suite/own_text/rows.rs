//! Rows of a file: every format against a slow reader in Python, fields, and what is said of rows that cannot be used.

use std::collections::BTreeSet;

use milepost::checksum::sha256;
use milepost::data::sources::Form;
use milepost::data::tokens::TokensWriter;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{documents, fixture, parts, read, refused, written};

#[test]
fn every_format_is_read_as_a_slow_reader_reads_it() {
    let reference = include_str!("../../fixtures/text/reference.json");
    let cases: Vec<Value> = serde_json::from_str(reference).unwrap();
    assert!(cases.len() > 30);
    for case in cases {
        let (source, file) = (
            case["source"].as_str().unwrap(),
            case["file"].as_str().unwrap(),
        );
        let found = read(source, &fixture(file), &case["keys"], None);
        if file.starts_with("zstd") && !cfg!(feature = "parquet-zstd") {
            let error = found.unwrap_err();
            assert!(
                error.contains("`text` is compressed by Zstandard")
                    || error.contains("is compressed by Zstandard"),
                "{error}"
            );
            assert!(error.contains("--features parquet-zstd"), "{error}");
            continue;
        }
        let corpus = found.unwrap_or_else(|error| panic!("{}: {error}", case["keys"]));
        let expected = case["documents"].as_array().unwrap();
        let found: Vec<Value> = documents(&corpus).iter().map(parts).collect();
        for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert_eq!(
                found, expected,
                "{file}, {}, document {place}",
                case["keys"]
            );
        }
        assert_eq!(found.len(), expected.len(), "{file}, {}", case["keys"]);
        assert_eq!(corpus.train.count, expected.len());
        let topics: BTreeSet<&str> = expected.iter().filter_map(|one| one[2].as_str()).collect();
        assert_eq!(
            corpus
                .train
                .topics
                .iter()
                .map(String::as_str)
                .collect::<BTreeSet<_>>(),
            topics
        );
        assert_eq!(
            corpus.train.from.sha256,
            sha256(&std::fs::read(fixture(file)).unwrap())
        );
    }
}

#[test]
fn a_row_that_cannot_be_used_is_named_with_its_line_and_field() {
    let keys = json!({"text": "text"});
    let good = "{\"text\": \"a\"}\n";
    for (wrong, says) in [
        ("{\"text\": null}", "the field `text` is null"),
        (
            "{\"title\": \"a\"}",
            "there is no field `text` (it has title)",
        ),
        ("{\"texts\": \"a\"}", "did you mean `texts`?"),
        ("{\"text\": 1.5}", "a number that is not a whole number"),
        (
            "{\"text\": 18446744073709551616}",
            "a number that is not a whole number",
        ),
        ("{\"text\": [\"a\"]}", "is a list"),
        ("{\"text\": {\"a\": \"b\"}}", "is a table"),
        (
            "{\"text\": \"a\", \"text\": \"b\"}",
            "the key `text` stands twice",
        ),
        (
            "{\"text\": \"a\", \"b\": {\"c\": 1, \"c\": 1}}",
            "the key `c` stands twice",
        ),
        ("{\"text\": \"a\"", "not JSON"),
        (
            "{\"text\": \"a\"} {\"text\": \"b\"}",
            "trailing characters, column 15",
        ),
        (
            "{\"text\": \"a\"}\r{\"text\": \"b\"}",
            "trailing characters",
        ),
        ("{\"text\": \"\\ud800\"}", "not JSON"),
        ("{'text': 'a'}", "not JSON"),
        ("[{\"text\": \"a\"}]", "jq -c '.[]'"),
        ("[", "jq -c '.[]'"),
        ("\"a\"", "a text, and not a JSON object"),
        ("\u{feff}{\"text\": \"a\"}", "not JSON"),
    ] {
        let error = refused(
            "jsonl",
            [good, "\n", good, wrong, "\n", good].concat(),
            &keys,
        );
        assert!(error.starts_with("a:4: "), "{wrong}: {error}");
        assert!(error.contains(says), "{wrong}: {error}");
    }
    let error = refused(
        "jsonl",
        [good.as_bytes(), b"{\"text\": \"\xff\"}\n"].concat(),
        &keys,
    );
    assert!(error.starts_with("a:2: not UTF-8"), "{error}");
    for (text, line, says) in [
        ("text,text\na,b\n", 1, "two columns are called `text`"),
        ("text,label\na\n", 2, "1 fields, and not 2 (text, label)"),
        (
            "text,label\na,b\n\n\"c\nd\",e\nf,g,h\n",
            6,
            "3 fields, and not 2",
        ),
        ("text,label\na,b\n\"c,d\n", 3, "never closed"),
        (
            "label,b\na,b\n",
            2,
            "there is no field `text` (it has b, label)",
        ),
    ] {
        let error = refused("csv", text, &keys);
        assert!(error.starts_with(&format!("a:{line}: ")), "{text}: {error}");
        assert!(error.contains(says), "{text}: {error}");
    }
    for unit in ["file", "line", "paragraph"] {
        let keys = json!({"text": "text", "document": unit});
        let error = refused("text", b"a\n\nb\xff\n", &keys);
        assert!(error.starts_with("a:3: not UTF-8"), "{error}");
    }
    for empty in ["", "\n\n \r\n"] {
        assert_eq!(refused("jsonl", empty, &keys), "a is empty: no documents");
        assert!(refused("parquet", empty, &keys).contains("not a parquet file"));
    }
    assert_eq!(
        refused("csv", "text,label\n", &keys),
        "a is empty: no documents"
    );
}

#[test]
fn a_parquet_row_is_named_with_its_group() {
    let path = fixture("holes.parquet");
    let error = read("parquet", &path, &json!({"text": "text"}), None).unwrap_err();
    // The slow reader says which rows have no text.
    let reference: Vec<Value> =
        serde_json::from_str(include_str!("../../fixtures/text/reference.json")).unwrap();
    let rows = reference
        .iter()
        .find(|case| case["file"] == "holes.parquet" && case["keys"]["missing"] == "empty");
    assert_eq!(rows.unwrap()["documents"].as_array().unwrap().len(), 40);
    assert!(
        error.contains("holes.parquet, row group 1, row "),
        "{error}"
    );
    assert!(error.contains("the field `text` is null"), "{error}");
    let error = read(
        "parquet",
        &fixture("plain.parquet"),
        &json!({"text": "txt"}),
        None,
    )
    .unwrap_err();
    assert!(
        error.contains("row group 1, row 1: there is no field `txt` (did you mean `text`?)"),
        "{error}"
    );
    let error = read(
        "parquet",
        &fixture("plain.parquet"),
        &json!({"text": "unused"}),
        None,
    )
    .unwrap_err();
    assert!(
        error.contains("is a number that is not a whole number"),
        "{error}"
    );
}

/// Any damage to a parquet file is refused, or reads as other text: nothing panics.
#[test]
fn a_damaged_parquet_file_is_refused_or_read() {
    let bytes = std::fs::read(fixture("snappy.parquet")).unwrap();
    let keys = json!({"text": "text", "topic": "label"});
    for cut in (0..bytes.len()).step_by(61) {
        assert!(refused("parquet", &bytes[..cut], &keys).contains("not a parquet file"));
    }
    for place in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[place] ^= 0x55;
        let (_folder, path) = written("a", changed);
        if let Err(error) = read("parquet", &path, &keys, None) {
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
    }
}

#[test]
fn a_line_of_fifty_megabytes_is_a_document() {
    let long = "long \u{2028}\u{e9} ".repeat(5 << 20);
    let lines = [
        json!({"text": "first", "n": 1}),
        json!({"text": long, "n": 2}),
        json!({"text": "last", "n": 3}),
    ];
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    assert!(text[1].len() > 50_000_000);
    let text = text.join("\n");
    let (_folder, path) = written("a.jsonl", &text);
    let corpus = read("jsonl", &path, &json!({"text": "text", "topic": "n"}), None).unwrap();
    let found = documents(&corpus);
    assert_eq!(found.len(), 3);
    assert!(found[1].text == long && found[2].topic.as_deref() == Some("3"));
    let (_folder, path) = written("a.jsonl", text + "\n{}");
    let error = read("jsonl", &path, &json!({"text": "text"}), None).unwrap_err();
    assert!(error.contains("a.jsonl:4: "), "{error}");
}

proptest! {
    /// Ids are the same in memory and in a file, however they come.
    #[test]
    fn tokens_are_kept_as_they_come(parts in prop::collection::vec(prop::collection::vec(any::<u32>(), 0..9), 0..12), most in 0usize..40) {
        let folder = TempDir::new().unwrap();
        let mut writer = TokensWriter::new(most, &folder.path().join("new"));
        for part in &parts {
            writer.add(part).unwrap();
        }
        let all = parts.concat();
        prop_assert_eq!(writer.len(), all.len());
        let mut tokens = writer.finish().unwrap();
        prop_assert_eq!(tokens.are_in_file(), all.len() > most);
        prop_assert_eq!(&tokens[..], &all[..]);
        tokens.truncate(3);
        prop_assert_eq!(&tokens[..], &all[..all.len().min(3)]);
        // The file has no name.
        let names = std::fs::read_dir(folder.path().join("new")).into_iter().flatten();
        prop_assert_eq!(names.count(), 0);
    }

    /// Whatever stands in braces, a form has the letters between them and the fields in them, or is refused.
    #[test]
    fn a_form_is_read_as_it_is_written(parts in prop::collection::vec((any::<bool>(), "[a-c{} ]{1,4}"), 1..5)) {
        let has_field = parts.iter().any(|(is_field, _)| *is_field);
        let plain = |text: &str| text.replace(['{', '}', ' '], "x");
        let form: String = parts.iter().map(|(is_field, text)| if *is_field {
            format!("{{{}}}", plain(text))
        } else {
            text.replace('{', "{{").replace('}', "}}")
        }).collect();
        let fields: Vec<String> = parts.iter().filter(|part| part.0).map(|part| plain(&part.1)).collect();
        let parsed = Form::parse(&form);
        if has_field {
            let parsed = parsed.unwrap();
            prop_assert_eq!(parsed.fields().collect::<Vec<_>>(), fields.clone());
            let row: serde_json::Map<String, Value> = fields.iter().map(|field| (field.clone(), json!(format!("<{field}>")))).collect();
            let row = serde_json::from_value(Value::Object(row)).unwrap();
            let expected: String = parts.iter().map(|(is_field, text)| if *is_field {
                format!("<{}>", plain(text))
            } else {
                text.clone()
            }).collect();
            prop_assert_eq!(parsed.fill(&row, Default::default()).unwrap().unwrap(), expected);
        } else if form.contains(['{', '}']) {
            prop_assert!(parsed.is_err());
        }
    }
}

#[test]
fn a_form_that_is_none_is_refused() {
    for (form, says) in [
        ("", "names no field"),
        ("{a", "`{` is never closed"),
        ("a}", "`}` closes nothing"),
        ("{}", "`{}` names no field"),
        ("{a{b}", "names no field"),
        ("{{a}}", "put one in braces"),
    ] {
        let error = Form::parse(form).unwrap_err();
        assert!(error.contains(says), "{form}: {error}");
    }
}
