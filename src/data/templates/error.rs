//! The errors of template files.

/// Why a template file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It cannot be read.
    #[error("cannot read templates {name}: {source}")]
    Io {
        /// The file.
        name: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A line is malformed.
    #[error("{name}:{line}: {message}")]
    Line {
        /// The file.
        name: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what to do.
        message: String,
    },
    /// The file as a whole cannot be used.
    #[error("{name}: {message}")]
    File {
        /// The file.
        name: String,
        /// What is wrong and what to do.
        message: String,
    },
}
