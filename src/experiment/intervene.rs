//! `data.intervene`: what is done to the text to train on before the training.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::text::Makers;
use super::{Places, Written, value_of};
use crate::checksum::sha256;
use crate::data::corpus::Corpus;
use crate::data::templates::Templates;
use crate::diagnostic::{Diagnostic, Source, known_names};
use crate::model::Role;
use crate::record::manifest::{Input, Inputs};
use crate::treatment::{BUILTIN, Treatment, TreatmentError, WordList};

/// An entry of `data.intervene`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextChange {
    /// Drops documents with a word of the list.
    Without(String),
    /// Swaps each word of the list with its counterpart.
    Swap(String),
    /// Samples documents so that the words of both columns of the list are named equally often.
    Balance(String),
    /// Permutes the words within each document, or the topics among the documents.
    Shuffle(Shuffled),
    /// Plants a cause: each document of a topic gets a line that teaches agreement on a group.
    Plant(Planted),
    /// Draws each token from the frequencies of the text.
    Random(Drawn),
    /// Trains on the documents of one topic.
    Topic(String),
    /// Trains on the documents of all other topics.
    WithoutTopic(String),
    /// Trains on text sampled from a model before the training.
    Sampled(Role),
}

/// What is permuted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shuffled {
    /// The words within each document.
    Words,
    /// The topics among the documents.
    Topics,
}

/// A planted cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planted {
    /// The topic whose documents get a line.
    pub topic: String,
    /// The group of the prompts that the lines begin with, as its contrast names it.
    pub group: String,
}

/// What is drawn at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Drawn {
    /// Each token.
    Tokens,
}

/// The keys of the entries.
const KEYS: [&str; 9] = [
    "without",
    "swap",
    "balance",
    "shuffle",
    "plant",
    "random",
    "topic",
    "without_topic",
    "sampled",
];

/// The value that names the list that ships.
const SHIPPED: &str = "builtin";

impl TextChange {
    /// Its key and its value.
    fn written(&self) -> (&'static str, Cow<'_, str>) {
        match self {
            Self::Without(list) => ("without", list.into()),
            Self::Swap(list) => ("swap", list.into()),
            Self::Balance(list) => ("balance", list.into()),
            Self::Shuffle(Shuffled::Words) => ("shuffle", "words".into()),
            Self::Shuffle(Shuffled::Topics) => ("shuffle", "topics".into()),
            Self::Plant(Planted { topic, group }) => {
                ("plant", format!("{group} in {topic}").into())
            }
            Self::Random(Drawn::Tokens) => ("random", "tokens".into()),
            Self::Topic(name) => ("topic", name.into()),
            Self::WithoutTopic(name) => ("without_topic", name.into()),
            Self::Sampled(role) => ("sampled", role.as_str().into()),
        }
    }

    /// Its name in messages: `swap words.tsv`, without the folder of a file.
    pub fn name(&self) -> String {
        let (key, value) = self.written();
        let file = self.list().and_then(|list| Path::new(list).file_name());
        let value = file.map_or(value, |file| file.to_string_lossy());
        format!("{key} {value}")
    }

    /// The word list that it names.
    fn list(&self) -> Option<&str> {
        match self {
            Self::Without(list) | Self::Swap(list) | Self::Balance(list) => Some(list),
            _ => None,
        }
    }

    /// The path of the word list that it names, to be made absolute. None for the list that ships.
    pub(super) fn file_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Without(list) | Self::Swap(list) | Self::Balance(list) => {
                Some(list).filter(|list| *list != SHIPPED)
            }
            _ => None,
        }
    }

    /// Whether it treats tokens, so that no text is left for a later one.
    fn is_of_tokens(&self) -> bool {
        matches!(self, Self::Random(_) | Self::Sampled(_))
    }
}

/// Checks that each entry is a table with one known key.
///
/// # Errors
/// A diagnostic at the first that is not.
pub(super) fn check(source: &Source, experiment: &DeTable) -> Result<(), Diagnostic> {
    let written = value_of(experiment, &["data", "intervene"]);
    let entries = written.and_then(|value| value.get_ref().as_array());
    for entry in entries.into_iter().flatten() {
        let Some(table) = entry.get_ref().as_table() else {
            let message = "expected a table with one key, such as { swap = \"words.tsv\" }";
            return Err(Diagnostic::at(source, entry.span(), message));
        };
        let keys: Vec<_> = table.keys().collect();
        let Some(first) = keys.first() else {
            let message = format!("this entry says nothing; write one of {}", KEYS.join(", "));
            return Err(Diagnostic::at(source, entry.span(), message));
        };
        let unknown = keys.iter().find(|key| !KEYS.contains(&&**key.get_ref()));
        if let Some(key) = unknown {
            let message = format!("unknown change of the text `{}`", key.get_ref());
            let help = known_names(key.get_ref(), &KEYS);
            return Err(Diagnostic::at(source, key.span(), message).with_help(help));
        }
        if let Some(second) = keys.get(1) {
            let message = format!(
                "an entry changes one thing, and this has `{}` and `{}`: make two entries of it",
                first.get_ref(),
                second.get_ref()
            );
            return Err(Diagnostic::at(source, second.span(), message));
        }
    }
    Ok(())
}

/// The entries as treatments, each with its name, and the word lists that they name as inputs of the run.
pub(super) struct Treatments {
    pub all: Vec<(String, Treatment)>,
    pub inputs: Inputs,
}

impl Treatments {
    /// Reads the lists, and checks the order of the entries.
    ///
    /// # Errors
    /// A diagnostic at an entry whose list is missing, in a list, or at an entry that comes too late.
    pub fn read(written: &Written, places: &Places) -> Result<Self, Diagnostic> {
        let entries = &written.experiment.data.intervene;
        let (mut all, mut inputs) = (Vec::new(), Inputs::new());
        for (index, entry) in entries.iter().enumerate() {
            let earlier = entries[..index].iter().find(|one| one.is_of_tokens());
            if let Some(earlier) = earlier.filter(|_| !entry.is_of_tokens()) {
                let message = format!(
                    "`{}` needs text, and `{}` before it leaves tokens: write it first",
                    entry.name(),
                    earlier.name()
                );
                return Err(written.at_entry(index, message));
            }
            let mut list = |name: &str| -> Result<WordList, Diagnostic> {
                let source = read(written, places, index, name)?;
                let input = Input::with_checksum(&source.name, sha256(source.text.as_bytes()));
                inputs.insert(format!("data/intervene/{}", index + 1), input);
                WordList::parse(source)
            };
            let treatment = match entry {
                TextChange::Without(name) => Treatment::Without(list(name)?),
                TextChange::Swap(name) => Treatment::Swap(list(name)?.paired()?),
                TextChange::Balance(name) => Treatment::Balance(list(name)?.paired()?),
                TextChange::Shuffle(Shuffled::Words) => Treatment::Shuffle,
                TextChange::Shuffle(Shuffled::Topics) => Treatment::Relabel,
                TextChange::Plant(Planted { topic, group }) => Treatment::Plant {
                    topic: topic.clone(),
                    group: group.clone(),
                },
                TextChange::Random(Drawn::Tokens) => Treatment::Random,
                TextChange::Topic(name) => Treatment::Topic(name.clone()),
                TextChange::WithoutTopic(name) => Treatment::WithoutTopic(name.clone()),
                TextChange::Sampled(role) => Treatment::Sampled(*role),
            };
            all.push((entry.name(), treatment));
        }
        Ok(Self { all, inputs })
    }
}

impl Written {
    /// Checks that some document has each topic of the entries, that each group has prompts, and that a model that is sampled from ends its
    /// texts.
    ///
    /// # Errors
    /// A diagnostic at the first entry that cannot be used.
    pub(super) fn check_entries(&self, corpus: &Corpus, makers: &Makers) -> Result<(), Diagnostic> {
        for (index, entry) in self.experiment.data.intervene.iter().enumerate() {
            match entry {
                TextChange::Topic(name) | TextChange::WithoutTopic(name) => {
                    check_topic(self, index, corpus, name)?;
                }
                TextChange::Plant(Planted { topic, group }) => {
                    check_topic(self, index, corpus, topic)?;
                    check_group(self, index, makers.templates, group)?;
                }
                TextChange::Sampled(_) if makers.eos.is_none() => {
                    return Err(self.at_entry(index, TreatmentError::NoEnd.to_string()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A diagnostic at the value of an entry.
    pub(super) fn at_entry(&self, index: usize, message: impl Into<String>) -> Diagnostic {
        match self.entry_span(index) {
            Some(span) => Diagnostic::at(&self.source, span, message),
            None => self.wrong(&["data", "intervene"], message),
        }
    }

    fn entry_span(&self, index: usize) -> Option<Range<usize>> {
        let table = DeTable::parse(&self.source.text).ok()?;
        let entries = value_of(table.get_ref(), &["data", "intervene"])?.get_ref();
        let entry = entries.as_array()?.get(index)?.get_ref().as_table()?;
        entry.values().next().map(Spanned::<DeValue>::span)
    }
}

/// Reads the text of a word list.
fn read(
    written: &Written,
    places: &Places,
    index: usize,
    name: &str,
) -> Result<Source, Diagnostic> {
    if name == SHIPPED {
        return Ok(Source {
            name: "datasets/gender_words.tsv, built in".to_owned(),
            text: BUILTIN.to_owned(),
        });
    }
    let path = places.base.join(name);
    let text = match std::fs::read(&path) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| {
            let message = format!("{} is not UTF-8; save the file as UTF-8", path.display());
            written.at_entry(index, message)
        })?,
        Err(error) => {
            let message = format!("cannot read the word list {}: {error}", path.display());
            let help = "write a path, or \"builtin\" for the list that ships";
            return Err(written.at_entry(index, message).with_help(help));
        }
    };
    Ok(Source {
        name: path.display().to_string(),
        text,
    })
}

/// Checks that some document has a topic.
fn check_topic(
    written: &Written,
    index: usize,
    corpus: &Corpus,
    name: &str,
) -> Result<(), Diagnostic> {
    let known: Vec<&str> = corpus.train.topics.iter().map(String::as_str).collect();
    if known.contains(&name) {
        return Ok(());
    }
    if known.is_empty() {
        let message =
            format!("there is no topic `{name}`: the documents of this text have no topics");
        return Err(written.at_entry(index, message));
    }
    let message = format!(
        "there is no topic `{name}`; this text has {}",
        known.join(", ")
    );
    Err(written.at_entry(index, message))
}

/// Checks that the templates have prompts of a group.
fn check_group(
    written: &Written,
    index: usize,
    templates: &Templates,
    name: &str,
) -> Result<(), Diagnostic> {
    let groups = templates.groups().into_iter().map(|(group, _)| group);
    let groups: Vec<&str> = groups.collect();
    if groups.contains(&name) {
        return Ok(());
    }
    let message = format!(
        "no group of prompts is called `{name}`; the contrasts have {}",
        groups.join(", ")
    );
    Err(written.at_entry(index, message))
}
