//! The run's only writer: a thread behind a bounded queue.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded};
use tensorboard_rs::summary::scalar;

use super::events_file::{EventsFile, TensorboardError};
use super::histogram::histogram;
use super::message::{self, HparamValue, Layout};
use crate::checksum::End;
use crate::thread;

/// Something to write.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A number. TensorBoard stores it in single precision.
    Scalar {
        /// Its tag.
        tag: String,
        /// Its position on the x axis.
        step: u64,
        /// The time of the report.
        wall: SystemTime,
        /// The number.
        value: f64,
    },
    /// A distribution; values that are not finite are left out.
    Histogram {
        /// Its tag.
        tag: String,
        /// Its position on the x axis.
        step: u64,
        /// The time of the report.
        wall: SystemTime,
        /// The values.
        values: Vec<f64>,
    },
    /// A text in Markdown.
    Text {
        /// Its tag.
        tag: String,
        /// Its position on the x axis.
        step: u64,
        /// The time of the report.
        wall: SystemTime,
        /// The text.
        markdown: String,
    },
    /// The run's parameters, and the tags by which runs are compared.
    Hparams {
        /// The name and value of each parameter.
        hparams: Vec<(String, HparamValue)>,
        /// The tags.
        metrics: Vec<String>,
    },
    /// The layout of the custom scalars page.
    Layout(Layout),
    /// The end of the run. An open TensorBoard keeps the first end that it reads, even when the run is resumed later.
    SessionEnd {
        /// Whether it ended well.
        success: bool,
    },
}

enum Message {
    Entry(Entry),
    /// Pass everything to the system, then answer with the file's length and checksum.
    Flush(Sender<End>),
    /// Sync everything to the disk, then answer with the file's length and checksum.
    Sync(Sender<End>),
}

/// Writes a run's event file from a thread of its own. When the queue is full, reporting waits. After a failed write, every later report
/// returns its error.
pub struct Writer {
    path: PathBuf,
    queue: Option<Sender<Message>>,
    error: Arc<OnceLock<TensorboardError>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Creates a writer to a new file in `directory`. Its queue holds `capacity` entries.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(directory: &Path, capacity: usize) -> Result<Self, TensorboardError> {
        Self::start(EventsFile::create(directory)?, capacity)
    }

    /// Creates a writer that continues the event file `from` after its first `bytes` bytes; see [`EventsFile::go_on`].
    ///
    /// # Errors
    /// When a file cannot be read, written or removed.
    pub fn go_on(from: &Path, bytes: u64, capacity: usize) -> Result<Self, TensorboardError> {
        Self::start(EventsFile::go_on(from, bytes)?, capacity)
    }

    fn start(file: EventsFile, capacity: usize) -> Result<Self, TensorboardError> {
        let path = file.path().to_owned();
        let (queue, inbox) = bounded(capacity);
        let error = Arc::new(OnceLock::new());
        let sticky = error.clone();
        let thread = thread::start("tensorboard", move || write_all(file, &inbox, &sticky))?;
        Ok(Self {
            path,
            queue: Some(queue),
            error,
            thread: Some(thread),
        })
    }

    /// Queues an entry.
    ///
    /// # Errors
    /// When an earlier entry could not be written.
    pub fn send(&self, entry: Entry) -> Result<(), TensorboardError> {
        self.post(Message::Entry(entry))
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until everything that was sent is in the file. Returns the file's length and checksum.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn flush(&self) -> Result<End, TensorboardError> {
        Ok(self.ask(Message::Flush)?.unwrap_or_default())
    }

    /// Waits until everything that was sent is on the disk. Returns the file's length and checksum.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn sync(&self) -> Result<End, TensorboardError> {
        Ok(self.ask(Message::Sync)?.unwrap_or_default())
    }

    /// Writes what is queued, syncs and closes the file.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn close(self) -> Result<(), TensorboardError> {
        self.sync().map(drop)
    }

    /// Sends a message and waits for its answer.
    fn ask(&self, message: fn(Sender<End>) -> Message) -> Result<Option<End>, TensorboardError> {
        let (done, answer) = bounded(1);
        self.post(message(done))?;
        // When the channel is dropped without an answer, a write has failed and the error is set.
        let answer = answer.recv().ok();
        self.check()?;
        Ok(answer)
    }

    fn post(&self, message: Message) -> Result<(), TensorboardError> {
        self.check()?;
        if let Some(queue) = &self.queue {
            // The thread receives as long as there is a sender, so this cannot fail.
            let _ = queue.send(message);
        }
        self.check()
    }

    fn check(&self) -> Result<(), TensorboardError> {
        match self.error.get() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // The thread does not panic. If it did, earlier calls would have returned its error.
            let _ = thread.join();
        }
    }
}

/// The thread's function, which writes until the queue is closed. After a failed write it drops everything that arrives: otherwise a flush
/// that stands in the queue would never be answered, and its sender would wait for ever.
fn write_all(mut file: EventsFile, inbox: &Receiver<Message>, error: &OnceLock<TensorboardError>) {
    for message in inbox {
        // Whenever the queue is empty, the file is flushed. So TensorBoard shows the values while the next step is computed, and a killed
        // run loses none of them.
        let written = take(&mut file, message).and_then(|()| {
            if inbox.is_empty() {
                file.flush()
            } else {
                Ok(())
            }
        });
        if let Err(failure) = written {
            let _ = error.set(failure);
            break;
        }
    }
    inbox.iter().for_each(drop);
}

fn take(file: &mut EventsFile, message: Message) -> Result<(), TensorboardError> {
    match message {
        Message::Entry(entry) => write(file, entry),
        Message::Flush(done) => {
            file.flush()?;
            let _ = done.send(file.end());
            Ok(())
        }
        Message::Sync(done) => {
            let _ = done.send(file.sync()?);
            Ok(())
        }
    }
}

fn write(file: &mut EventsFile, entry: Entry) -> Result<(), TensorboardError> {
    let now = SystemTime::now();
    let seconds = now
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |duration| duration.as_secs_f64());
    let malformed = |path: &Path, error: protobuf::ProtobufError| TensorboardError::Write {
        path: path.to_owned(),
        source: Arc::new(std::io::Error::other(error)),
    };
    match entry {
        Entry::Scalar {
            tag,
            step,
            wall,
            value,
        } => file.summary(step, wall, scalar(&tag, value as f32)),
        Entry::Histogram {
            tag,
            step,
            wall,
            values,
        } => file.summary(step, wall, histogram(&tag, &values)),
        Entry::Text {
            tag,
            step,
            wall,
            markdown,
        } => file.summary(step, wall, message::text(&tag, &markdown)),
        Entry::Hparams { hparams, metrics } => {
            let summaries = message::hparams(&hparams, &metrics, seconds);
            for summary in summaries.map_err(|error| malformed(file.path(), error))? {
                file.summary(0, now, summary)?;
            }
            Ok(())
        }
        Entry::Layout(layout) => {
            let summary = message::custom_layout(&layout);
            let summary = summary.map_err(|error| malformed(file.path(), error))?;
            file.summary(0, now, summary)
        }
        Entry::SessionEnd { success } => {
            let summary = message::session_end(success, seconds);
            let summary = summary.map_err(|error| malformed(file.path(), error))?;
            file.summary(0, now, summary)
        }
    }
}
