//! Opens a file to be read from beginning to end, decompressed where it is compressed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::data::source_error::SourceError;

/// Bytes that are read from a file at once.
const AT_ONCE: usize = 1 << 17;
/// What a file by gzip begins with (RFC 1952). No text in UTF-8 does.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// What a frame by Zstandard begins with (RFC 8878). No text in UTF-8 does.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// What a frame to be skipped begins with behind its first byte, which is from 0x50 to 0x5f.
const SKIPPED: [u8; 3] = [0x2a, 0x4d, 0x18];

/// Opens a file. One by gzip or Zstandard is known by its first bytes, whatever its name, and may be several put together.
///
/// # Errors
/// When it cannot be read.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, SourceError> {
    decompressed(path).map_err(|error| SourceError::Read {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

fn decompressed(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    let mut file = BufReader::with_capacity(AT_ONCE, File::open(path)?);
    let begins = file.fill_buf()?;
    Ok(if begins.starts_with(GZIP) {
        let gzip = Gzip(MultiGzDecoder::new(file));
        Box::new(BufReader::with_capacity(AT_ONCE, gzip))
    } else if begins.starts_with(ZSTD) || is_skipped(begins) {
        let zstd = Zstd {
            file,
            frame: FrameDecoder::new(),
            is_in_frame: false,
        };
        Box::new(BufReader::with_capacity(AT_ONCE, zstd))
    } else {
        Box::new(file)
    })
}

/// Whether these are the first bytes of a frame to be skipped.
fn is_skipped(bytes: &[u8]) -> bool {
    matches!(bytes, [0x50..=0x5f, rest @ ..] if rest.starts_with(&SKIPPED))
}

/// Says of an error that it is of a compressed file.
fn damaged(by: &str, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!(
        "it is compressed by {by} and damaged or cut off ({error}); copy or compress it again"
    ))
}

/// A file by gzip.
struct Gzip(MultiGzDecoder<BufReader<File>>);

impl Read for Gzip {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into).map_err(|error| damaged("gzip", error))
    }
}

/// A file by Zstandard: frames, of which some are to be skipped.
struct Zstd {
    file: BufReader<File>,
    frame: FrameDecoder,
    is_in_frame: bool,
}

impl Zstd {
    /// Goes to the beginning of the next frame with text. Returns whether there is one.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.file.fill_buf()?.is_empty() {
            let mut magic = [0; 4];
            self.file.read_exact(&mut magic)?;
            if !is_skipped(&magic) {
                let frame = self.frame.init(magic.as_slice().chain(&mut self.file));
                frame.map_err(io::Error::other)?;
                self.is_in_frame = true;
                return Ok(true);
            }
            let mut length = [0; 4];
            self.file.read_exact(&mut length)?;
            let length = u64::from(u32::from_le_bytes(length));
            let skipped = io::copy(&mut self.file.by_ref().take(length), &mut io::sink())?;
            if skipped < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(false)
    }

    fn decompress(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_in_frame && !self.next_frame()? {
                return Ok(0);
            }
            while self.frame.can_collect() == 0 && !self.frame.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                let blocks = self.frame.decode_blocks(&mut self.file, one);
                blocks.map_err(io::Error::other)?;
            }
            let read = self.frame.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            let sum = self.frame.get_checksum_from_data();
            if sum.is_some() && sum != self.frame.get_calculated_checksum() {
                return Err(io::Error::other("a checksum in it is wrong"));
            }
            self.is_in_frame = false;
        }
    }
}

impl Read for Zstd {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = crate::foreign::call(|| self.decompress(into));
        let read = read.map_err(|panic| damaged("Zstandard", panic))?;
        read.map_err(|error| damaged("Zstandard", error))
    }
}
