//! A news article with a class, a title and a description: a row of AG News, or a text of the built-in sample.

use crate::data::corpus::Document;

/// The topics, by class from 1.
pub const TOPICS: [&str; 4] = ["World", "Sports", "Business", "Sci/Tech"];

/// One article.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Article {
    /// The class, from 1 to 4: its position in [`TOPICS`], counted from 1.
    pub topic: u8,
    /// The title, which may be empty.
    pub title: String,
    /// The body.
    pub description: String,
}

impl Article {
    /// Title, a space, description. Without the space when either is empty.
    pub fn text(&self) -> String {
        let (title, description) = (self.title.trim(), self.description.trim());
        if title.is_empty() || description.is_empty() {
            format!("{title}{description}")
        } else {
            format!("{title} {description}")
        }
    }

    /// The bytes of which manifests record checksums: the class in one byte, then title and description, each behind its length.
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
            answer: None,
            as_read: Some(article.bytes()),
        }
    }
}
