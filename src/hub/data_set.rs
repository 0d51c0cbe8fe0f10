//! Data sets in the hub's cache. They are never downloaded: which of their files are needed is not known before.

use std::fmt;

use super::cache::Repository;
use super::{Hub, ModelId, Snapshot};

/// A data set of the hub and a revision of it: `owner/name`, with `@revision` unless that is `main`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSetId(ModelId);

impl DataSetId {
    /// Parses `owner/name` or `owner/name@revision`. None when the text cannot be a data set's name.
    pub fn parse(text: &str) -> Option<Self> {
        ModelId::parse(text).map(Self)
    }

    /// The same data set at a commit.
    pub fn at(&self, commit: &str) -> Self {
        Self(ModelId {
            revision: commit.to_owned(),
            ..self.0.clone()
        })
    }
}

impl fmt::Display for DataSetId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Hub {
    /// Returns the data set from the cache. It may have only some of its files there.
    ///
    /// # Errors
    /// When it is not in the cache.
    pub fn data_set(&self, id: &DataSetId) -> Result<Snapshot, String> {
        let cache = self.cache.as_ref();
        let cache = cache.ok_or("no cache folder: set HF_HOME or HOME")?;
        let repository = Repository::of(cache, "datasets", &id.0);
        let commit = repository.commit(&id.0.revision);
        let found = commit.map(|commit| Snapshot {
            directory: repository.snapshot(&commit),
            commit,
        });
        found
            .filter(|snapshot| snapshot.directory.is_dir())
            .ok_or_else(|| {
                format!(
                    "{id} is not in the hub's cache {}; get it by `hf download {} --repo-type dataset --revision {}`",
                    cache.display(),
                    id.0.name,
                    id.0.revision
                )
            })
    }
}
