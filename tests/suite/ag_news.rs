//! Articles: reading, where they come from, blocks and their order.

use std::path::{Path, PathBuf};

use milepost::data::blocks::Blocks;
use milepost::data::corpus::Origin;
use milepost::data::order::epoch_order;
use milepost::data::sources::article::Article;
use milepost::data::sources::{Request, SourceError, ag_news, named, resolve};
use milepost::data::store::Store;
use proptest::prelude::*;

use crate::harness::{Project, real_data};

fn file(text: &[u8]) -> (Project, PathBuf) {
    let project = Project::new();
    project.write("a.csv", text);
    let path = project.path().join("a.csv");
    (project, path)
}

fn read(path: &Path) -> Result<Vec<Article>, SourceError> {
    ag_news::parse(path, &std::fs::read(path).unwrap())
}

#[test]
fn the_real_articles_are_read() {
    let Some(data) = real_data() else { return };
    assert_eq!(read(&data.join("ag_news/train.csv")).unwrap().len(), 4989);
    let test = read(&data.join("ag_news/test.csv")).unwrap();
    assert_eq!(test.len(), 7600);
    assert!(
        test[0]
            .text()
            .starts_with("Fears for T N pension after talks Unions")
    );
}

#[test]
fn quotes_and_line_breaks_are_read() {
    let (_project, path) = file(b"\"3\",\"A \"\"b\"\"\",\"c,\nd\"\n\"1\",\"\",\"only body\"\n");
    let articles = read(&path).unwrap();
    assert_eq!(articles[0].text(), "A \"b\" c,\nd");
    assert_eq!(
        (articles[1].topic, articles[1].text().as_str()),
        (1, "only body")
    );
}

#[test]
fn bad_rows_are_named_with_file_and_line() {
    for (text, line, says) in [
        (
            &b"\"1\",\"a\",\"b\"\n\"2\",\"a\nb\",\"c\"\n\"2\",\"only two\"\n"[..],
            4,
            "2 columns",
        ),
        (b"\"1\",\"only two\"\n", 1, "2 columns"),
        (
            b"\"1\",\"a\",\"b\"\n\"7\",\"a\",\"b\"\n",
            2,
            "class 7 does not exist",
        ),
        (
            b"\"1\",\"a\",\"b\"\n\"x\",\"a\",\"b\"\n",
            2,
            "the class is not a number",
        ),
        (b"\"1\",\"a\",\"b\"\n\"2\",\"\xff\",\"b\"\n", 2, "not UTF-8"),
    ] {
        let (_project, path) = file(text);
        let error = read(&path).unwrap_err().to_string();
        assert!(
            error.contains(&format!("a.csv:{line}: ")) && error.contains(says),
            "{error}"
        );
    }
    let (_project, path) = file(b"");
    assert!(read(&path).unwrap_err().to_string().contains("no articles"));
}

#[test]
fn places_are_tried_in_their_order() {
    let project = Project::new();
    let row = "\"1\",\"a\",\"b\"\n";
    for name in [
        "mine/train.csv",
        "mine/test.csv",
        "data/ag_news/train.csv",
        "data/ag_news/test.csv",
    ] {
        project.write(name, row);
    }
    let mut request = Request {
        source: named("ag_news").unwrap(),
        folder: Some(project.path().join("mine")),
        store: Store {
            data: Some(project.path().join("data")),
            cache: Some(project.path().join("cache")),
            offline: true,
        },
        builtin_sample: true,
        files: None,
    };
    let mut quiet = |_: &str, _: u64, _: Option<u64>| {};
    let origin = |request: &Request| resolve(request, &mut quiet).unwrap().origin;
    let mut origin = origin;
    assert_eq!(
        origin(&request),
        Origin::Folder(project.path().join("mine"))
    );
    request.folder = None;
    assert_eq!(
        origin(&request),
        Origin::Folder(project.path().join("data/ag_news"))
    );
    request.store.data = None;
    assert_eq!(origin(&request), Origin::BuiltinSample);
    request.builtin_sample = false;
    let error = resolve(&request, &mut |_, _, _| {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("data.folder"), "{error}");
    request.folder = Some(project.path().join("nowhere"));
    let error = resolve(&request, &mut |_, _, _| {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("nowhere/train.csv is missing"), "{error}");
    std::fs::create_dir_all(project.path().join("mine/odd/train.csv")).unwrap();
    request.folder = Some(project.path().join("mine/odd"));
    let error = resolve(&request, &mut |_, _, _| {})
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot read "), "{error}");
}

/// A mistyped folder is named when something else stands in for it.
#[test]
fn a_folder_without_data_is_named() {
    let project = Project::new();
    std::fs::create_dir_all(project.path().join("empty")).unwrap();
    for (folder, says) in [
        (
            "nowhere",
            "nowhere, given by --data or MILEPOST_DATA, is no folder",
        ),
        ("empty", "empty/ag_news/train.csv is missing"),
        ("small.toml", "small.toml, given by --data"),
    ] {
        let assert = project
            .milepost(&["plan", "small.toml", "--data", folder])
            .assert()
            .success();
        let shown = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
        assert!(shown.contains(says), "{shown}");
        let set = "data.builtin_sample=false";
        let errors = project.fails(&["plan", "small.toml", "--data", folder, "--set", set], 3);
        assert!(errors.contains(says), "{errors}");
        let set = "templates.file=honest";
        let errors = project.fails(&["plan", "small.toml", "--data", folder, "--set", set], 3);
        let says = says.replace("ag_news/train.csv", "honest/en_template.tsv");
        assert!(errors.contains(&says), "{errors}");
    }
}

#[test]
fn text_shorter_than_a_block_is_refused() {
    assert!(
        Blocks::cut(vec![1; 9], 10)
            .unwrap_err()
            .to_string()
            .contains("only 9 tokens")
    );
    assert!(Blocks::cut(vec![1; 9], 1).is_err());
}

#[test]
fn the_order_of_an_epoch_never_changes() {
    // Golden: another order would be another experiment.
    assert_eq!(epoch_order(1, 0, 8), GOLDEN);
}

const GOLDEN: [usize; 8] = [0, 2, 5, 3, 6, 7, 1, 4];

proptest! {
    #[test]
    fn blocks_are_the_text_without_its_remainder(ids in prop::collection::vec(any::<u32>(), 2..200), block in 2usize..20) {
        prop_assume!(ids.len() >= block);
        let blocks = Blocks::cut(ids.clone(), block).unwrap();
        let joined: Vec<u32> = (0..blocks.len()).flat_map(|index| blocks.get(index).to_vec()).collect();
        prop_assert_eq!(&joined[..], &ids[..ids.len() / block * block]);
    }

    #[test]
    fn an_epoch_visits_every_block_once(seed in any::<u64>(), epoch in 0u64..9, len in 1usize..300) {
        let order = epoch_order(seed, epoch, len);
        prop_assert_eq!(&order, &epoch_order(seed, epoch, len));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        prop_assert!(sorted.into_iter().eq(0..len));
        if len > 20 {
            prop_assert_ne!(&order, &epoch_order(seed, epoch + 1, len));
            prop_assert_ne!(&order, &epoch_order(seed.wrapping_add(1), epoch, len));
        }
    }
}
