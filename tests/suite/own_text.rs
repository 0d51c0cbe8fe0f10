//! Text in files of one's own: every format against a slow reader in Python, and what is said of files that cannot be used.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use milepost::checksum::{Sum, sha256};
use milepost::data::corpus::{Corpus, Document};
use milepost::data::sources::rows::Wanted;
use milepost::data::sources::{Form, Forms, HeldOut, Named, Request, Share, find, named, resolve};
use milepost::data::store::Store;
use milepost::data::tokens::TokensWriter;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Project, milestones, timeless};

/// The text of one file as `keys` of `[data]` have it. It is held out, too, unless a share of it is.
fn read(source: &str, path: &Path, keys: &Value, share: Option<Share>) -> Result<Corpus, String> {
    let form = |key: &str| keys[key].as_str().map(|text| Form::parse(text).unwrap());
    let keyed = |key: &str| keys.get(key).cloned().unwrap_or(Value::Null);
    let forms = Forms {
        text: form("text").unwrap(),
        topic: form("topic"),
        prompt: form("prompt"),
        missing: serde_json::from_value(keyed("missing")).unwrap_or_default(),
    };
    let files = Named {
        train: vec![path.to_owned()],
        held_out: match share {
            Some(share) => HeldOut::Share(share),
            None => HeldOut::Files(vec![path.to_owned()]),
        },
        wanted: Wanted {
            fields: forms.fields(),
            columns: serde_json::from_value(keyed("columns")).unwrap(),
            unit: serde_json::from_value(keyed("document")).unwrap_or_default(),
        },
        forms,
    };
    let request = Request {
        source: named(source).unwrap(),
        folder: None,
        store: Store::default(),
        builtin_sample: false,
        files: Some(files),
    };
    resolve(&request, &mut |_, _, _| {}).map_err(|error| error.to_string())
}

fn documents(corpus: &Corpus) -> Vec<Document> {
    corpus.train.documents.read().map(Result::unwrap).collect()
}

/// A document as [prompt, answer, topic].
fn parts(document: &Document) -> Value {
    let prompt = document.answer.map(|answer| &document.text[..answer]);
    let answer = &document.text[document.answer.unwrap_or(0)..];
    json!([prompt, answer, document.topic])
}

fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/text/files");
    folder.join(name)
}

#[test]
fn every_format_is_read_as_a_slow_reader_reads_it() {
    let reference = include_str!("../fixtures/text/reference.json");
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

fn written(name: &str, bytes: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// What is said of a file that cannot be used, without the folder before its name.
fn refused(source: &str, bytes: impl AsRef<[u8]>, keys: &Value) -> String {
    let (folder, path) = written("a", bytes);
    let error = read(source, &path, keys, None).unwrap_err();
    error.replace(&format!("{}/", folder.path().display()), "")
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
        serde_json::from_str(include_str!("../fixtures/text/reference.json")).unwrap();
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

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// Cut off anywhere, a compressed file is refused, and never read as a shorter text.
#[test]
fn a_compressed_file_that_is_cut_off_is_refused() {
    let text = std::fs::read(fixture("flat.jsonl")).unwrap();
    let keys = json!({"text": "text"});
    let packed = gzip(&text);
    let (_folder, path) = written("a", &packed);
    assert_eq!(read("jsonl", &path, &keys, None).unwrap().train.count, 60);
    for cut in 0..packed.len() {
        let error = refused("jsonl", &packed[..cut], &keys);
        if cut > 1 {
            assert!(
                error.contains("compressed by gzip and damaged or cut off"),
                "{cut}: {error}"
            );
        }
    }
    let frames = std::fs::read(fixture("flat.jsonl.zst")).unwrap();
    for cut in (16..frames.len()).filter(|cut| !is_between_frames(&frames, *cut)) {
        let error = refused("jsonl", &frames[..cut], &keys);
        assert!(
            error.contains("compressed by Zstandard and damaged or cut off"),
            "{cut}: {error}"
        );
    }
}

/// Whether a frame of a Zstandard file begins at a place.
fn is_between_frames(bytes: &[u8], place: usize) -> bool {
    bytes[place..].starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}

/// A checksum that is wrong is found, although all of the text was decompressed.
#[test]
fn a_compressed_file_that_is_changed_is_refused() {
    let text = std::fs::read(fixture("flat.jsonl")).unwrap();
    let keys = json!({"text": "text"});
    let mut packed = gzip(&text);
    let sum = packed.len() - 8;
    packed[sum] ^= 1;
    assert!(refused("jsonl", &packed, &keys).contains("damaged or cut off"));
    let mut frames = std::fs::read(fixture("flat.jsonl.zst")).unwrap();
    let sum = frames.len() - 1;
    frames[sum] ^= 1;
    assert!(refused("jsonl", &frames, &keys).contains("a checksum in it is wrong"));
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

/// A file that changes between two readings is not read as if it had not.
#[test]
fn a_file_that_changes_is_refused() {
    let (_folder, path) = written("a", "{\"text\": \"a\"}\n".repeat(4));
    let corpus = read("jsonl", &path, &json!({"text": "text"}), None).unwrap();
    std::fs::write(&path, "{\"text\": \"a\"}\n".repeat(5)).unwrap();
    let read: Vec<_> = corpus.train.documents.read().collect();
    assert_eq!(read.len(), 1);
    let error = read[0].as_ref().unwrap_err().to_string();
    assert!(error.contains("was changed while it was read"), "{error}");
}

fn numbered(count: usize) -> (TempDir, PathBuf) {
    let lines = (0..count).map(|number| format!("{{\"text\": \"{number}\"}}\n"));
    written("a.jsonl", lines.collect::<String>())
}

/// The documents of both splits where a share is held out.
fn shared(path: &Path, share: f64, seed: u64) -> [Vec<usize>; 2] {
    let keys = json!({"text": "text"});
    let corpus = read("jsonl", path, &keys, Some(Share { share, seed })).unwrap();
    [corpus.train, corpus.held_out].map(|split| {
        let read = split
            .documents
            .read()
            .map(|one| one.unwrap().text.parse().unwrap());
        let read: Vec<usize> = read.collect();
        assert_eq!(read.len(), split.count);
        read
    })
}

#[test]
fn a_share_is_held_out_and_the_rest_is_trained_on() {
    let (_folder, path) = numbered(40);
    for share in [0.01, 0.024, 0.1, 0.5, 0.33, 0.98] {
        for seed in 0..20 {
            if (share * 40.0_f64).round() == 0.0 {
                continue;
            }
            let [train, held_out] = shared(&path, share, seed);
            assert_eq!(held_out.len(), (share * 40.0).round() as usize);
            assert!(train.is_sorted() && held_out.is_sorted());
            let mut all = [train, held_out].concat();
            all.sort_unstable();
            assert_eq!(all, (0..40).collect::<Vec<_>>());
            assert_eq!(shared(&path, share, seed), shared(&path, share, seed));
        }
    }
    assert_ne!(shared(&path, 0.5, 1), shared(&path, 0.5, 2));
    let keys = json!({"text": "text"});
    for share in [0.01, 0.99] {
        let error = read("jsonl", &path, &keys, Some(Share { share, seed: 1 })).unwrap_err();
        assert!(error.contains("has 40 documents: a share of"), "{error}");
    }
}

/// Each document is held out as often as another, and each pair of documents as often as another pair.
#[test]
fn every_choice_is_equally_likely() {
    let (_folder, path) = numbered(5);
    let mut counts = [[0u32; 5]; 5];
    const DRAWS: u64 = 2000;
    for seed in 0..DRAWS {
        let [_, held_out] = shared(&path, 0.4, seed);
        counts[held_out[0]][held_out[1]] += 1;
    }
    let expected = DRAWS as f64 / 10.0;
    let pairs = (0..5).flat_map(|one| (one + 1..5).map(move |other| (one, other)));
    let chi: f64 = pairs
        .map(|(one, other)| (f64::from(counts[one][other]) - expected).powi(2) / expected)
        .sum();
    // The 99.9% quantile of chi-squared with 9 degrees of freedom.
    assert!(chi < 27.877, "{counts:?}");
}

#[test]
fn files_are_found_by_name_folder_and_pattern() {
    let project = Project::new();
    for name in [
        "b.jsonl",
        "a.jsonl",
        "more/c.JSONL.gz",
        "more/deep/d.jsonl.zst",
        "more/e.json",
        ".hidden.jsonl",
        "odd[1]/x.jsonl",
    ] {
        project.write(&format!("data/{name}"), "");
    }
    let base = project.path().join("data");
    let found = |names: &[&str]| -> Result<Vec<String>, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let found = find(&base, &names, &["jsonl"])?;
        let relative = |path: PathBuf| path.strip_prefix(&base).unwrap().display().to_string();
        Ok(found.into_iter().map(relative).collect())
    };
    assert_eq!(
        found(&["b.jsonl", "a.jsonl"]).unwrap(),
        ["b.jsonl", "a.jsonl"]
    );
    assert_eq!(found(&["*.jsonl"]).unwrap(), ["a.jsonl", "b.jsonl"]);
    assert_eq!(
        found(&["more"]).unwrap(),
        ["more/c.JSONL.gz", "more/deep/d.jsonl.zst"]
    );
    assert_eq!(
        found(&["more/**/*.zst", "more/e.json"]).unwrap(),
        ["more/deep/d.jsonl.zst", "more/e.json"]
    );
    assert_eq!(found(&["odd[1]/x.jsonl"]).unwrap(), ["odd[1]/x.jsonl"]);
    assert_eq!(found(&["odd[1]"]).unwrap(), ["odd[1]/x.jsonl"]);
    for (names, says) in [
        (&["c.jsonl"][..], "there is no file "),
        (&["*.csv"], "no file is like "),
        (&["a.jsonl", "*.jsonl"], "a.jsonl is named twice"),
        (&["a.jsonl", " "], "names nothing"),
        (&[], "names nothing"),
        (&["***"], "`"),
    ] {
        let error = found(names).unwrap_err();
        assert!(error.contains(says), "{names:?}: {error}");
    }
    std::fs::create_dir_all(base.join("empty")).unwrap();
    assert!(
        found(&["empty"])
            .unwrap_err()
            .contains("has no file that ends in .jsonl")
    );
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

const NEWS: &str = r#"{"id": 7, "news": {"title": "Team wins", "body": "The team won the match in the city."}, "class": "Sports"}
{"id": 8, "news": {"title": "Vote", "body": "The council voted, and the spokesman said so."}, "class": "World"}
"#;

/// A project that trains on news.jsonl.
fn project(data: &str) -> Project {
    let project = Project::new();
    project.write("news.jsonl", NEWS.repeat(60));
    let small = project.read("small.toml");
    let section = format!("source = \"jsonl\"\n{data}");
    project.write(
        "small.toml",
        small.replace("builtin_sample = true\n", &section),
    );
    project
}

const FIELDS: &str = "text = \"{news.title}\\n{news.body}\"\ntopic = \"class\"\n";
const SHARE: &str = "train = \"news.jsonl\"\nheld_out = { share = 0.25, seed = 3 }\n";

fn inputs(project: &Project, run: &str) -> Value {
    let manifest = project.read(&format!("runs/small/{run}/manifest.json"));
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    manifest["inputs"].clone()
}

#[test]
fn a_run_on_ones_own_text_records_what_it_read() {
    let project = project(&format!("{SHARE}{FIELDS}"));
    project.run("a", &[]);
    let inputs = inputs(&project, "a");
    let train = &inputs["data/train"];
    assert_eq!(train["sha256"], sha256(NEWS.repeat(60).as_bytes()));
    assert_eq!(train["articles"], 60);
    let path = project.path().join("news.jsonl");
    let corpus = read(
        "jsonl",
        &path,
        &json!({"text": "{news.title}\n{news.body}", "topic": "class"}),
        Some(Share {
            share: 0.25,
            seed: 3,
        }),
    )
    .unwrap();
    let mut sum = Sum::default();
    for document in documents(&corpus).iter().take(60) {
        for part in [document.topic.as_deref().unwrap(), &document.text] {
            sum.add(&(part.len() as u64).to_le_bytes());
            sum.add(part.as_bytes());
        }
    }
    assert_eq!(train["articles_sha256"], sum.end().sha256);
    assert_eq!(inputs["data/held-out"]["articles"], 20);
    let experiment = project.read("runs/small/a/experiment.toml");
    let absolute = format!("train = \"{}\"", path.display());
    assert!(experiment.contains(&absolute), "{experiment}");
}

#[test]
fn a_run_goes_on_with_the_same_text_only() {
    let project = project(&format!("{SHARE}{FIELDS}"));
    let save = ["--set", "train.save='every 2 steps'"];
    let whole = project.run("whole", &save);
    let stopped = project.path().join("runs/small/stopped");
    let begin = [
        "finetune",
        "small.toml",
        "--name",
        "stopped",
        "--until",
        "step 3",
    ];
    let begin = [&begin[..], &save].concat();
    project.milepost(&begin).assert().code(130);
    assert!(milestones(&stopped).len() < milestones(&whole).len());
    let go_on = ["finetune", "small.toml", "--resume", "stopped"];
    project.write("news.jsonl", NEWS.replace("city", "town").repeat(60));
    let errors = project.fails(&go_on, 3);
    assert!(
        errors.contains("data/train: then ") && errors.contains("data/held-out: then "),
        "{errors}"
    );
    project.write("news.jsonl", NEWS.repeat(60));
    project.milepost(&go_on).assert().success();
    assert_eq!(timeless(&stopped).last(), timeless(&whole).last());
}

#[test]
fn topics_of_a_field_are_topics() {
    let project = project(&format!(
        "{SHARE}{FIELDS}intervene = [{{ without_topic = \"World\" }}]\n"
    ));
    let assert = project.milepost(&["data", "small.toml"]).assert().success();
    let shown = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(shown.contains("dropped"), "{shown}");
    let train = shown.split("held out\n").next().unwrap();
    assert!(
        train.contains("  topics: Sports ") && !train.contains("World "),
        "{shown}"
    );
    let errors = project.fails(
        &[
            "plan",
            "small.toml",
            "--set",
            "data.intervene=[{topic='Business'}]",
        ],
        2,
    );
    assert!(
        errors.contains("there is no topic `Business`; this text has Sports, World"),
        "{errors}"
    );
}

#[test]
fn data_shows_the_text_before_anything_is_trained() {
    let project = project(
        &format!("{SHARE}{FIELDS}prompt = \"Say: \"\n")
            .replace("prompt = \"Say: \"", "prompt = \"{id}: \""),
    );
    let assert = project
        .milepost(&["data", "small.toml", "--first", "1"])
        .assert()
        .success();
    let shown = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let tokenizer = milepost::mini::tokenizer().unwrap();
    let path = project.path().join("news.jsonl");
    let keys = json!({"text": "{news.title}\n{news.body}", "topic": "class", "prompt": "{id}: "});
    let corpus = read(
        "jsonl",
        &path,
        &keys,
        Some(Share {
            share: 0.25,
            seed: 3,
        }),
    )
    .unwrap();
    let first = &documents(&corpus)[0];
    let (prompt, answer) = first.text.split_at(first.answer.unwrap());
    let [prompt, answer] = [prompt, answer].map(|text| tokenizer.encode(text).unwrap());
    let all = prompt.len() + answer.len();
    let shown_ids = |ids: &[u32]| -> Vec<String> {
        let ids = ids.iter().take(24);
        ids.map(|&id| format!("{id} {:?}", tokenizer.decode(&[id]).unwrap()))
            .collect()
    };
    for part in [
        format!(
            "document 1, topic {}, {all} tokens",
            first.topic.as_deref().unwrap()
        ),
        format!("    prompt  {}\n", shown_ids(&prompt).join(", ")),
        format!("    answer  {}", shown_ids(&answer).join(", ")),
        format!("{}  {}\n", sha256(NEWS.repeat(60).as_bytes()), "news.jsonl"),
        "the 60 documents that were read".to_owned(),
        "90 train and 30 test documents".to_owned(),
    ] {
        assert!(shown.contains(&part), "{part}\n{shown}");
    }
    assert!(!project.path().join("runs").exists());
}

#[test]
fn keys_that_do_not_belong_together_are_refused_with_their_place() {
    let text = "text = \"id\"\n";
    for (data, place, says) in [
        (
            format!("train = \"news.jsonl\"\n{text}"),
            "`data.held_out`",
            "is missing",
        ),
        (
            format!("held_out = {{ share = 0.5, seed = 1 }}\n{text}"),
            "`data.train`",
            "is missing",
        ),
        (SHARE.to_owned(), "`data.text`", "is missing"),
        (
            format!("{SHARE}text = \"{{id\"\n"),
            ":6:8",
            "`{` is never closed",
        ),
        (
            format!("{SHARE}{text}topic = \"a}}\"\n"),
            ":7:9",
            "`}` closes nothing",
        ),
        (
            format!("{SHARE}{text}columns = [\"a\"]\n"),
            ":7:11",
            "does not know `data.columns`",
        ),
        (
            format!("{SHARE}{text}folder = \"a\"\n"),
            ":7:10",
            "name its files",
        ),
        (
            format!("{SHARE}{text}builtin_sample = true\n"),
            ":7:18",
            "has no stand-in",
        ),
        (
            format!("{SHARE}{text}missing = \"drop\"\n"),
            ":7:11",
            "unknown value `drop`",
        ),
        (
            format!("train = \"new.jsonl\"\nheld_out = {{ share = 0.5, seed = 1 }}\n{text}"),
            ":4:9",
            "there is no file ",
        ),
        (
            format!("train = \"news.jsonl\"\nheld_out = \"news.jsonl\"\n{text}"),
            ":5:12",
            "is trained on, too",
        ),
        (
            format!("train = \"news.jsonl\"\nheld_out = {{ share = 1.0, seed = 1 }}\n{text}"),
            ":5:22",
            "must be above 0 and below 1",
        ),
        (
            format!("train = \"news.jsonl\"\nheld_out = {{ share = 0.1 }}\n{text}"),
            ":5:12",
            "share of the documents such as",
        ),
        (
            format!("train = 3\nheld_out = \"b\"\n{text}"),
            ":4:9",
            "the name of a file or folder",
        ),
        (
            format!("hub = \"a\"\n{SHARE}{text}"),
            ":4:7",
            "is no data set of the hub",
        ),
    ] {
        let errors = project(&data).fails(&["plan", "small.toml"], 2);
        assert!(
            errors.contains(place) && errors.contains(says),
            "{data}\n{errors}"
        );
    }
    let errors = project(&format!("{SHARE}{text}"))
        .fails(&["plan", "small.toml", "--set", "data.source=ag_news"], 2);
    assert!(
        errors
            .contains("does not know `data.train`; sources of files are jsonl, csv, parquet, text"),
        "{errors}"
    );
    let set = "data.source=text data.text=body";
    let errors = project(SHARE).fails(&["plan", "small.toml", "--set", set], 2);
    assert!(errors.contains("has no field `body`"), "{errors}");
}

#[test]
fn a_file_that_cannot_be_used_ends_with_code_3() {
    let project = project(&format!("{SHARE}{FIELDS}"));
    project.write("news.jsonl", format!("{NEWS}{{\"news\": 3}}\n"));
    let errors = project.fails(&["finetune", "small.toml"], 3);
    assert!(
        errors.contains("news.jsonl:3: there is no field `news.title`"),
        "{errors}"
    );
    assert!(!project.path().join("runs").exists());
}

#[test]
fn a_data_set_of_the_hub_is_read_from_its_cache() {
    let project = project(&format!(
        "hub = \"someone/news\"\ntrain = \"data/train-*.jsonl\"\nheld_out = \"data/test.jsonl\"\n{FIELDS}"
    ));
    let command = |arguments: &[&str]| {
        let mut command = project.milepost(arguments);
        command.env("HF_HUB_CACHE", project.path().join("hub"));
        command
    };
    let assert = command(&["plan", "small.toml"]).assert().code(2);
    let errors = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(
        errors.contains("hf download someone/news --repo-type dataset --revision main"),
        "{errors}"
    );
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let folder = "hub/datasets--someone--news";
    project.write(&format!("{folder}/refs/main"), commit);
    for name in ["train-00000.jsonl", "train-00001.jsonl", "test.jsonl"] {
        project.write(
            &format!("{folder}/snapshots/{commit}/data/{name}"),
            NEWS.repeat(30),
        );
    }
    command(&["finetune", "small.toml", "--name", "a", "--no-hooks"])
        .assert()
        .success();
    let experiment = project.read("runs/small/a/experiment.toml");
    assert!(
        experiment.contains(&format!("hub = \"someone/news@{commit}\"")),
        "{experiment}"
    );
    assert!(
        experiment.contains("train = \"data/train-*.jsonl\""),
        "{experiment}"
    );
    let inputs = inputs(&project, "a");
    let sum = sha256(NEWS.repeat(30).as_bytes());
    assert_eq!(
        (
            &inputs["data/train/1"]["sha256"],
            &inputs["data/train/2"]["sha256"]
        ),
        (&json!(sum), &json!(sum))
    );
    assert_eq!(
        inputs["data/train"]["sha256"],
        sha256(format!("{sum}\n{sum}\n").as_bytes())
    );
}
