//! A server on the loopback that answers as the hub does: model information, headers with checksums, redirects to a store, ranges.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use milepost::download::Patience;
use milepost::hub::Hub;
use sha2::{Digest, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server does wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// Bodies have another first byte.
    Corrupt,
    /// Bodies end after half.
    Torn,
    /// Answers never come.
    Silent,
    /// The model is not there, or not for us.
    Status(u16),
}

/// A question that was asked: its line, and whether it had the token and a range.
pub type Asked = Arc<Mutex<Vec<String>>>;

pub struct LoopbackHub {
    pub address: String,
    pub asked: Asked,
    pub fault: Arc<Mutex<Fault>>,
}

impl LoopbackHub {
    /// Serves `files` as the model `org/tiny`.
    pub fn serve(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (asked, fault) = (Asked::default(), Arc::new(Mutex::new(Fault::None)));
        let (log, bad) = (asked.clone(), fault.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, log, bad) = (files.clone(), log.clone(), bad.clone());
                std::thread::spawn(move || answer(stream, &files, &log, *bad.lock().unwrap()));
            }
        });
        Self {
            address,
            asked,
            fault,
        }
    }

    /// A client with a cache in `cache`, patient enough for a busy machine.
    pub fn client(&self, cache: &std::path::Path) -> Hub {
        Hub {
            cache: Some(cache.to_owned()),
            endpoint: self.address.clone(),
            token: Some("secret".to_owned()),
            offline: false,
            patience: Patience {
                start: Duration::from_secs(20),
                stall: Duration::from_secs(20),
            },
            lock: Duration::from_millis(300),
        }
    }

    pub fn questions(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn answer(mut stream: TcpStream, files: &BTreeMap<String, Vec<u8>>, log: &Asked, fault: Fault) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let header = |name: &str| {
            let found = lines
                .iter()
                .find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
            found.map(|line| line.split_once(':').unwrap().1.trim().to_owned())
        };
        let words: Vec<&str> = lines[0].split(' ').collect();
        let (method, path) = (words[0], words[1]);
        let token = header("authorization").map_or("", |_| " +token");
        let range = header("range").map_or(String::new(), |range| format!(" +{range}"));
        log.lock()
            .unwrap()
            .push(format!("{method} {path}{token}{range}"));
        if fault == Fault::Silent {
            std::thread::sleep(Duration::from_secs(4));
            return;
        }
        let (head, body) = respond(method, path, range, files, fault);
        let torn = fault == Fault::Torn && path.contains("/store/");
        let sent = if torn {
            &body[..body.len() / 2]
        } else {
            &body[..]
        };
        let length = body.len();
        let _ = write!(stream, "HTTP/1.1 {head}Content-Length: {length}\r\n\r\n");
        if method == "GET" {
            let _ = stream.write_all(sent);
        }
        if torn {
            return;
        }
    }
}

fn respond(
    method: &str,
    path: &str,
    range: String,
    files: &BTreeMap<String, Vec<u8>>,
    fault: Fault,
) -> (String, Vec<u8>) {
    if let Fault::Status(status) = fault {
        return (format!("{status} No\r\n"), Vec::new());
    }
    if path.starts_with("/api/models/org/tiny/revision/") {
        let siblings: Vec<_> = files
            .keys()
            .map(|name| serde_json::json!({ "rfilename": name }))
            .collect();
        let info = serde_json::json!({ "sha": COMMIT, "siblings": siblings });
        return ("200 OK\r\n".to_owned(), info.to_string().into_bytes());
    }
    let in_store = path.strip_prefix("/store/");
    let in_commit = path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/"));
    let name = in_store.or(in_commit).unwrap_or_default();
    let Some(bytes) = files.get(name) else {
        return ("404 Not Found\r\n".to_owned(), Vec::new());
    };
    let sha: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if path.starts_with("/org/tiny/resolve/") {
        // Weights are large files: the hub knows their checksum and sends on to a store.
        let head = format!(
            "302 Found\r\nLocation: /store/{name}\r\nX-Linked-Etag: \"{sha}\"\r\nX-Linked-Size: {}\r\nX-Repo-Commit: {COMMIT}\r\n",
            bytes.len()
        );
        if method == "HEAD" || name.ends_with(".safetensors") {
            return (head, Vec::new());
        }
    }
    let mut body = bytes.clone();
    if fault == Fault::Corrupt {
        body[0] ^= 1;
    }
    match range
        .strip_prefix(" +bytes=")
        .and_then(|range| range.trim_end_matches('-').parse::<usize>().ok())
    {
        Some(from) => ("206 Partial Content\r\n".to_owned(), body[from..].to_vec()),
        None => ("200 OK\r\n".to_owned(), body),
    }
}
