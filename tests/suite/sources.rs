//! The sources of text: by name, of one's own, built in; and the checksums of what is used of them.

use std::path::Path;

use milepost::checksum::{Sum, sha256};
use milepost::data::corpus::{Corpus, Document, Origin, SourceFile};
use milepost::data::sources::article::Article;
use milepost::data::sources::{
    Layout, ReadSplit, Request, Source, SourceError, Text, named, resolve,
};
use milepost::data::store::Store;
use serde_json::Value;

use crate::harness::Project;

/// A source that is not part of the program: a folder for each split, a text for each file, and nothing to download.
static NOTES: Source = Source {
    name: "notes",
    title: "Notes",
    unit: "notes",
    text: Text::Folder(Layout {
        splits: ["train", "test"],
        recipe: None,
        read: notes,
    }),
};

fn notes(folder: &Path) -> Result<ReadSplit, SourceError> {
    let wrong = |error: std::io::Error| SourceError::Read {
        path: folder.to_owned(),
        message: error.to_string(),
    };
    let files = std::fs::read_dir(folder).map_err(wrong)?;
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let texts = paths.iter().map(std::fs::read_to_string);
    let texts: Vec<String> = texts.collect::<Result<_, _>>().map_err(wrong)?;
    let documents = texts.iter().map(|text| Document {
        text: text.trim().to_owned(),
        topic: Some("note".to_owned()),
        answer: None,
        as_read: None,
    });
    Ok(ReadSplit {
        documents: documents.collect(),
        file: SourceFile {
            path: folder.display().to_string(),
            sha256: sha256(texts.concat().as_bytes()),
        },
    })
}

fn quiet(request: &Request) -> Result<Corpus, SourceError> {
    resolve(request, &mut |_, _, _| {})
}

#[test]
fn a_source_of_ones_own_is_found_as_any_other() {
    let project = Project::new();
    project.write("data/notes/train/1.txt", "The first note.\n");
    project.write("data/notes/train/2.txt", "The second note.\n");
    project.write("data/notes/test/1.txt", "The third note.\n");
    let data = project.path().join("data");
    let mut request = Request {
        source: &NOTES,
        folder: Some(data.join("notes")),
        store: Store {
            data: Some(data.clone()),
            cache: Some(project.path().join("cache")),
            offline: false,
        },
        builtin_sample: true,
        files: None,
    };
    let shown = format!(
        "Notes from {}, 2 train and 1 test notes",
        data.join("notes").display()
    );
    for folder in [Some(data.join("notes")), None] {
        request.folder = folder;
        let corpus = quiet(&request).unwrap();
        let documents = corpus.train.documents.read();
        let texts: Vec<String> = documents.map(|one| one.unwrap().text).collect();
        assert_eq!(texts, ["The first note.", "The second note."]);
        assert_eq!(corpus.origin, Origin::Folder(data.join("notes")));
        assert_eq!(corpus.description, shown);
    }
    std::fs::remove_dir_all(data.join("notes/test")).unwrap();
    let error = quiet(&request).unwrap_err().to_string();
    let says = "notes/test is missing; the folder must have train and test";
    assert!(error.ends_with(says), "{error}");
    std::fs::remove_dir_all(data.join("notes")).unwrap();
    let corpus = quiet(&request).unwrap();
    assert_eq!(
        corpus.description,
        "built-in sample, not Notes, 4000 train and 400 test articles"
    );
    assert!(corpus.notes[1].contains("cannot be downloaded"));
    request.builtin_sample = false;
    let error = quiet(&request).unwrap_err().to_string();
    assert!(
        error.starts_with("no Notes: ") && error.contains("notes/train is missing"),
        "{error}"
    );
}

#[test]
fn an_unknown_source_is_named_with_what_there_is() {
    let project = Project::new();
    for (name, help) in [
        ("ag_new", "did you mean `ag_news`?"),
        ("wikipedia", "known: ag_news, sample, jsonl, csv"),
    ] {
        let text = project.read("small.toml");
        let text = text.replace("[data]\n", &format!("[data]\nsource = \"{name}\"\n"));
        project.write("other.toml", text);
        for command in ["plan", "fetch"] {
            let errors = project.fails(&[command, "other.toml"], 2);
            for part in [&format!("unknown source of text `{name}`"), help] {
                assert!(errors.contains(part), "{command}: {errors}");
            }
            assert!(errors.contains("other.toml:3:10"), "{command}: {errors}");
        }
    }
    let set = "data.source=sample data.folder=news";
    let errors = project.fails(&["plan", "small.toml", "--set", set], 2);
    assert!(errors.contains("reads no folder"), "{errors}");
}

#[test]
fn the_built_in_sample_is_a_source() {
    let project = Project::new();
    let set = ["--set", "data.source=sample data.builtin_sample=false"];
    let run = project.run("a", &set);
    let experiment = project.read("runs/small/a/experiment.toml");
    assert!(experiment.contains("source = \"sample\""), "{experiment}");
    let html = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(html.contains("The text is the built-in sample."));
    let mut assert = project.milepost(&[&["plan", "small.toml"], &set[..]].concat());
    let assert = assert.assert().success();
    let shown = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let says = "data      built-in sample, 4000 train and 400 test articles\n";
    assert!(shown.contains(says), "{shown}");
    // It is the text that stands in for another source.
    project.run("b", &[]);
    let inputs = |run: &str| -> Value {
        let manifest = project.read(&format!("runs/small/{run}/manifest.json"));
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        manifest["inputs"].clone()
    };
    assert_eq!(inputs("a"), inputs("b"));
}

/// Runs from before `data.source` have the settings of those that name the usual source.
#[test]
fn the_usual_source_is_not_written_out() {
    let project = Project::new();
    let set = ["--set", "data.source=ag_news train.save='every 3 steps'"];
    let named = project.run("named", &set);
    let experiment = project.read("runs/small/named/experiment.toml");
    assert!(!experiment.contains("source"), "{experiment}");
    let unnamed = project.run("unnamed", &["--set", "train.save='every 3 steps'"]);
    for name in ["experiment.toml", "manifest.json"] {
        let read = |run: &Path| std::fs::read_to_string(run.join(name)).unwrap();
        assert_eq!(read(&named), read(&unnamed), "{name}");
    }
}

/// The checksum in a manifest, of rows as a second hand writes them: the class in a byte, then both texts with their lengths in eight bytes.
#[test]
fn articles_have_the_checksum_that_they_always_had() {
    let project = Project::new();
    let rows = [
        (1, "A \"quoted\" title", " two  spaces "),
        (4, "", "Only a body, with a comma and\na line break."),
        (2, "\u{e9}t\u{e9}", "Team wins."),
    ];
    let rows: Vec<(u8, &str, &str)> = rows.into_iter().cycle().take(60).collect();
    let csv: Vec<String> = rows
        .iter()
        .map(|(class, title, body)| {
            let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
            format!("{class},{},{}\n", quoted(title), quoted(body))
        })
        .collect();
    project.write("news/train.csv", csv.concat());
    project.write("news/test.csv", csv.concat());
    let bytes = |count: usize| -> Vec<u8> {
        let mut bytes = Vec::new();
        for (class, title, body) in &rows[..count] {
            bytes.push(*class);
            for text in [title, body] {
                bytes.extend((text.len() as u64).to_le_bytes());
                bytes.extend(text.bytes());
            }
        }
        bytes
    };
    project.run("a", &["--no-hooks", "--set", "data.folder=news"]);
    let manifest: Value =
        serde_json::from_str(&project.read("runs/small/a/manifest.json")).unwrap();
    for (split, used) in [("data/train", 60), ("data/held-out", 20)] {
        let input = &manifest["inputs"][split];
        assert_eq!(input["articles"], used);
        assert_eq!(input["articles_sha256"], sha256(&bytes(used)), "{split}");
        assert_eq!(input["sha256"], sha256(csv.concat().as_bytes()), "{split}");
    }
}

/// As the first version with checksums had them.
#[test]
fn the_sample_has_the_checksums_that_it_always_had() {
    let request = Request {
        source: named("sample").unwrap(),
        folder: None,
        store: Store::default(),
        builtin_sample: false,
        files: None,
    };
    let corpus = quiet(&request).unwrap();
    let found = [&corpus.train, &corpus.held_out].map(|split| {
        let mut sum = Sum::default();
        for document in split.documents.read() {
            document.unwrap().add_to(&mut sum);
        }
        sum.end().sha256
    });
    assert_eq!(
        found,
        [
            "74d8993a0fab9a011b20d3dbd160eab85f11e9e343dd6c8bb62ce8d6ea15cee0",
            "be807cd3af415bd0311d04f0dd4c90232ccae73fcfdbedc07ac042619db33a9a"
        ]
    );
    assert_eq!(
        [corpus.train, corpus.held_out].map(|split| split.from.sha256),
        [
            "bad5d96391f02bb2e961f850aa005947347a00253835127ad17283436cc8a3a1",
            "b69b65e962641681e99fe7fbfb359f719661f29a3e168c0a50bbddf5e232fa74"
        ]
    );
}

#[test]
fn an_article_is_a_document_with_its_topic() {
    let labels = ["World", "Sports", "Business", "Sci/Tech"];
    for (class, label) in (1..).zip(labels) {
        let article = Article {
            topic: class,
            title: " A title ".to_owned(),
            description: "and a body".to_owned(),
        };
        let document = Document::from(article);
        assert_eq!(document.topic.as_deref(), Some(label));
        assert_eq!(document.text, "A title and a body");
    }
}

/// No letter can move from one part of a document to the next, or to the next document.
#[test]
fn other_documents_have_other_checksums() {
    let sum = |documents: &[(Option<&str>, &str)]| {
        let mut sum = Sum::default();
        for (topic, text) in documents {
            let document = Document {
                text: (*text).to_owned(),
                topic: topic.map(str::to_owned),
                answer: None,
                as_read: None,
            };
            document.add_to(&mut sum);
        }
        sum.end().sha256
    };
    let mut sums = vec![
        sum(&[(Some("a"), "bc")]),
        sum(&[(Some("ab"), "c")]),
        sum(&[(None, "abc")]),
        sum(&[(None, "ab"), (None, "c")]),
        sum(&[(None, "a"), (None, "bc")]),
        sum(&[(None, "abc"), (None, "")]),
    ];
    sums.sort();
    sums.dedup();
    assert_eq!(sums.len(), 6);
}
