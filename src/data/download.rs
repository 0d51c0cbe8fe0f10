//! A file from the network: within a deadline, checked, and never half there.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use md5::{Digest, Md5};

/// Why a download failed. Each message ends with how to get the file by hand.
#[derive(Debug, thiserror::Error)]
#[error("cannot download {url}: {reason}. By hand: fetch that address, and put the file at {to}")]
pub struct DownloadError {
    /// The address.
    pub url: String,
    /// What went wrong.
    pub reason: String,
    /// Where the file belongs.
    pub to: PathBuf,
}

/// How long a download may take to begin, and to say something.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until the server has answered: name, connection, handshake, headers.
    pub start: Duration,
    /// For the whole body.
    pub body: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(5),
            body: Duration::from_secs(600),
        }
    }
}

/// What is to be fetched.
#[derive(Debug, Clone)]
pub struct Remote<'a> {
    /// The address.
    pub url: &'a str,
    /// Its MD5 in hexadecimal.
    pub md5: &'a str,
}

/// Downloads to `to`; `progress` is told the bytes done and, if known, the bytes in all.
///
/// # Errors
/// When the server does not answer in time or answers an error, the body breaks off or has another MD5, or the file cannot be
/// written. Then nothing lies at `to`.
pub fn download(
    remote: &Remote,
    to: &Path,
    patience: Patience,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<(), DownloadError> {
    fetch(remote, to, patience, progress).map_err(|reason| DownloadError {
        url: remote.url.to_owned(),
        reason,
        to: to.to_owned(),
    })
}

fn fetch(
    remote: &Remote,
    to: &Path,
    patience: Patience,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<(), String> {
    let answer = request(remote.url, patience)?;
    let total = answer.body().content_length();
    let mut body = answer.into_body().into_reader();
    let folder = to.parent().ok_or("it has no directory")?;
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut aside = tempfile::NamedTempFile::new_in(folder).map_err(|error| error.to_string())?;
    let mut md5 = Md5::new();
    let mut buffer = vec![0; 1 << 16];
    let mut done = 0;
    loop {
        let read = body
            .read(&mut buffer)
            .map_err(|error| format!("the body broke off after {done} bytes ({error})"))?;
        if read == 0 {
            break;
        }
        md5.update(&buffer[..read]);
        aside
            .write_all(&buffer[..read])
            .map_err(|error| error.to_string())?;
        done += read as u64;
        progress(done, total);
    }
    if let Some(total) = total
        && done != total
    {
        return Err(format!("the body broke off after {done} of {total} bytes"));
    }
    let found = hexadecimal(&md5.finalize());
    if found != remote.md5 {
        return Err(format!(
            "its MD5 is {found}, not the pinned {}: a damaged or different file",
            remote.md5
        ));
    }
    let published = aside.as_file().sync_all().and_then(|()| {
        aside.persist(to).map_err(|error| error.error)?;
        crate::atomic::sync_directory(folder)
    });
    published.map_err(|error| error.to_string())
}

/// Asks in a thread of its own: looking up a name can hang for longer than any timeout of the client covers.
fn request(url: &str, patience: Patience) -> Result<ureq::http::Response<ureq::Body>, String> {
    let (send, receive) = crossbeam_channel::bounded(1);
    let address = url.to_owned();
    let spawned = std::thread::Builder::new().spawn(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_connect(Some(patience.start))
            .timeout_recv_response(Some(patience.start))
            .timeout_recv_body(Some(patience.body))
            .build()
            .into();
        // The asker may have given up; then nobody wants the answer.
        let _ = send.send(agent.get(&address).call());
    });
    spawned.map_err(|error| error.to_string())?;
    match receive.recv_timeout(patience.start) {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(ureq::Error::StatusCode(code))) => Err(format!("the server answered {code}")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "no answer within {} s",
            patience.start.as_secs_f32()
        )),
    }
}

/// The MD5 of a file's bytes, in hexadecimal.
pub fn md5_of(bytes: &[u8]) -> String {
    hexadecimal(&Md5::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
