//! The files of a run's folder, `runs/<experiment>/<run>/`. Each file has its format, its writer and its reader in one module:
//!
//! | File | Module |
//! |---|---|
//! | the names of all of them | [`layout`] |
//! | the folder itself, and what a run is called | [`folder`], [`name`] |
//! | `.lock` | [`lock`](mod@lock) |
//! | `experiment.toml` | [`experiment`] |
//! | `manifest.json` | [`manifest`] |
//! | `text_interventions.json` | [`treatments`] |
//! | `milestones.jsonl` | [`milestones`] |
//! | `templates/step-<step>-<hook>.tsv` | [`columns`] |
//! | `templates/pairs.tsv` | [`pairs`] |
//! | `checkpoints/step-<step>/`: models, optimisers, `SHA256SUMS` | [`checkpoint`] |
//! | `checkpoints/step-<step>/state.json` | [`progress`] |
//! | `models/<role>/` | [`checkpoint::model_folder`] names it |
//! | `outcome.json` | [`outcome`] |
//!
//! Nothing here depends on the loop, the report or the command line.

pub mod checkpoint;
pub mod columns;
mod error;
pub mod experiment;
pub mod folder;
pub mod layout;
pub mod lock;
pub mod manifest;
pub mod milestones;
pub mod name;
mod named;
pub mod outcome;
pub mod pairs;
pub mod progress;
mod state;
mod sum;
pub mod treatments;
mod tsv;

pub use error::{Malformed, RecordError, Unusable};
pub use folder::RunDirectory;
pub use lock::lock;
pub use manifest::{Manifest, ManifestError};
pub use named::Named;
pub use outcome::{Ended, HookFailure, Stop};
pub use pairs::RecordedPair;
pub use state::State;
pub use sum::Changed;
