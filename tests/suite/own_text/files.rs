//! How files are found, and what is said of one that changes.

use std::path::PathBuf;

use milepost::data::sources::find;
use serde_json::json;

use super::{read, written};
use crate::harness::Project;

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
