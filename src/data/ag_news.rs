//! AG News articles from CSV: no header, `class,title,description`, classes 1 World, 2 Sports, 3 Business, 4 Sci/Tech.

use std::path::{Path, PathBuf};

use burn_dataset::{Dataset, InMemDataset};
use serde::{Deserialize, Serialize};

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
        match title.is_empty() || description.is_empty() {
            true => format!("{title}{description}"),
            false => format!("{title} {description}"),
        }
    }
}

/// A row as it stands in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row(u8, String, String);

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
        /// The line, from 1, on which the row starts.
        line: u64,
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
    let mut builder = csv::ReaderBuilder::new();
    builder.has_headers(false);
    let rows = match InMemDataset::<Row>::from_csv(path, &builder) {
        Ok(rows) => rows,
        Err(error) => return Err(name_the_row(path, &builder, &error)),
    };
    let articles: Vec<Article> = rows
        .iter()
        .flatten()
        .map(|Row(topic, title, description)| Article {
            topic,
            title,
            description,
        })
        .collect();
    if let Some(index) = articles
        .iter()
        .position(|article| !(1..=4).contains(&article.topic))
    {
        return Err(AgNewsError::Row {
            path: path.to_owned(),
            line: line_of_row(path, &builder, index),
            message: format!("class {} does not exist", articles[index].topic),
        });
    }
    match articles.is_empty() {
        true => Err(AgNewsError::Empty(path.to_owned())),
        false => Ok(articles),
    }
}

/// Says which row of the file made the dataset's reader fail: its own error has lost the line.
fn name_the_row(path: &Path, builder: &csv::ReaderBuilder, error: &std::io::Error) -> AgNewsError {
    let unreadable = || AgNewsError::Read {
        path: path.to_owned(),
        message: error.to_string(),
    };
    let Ok(mut reader) = builder.from_path(path) else {
        return unreadable();
    };
    for row in reader.byte_records() {
        let (line, message) = match row {
            Err(error) => match error.position().map(csv::Position::line) {
                Some(line) => (line, row_message(&error)),
                None => return unreadable(),
            },
            Ok(record) => {
                let line = record.position().map_or(0, csv::Position::line);
                if record.len() != 3 {
                    return AgNewsError::Row {
                        path: path.to_owned(),
                        line,
                        message: format!("{} columns", record.len()),
                    };
                }
                match record.deserialize::<Row>(None) {
                    Ok(_) => continue,
                    Err(error) => (line, row_message(&error)),
                }
            }
        };
        return AgNewsError::Row {
            path: path.to_owned(),
            line,
            message,
        };
    }
    unreadable()
}

fn row_message(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { len, .. } => format!("{len} columns"),
        csv::ErrorKind::Utf8 { .. } => "not UTF-8".to_owned(),
        csv::ErrorKind::Deserialize { err, .. } => match err.kind() {
            csv::DeserializeErrorKind::InvalidUtf8(_) => "not UTF-8".to_owned(),
            csv::DeserializeErrorKind::ParseInt(_) => "the class is not a number".to_owned(),
            other => other.to_string(),
        },
        _ => error.to_string(),
    }
}

fn line_of_row(path: &Path, builder: &csv::ReaderBuilder, index: usize) -> u64 {
    let record = builder
        .from_path(path)
        .ok()
        .and_then(|reader| reader.into_byte_records().nth(index)?.ok());
    record.map_or(index as u64 + 1, |record| {
        record
            .position()
            .map_or(index as u64 + 1, csv::Position::line)
    })
}
