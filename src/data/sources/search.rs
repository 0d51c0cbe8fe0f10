//! Where the articles come from: a folder, the cache, a download, or, where the experiment allows it, the built-in sample.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ag_news::{self, AgNewsError, Article};
use crate::checksum::sha256;
use crate::download::{DownloadError, Patience, Remote, download, md5_of};
use crate::generator;

/// Seeds of the built-in sample: one for each split, so that no article stands in both. The pretraining corpus uses others.
const SAMPLE_SEEDS: [u64; 2] = [2001, 2002];
/// Articles of the built-in sample's splits.
const SAMPLE_ARTICLES: [usize; 2] = [4000, 400];

/// What an experiment asks for, and where this machine would look.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// A folder named by the experiment; it must have the files.
    pub folder: Option<PathBuf>,
    /// The value of `MILEPOST_DATA`: a folder with `ag_news/`.
    pub data: Option<PathBuf>,
    /// The cache folder.
    pub cache: Option<PathBuf>,
    /// Whether nothing may be fetched.
    pub offline: bool,
    /// Whether the built-in sample may stand in.
    pub builtin_sample: bool,
}

/// Where a corpus came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Files of the user.
    Folder(PathBuf),
    /// Files that were downloaded, now or earlier.
    Cache(PathBuf),
    /// Made up here.
    BuiltinSample,
}

/// One file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Its path, or the split's name for the built-in sample.
    pub path: String,
    /// SHA-256 of its bytes (of the texts for the built-in sample).
    pub sha256: String,
    /// Articles in it.
    pub articles: usize,
}

/// Articles to train on and to hold out.
#[derive(Debug)]
pub struct Corpus {
    /// The training split.
    pub train: Vec<Article>,
    /// The test split.
    pub held_out: Vec<Article>,
    /// Where they came from.
    pub origin: Origin,
    /// What was read.
    pub files: Vec<SourceFile>,
    /// Why an earlier place was passed over, for the terminal.
    pub notes: Vec<String>,
}

/// Why there are no articles.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file cannot be read.
    #[error(transparent)]
    AgNews(#[from] AgNewsError),
    /// A folder that was named lacks a file.
    #[error("{0} is missing; the folder must have train.csv and test.csv")]
    Missing(PathBuf),
    /// Nowhere to be found.
    #[error(
        "no AG News: {0}\nSet `data.folder` or MILEPOST_DATA to a folder that has it, or allow `data.builtin_sample`"
    )]
    Nowhere(String),
    /// HONEST's templates are nowhere to be found.
    #[error(
        "no HONEST templates: {0}\nSet MILEPOST_DATA to a folder with honest/en_template.tsv, or `templates.file` to a file in that layout"
    )]
    NoTemplates(String),
    /// A recipe that ships is broken.
    #[error("a recipe in datasets/ is broken: {0}")]
    Recipe(#[from] toml::de::Error),
}

#[derive(Deserialize)]
struct Recipe {
    train: Entry,
    test: Entry,
}

#[derive(Deserialize)]
struct Entry {
    url: String,
    md5: String,
}

/// Finds the articles. `progress` is told the file and the bytes of a download.
///
/// # Errors
/// When a folder that was named does not have them, a file is malformed, or they are nowhere and the built-in sample is not allowed.
pub fn resolve(
    request: &Request,
    progress: &mut dyn FnMut(&str, u64, Option<u64>),
) -> Result<Corpus, SourceError> {
    if let Some(folder) = &request.folder {
        return from_folder(folder);
    }
    let mut passed_over = Vec::new();
    if let Some(data) = &request.data {
        let folder = data.join("ag_news");
        if folder.join("train.csv").is_file() {
            return from_folder(&folder);
        }
        passed_over.push(lacks(data, &folder.join("train.csv")));
    }
    match &request.cache {
        None => passed_over.push("there is no cache folder (HOME is not set)".to_owned()),
        Some(cache) => match from_cache(&cache.join("ag_news"), request.offline, progress)? {
            Ok(mut corpus) => {
                corpus.notes = passed_over;
                return Ok(corpus);
            }
            Err(why) => passed_over.push(why),
        },
    }
    if !request.builtin_sample {
        return Err(SourceError::Nowhere(passed_over.join("; ")));
    }
    Ok(builtin_sample(passed_over))
}

/// Why the folder of `--data` or `MILEPOST_DATA` does not do.
fn lacks(data: &Path, file: &Path) -> String {
    if !data.is_dir() {
        return format!(
            "{}, given by --data or MILEPOST_DATA, is no folder",
            data.display()
        );
    }
    format!(
        "{} is missing in the folder that --data or MILEPOST_DATA gives",
        file.display()
    )
}

fn from_folder(folder: &Path) -> Result<Corpus, SourceError> {
    let (train, first) = read_file(&folder.join("train.csv"))?;
    let (held_out, second) = read_file(&folder.join("test.csv"))?;
    Ok(Corpus {
        train,
        held_out,
        origin: Origin::Folder(folder.to_owned()),
        files: vec![first, second],
        notes: Vec::new(),
    })
}

fn read_file(path: &Path) -> Result<(Vec<Article>, SourceFile), SourceError> {
    if !path.exists() {
        return Err(SourceError::Missing(path.to_owned()));
    }
    let bytes = std::fs::read(path).map_err(|error| AgNewsError::Read {
        path: path.to_owned(),
        message: error.to_string(),
    })?;
    let articles = ag_news::parse(path, &bytes)?;
    let file = SourceFile {
        path: path.display().to_string(),
        sha256: sha256(&bytes),
        articles: articles.len(),
    };
    Ok((articles, file))
}

/// The cached files, downloaded first where they are missing or damaged; the inner error says why they cannot be had.
fn from_cache(
    folder: &Path,
    offline: bool,
    progress: &mut dyn FnMut(&str, u64, Option<u64>),
) -> Result<Result<Corpus, String>, SourceError> {
    let recipe: Recipe = toml::from_str(include_str!("../../../datasets/ag_news.toml"))?;
    for (name, entry) in [("train.csv", &recipe.train), ("test.csv", &recipe.test)] {
        if let Err(why) = cached_file(&folder.join(name), entry, offline, progress) {
            return Ok(Err(why));
        }
    }
    let mut corpus = from_folder(folder)?;
    corpus.origin = Origin::Cache(folder.to_owned());
    Ok(Ok(corpus))
}

/// Makes sure that a file is in the cache, downloading it where it is missing or damaged; the error says why it cannot be had.
fn cached_file(
    path: &Path,
    entry: &Entry,
    offline: bool,
    progress: &mut dyn FnMut(&str, u64, Option<u64>),
) -> Result<(), String> {
    if std::fs::read(path).is_ok_and(|bytes| md5_of(&bytes) == entry.md5) {
        return Ok(());
    }
    if offline {
        return Err(format!(
            "{} is not there and MILEPOST_OFFLINE is set",
            path.display()
        ));
    }
    let remote = Remote {
        url: &entry.url,
        md5: &entry.md5,
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut report = |done, total| progress(&name, done, total);
    let fetched: Result<(), DownloadError> =
        download(&remote, path, Patience::default(), &mut report);
    fetched.map_err(|error| error.to_string())
}

/// Finds the English templates of HONEST: in `MILEPOST_DATA`, in the cache, or by a download with pinned MD5.
///
/// # Errors
/// When they are nowhere.
pub fn honest(
    request: &Request,
    progress: &mut dyn FnMut(&str, u64, Option<u64>),
) -> Result<PathBuf, SourceError> {
    let file = Path::new("honest/en_template.tsv");
    let mut passed_over = Vec::new();
    if let Some(data) = &request.data {
        let path = data.join(file);
        if path.is_file() {
            return Ok(path);
        }
        passed_over.push(lacks(data, &path));
    }
    let entry: Entry = toml::from_str(include_str!("../../../datasets/honest.toml"))?;
    let why = match &request.cache {
        None => "there is no cache folder (HOME is not set)".to_owned(),
        Some(cache) => {
            let path = cache.join(file);
            match cached_file(&path, &entry, request.offline, progress) {
                Ok(()) => return Ok(path),
                Err(why) => why,
            }
        }
    };
    passed_over.push(why);
    Err(SourceError::NoTemplates(passed_over.join("; ")))
}

fn builtin_sample(notes: Vec<String>) -> Corpus {
    let [train, held_out] = [0, 1].map(|split| sample(SAMPLE_SEEDS[split], SAMPLE_ARTICLES[split]));
    let file = |name: &str, articles: &[Article]| SourceFile {
        path: format!("built-in sample, {name}"),
        sha256: sha256(texts(articles).join("\n").as_bytes()),
        articles: articles.len(),
    };
    Corpus {
        files: vec![file("train", &train), file("test", &held_out)],
        train,
        held_out,
        origin: Origin::BuiltinSample,
        notes,
    }
}

fn sample(seed: u64, count: usize) -> Vec<Article> {
    generator::articles(seed)
        .take(count)
        .map(|article| Article {
            topic: article.topic.label(),
            title: article.title,
            description: article.description,
        })
        .collect()
}

/// The texts of articles.
pub fn texts(articles: &[Article]) -> Vec<String> {
    articles.iter().map(Article::text).collect()
}

impl Corpus {
    /// In one line, for every place that shows results.
    pub fn describe(&self) -> String {
        let (train, test) = (self.train.len(), self.held_out.len());
        let count = format!("{train} train and {test} test articles");
        match &self.origin {
            Origin::Folder(path) => format!("AG News from {}, {count}", path.display()),
            Origin::Cache(path) => format!("AG News from the cache {}, {count}", path.display()),
            Origin::BuiltinSample => format!("built-in sample, not AG News, {count}"),
        }
    }
}
