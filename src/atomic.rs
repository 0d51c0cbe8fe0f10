//! Writes files atomically: to a temporary file in the same directory, which is synced and renamed.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Writes `bytes` to `path`. A symbolic link stays one: the file that it leads to is replaced. A device or a pipe is written to directly. A
/// reader sees the old file or the new one, never a part, and so does a machine that crashes half way.
///
/// # Errors
/// When the file system refuses; then `path` is unchanged and no temporary file is left.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let path = &target;
    let special = std::fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir());
    if special {
        return std::fs::write(path, bytes);
    }
    let mut aside = tempfile::NamedTempFile::new_in(folder(path))?;
    aside.write_all(bytes)?;
    publish(aside, path).map(drop)
}

/// Syncs a temporary file and renames it to `path`, which must be in the same directory. Returns the file, open for more writing.
///
/// # Errors
/// When the file system refuses; then `path` is unchanged and no temporary file is left.
pub fn publish(aside: tempfile::NamedTempFile, path: &Path) -> io::Result<File> {
    aside.as_file().sync_all()?;
    // Temporary files are private by default; a published file should be as readable as any other.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        aside
            .as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    let file = aside.persist(path).map_err(|error| error.error)?;
    sync_directory(folder(path))?;
    Ok(file)
}

/// The folder that contains `path`.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Syncs `directory`, which makes a rename in it durable.
///
/// # Errors
/// When the directory cannot be opened or synced.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
