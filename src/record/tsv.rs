//! The reader of tab-separated text. Runs write it without quotes.

/// Returns a reader of rows, the first of which is the header.
pub(super) fn reader(text: &str) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new()
        .delimiter(b'\t')
        .quoting(false)
        .from_reader(text.as_bytes())
}
