//! `[data]`: the text to train on, and which files it is in.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Places, TextChange, Written};
use crate::data::sources::rows::{Format, Unit, Wanted};
use crate::data::sources::{self, Form, Forms, HeldOut, Missing, Named, Share, Source, Text, find};
use crate::data::subset::Subset;
use crate::diagnostic::{Diagnostic, known_names};
use crate::hub::DataSetId;

/// `[data]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSection {
    /// The name of the text, one of [`crate::data::sources`]. The default is not written out, so that runs from before this key have the
    /// same settings.
    #[serde(skip_serializing_if = "is_usual")]
    pub source: String,
    /// A folder with the files of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// A data set of the hub, in the hub's cache, that the files are of: `owner/name`, with `@revision` if need be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The files to train on: files, folders, or patterns such as `news/*.jsonl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<Names>,
    /// What is held out: files of their own, or a random share of the documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<HoldOut>,
    /// The field with the text, or a text with fields in braces. With `prompt`, it is the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The field with the topic, or a text with fields in braces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The field with the prompt, or a text with fields in braces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What is done with a row that lacks a field, or has null in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// The names of the columns, where CSV files have no row of names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// What of a plain text is a document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<Unit>,
    /// Whether the built-in sample may be used when the text is not found.
    pub builtin_sample: bool,
    /// Use only this many training documents, from the first on. They are counted after `intervene`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_articles: Option<usize>,
    /// Use only this many test documents, from the first on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_articles: Option<usize>,
    /// Whether to put the end-of-text token after every document.
    pub end_of_text: bool,
    /// Train on exactly this many blocks, the first of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<usize>,
    /// Let only a random subset of the documents count in the loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<Subset>,
    /// What is done to the training documents before the training, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub intervene: Vec<TextChange>,
}

impl Default for DataSection {
    fn default() -> Self {
        Self {
            source: sources::usual().name.to_owned(),
            folder: None,
            hub: None,
            train: None,
            held_out: None,
            text: None,
            topic: None,
            prompt: None,
            missing: None,
            columns: None,
            document: None,
            builtin_sample: false,
            train_articles: None,
            test_articles: None,
            end_of_text: false,
            blocks: None,
            subset: None,
            intervene: Vec::new(),
        }
    }
}

fn is_usual(source: &str) -> bool {
    source == sources::usual().name
}

/// Names of files: one, or a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "the name of a file or folder, a pattern such as \"news/*.jsonl\", or a list of them"
)]
pub enum Names {
    /// `train = "news.jsonl"`
    One(String),
    /// `train = ["news.jsonl", "more/*.jsonl"]`
    Several(Vec<String>),
}

impl Names {
    fn all(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }

    fn all_mut(&mut self) -> &mut [String] {
        match self {
            Self::One(name) => std::slice::from_mut(name),
            Self::Several(names) => names,
        }
    }
}

/// `data.held_out`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "names of files, or a share of the documents such as { share = 0.05, seed = 1 }"
)]
pub enum HoldOut {
    /// `held_out = { share = 0.05, seed = 1 }`
    Share(Share),
    /// `held_out = "test.jsonl"`
    Files(Names),
}

impl DataSection {
    /// The keys that are written of those that only sources of named files know.
    fn of_files(&self) -> Vec<&'static str> {
        let keys = [
            ("hub", self.hub.is_some()),
            ("train", self.train.is_some()),
            ("held_out", self.held_out.is_some()),
            ("text", self.text.is_some()),
            ("topic", self.topic.is_some()),
            ("prompt", self.prompt.is_some()),
            ("missing", self.missing.is_some()),
            ("columns", self.columns.is_some()),
            ("document", self.document.is_some()),
        ];
        let keys = keys.into_iter().filter(|(_, is_written)| *is_written);
        keys.map(|(key, _)| key).collect()
    }

    /// The names of files that are not in a data set of the hub, to be made absolute.
    pub(super) fn names_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let held_out = match &mut self.held_out {
            Some(HoldOut::Files(names)) => Some(names),
            _ => None,
        };
        let names = self.train.as_mut().into_iter().chain(held_out);
        let is_local = self.hub.is_none();
        names.filter(move |_| is_local).flat_map(Names::all_mut)
    }
}

/// The keys that only some formats know.
const OF_FORMATS: [&str; 2] = ["columns", "document"];

impl Written {
    /// The source that `[data]` names.
    ///
    /// # Errors
    /// When there is no such source, or when a key is written that it does not know.
    pub(super) fn text_source(&self) -> Result<&'static Source, Diagnostic> {
        let data = &self.experiment.data;
        let Some(source) = sources::named(&data.source) else {
            let message = format!("unknown source of text `{}`", data.source);
            let help = known_names(&data.source, &sources::names());
            return Err(self.wrong(&["data", "source"], message).with_help(help));
        };
        let unknown = |key: &str, why: &str| {
            let message = format!("the source `{}` {why}", data.source);
            Err(self.wrong(&["data", key], message))
        };
        match &source.text {
            Text::BuiltIn(_) if data.folder.is_some() => {
                unknown("folder", "is built in and reads no folder")
            }
            Text::BuiltIn(_) | Text::Folder(_) => match data.of_files().first() {
                Some(key) => unknown(
                    key,
                    &format!(
                        "does not know `data.{key}`; sources of files are {}",
                        of_files()
                    ),
                ),
                None => Ok(source),
            },
            Text::Files(format) => {
                if data.folder.is_some() {
                    return unknown(
                        "folder",
                        "knows no `data.folder`: name its files, or their folder, by `data.train`",
                    );
                }
                if data.builtin_sample {
                    return unknown(
                        "builtin_sample",
                        "has no stand-in: the files that are named must be there",
                    );
                }
                let written = data.of_files();
                let of_others =
                    |key: &&&str| OF_FORMATS.contains(key) && !format.keys.contains(*key);
                match written.iter().find(of_others) {
                    Some(key) => unknown(key, &format!("does not know `data.{key}`")),
                    None => {
                        self.forms(format)?;
                        Ok(source)
                    }
                }
            }
        }
    }

    /// The files that `[data]` names, where its source reads such.
    ///
    /// # Errors
    /// A diagnostic at a key that is missing, or that names nothing.
    pub(super) fn named_files(
        &self,
        source: &Source,
        places: &Places,
    ) -> Result<Option<Named>, Diagnostic> {
        let Text::Files(format) = &source.text else {
            return Ok(None);
        };
        let data = &self.experiment.data;
        let base = self.files_base(places)?;
        let found = |key: &str, names: &Names| {
            let found = find(&base, names.all(), format.endings);
            found.map_err(|message| self.wrong(&["data", key], message))
        };
        let Some(train) = &data.train else {
            let message = "is missing: it names the files to train on";
            return Err(self.wrong(&["data", "train"], message));
        };
        let train = found("train", train)?;
        let held_out = match &data.held_out {
            None => {
                let message = "is missing: name files, or a share of the documents such as { share = 0.05, seed = 1 }";
                return Err(self.wrong(&["data", "held_out"], message));
            }
            Some(HoldOut::Share(share)) => {
                if !(share.share > 0.0 && share.share < 1.0) {
                    let message = "must be above 0 and below 1";
                    return Err(self.wrong(&["data", "held_out", "share"], message));
                }
                HeldOut::Share(*share)
            }
            Some(HoldOut::Files(names)) => HeldOut::Files(found("held_out", names)?),
        };
        if let HeldOut::Files(paths) = &held_out
            && let Some(path) = paths.iter().find(|path| train.contains(path))
        {
            let message = format!(
                "{} is trained on, too: what is held out must not be; a share of it can be, as in {{ share = 0.05, seed = 1 }}",
                path.display()
            );
            return Err(self.wrong(&["data", "held_out"], message));
        }
        let forms = self.forms(format)?;
        Ok(Some(Named {
            wanted: Wanted {
                fields: forms.fields(),
                columns: data.columns.clone(),
                unit: data.document.unwrap_or_default(),
            },
            train,
            held_out,
            forms,
        }))
    }

    /// The folder that names of files start from.
    fn files_base(&self, places: &Places) -> Result<PathBuf, Diagnostic> {
        let Some(name) = &self.experiment.data.hub else {
            return Ok(places.base.clone());
        };
        let wrong = |message: String| self.wrong(&["data", "hub"], message);
        let Some(id) = DataSetId::parse(name) else {
            return Err(wrong(format!(
                "`{name}` is no data set of the hub; write `owner/name`, with `@revision` if need be"
            )));
        };
        let snapshot = places.hub.data_set(&id).map_err(wrong)?;
        Ok(snapshot.directory)
    }

    /// The form at a key.
    fn form(&self, format: &Format, key: &str, text: &str) -> Result<Form, Diagnostic> {
        let path = ["data", key];
        let form = Form::parse(text).map_err(|message| self.wrong(&path, message))?;
        let Some(known) = format.fields else {
            return Ok(form);
        };
        if let Some(field) = form.fields().find(|field| !known.contains(field)) {
            let source = &self.experiment.data.source;
            let message = format!("the source `{source}` has no field `{field}`");
            let help = known_names(field, known);
            return Err(self.wrong(&path, message).with_help(help));
        }
        Ok(form)
    }

    /// What makes a document of a row.
    fn forms(&self, format: &Format) -> Result<Forms, Diagnostic> {
        let data = &self.experiment.data;
        let form = |key: &str, text: &Option<String>| {
            let form = text.as_ref().map(|text| self.form(format, key, text));
            form.transpose()
        };
        let text = match form("text", &data.text)? {
            Some(text) => text,
            // All files of a plain text have this field.
            None if format.fields.is_some() => Form::of("text"),
            None => {
                let message = "is missing: it names the field with the text, or is a text with fields in braces such as \"{title}\\n{body}\"";
                return Err(self.wrong(&["data", "text"], message));
            }
        };
        Ok(Forms {
            text,
            topic: form("topic", &data.topic)?,
            prompt: form("prompt", &data.prompt)?,
            missing: data.missing.unwrap_or_default(),
        })
    }
}

/// The names of the sources that read files, in words.
fn of_files() -> String {
    let all = sources::names().into_iter();
    let of_files = all.filter(|name| {
        sources::named(name).is_some_and(|source| matches!(source.text, Text::Files(_)))
    });
    of_files.collect::<Vec<_>>().join(", ")
}
