//! AG News: CSV files without a header. A row is `class,title,description`, with the classes 1 World, 2 Sports, 3 Business, 4 Sci/Tech.

use std::path::Path;

use super::article::{Article, TOPICS};
use super::{Layout, ReadSplit, Source, SourceError, Text};
use crate::data::corpus::Document;
use crate::data::csv_rows::{CsvRow, CsvRows};

/// AG News.
pub static SOURCE: Source = Source {
    name: "ag_news",
    title: "AG News",
    unit: "articles",
    text: Text::Folder(Layout {
        splits: ["train.csv", "test.csv"],
        recipe: Some(include_str!("../../../datasets/ag_news.toml")),
        read,
    }),
};

fn read(path: &Path) -> Result<ReadSplit, SourceError> {
    ReadSplit::of_file(path, |bytes| {
        let articles = parse(path, bytes)?.into_iter();
        Ok(articles.map(Document::from).collect())
    })
}

/// Parses all articles in the bytes of a file. `path` stands for the file in messages.
///
/// # Errors
/// When there is no article, or when a row is not one; the error names the line.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Article>, SourceError> {
    let wrong = |line: usize, message: String| SourceError::Line {
        path: path.to_owned(),
        line,
        message: format!(
            "{message}; each row must be `class,title,description` with a class from 1 to 4"
        ),
    };
    let mut articles = Vec::new();
    for row in CsvRows::of(bytes) {
        let row = row.map_err(|error| wrong(error.line, error.message))?;
        let line = row.line;
        articles.push(article(row).map_err(|message| wrong(line, message))?);
    }
    if articles.is_empty() {
        return Err(SourceError::Empty {
            path: path.to_owned(),
            unit: SOURCE.unit,
        });
    }
    Ok(articles)
}

fn article(row: CsvRow) -> Result<Article, String> {
    let [class, title, description] = <[String; 3]>::try_from(row.fields)
        .map_err(|fields| format!("{} columns", fields.len()))?;
    let topic: u8 = class
        .parse()
        .map_err(|_| format!("the class is not a number: `{class}`"))?;
    if !(1..=TOPICS.len()).contains(&topic.into()) {
        return Err(format!("class {topic} does not exist"));
    }
    Ok(Article {
        topic,
        title,
        description,
    })
}
