//! AG News articles from CSV: no header, `class,title,description`, classes 1 World, 2 Sports, 3 Business, 4 Sci/Tech.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::csv_rows::{CsvRow, CsvRows};

/// One article.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Article {
    /// 1 World, 2 Sports, 3 Business, 4 Sci/Tech.
    pub topic: u8,
    /// May be empty.
    pub title: String,
    /// The body.
    pub description: String,
}

impl Article {
    /// Title, a space, description; without the space when there is no title.
    pub fn text(&self) -> String {
        let (title, description) = (self.title.trim(), self.description.trim());
        if title.is_empty() || description.is_empty() {
            format!("{title}{description}")
        } else {
            format!("{title} {description}")
        }
    }
}

/// Why a file of articles cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AgNewsError {
    /// It cannot be opened or read.
    #[error("cannot read {path}: {message}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        message: String,
    },
    /// A row is not an article.
    #[error(
        "{path}:{line}: {message}; each row must be `class,title,description` with a class from 1 to 4"
    )]
    Row {
        /// The file.
        path: PathBuf,
        /// The line, from 1: that on which the row starts, or that of the quote that is at fault.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// No rows.
    #[error("{0} is empty: no articles")]
    Empty(PathBuf),
}

/// All articles of a file.
///
/// # Errors
/// When the file cannot be read, is empty, or has a row that is not an article; with its line.
pub fn read(path: &Path) -> Result<Vec<Article>, AgNewsError> {
    let bytes = std::fs::read(path).map_err(|error| AgNewsError::Read {
        path: path.to_owned(),
        message: error.to_string(),
    })?;
    parse(path, &bytes)
}

/// All articles of the bytes of a file; `path` stands for it in messages.
///
/// # Errors
/// When there is none, or a row is not an article; with its line.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Article>, AgNewsError> {
    let wrong = |line: usize, message: String| AgNewsError::Row {
        path: path.to_owned(),
        line,
        message,
    };
    let mut articles = Vec::new();
    for row in CsvRows::of(bytes) {
        let row = row.map_err(|error| wrong(error.line, error.message))?;
        let line = row.line;
        articles.push(article(row).map_err(|message| wrong(line, message))?);
    }
    if articles.is_empty() {
        return Err(AgNewsError::Empty(path.to_owned()));
    }
    Ok(articles)
}

fn article(row: CsvRow) -> Result<Article, String> {
    let [class, title, description] = <[String; 3]>::try_from(row.fields)
        .map_err(|fields| format!("{} columns", fields.len()))?;
    let topic: u8 = class
        .parse()
        .map_err(|_| format!("the class is not a number: `{class}`"))?;
    if !(1..=4).contains(&topic) {
        return Err(format!("class {topic} does not exist"));
    }
    Ok(Article {
        topic,
        title,
        description,
    })
}
