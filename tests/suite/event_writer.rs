//! The writer of event files: what it writes is read back by a slow reader of our own, also from disks that refuse.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use milepost::tensorboard::{Entry, EventsFile, Writer};
use proptest::prelude::*;
use tensorboard_proto::event::{Event, SessionLog_SessionStatus};
use tensorboard_proto::summary::{HistogramProto, Summary, Summary_Value};

use crate::event_files::{entry, event_files, events, histogram, scalar};
use crate::harness::{Project, python, read_events};

/// Asserts that a histogram tells what `values` are, by counting every bucket again.
fn assert_tells(told: &HistogramProto, values: &[f64]) {
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    assert_eq!(told.get_num(), finite.len() as f64);
    assert_eq!(told.bucket.iter().sum::<f64>(), finite.len() as f64);
    assert_eq!(told.bucket.len(), told.bucket_limit.len());
    if finite.is_empty() {
        return;
    }
    let min = finite.iter().copied().reduce(f64::min).unwrap();
    let max = finite.iter().copied().reduce(f64::max).unwrap();
    assert_eq!((told.get_min(), told.get_max()), (min, max));
    assert_eq!(told.get_sum(), finite.iter().sum::<f64>());
    let squares = finite.iter().map(|value| value * value).sum::<f64>();
    assert_eq!(told.get_sum_squares(), squares);
    assert_eq!(told.bucket_limit.last(), Some(&max));
    let mut left = f64::NEG_INFINITY;
    for (&right, &count) in told.bucket_limit.iter().zip(&told.bucket) {
        assert!(right.is_finite() && left <= right, "{left} {right}");
        let inside = finite.iter().filter(|v| left < **v && **v <= right).count();
        assert_eq!(count, inside as f64, "({left}, {right}]");
        left = right;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_sent_is_what_is_read(entries in prop::collection::vec(entry(), 0..100), capacity in 1usize..20) {
        let folder = tempfile::tempdir().unwrap();
        let writer = Writer::create(folder.path(), capacity).unwrap();
        for entry in &entries {
            writer.send(entry.clone()).unwrap();
        }
        writer.close().unwrap();
        let found = events(folder.path());
        prop_assert_eq!(found[0].get_file_version(), "brain.Event:2");
        prop_assert_eq!(found[1].get_session_log().get_status(), SessionLog_SessionStatus::START);
        prop_assert_eq!(found.len(), entries.len() + 2);
        for (event, entry) in found[2..].iter().zip(&entries) {
            let summary = &event.get_summary().value[0];
            let place = match entry {
                Entry::Scalar { tag, step, wall, value } => {
                    let (found, sent) = (summary.get_simple_value(), *value as f32);
                    prop_assert!(found.to_bits() == sent.to_bits() || found.is_nan() && sent.is_nan());
                    (tag, step, wall)
                }
                Entry::Histogram { tag, step, wall, values } => {
                    assert_tells(summary.get_histo(), values);
                    (tag, step, wall)
                }
                Entry::Text { tag, step, wall, markdown } => {
                    prop_assert_eq!(&summary.get_tensor().string_val[0], markdown.as_bytes());
                    (tag, step, wall)
                }
                Entry::Hparams { .. } | Entry::Layout(_) | Entry::SessionEnd { .. } => unreachable!(),
            };
            prop_assert_eq!(summary.get_tag(), place.0.as_str());
            prop_assert_eq!(event.get_step(), *place.1 as i64);
            let wall = place.2.duration_since(UNIX_EPOCH).unwrap();
            prop_assert_eq!(event.get_wall_time(), wall.as_secs_f64());
        }
    }
}

#[test]
fn histograms_of_awkward_values() {
    let folder = tempfile::tempdir().unwrap();
    let sets = [
        vec![],
        vec![f64::NAN, f64::INFINITY],
        vec![0.25; 7],
        vec![-1.0, f64::NAN, 3.0, 3.0, f64::NEG_INFINITY],
        vec![f64::MIN, 0.0, f64::MAX],
        vec![1.0, 1.0 + f64::EPSILON],
        vec![0.0, f64::from_bits(1), f64::from_bits(2)],
    ];
    let writer = Writer::create(folder.path(), 8).unwrap();
    for values in &sets {
        writer.send(histogram("h", values.clone())).unwrap();
    }
    writer.close().unwrap();
    for (event, values) in events(folder.path())[2..].iter().zip(&sets) {
        assert_tells(event.get_summary().value[0].get_histo(), values);
    }
}

#[test]
fn a_newer_file_sorts_last_even_when_the_clock_was_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ahead = format!("events.out.tfevents.{}.elsewhere.1.0", now.as_secs() + 500);
    std::fs::write(folder.path().join(ahead), "").unwrap();
    // No time at all: it says nothing.
    for strange in ["1", "18446744073709551615", "x"] {
        let name = format!("events.out.tfevents.{strange}");
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let file = EventsFile::create(folder.path()).unwrap();
    let name = file.path().file_name().unwrap().to_string_lossy();
    let expected = format!("events.out.tfevents.{}.", now.as_secs() + 501);
    assert!(name.starts_with(&expected), "{name}");
}

#[test]
fn a_step_beyond_the_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = EventsFile::create(folder.path()).unwrap();
    let error = file.summary(1 << 63, SystemTime::now(), Summary::new());
    let error = error.unwrap_err();
    assert!(error.to_string().contains("9223372036854775808"), "{error}");
}

#[test]
fn what_is_reported_is_in_the_file_soon_without_a_flush() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Writer::create(folder.path(), 8).unwrap();
    writer.send(scalar("train/main/loss", 1, 0.5)).unwrap();
    let begun = Instant::now();
    while events(folder.path()).len() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(writer);
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
fn a_writer_that_goes_on_begins_with_what_was_written_up_to_there() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Writer::create(folder.path(), 8).unwrap();
    let send = |writer: &Writer, steps: std::ops::Range<u64>, sign: f64| {
        for step in steps {
            let entry = scalar("a/b", step, sign * step as f64);
            writer.send(entry).unwrap();
        }
    };
    send(&writer, 0..6, 1.0);
    let end = writer.sync().unwrap();
    send(&writer, 6..10, 1.0);
    writer.close().unwrap();
    let old = event_files(folder.path()).remove(0);
    // Somebody else's file is left alone.
    let strange = folder.path().join("events.out.tfevents.1.elsewhere");
    std::fs::write(&strange, "").unwrap();

    let found = EventsFile::find(folder.path(), &end).unwrap();
    assert_eq!(found.as_deref(), Some(&*old));
    let writer = Writer::go_on(&old, end.bytes, 8).unwrap();
    send(&writer, 6..12, -1.0);
    writer.close().unwrap();
    assert!(std::fs::read(&old).unwrap().is_empty() && strange.exists());
    let values: Vec<f64> = events(folder.path())[2..]
        .iter()
        .map(|event| f64::from(event.get_summary().value[0].get_simple_value()))
        .collect();
    let expected = [
        0.0, 1.0, 2.0, 3.0, 4.0, 5.0, -6.0, -7.0, -8.0, -9.0, -10.0, -11.0,
    ];
    assert_eq!(values, expected);
    // The checksum that goes on is that of the new file's bytes.
    let new = event_files(folder.path()).pop().unwrap();
    let all = milepost::checksum::Sum::of_file(&new).unwrap().end();
    assert_eq!(
        EventsFile::find(folder.path(), &all).unwrap(),
        Some(new.clone())
    );
    // A file in which a byte is another is not found.
    let mut bytes = std::fs::read(&new).unwrap();
    bytes[end.bytes as usize / 2] ^= 1;
    std::fs::write(&new, bytes).unwrap();
    assert_eq!(EventsFile::find(folder.path(), &end).unwrap(), None);
    if let Some(python) = python() {
        let folder = tempfile::tempdir().unwrap();
        let writer = Writer::create(folder.path(), 8).unwrap();
        send(&writer, 0..4, 1.0);
        let end = writer.sync().unwrap();
        send(&writer, 4..9, 1.0);
        writer.close().unwrap();
        let old = event_files(folder.path()).remove(0);
        send(&Writer::go_on(&old, end.bytes, 8).unwrap(), 4..6, 1.0);
        let read = read_events(&python, folder.path());
        let points = read["scalars"]["a/b"].as_array().unwrap();
        assert_eq!(points.len(), 6);
    }
}

/// The other half of the next test, which runs it in a process of its own: a limit cannot be taken back.
#[test]
#[cfg(unix)]
fn under_a_file_size_limit() {
    let Some(folder) = std::env::var_os("MILEPOST_TEST_FOLDER").map(PathBuf::from) else {
        return;
    };
    let writer = Writer::create(&folder.join("writer"), 4).unwrap();
    let mut sent = (0..100_000).map(|step| writer.send(scalar("a/b", step, step as f64)));
    let error = sent.find_map(Result::err).unwrap().to_string();
    assert!(error.contains("tfevents"), "{error}");
    // More than the queue holds: nobody may wait for room that never comes.
    for step in 0..100 {
        let again = writer.send(scalar("a/b", step, 0.0)).unwrap_err();
        assert_eq!(again.to_string(), error);
    }
    assert_eq!(writer.flush().unwrap_err().to_string(), error);
    assert_eq!(writer.close().unwrap_err().to_string(), error);

    // A flush that stands in the queue when the disk refuses is answered, too.
    for round in 0..50 {
        let folder = folder.join(format!("flush-{round}"));
        std::fs::create_dir(&folder).unwrap();
        let writer = Writer::create(&folder, 4).unwrap();
        let long = Entry::Text {
            tag: "a".to_owned(),
            step: 0,
            wall: SystemTime::now(),
            markdown: "x".repeat(1_000_000),
        };
        writer.send(long).unwrap();
        writer.flush().unwrap_err();
    }

    let mut file = EventsFile::create(&folder.join("file")).unwrap();
    let long = "x".repeat(10_000);
    for round in 0..3 {
        let mut short = Summary::new();
        short.mut_value().push(Summary_Value::new());
        file.summary(round, SystemTime::now(), short).unwrap();
        file.flush().unwrap();
        let mut summary = Summary::new();
        summary.mut_value().push(Summary_Value::new());
        summary.mut_value()[0].set_tag(long.clone());
        let pushed = file.summary(round, SystemTime::now(), summary);
        pushed.and_then(|()| file.flush()).unwrap_err();
    }
}

#[test]
#[cfg(unix)]
fn a_refused_write_keeps_every_whole_record_and_is_told_to_everyone() {
    let folder = tempfile::tempdir().unwrap();
    let [writer, file] = ["writer", "file"].map(|name| folder.path().join(name));
    std::fs::create_dir(&writer).unwrap();
    std::fs::create_dir(&file).unwrap();
    let mut child = std::process::Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 8; exec \"$0\" --exact event_writer::under_a_file_size_limit",
        ])
        .arg(std::env::current_exe().unwrap())
        .env("MILEPOST_TEST_FOLDER", folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("somebody waits for a writer that has given up");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success());

    // 8 blocks are 4 kB or 8 kB, depending on the shell; a scalar takes less than 64 bytes.
    let found = events(&writer);
    let bytes = std::fs::metadata(&event_files(&writer)[0]).unwrap().len();
    assert!(
        [4096, 8192]
            .iter()
            .any(|limit| (limit - 64..=*limit).contains(&bytes)),
        "{bytes}"
    );
    let steps: Vec<i64> = found[2..].iter().map(Event::get_step).collect();
    assert_eq!(steps, (0..found.len() as i64 - 2).collect::<Vec<_>>());
    if let Some(python) = python() {
        let read = read_events(&python, &writer);
        assert_eq!(
            read["scalars"]["a/b"].as_array().unwrap().len(),
            steps.len()
        );
    }
    // What is written after a refused write follows the last whole record, without a gap.
    let steps: Vec<i64> = events(&file).iter().map(Event::get_step).collect();
    assert_eq!(steps, [0, 0, 0, 1, 2]);
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
