//! One event file, which contains only complete records.
//!
//! A record is framed in the TFRecord format: the length in 8 bytes, its checksum in 4, the data, and the data's checksum in 4.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use protobuf::Message;
use tensorboard_proto::event::{Event, SessionLog, SessionLog_SessionStatus};
use tensorboard_proto::summary::Summary;
use tensorboard_rs::record_writer::RecordWriter;

use crate::checksum::{End, Sum};
use crate::thread::NoThread;

/// Why an event file could not be written. It can be cloned, because everyone who reports later gets it again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TensorboardError {
    /// The file cannot be written.
    #[error("cannot write {path}: {source}; what was written before stays readable")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: Arc<std::io::Error>,
    },
    /// The thread that writes it cannot be started.
    #[error(transparent)]
    NoThread(#[from] NoThread),
}

/// Bytes that are buffered before the file is written to.
const BUFFER: usize = 1 << 16;

/// Bytes of a record besides its data.
const FRAME: u64 = 16;

/// An event file that is being written. Records are buffered in memory and written whole. When a write fails, the file is cut back to the
/// last complete record that the system took, and the rest of the buffer is lost. So readers never meet an incomplete record, and later
/// records follow without a gap.
///
/// Each file begins with a session start at step 0, at which TensorBoard's Python back end drops everything that it has read from earlier
/// files of the directory. So only one file of a run has points at a time. A resumed run begins a new file with a copy of the old one's
/// records up to the checkpoint, and empties the old file. The empty file is kept, because an open TensorBoard stops reading the run when
/// the file that it reads is gone.
#[derive(Debug)]
pub struct EventsFile {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    written: Sum,
}

impl EventsFile {
    /// Creates a new file in `directory`. TensorBoard reads the files of a run in the order of their names, so the name begins with the
    /// time, or with the second after that of the newest file if that is later. This keeps the order for two files of the same second, and
    /// when the clock was set back before a resume.
    ///
    /// # Errors
    /// When it cannot be created or written.
    pub fn create(directory: &Path) -> Result<Self, TensorboardError> {
        let mut second = next_second(directory)?;
        loop {
            let path = directory.join(name(second));
            match File::options().write(true).create_new(true).open(&path) {
                Ok(file) => return Self::begin(path, file),
                // Another thread has just created it.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => second += 1,
                Err(source) => return Err(failed(&path, source)),
            }
        }
    }

    fn begin(path: PathBuf, file: File) -> Result<Self, TensorboardError> {
        let mut events = Self {
            path,
            file,
            buffer: Vec::new(),
            written: Sum::default(),
        };
        let mut version = Event::new();
        version.set_file_version("brain.Event:2".to_owned());
        let mut log = SessionLog::new();
        log.set_status(SessionLog_SessionStatus::START);
        let mut start = Event::new();
        start.set_session_log(log);
        for mut event in [version, start] {
            event.set_wall_time(since_epoch(SystemTime::now()));
            events.push(&event)?;
        }
        events.flush()?;
        Ok(events)
    }

    /// The newest event file of `directory` whose first bytes have the length and checksum of `end`. None when there is none.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn find(directory: &Path, end: &End) -> Result<Option<PathBuf>, TensorboardError> {
        for path in own_files(directory)?.into_iter().rev() {
            let begins = Sum::of_first(&path, end.bytes).map_err(|source| failed(&path, source))?;
            if begins.end() == *end {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Continues the file `from` after its first `bytes` bytes: they are copied to a new file, and the earlier files of the directory are
    /// emptied. A reader that has read further starts again with the new file.
    ///
    /// # Errors
    /// When a file cannot be read, written or removed.
    pub fn go_on(from: &Path, bytes: u64) -> Result<Self, TensorboardError> {
        let directory = from.parent().unwrap_or(Path::new("."));
        let earlier = own_files(directory)?;
        let path = directory.join(name(next_second(directory)?));
        let (file, written) =
            copy_aside(from, bytes, &path).map_err(|source| failed(&path, source))?;
        empty(&earlier)?;
        Ok(Self {
            path,
            file,
            buffer: Vec::new(),
            written,
        })
    }

    /// Empties the event files of a run that starts from the beginning again.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn empty_all(directory: &Path) -> Result<(), TensorboardError> {
        empty(&own_files(directory)?)
    }

    /// Appends a summary at `step`.
    ///
    /// # Errors
    /// When the file cannot be written, or for a step above `i64::MAX`, which the format cannot hold.
    pub fn summary(
        &mut self,
        step: u64,
        wall: SystemTime,
        summary: Summary,
    ) -> Result<(), TensorboardError> {
        let mut event = Event::new();
        event.set_step(self.axis(step)?);
        event.set_wall_time(since_epoch(wall));
        event.set_summary(summary);
        self.push(&event)
    }

    fn push(&mut self, event: &Event) -> Result<(), TensorboardError> {
        let bytes = event.write_to_bytes();
        let bytes = bytes.map_err(|error| failed(&self.path, std::io::Error::other(error)))?;
        let pushed = RecordWriter::new(&mut self.buffer).write(&bytes);
        pushed.map_err(|source| failed(&self.path, source))?;
        if self.buffer.len() >= BUFFER {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Passes everything in the buffer to the operating system.
    ///
    /// # Errors
    /// When the system refuses; the file then ends with the last complete record.
    pub fn flush(&mut self) -> Result<(), TensorboardError> {
        let written = self.file.write_all(&self.buffer);
        match &written {
            Ok(()) => self.written.add(&self.buffer),
            // Best effort: readers also tolerate an incomplete record at the end.
            Err(_) => drop(self.cut_back()),
        }
        self.buffer.clear();
        written.map_err(|source| failed(&self.path, source))
    }

    /// Cuts the file off after the last complete record, and continues from there.
    fn cut_back(&mut self) -> std::io::Result<()> {
        let taken = self.file.stream_position()? - self.written.bytes();
        let whole = whole_records(&self.buffer, taken) as usize;
        self.written.add(&self.buffer[..whole]);
        self.file.set_len(self.written.bytes())?;
        self.file.seek(SeekFrom::Start(self.written.bytes()))?;
        Ok(())
    }

    /// Flushes and syncs the file to the disk. Returns its length and checksum.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn sync(&mut self) -> Result<End, TensorboardError> {
        self.flush()?;
        self.file
            .sync_all()
            .map_err(|source| failed(&self.path, source))?;
        Ok(self.end())
    }

    /// The length and checksum of the file, without what is still in the buffer.
    pub fn end(&self) -> End {
        self.written.end()
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Converts a step to TensorBoard's signed steps.
    fn axis(&self, step: u64) -> Result<i64, TensorboardError> {
        i64::try_from(step).map_err(|_| {
            let reason = format!("step {step} is above {}", i64::MAX);
            failed(&self.path, std::io::Error::other(reason))
        })
    }
}

/// The prefix of the names of event files.
const PREFIX: &str = "events.out.tfevents.";

/// The name of a file of this process, for a second since 1970.
fn name(second: u64) -> String {
    format!("{PREFIX}{second:010}.milepost.{}.0", std::process::id())
}

/// The current second, or the one after that of the newest event file if it is later, whichever program wrote it.
fn next_second(directory: &Path) -> Result<u64, TensorboardError> {
    let now = since_epoch(SystemTime::now()) as u64;
    let mut second = now;
    for name in names(directory)? {
        let rest = name.strip_prefix(PREFIX);
        let time = rest.and_then(|rest| rest.split('.').next());
        // Names sort like their times only when these have ten digits.
        let time = time.filter(|time| time.len() == 10);
        if let Some(newest) = time.and_then(|time| time.parse::<u64>().ok()) {
            second = second.max(newest + 1);
        }
    }
    Ok(second)
}

/// The names of everything in a directory.
fn names(directory: &Path) -> Result<Vec<String>, TensorboardError> {
    let entries = std::fs::read_dir(directory).map_err(|source| failed(directory, source))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| failed(directory, source))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// The event files that this program wrote into a directory, in the order of their names.
fn own_files(directory: &Path) -> Result<Vec<PathBuf>, TensorboardError> {
    let mut names = names(directory)?;
    names.retain(|name| name.starts_with(PREFIX) && name.contains(".milepost."));
    names.sort_unstable();
    Ok(names.iter().map(|name| directory.join(name)).collect())
}

/// Empties files. Removes those that an earlier resume has emptied: their readers have moved on since.
fn empty(paths: &[PathBuf]) -> Result<(), TensorboardError> {
    for path in paths {
        let emptied = std::fs::metadata(path).and_then(|file| {
            if file.len() == 0 {
                std::fs::remove_file(path)
            } else {
                File::options().write(true).open(path)?.set_len(0)
            }
        });
        emptied.map_err(|source| failed(path, source))?;
    }
    Ok(())
}

/// Copies the first `bytes` bytes of `from` to `path` atomically. Returns the open file and its running checksum.
fn copy_aside(from: &Path, bytes: u64, path: &Path) -> std::io::Result<(File, Sum)> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut source = File::open(from)?.take(bytes);
    let mut aside = tempfile::NamedTempFile::new_in(directory)?;
    let mut sum = Sum::default();
    let mut part = vec![0; 1 << 16];
    loop {
        let read = source.read(&mut part)?;
        if read == 0 {
            break;
        }
        sum.add(&part[..read]);
        aside.write_all(&part[..read])?;
    }
    crate::atomic::publish(aside, path).map(|file| (file, sum))
}

/// How many of the first `taken` bytes of `buffer` are in complete records.
fn whole_records(buffer: &[u8], taken: u64) -> u64 {
    let mut whole = 0;
    while let Some(length) = buffer[whole as usize..].first_chunk() {
        let end = whole + FRAME + u64::from_le_bytes(*length);
        if end > taken {
            break;
        }
        whole = end;
    }
    whole
}

fn failed(path: &Path, source: std::io::Error) -> TensorboardError {
    TensorboardError::Write {
        path: path.to_owned(),
        source: Arc::new(source),
    }
}

fn since_epoch(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0.0, |duration| duration.as_secs_f64())
}
