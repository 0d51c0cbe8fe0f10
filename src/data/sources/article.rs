//! A news article with a class, a title and a description: a row of AG News, or a text of the built-in sample.

use crate::data::corpus::Document;

/// The topics, by class from 1.
pub const TOPICS: [&str; 4] = ["World", "Sports", "Business", "Sci/Tech"];

/// One article.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Article {
    /// Its class, from 1: the place in [`TOPICS`].
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

    /// The class in one byte, then title and description with their lengths. Manifests of runs have checksums of these bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.topic];
        for text in [&self.title, &self.description] {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes
    }
}

impl From<Article> for Document {
    fn from(article: Article) -> Self {
        let class = usize::from(article.topic).checked_sub(1);
        let topic = class.and_then(|class| TOPICS.get(class));
        Self {
            text: article.text(),
            topic: topic.map(|&topic| topic.to_owned()),
            as_read: Some(article.bytes()),
        }
    }
}
