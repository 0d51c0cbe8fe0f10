//! Files that are never half there: written aside in the same directory, synced, renamed.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Puts `bytes` at `path`. A link stays one: the file that it leads to is replaced. A device or pipe is written to as it is. A reader, or a machine that dies half way, sees the old file or the new one, never a part.
///
/// # Errors
/// Those of the file system; then nothing has changed at `path` and nothing is left beside it.
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

/// Puts a file that was written aside, in the same directory, at `path`, and gives it open for more.
///
/// # Errors
/// Those of the file system; then nothing has changed at `path` and nothing is left beside it.
pub fn publish(aside: tempfile::NamedTempFile, path: &Path) -> io::Result<File> {
    aside.as_file().sync_all()?;
    // Temporary files are private by default; what we publish should be as readable as any other file.
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

/// The folder that a path lies in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes a rename in `directory` durable.
///
/// # Errors
/// Those of the file system.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
