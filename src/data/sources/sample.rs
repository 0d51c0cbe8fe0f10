//! The built-in sample: generated news, which may replace another source.

use super::article::Article;
use super::{ReadSplit, Source, Text};
use crate::checksum::sha256;
use crate::data::corpus::{Document, SourceFile};
use crate::generator;

/// The built-in sample.
pub static SOURCE: Source = Source {
    name: "sample",
    title: "built-in sample",
    unit: "articles",
    text: Text::BuiltIn(splits),
};

/// The training split (4000 articles) and the test split (400).
pub(super) fn splits() -> [ReadSplit; 2] {
    // Each split has a seed of its own, so that no article is in both. The pretraining corpus uses other seeds.
    [split("train", 2001, 4000), split("test", 2002, 400)]
}

fn split(name: &str, seed: u64, count: usize) -> ReadSplit {
    let articles = generator::articles(seed).take(count);
    let documents: Vec<Document> = articles
        .map(|article| {
            let article = Article {
                topic: article.topic.label(),
                title: article.title,
                description: article.description,
            };
            article.into()
        })
        .collect();
    let texts: Vec<&str> = documents.iter().map(|one| one.text.as_str()).collect();
    let file = SourceFile {
        path: format!("built-in sample, {name}"),
        sha256: sha256(texts.join("\n").as_bytes()),
    };
    ReadSplit { documents, file }
}
