//! Event files read by a slow reader of our own, every checksum verified.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use protobuf::Message as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use milepost::tensorboard::Entry;
use proptest::prelude::*;
use tensorboard_proto::event::Event;

/// CRC-32C bit by bit, masked as TFRecord wants it.
fn masked_crc(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

pub fn event_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.to_string_lossy().contains("tfevents"))
        .collect();
    files.sort();
    files
}

/// Every record of every event file of a folder, with its checksums verified.
pub fn events(folder: &Path) -> Vec<Event> {
    let mut found = Vec::new();
    for name in event_files(folder) {
        let bytes = std::fs::read(name).unwrap();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(word(8), masked_crc(&rest[..8]));
            let data = &rest[12..12 + length];
            assert_eq!(word(12 + length), masked_crc(data));
            found.push(Event::parse_from_bytes(data).unwrap());
            rest = &rest[16 + length..];
        }
    }
    found
}

/// The points of every scalar in a folder's event files, in the order in which they stand there: step and bits of the value.
pub fn scalars(folder: &Path) -> BTreeMap<String, Vec<(i64, u32)>> {
    let mut found: BTreeMap<String, Vec<(i64, u32)>> = BTreeMap::new();
    for event in events(folder) {
        for value in &event.get_summary().value {
            if value.has_simple_value() {
                let point = (event.get_step(), value.get_simple_value().to_bits());
                found
                    .entry(value.get_tag().to_owned())
                    .or_default()
                    .push(point);
            }
        }
    }
    found
}

pub fn scalar(tag: &str, step: u64, value: f64) -> Entry {
    Entry::Scalar {
        tag: tag.to_owned(),
        step,
        wall: SystemTime::now(),
        value,
    }
}

/// A scalar, a histogram or a text, with any tag, step and content.
pub fn entry() -> impl Strategy<Value = Entry> {
    let content = prop_oneof![
        4 => prop::num::f32::ANY.prop_map(|value| scalar("", 0, f64::from(value))),
        1 => prop::collection::vec(prop::num::f64::ANY, 0..40).prop_map(|values| histogram("", values)),
        1 => ".{0,40}".prop_map(|markdown| text("", &markdown)),
    ];
    let place = ("[a-z]{1,8}/[a-z_]{1,12}", 0..=i64::MAX as u64);
    (place, 0u64..1 << 33, content).prop_map(|((name, x), seconds, mut entry)| {
        match &mut entry {
            Entry::Scalar {
                tag, step, wall, ..
            }
            | Entry::Histogram {
                tag, step, wall, ..
            }
            | Entry::Text {
                tag, step, wall, ..
            } => {
                (*tag, *step) = (name, x);
                *wall = UNIX_EPOCH + Duration::from_secs(seconds);
            }
            Entry::Hparams { .. } | Entry::Layout(_) | Entry::SessionEnd { .. } => {}
        }
        entry
    })
}

pub fn histogram(tag: &str, values: Vec<f64>) -> Entry {
    Entry::Histogram {
        tag: tag.to_owned(),
        step: 0,
        wall: SystemTime::now(),
        values,
    }
}

pub fn text(tag: &str, markdown: &str) -> Entry {
    Entry::Text {
        tag: tag.to_owned(),
        step: 0,
        wall: SystemTime::now(),
        markdown: markdown.to_owned(),
    }
}
