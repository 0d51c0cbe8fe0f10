//! Downloads of single files: given up when the server stays silent, checked by MD5, and published under their name only when whole.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use md5::{Digest, Md5};

use crate::thread;

/// A callback for progress. It gets the name of the file, the bytes done and, if known, the bytes in all.
pub type Progress<'a> = dyn FnMut(&str, u64, Option<u64>) + 'a;

/// Why a download failed. The message ends with how to get the file by hand.
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

/// How long to wait for a server.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until the server has answered: name lookup, connection, handshake and headers.
    pub start: Duration,
    /// For the next bytes of a body that has begun.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(5),
            stall: Duration::from_secs(60),
        }
    }
}

/// A file on a server, and its pinned checksum.
#[derive(Debug, Clone)]
pub struct Remote<'a> {
    /// The address.
    pub url: &'a str,
    /// The file's MD5 in hexadecimal.
    pub md5: &'a str,
}

/// Downloads a file to `to`. `progress` is called with the bytes done and, if known, the bytes in all.
///
/// # Errors
/// When the server does not answer in time or answers with an error, when the body breaks off or has another MD5, or when the file cannot
/// be written. Then nothing is left at `to`.
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
    let answer = ask(Ask::get(remote.url), patience)?.accepted()?;
    let folder = to.parent().ok_or("it has no directory")?;
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut aside = tempfile::NamedTempFile::new_in(folder).map_err(|error| error.to_string())?;
    let mut md5 = Md5::new();
    answer.read_into(0, progress, &mut |chunk| {
        md5.update(chunk);
        aside.write_all(chunk)
    })?;
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

/// A request to a server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub url: String,
    /// Ask for the headers only, and do not follow redirects.
    pub head: bool,
    /// Sent as a bearer token; not passed on to another host.
    pub token: Option<String>,
    /// Skip this many bytes at the start of the file.
    pub from: u64,
}

impl Ask {
    pub fn get(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..Self::default()
        }
    }
}

/// A server's answer. Its body may still be on its way.
pub(crate) struct Answer {
    pub status: u16,
    headers: ureq::http::HeaderMap,
    body: Receiver<std::io::Result<Vec<u8>>>,
    patience: Patience,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the answer if its status is a success.
    pub fn accepted(self) -> Result<Self, String> {
        match self.status {
            200..300 => Ok(self),
            status => Err(format!("the server answered {status}")),
        }
    }

    /// Passes the body to `take` piece by piece. `before` is the number of bytes that an earlier request brought; `progress` counts from
    /// there.
    pub fn read_into(
        self,
        before: u64,
        progress: &mut dyn FnMut(u64, Option<u64>),
        take: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), String> {
        let length = self
            .header("content-length")
            .and_then(|text| text.parse::<u64>().ok());
        let total = length.map(|length| before + length);
        let mut done = before;
        loop {
            let broke_off = |why: String| format!("the body broke off after {done} bytes ({why})");
            match self.body.recv_timeout(self.patience.stall) {
                Ok(Ok(chunk)) if chunk.is_empty() => break,
                Ok(Ok(chunk)) => {
                    take(&chunk).map_err(|error| format!("cannot write it: {error}"))?;
                    done += chunk.len() as u64;
                    progress(done, total);
                }
                Ok(Err(error)) => return Err(broke_off(error.to_string())),
                Err(_) => {
                    let seconds = self.patience.stall.as_secs_f32();
                    return Err(broke_off(format!("nothing came for {seconds} s")));
                }
            }
        }
        match total {
            Some(total) if done != total => {
                Err(format!("the body broke off after {done} of {total} bytes"))
            }
            _ => Ok(()),
        }
    }

    /// The whole body as text, at most 16 MiB of it.
    pub fn text(self) -> Result<String, String> {
        const LONGEST: usize = 16 << 20;
        let mut bytes = Vec::new();
        self.read_into(0, &mut |_, _| {}, &mut |chunk| {
            if bytes.len() + chunk.len() > LONGEST {
                return Err(std::io::Error::other("longer than 16 MiB"));
            }
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        String::from_utf8(bytes).map_err(|_| "the answer is not UTF-8".to_owned())
    }
}

/// Sends a request from a thread of its own, which also reads the body: a name lookup, or waiting for the next bytes, can hang for longer
/// than any timeout of the client covers. A thread that was given up ends with its connection or with the process.
pub(crate) fn ask(question: Ask, patience: Patience) -> Result<Answer, String> {
    let (send, receive) = bounded(1);
    // A few pieces of at most 64 KiB: when the disk is slow, the download waits.
    let (pieces, body) = bounded(16);
    let spawned = thread::start("a download", move || {
        let answer = match call(&question, patience) {
            Ok(answer) => answer,
            Err(error) => {
                let _ = send.send(Err(error));
                return;
            }
        };
        let (parts, body) = answer.into_parts();
        // Sending fails when the caller has given up; then nobody wants the answer.
        let _ = send.send(Ok((parts.status.as_u16(), parts.headers)));
        let mut reader = body.into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let piece = reader.read(&mut buffer).map(|read| buffer[..read].to_vec());
            let last = !matches!(&piece, Ok(piece) if !piece.is_empty());
            if pieces.send(piece).is_err() || last {
                return;
            }
        }
    });
    spawned.map_err(|error| error.to_string())?;
    match receive.recv_timeout(patience.start) {
        Ok(Ok((status, headers))) => Ok(Answer {
            status,
            headers,
            body,
            patience,
        }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(no_answer(patience)),
    }
}

fn no_answer(patience: Patience) -> String {
    format!("no answer within {} s", patience.start.as_secs_f32())
}

fn call(question: &Ask, patience: Patience) -> Result<ureq::http::Response<ureq::Body>, String> {
    let mut config = ureq::Agent::config_builder()
        .timeout_connect(Some(patience.start))
        .timeout_recv_response(Some(patience.start))
        .http_status_as_error(false)
        .user_agent(concat!("milepost/", env!("CARGO_PKG_VERSION")));
    if question.head {
        config = config.max_redirects(0).max_redirects_will_error(false);
    }
    let agent: ureq::Agent = config.build().into();
    let mut request = if question.head {
        agent.head(&question.url)
    } else {
        agent.get(&question.url)
    };
    // A compressed body would not have the length of the file.
    request = request.header("accept-encoding", "identity");
    if let Some(token) = &question.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if question.from > 0 {
        request = request.header("range", format!("bytes={}-", question.from));
    }
    request.call().map_err(|error| match error {
        // Either timeout may come first, the client's or the caller's; both get the same message.
        ureq::Error::Timeout(_) => no_answer(patience),
        error => error.to_string(),
    })
}

/// The MD5 of a file's bytes, in hexadecimal.
pub fn md5_of(bytes: &[u8]) -> String {
    hexadecimal(&Md5::digest(bytes))
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
