//! Downloads from a server on the loopback that does everything wrong that servers do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use milepost::data::store::{Found, Pinned, Store};
use milepost::download::{Patience, Remote, download, md5_of};

use crate::harness::Project;

const BODY: &[u8] = b"\"1\",\"a\",\"b\"\n";

/// Serves one connection with `answer` and gives its address.
fn serve(answer: impl FnOnce(&mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/train.csv", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]);
        answer(&mut stream);
    });
    address
}

fn plain(head: &str, body: &'static [u8]) -> impl FnOnce(&mut TcpStream) + Send + use<> {
    let head = head.to_owned();
    move |stream| {
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(body);
    }
}

/// Downloads into an empty folder with a second's patience; what it says, how long it took, what is left.
fn fetch(url: &str, md5: &str) -> (Result<(), String>, Duration, Vec<String>) {
    let project = Project::new();
    let to = project.path().join("cache/train.csv");
    let patience = Patience {
        start: Duration::from_secs(1),
        stall: Duration::from_secs(1),
    };
    let start = Instant::now();
    let result = download(&Remote { url, md5 }, &to, patience, &mut |_, _| {});
    let took = start.elapsed();
    let left = std::fs::read_dir(project.path().join("cache"))
        .into_iter()
        .flatten();
    let left = left.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    (
        result.map_err(|error| error.to_string()),
        took,
        left.collect(),
    )
}

fn ok(length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")
}

#[test]
fn a_good_body_is_kept_whole() {
    let project = Project::new();
    let to = project.path().join("deep/cache/train.csv");
    let url = serve(plain(&ok(BODY.len()), BODY));
    let mut reported = Vec::new();
    let md5 = md5_of(BODY);
    let remote = Remote {
        url: &url,
        md5: &md5,
    };
    download(&remote, &to, Patience::default(), &mut |done, total| {
        reported.push((done, total))
    })
    .unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), BODY);
    assert_eq!(
        reported.last(),
        Some(&(BODY.len() as u64, Some(BODY.len() as u64)))
    );
}

#[test]
fn bad_answers_leave_nothing_and_say_what_to_do() {
    for (url, says) in [
        (serve(plain(&ok(BODY.len()), BODY)), "its MD5 is"),
        (
            serve(plain(
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
                b"",
            )),
            "the server answered 404",
        ),
        (serve(plain(&ok(5000), BODY)), "the body broke off after"),
        ("http://127.0.0.1:1/train.csv".to_owned(), "cannot download"),
    ] {
        let (result, _, left) = fetch(&url, "00000000000000000000000000000000");
        let error = result.unwrap_err();
        assert!(
            error.contains(says) && error.contains("By hand: fetch"),
            "{error}"
        );
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn silence_is_given_up_in_time() {
    let forever = |head: &'static str| {
        serve(move |stream| {
            let _ = stream.write_all(head.as_bytes());
            std::thread::sleep(Duration::from_secs(10));
        })
    };
    let (result, took, left) = fetch(&forever(""), "0");
    assert!(result.unwrap_err().contains("cannot download") && left.is_empty());
    assert!(took < Duration::from_secs(3), "{took:?}");
    let (result, took, left) = fetch(
        &forever("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"),
        "0",
    );
    assert!(result.unwrap_err().contains("broke off") && left.is_empty());
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// What lies in the cache is taken if it is whole, and fetched again if it is not.
#[test]
fn the_cache_has_what_was_downloaded_once() {
    let project = Project::new();
    let mut store = Store {
        data: Some(project.path().join("data")),
        cache: Some(project.path().join("cache")),
        offline: false,
    };
    let find = |store: &Store, url: String| {
        let md5 = md5_of(BODY);
        let pinned = Pinned { url, md5 };
        let downloads = [("train.csv", &pinned)];
        store.find("news", "train.csv", &downloads, &mut |_, _, _| {})
    };
    let nowhere = || "http://127.0.0.1:1/train.csv".to_owned();
    let found = find(&store, serve(plain(&ok(BODY.len()), BODY))).unwrap();
    let folder = project.path().join("cache/news");
    assert_eq!(std::fs::read(folder.join("train.csv")).unwrap(), BODY);
    let says = format!("{}, given by --data", project.path().join("data").display());
    assert!(found.passed_over[0].starts_with(&says), "{found:?}");
    assert_eq!(find(&store, nowhere()), Ok(found.clone()));
    project.write("cache/news/train.csv", "damaged");
    let why = find(&store, nowhere()).unwrap_err();
    assert!(why[1].contains("cannot download"), "{why:?}");
    store.offline = true;
    let why = find(&store, nowhere()).unwrap_err();
    assert!(why[1].contains("MILEPOST_OFFLINE is set"), "{why:?}");
    store.offline = false;
    let again = find(&store, serve(plain(&ok(BODY.len()), BODY)));
    assert_eq!(again, Ok(found));
    // What the user has comes first.
    project.write("data/news/train.csv", "mine");
    let found = Found {
        folder: project.path().join("data/news"),
        cached: false,
        passed_over: Vec::new(),
    };
    assert_eq!(find(&store, nowhere()), Ok(found));
}
