//! A random share that is held out.

use std::path::{Path, PathBuf};

use milepost::data::sources::Share;
use serde_json::json;
use tempfile::TempDir;

use super::{read, written};

fn numbered(count: usize) -> (TempDir, PathBuf) {
    let lines = (0..count).map(|number| format!("{{\"text\": \"{number}\"}}\n"));
    written("a.jsonl", lines.collect::<String>())
}

/// The documents of both splits where a share is held out.
fn shared(path: &Path, share: f64, seed: u64) -> [Vec<usize>; 2] {
    let keys = json!({"text": "text"});
    let corpus = read("jsonl", path, &keys, Some(Share { share, seed })).unwrap();
    [corpus.train, corpus.held_out].map(|split| {
        let read = split
            .documents
            .read()
            .map(|one| one.unwrap().text.parse().unwrap());
        let read: Vec<usize> = read.collect();
        assert_eq!(read.len(), split.count);
        read
    })
}

#[test]
fn a_share_is_held_out_and_the_rest_is_trained_on() {
    let (_folder, path) = numbered(40);
    for share in [0.01, 0.024, 0.1, 0.5, 0.33, 0.98] {
        for seed in 0..20 {
            if (share * 40.0_f64).round() == 0.0 {
                continue;
            }
            let [train, held_out] = shared(&path, share, seed);
            assert_eq!(held_out.len(), (share * 40.0).round() as usize);
            assert!(train.is_sorted() && held_out.is_sorted());
            let mut all = [train, held_out].concat();
            all.sort_unstable();
            assert_eq!(all, (0..40).collect::<Vec<_>>());
            assert_eq!(shared(&path, share, seed), shared(&path, share, seed));
        }
    }
    assert_ne!(shared(&path, 0.5, 1), shared(&path, 0.5, 2));
    let keys = json!({"text": "text"});
    for share in [0.01, 0.99] {
        let error = read("jsonl", &path, &keys, Some(Share { share, seed: 1 })).unwrap_err();
        assert!(error.contains("has 40 documents: a share of"), "{error}");
    }
}

/// Each document is held out as often as another, and each pair of documents as often as another pair.
#[test]
fn every_choice_is_equally_likely() {
    let (_folder, path) = numbered(5);
    let mut counts = [[0u32; 5]; 5];
    const DRAWS: u64 = 2000;
    for seed in 0..DRAWS {
        let [_, held_out] = shared(&path, 0.4, seed);
        counts[held_out[0]][held_out[1]] += 1;
    }
    let expected = DRAWS as f64 / 10.0;
    let pairs = (0..5).flat_map(|one| (one + 1..5).map(move |other| (one, other)));
    let chi: f64 = pairs
        .map(|(one, other)| (f64::from(counts[one][other]) - expected).powi(2) / expected)
        .sum();
    // The 99.9% quantile of chi-squared with 9 degrees of freedom.
    assert!(chi < 27.877, "{counts:?}");
}
