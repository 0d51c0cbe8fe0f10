//! Event files: read back by a slow reader of our own, by TensorBoard itself, and written to disks that refuse.

use std::time::SystemTime;

use milepost::tensorboard::{Entry, EventsFile, Writer};
use proptest::prelude::*;
use protobuf::Message as _;
use tensorboard_proto::event::Event;

use crate::harness::{Project, milestones, python, read_events};

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

/// Every record of every event file of a folder, with its checksums verified.
fn events(folder: &std::path::Path) -> Vec<Event> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let mut found = Vec::new();
    for name in names {
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

fn scalar(tag: &str, step: u64, value: f64) -> Entry {
    Entry::Scalar {
        tag: tag.to_owned(),
        step,
        wall: SystemTime::now(),
        value,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_sent_is_what_is_read(points in prop::collection::vec(("[a-z]{1,8}/[a-z_]{1,12}", 0u64..1_000_000, any::<f32>()), 0..200), capacity in 1usize..20) {
        let folder = tempfile::tempdir().unwrap();
        let writer = Writer::create(folder.path(), capacity, None).unwrap();
        for (tag, step, value) in &points {
            writer.send(scalar(tag, *step, f64::from(*value))).unwrap();
        }
        writer.close().unwrap();
        let found = events(folder.path());
        prop_assert_eq!(found[0].get_file_version(), "brain.Event:2");
        prop_assert_eq!(found.len(), points.len() + 1);
        for (event, (tag, step, value)) in found[1..].iter().zip(&points) {
            let summary = &event.get_summary().value[0];
            prop_assert_eq!(event.get_step(), *step as i64);
            prop_assert_eq!(summary.get_tag(), tag.as_str());
            prop_assert_eq!(summary.get_simple_value().to_bits(), value.to_bits());
        }
    }
}

#[test]
fn two_files_of_one_second_do_not_collide_and_sort() {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<EventsFile> = (0..5)
        .map(|_| EventsFile::create(folder.path()).unwrap())
        .collect();
    let names: Vec<_> = files.iter().map(|file| file.path().to_owned()).collect();
    let mut sorted = names.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(names, sorted);
}

#[test]
fn tensorboard_reads_exactly_what_the_run_recorded() {
    let Some(python) = python() else { return };
    let project = Project::new();
    let run = project.run("one", &[]);
    let read = read_events(&python, &run);
    let mut expected = serde_json::Map::new();
    let mut texts = serde_json::Map::new();
    for line in milestones(&run) {
        let step = line["step"].clone();
        let times = line["times"].as_object().unwrap().iter();
        let times = times.filter(|(tag, _)| tag.starts_with("hook/"));
        for (tag, value) in line["scalars"].as_object().unwrap().iter().chain(times) {
            let single = value.as_f64().unwrap() as f32;
            let points = expected
                .entry(tag.clone())
                .or_insert_with(|| serde_json::json!([]));
            points
                .as_array_mut()
                .unwrap()
                .push(serde_json::json!([step, f64::from(single)]));
        }
        for (tag, text) in line["texts"].as_object().into_iter().flatten() {
            let points = texts
                .entry(tag.clone())
                .or_insert_with(|| serde_json::json!([]));
            points
                .as_array_mut()
                .unwrap()
                .push(serde_json::json!([step, text]));
        }
    }
    assert_eq!(read["scalars"].as_object().unwrap().len(), expected.len());
    for (tag, points) in &expected {
        let pairs = |points: &serde_json::Value| -> Vec<(u64, u32)> {
            let points = points.as_array().unwrap().iter();
            points
                .map(|point| {
                    (
                        point[0].as_u64().unwrap(),
                        (point[1].as_f64().unwrap() as f32).to_bits(),
                    )
                })
                .collect()
        };
        assert_eq!(pairs(&read["scalars"][tag]), pairs(points), "{tag}");
        assert!(
            pairs(points).windows(2).all(|two| two[0].0 < two[1].0),
            "{tag} must ascend"
        );
    }
    for (tag, points) in &texts {
        assert_eq!(&read["texts"][tag], points);
    }
    let data = read["texts"]["run/data"][0][1].as_str().unwrap();
    assert!(data.contains("built-in sample, not AG News"), "{data}");
    let kl = &read["histograms"]["kl/per_template_nats"];
    assert_eq!(kl.as_array().unwrap().len(), 4);
    assert_eq!(
        (kl[0][1].as_f64(), kl[0][5].as_f64()),
        (Some(8.0), Some(8.0))
    );
    let band = &read["layout"]["Gender disparity of n_matches"][0][2][0];
    assert_eq!(
        band,
        &serde_json::json!([
            "gender/disparity",
            "gender/disparity_low",
            "gender/disparity_high"
        ])
    );
    assert_eq!(read["hparams"]["values"]["train.lr"], 0.001);
    assert_eq!(read["hparams"]["status"], 1);
}

#[test]
fn a_resumed_writer_drops_what_will_be_written_again() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (first, last, purge, sign) in [(0, 10, None, 1.0), (6, 12, Some(6), -1.0)] {
        let writer = Writer::create(folder.path(), 8, purge).unwrap();
        for step in first..last {
            writer
                .send(scalar("a/b", step, sign * step as f64))
                .unwrap();
        }
        writer.close().unwrap();
    }
    let read = read_events(&python, folder.path());
    let values: Vec<f64> = read["scalars"]["a/b"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point[1].as_f64().unwrap())
        .collect();
    assert_eq!(
        values,
        [
            0.0, 1.0, 2.0, 3.0, 4.0, 5.0, -6.0, -7.0, -8.0, -9.0, -10.0, -11.0
        ]
    );
}

/// A file size limit stands for a full disk: the system refuses the write in the same way, with another number.
#[test]
#[cfg(unix)]
fn a_full_disk_ends_the_run_with_one_message_and_leaves_readable_files() {
    let project = Project::new();
    let program = env!("CARGO_BIN_EXE_milepost");
    // 16 kB are enough for the experiment and the manifest, not for the event file of the whole run.
    let script = format!(
        "trap '' XFSZ; ulimit -f 16; exec '{program}' finetune small.toml --name full --set train.max_steps=60"
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(project.path())
        .env("MILEPOST_OFFLINE", "1")
        .env_remove("MILEPOST_DATA")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{errors}");
    assert_eq!(errors.matches("error:").count(), 1, "{errors}");
    assert_eq!(errors.matches("os error").count(), 1, "{errors}");
    assert!(
        errors.contains("cannot write") && !errors.contains("panicked"),
        "{errors}"
    );
    let run = project.path().join("runs/small/full");
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&run).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_owned();
        if name.to_string_lossy().starts_with("events.out") {
            std::fs::copy(&path, folder.path().join(name)).unwrap();
        }
    }
    assert!(
        events(folder.path()).len() > 10,
        "what was written before stays readable"
    );
    assert!(
        !run.join("models").exists(),
        "nothing half-written under a final name"
    );
}
