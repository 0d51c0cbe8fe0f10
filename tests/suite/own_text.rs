//! Text in files of one's own.

mod compressed;
mod files;
mod rows;
mod run;
mod share;

use std::path::{Path, PathBuf};

use milepost::data::corpus::{Corpus, Document};
use milepost::data::sources::rows::Wanted;
use milepost::data::sources::{Form, Forms, HeldOut, Named, Request, Share, named, resolve};
use milepost::data::store::Store;
use serde_json::{Value, json};
use tempfile::TempDir;

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
