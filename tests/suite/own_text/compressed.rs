//! Files that are compressed by gzip or Zstandard.

use std::io::Write;

use serde_json::json;

use super::{fixture, read, refused, written};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// Cut off anywhere, a compressed file is refused, and never read as a shorter text.
#[test]
fn a_compressed_file_that_is_cut_off_is_refused() {
    let text = std::fs::read(fixture("flat.jsonl")).unwrap();
    let keys = json!({"text": "text"});
    let packed = gzip(&text);
    let (_folder, path) = written("a", &packed);
    assert_eq!(read("jsonl", &path, &keys, None).unwrap().train.count, 60);
    for cut in 0..packed.len() {
        let error = refused("jsonl", &packed[..cut], &keys);
        if cut > 1 {
            assert!(
                error.contains("compressed by gzip and damaged or cut off"),
                "{cut}: {error}"
            );
        }
    }
    let frames = std::fs::read(fixture("flat.jsonl.zst")).unwrap();
    for cut in (16..frames.len()).filter(|cut| !is_between_frames(&frames, *cut)) {
        let error = refused("jsonl", &frames[..cut], &keys);
        assert!(
            error.contains("compressed by Zstandard and damaged or cut off"),
            "{cut}: {error}"
        );
    }
}

/// Whether a frame of a Zstandard file begins at a place.
fn is_between_frames(bytes: &[u8], place: usize) -> bool {
    bytes[place..].starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}

/// A checksum that is wrong is found, although all of the text was decompressed.
#[test]
fn a_compressed_file_that_is_changed_is_refused() {
    let text = std::fs::read(fixture("flat.jsonl")).unwrap();
    let keys = json!({"text": "text"});
    let mut packed = gzip(&text);
    let sum = packed.len() - 8;
    packed[sum] ^= 1;
    assert!(refused("jsonl", &packed, &keys).contains("damaged or cut off"));
    let mut frames = std::fs::read(fixture("flat.jsonl.zst")).unwrap();
    let sum = frames.len() - 1;
    frames[sum] ^= 1;
    assert!(refused("jsonl", &frames, &keys).contains("a checksum in it is wrong"));
}
