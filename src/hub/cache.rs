//! The layout of huggingface_hub's cache: `blobs/` by checksum, `snapshots/<commit>/` with links to them, and `refs/<revision>` with a
//! commit.

use std::io;
use std::path::{Path, PathBuf};

use super::ModelId;
use super::id::is_commit;

/// The folder of a model or a data set in the cache.
pub(super) struct Repository {
    pub folder: PathBuf,
    locks: PathBuf,
}

impl Repository {
    /// `kind` is `models` or `datasets`.
    pub fn of(cache: &Path, kind: &str, id: &ModelId) -> Self {
        let name = format!("{kind}--{}", id.name.replace('/', "--"));
        Self {
            locks: cache.join(".locks").join(&name),
            folder: cache.join(name),
        }
    }

    /// The commit that a revision meant when it was last fetched.
    pub fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = std::fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Records the commit that a revision means.
    pub fn set_reference(&self, revision: &str, commit: &str) -> io::Result<()> {
        if is_commit(revision) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        std::fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
        crate::atomic::write(&path, commit.as_bytes())
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    pub fn blob(&self, tag: &str) -> PathBuf {
        self.folder.join("blobs").join(tag)
    }

    /// The file that is locked while a blob is written. huggingface_hub locks the same one.
    pub fn lock(&self, tag: &str) -> PathBuf {
        self.locks.join(format!("{tag}.lock"))
    }

    /// Links a blob into a snapshot under a file's name, which may have folders in it.
    pub fn link(&self, commit: &str, name: &str, tag: &str) -> io::Result<()> {
        let path = self.snapshot(commit).join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        if path.is_file() {
            return Ok(());
        }
        // Removes a dangling link. It does not matter when there is none.
        let _ = std::fs::remove_file(&path);
        #[cfg(unix)]
        let linked = {
            let up = "../".repeat(2 + name.matches('/').count());
            std::os::unix::fs::symlink(format!("{up}blobs/{tag}"), &path)
        };
        #[cfg(not(unix))]
        let linked = std::fs::hard_link(self.blob(tag), &path);
        match linked {
            // Another program has made the link.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }
}
