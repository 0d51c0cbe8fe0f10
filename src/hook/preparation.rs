//! What a hook is given before the run, to read what its options name.

use std::path::{Path, PathBuf};

use super::Scene;
use crate::download::Progress;
use crate::hub::{Hub, HubError, ModelId};

/// What a hook prepares itself with: see [`super::Hook::prepare`].
pub struct Preparation<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) positions: usize,
    pub(crate) hub: &'a Hub,
    pub(crate) progress: &'a mut Progress<'a>,
}

/// A hook cannot use what its options name.
#[derive(Debug, thiserror::Error)]
#[error("hook `{hook}`: {message}")]
pub struct PreparationError {
    /// The hook's instance name.
    pub hook: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// An option has a value that a hook cannot use. A hook that gives it as the error of [`super::Hook::prepare`] has the option's place shown.
#[derive(Debug, thiserror::Error)]
#[error("`{option}`: {message}")]
pub struct OptionError {
    /// The option.
    pub option: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl OptionError {
    /// Refuses `option` with `message` unless its value is `sound`.
    ///
    /// # Errors
    /// When it is not.
    pub fn unless(
        sound: bool,
        option: &'static str,
        message: impl Into<String>,
    ) -> Result<(), Self> {
        if sound {
            return Ok(());
        }
        Err(Self {
            option,
            message: message.into(),
        })
    }

    /// Refuses a number that is not from 1 to `most`.
    ///
    /// # Errors
    /// When it is not.
    pub fn unless_within(number: usize, most: usize, option: &'static str) -> Result<(), Self> {
        let message = format!("must be from 1 to {most}");
        Self::unless((1..=most).contains(&number), option, message)
    }
}

impl Preparation<'_> {
    /// Tokenizer, templates and settings of the run.
    pub fn scene(&self) -> &Scene {
        self.scene
    }

    /// Tokens that a text may have: both models have positions for them.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// The token ids of a text that an option names; `place` says where it stands.
    ///
    /// # Errors
    /// When it is empty, longer than the models' positions, or the tokenizer refuses it; with its place.
    pub fn tokens(&self, place: &str, text: &str) -> anyhow::Result<Vec<u32>> {
        let tokens = self.scene.tokenizer.encode(text)?;
        anyhow::ensure!(!tokens.is_empty(), "{place}: empty");
        anyhow::ensure!(
            tokens.len() < self.positions,
            "{place}: a text of {} tokens does not fit the {} positions of the models",
            tokens.len(),
            self.positions
        );
        Ok(tokens)
    }

    /// The directory of a model that an option names: a directory, or a model of the hub, fetched if it is not in the cache.
    ///
    /// # Errors
    /// When it is neither, or cannot be fetched; with how to get it by hand.
    pub fn model(&mut self, name: &str) -> anyhow::Result<PathBuf> {
        let directory = Path::new(name);
        if directory.is_dir() {
            return Ok(directory.to_owned());
        }
        let Some(id) = ModelId::parse(name) else {
            anyhow::bail!(
                "no model directory {name}; give a directory in Hugging Face layout, or a model of the hub"
            );
        };
        let snapshot = self.hub.get(&id, self.progress);
        Ok(snapshot
            .map_err(|error| HubError {
                remedy: error.remedy.replace("in [models]", "in the hook's option"),
                ..error
            })?
            .directory)
    }
}

/// The text of a file that an option names, without a byte-order mark.
///
/// # Errors
/// When it cannot be read or is not UTF-8, with its name and the line.
pub fn read_text(path: &Path) -> anyhow::Result<String> {
    anyhow::ensure!(!path.as_os_str().is_empty(), "no file is named");
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        anyhow::anyhow!("{name}:{line}: not UTF-8; save the file as UTF-8")
    })?;
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}
