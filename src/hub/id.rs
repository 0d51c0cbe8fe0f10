//! The name of a model on the hub: `owner/name`, with `@revision` unless that is `main`.

use std::fmt;

/// A model of the hub and a revision of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelId {
    /// `owner/name`.
    pub name: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

impl ModelId {
    /// Parses `owner/name` or `owner/name@revision`. None when the text cannot be a model's name.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, revision) = text.split_once('@').unwrap_or((text, "main"));
        let parts: Vec<&str> = name.split('/').collect();
        let plain = |part: &str, more: &str| {
            part.starts_with(|letter: char| letter.is_ascii_alphanumeric())
                && !part.contains("..")
                && part
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || more.contains(letter))
        };
        let sound = parts.len() == 2
            && parts.iter().all(|part| plain(part, "-_."))
            && plain(revision, "-_./");
        sound.then(|| Self {
            name: name.to_owned(),
            revision: revision.to_owned(),
        })
    }

    /// The revision, escaped so that it is a single part of a URL's path.
    pub(super) fn escaped_revision(&self) -> String {
        self.revision.replace('/', "%2F")
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &*self.revision {
            "main" => f.write_str(&self.name),
            revision => write!(f, "{}@{revision}", self.name),
        }
    }
}

/// Whether a revision is a full commit hash.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}
