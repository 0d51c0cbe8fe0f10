//! Downloads one file of a model into the cache: resumed where an earlier download broke off, checked against its checksum, and only then
//! renamed.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::cache::Repository;
use super::{Hub, ModelId, Progress};
use crate::download::{Ask, ask, hexadecimal};

/// What the hub says about a file before it is downloaded.
struct Facts {
    /// The name of the blob: the SHA-256 of a large file, or git's SHA-1 of a small one.
    tag: String,
    size: Option<u64>,
}

/// Downloads a file of a commit into the cache, unless it is there.
pub(super) fn fetch(
    hub: &Hub,
    id: &ModelId,
    repository: &Repository,
    commit: &str,
    name: &str,
    progress: &mut Progress,
) -> Result<(), String> {
    if repository.snapshot(commit).join(name).is_file() {
        return Ok(());
    }
    let url = format!("{}/{}/resolve/{commit}/{name}", hub.endpoint, id.name);
    let facts = facts(hub, &url)?;
    let blob = repository.blob(&facts.tag);
    let cannot = |error: std::io::Error| format!("cannot write the cache: {error}");
    for folder in [blob.parent(), repository.lock(&facts.tag).parent()]
        .into_iter()
        .flatten()
    {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let _lock = lock(&repository.lock(&facts.tag), hub.lock)?;
    // The previous holder of the lock may have downloaded it.
    if !blob.is_file() {
        let partial = blob.with_file_name(format!("{}.incomplete", facts.tag));
        receive(hub, &url, &facts, &partial, &mut |done, total| {
            progress(name, done, total)
        })?;
        std::fs::rename(&partial, &blob).map_err(cannot)?;
    }
    repository.link(commit, name, &facts.tag).map_err(cannot)
}

/// Asks for the file's headers. A large file answers with a redirect to its store, which must not be followed here, because only the hub
/// itself sends the checksum.
fn facts(hub: &Hub, url: &str) -> Result<Facts, String> {
    let mut url = url.to_owned();
    for _ in 0..5 {
        let question = Ask {
            head: true,
            token: hub.token.clone(),
            ..Ask::get(&url)
        };
        let answer = ask(question, hub.patience)?;
        let tag = answer
            .header("x-linked-etag")
            .or_else(|| answer.header("etag"));
        match (answer.status, tag, answer.header("location")) {
            // The model was renamed: follow a redirect on the same host.
            (300..400, None, Some(location)) if location.starts_with('/') => {
                url = format!("{}{location}", hub.endpoint);
            }
            (200..400, Some(tag), _) => {
                let tag = tag.trim_start_matches("W/").trim_matches('"').to_owned();
                if tag.is_empty()
                    || !tag
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                {
                    return Err(format!("the hub gave `{tag}` as its checksum"));
                }
                let size = answer.header("x-linked-size");
                let direct = answer
                    .header("content-length")
                    .filter(|_| answer.status < 300);
                let size = size.or(direct).and_then(|size| size.parse().ok());
                return Ok(Facts { tag, size });
            }
            (status @ 200..400, None, _) => {
                return Err(format!(
                    "the hub answered {status} without a checksum (ETag)"
                ));
            }
            (status, _, _) => return Err(format!("the hub answered {status}")),
        }
    }
    Err("too many redirects".to_owned())
}

/// Downloads a file to `partial`, after the bytes that are there already, and checks it.
fn receive(
    hub: &Hub,
    url: &str,
    facts: &Facts,
    partial: &Path,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("cannot write {}: {error}", partial.display());
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(partial)
        .map_err(cannot)?;
    let mut before = file.metadata().map_err(cannot)?.len();
    if facts.size.is_some_and(|size| before > size) {
        before = 0;
    }
    if facts.size != Some(before) || before == 0 {
        let question = Ask {
            token: hub.token.clone(),
            from: before,
            ..Ask::get(url)
        };
        let answer = ask(question, hub.patience)?.accepted()?;
        if answer.status != 206 {
            before = 0;
        }
        file.set_len(before).map_err(cannot)?;
        file.seek(std::io::SeekFrom::End(0)).map_err(cannot)?;
        answer.read_into(before, progress, &mut |chunk| file.write_all(chunk))?;
    }
    file.sync_all().map_err(cannot)?;
    let checked = check(&mut file, facts);
    if checked.is_err() {
        // A damaged file must not be resumed.
        let _ = std::fs::remove_file(partial);
    }
    checked
}

fn check(file: &mut File, facts: &Facts) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let size = file.metadata().map_err(failed)?.len();
    if let Some(expected) = facts.size
        && size != expected
    {
        return Err(format!("{size} bytes came, not {expected}: fetch it again"));
    }
    let found = match facts.tag.len() {
        64 => digest(file, Sha256::new()),
        40 => digest(file, Sha1::new().chain_update(format!("blob {size}\0"))),
        _ => return Ok(()),
    };
    match found.map_err(failed)? {
        found if found == facts.tag.to_lowercase() => Ok(()),
        found => Err(format!(
            "its checksum is {found}, not {}: a damaged body, which is thrown away; try again",
            facts.tag
        )),
    }
}

fn digest(file: &mut File, mut hash: impl Digest) -> std::io::Result<String> {
    file.rewind()?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// Waits for the lock of a blob.
fn lock(path: &Path, patience: Duration) -> Result<File, String> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    let file = file.map_err(|error| format!("cannot lock {}: {error}", path.display()))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if start.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(format!(
                    "another program has been writing it for {} s and holds {}; wait for it, or end it, and try again",
                    patience.as_secs(),
                    path.display()
                ));
            }
            Err(TryLockError::Error(error)) => {
                return Err(format!("cannot lock {}: {error}", path.display()));
            }
        }
    }
}
