//! What a hook gets before the run, so that it can read what its options name.

use std::path::{Path, PathBuf};

use super::Scene;
use crate::download::Progress;
use crate::hub::{Hub, HubError, ModelId};

/// The view of a run before it starts: see [`super::Hook::prepare`].
pub struct Preparation<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) positions: usize,
    pub(crate) hub: &'a Hub,
    pub(crate) progress: &'a mut Progress<'a>,
}

/// A hook cannot use something that its options name.
#[derive(Debug, thiserror::Error)]
#[error("hook `{hook}`: {message}")]
pub struct PreparationError {
    /// The hook's instance name.
    pub hook: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// An option's value cannot be used. When [`super::Hook::prepare`] returns this error, the message shows the option's place in the
/// experiment.
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
    /// When `sound` is false.
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
    /// When the number is outside that range.
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

    /// The most tokens that a text may have: the positions that both models have.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Encodes a text that an option names. Returns its token ids. `place` says in messages where the text stands.
    ///
    /// # Errors
    /// When the text is empty, does not fit the models' positions, or is refused by the tokenizer. The message begins with `place`.
    pub fn tokens(&self, place: &str, text: &str) -> anyhow::Result<Vec<u32>> {
        self.fitting(place, self.scene.tokenizer.encode(text)?)
    }

    /// The same for a text that stands behind another: `tokens` of that one, then these.
    ///
    /// # Errors
    /// Those of `tokens`.
    pub fn tokens_behind(&self, place: &str, text: &str) -> anyhow::Result<Vec<u32>> {
        self.fitting(place, self.scene.tokenizer.encode_behind(text)?)
    }

    fn fitting(&self, place: &str, tokens: Vec<u32>) -> anyhow::Result<Vec<u32>> {
        anyhow::ensure!(!tokens.is_empty(), "{place}: empty");
        anyhow::ensure!(
            tokens.len() < self.positions,
            "{place}: a text of {} tokens does not fit the {} positions of the models",
            tokens.len(),
            self.positions
        );
        Ok(tokens)
    }

    /// The directory of a model that an option names. A model of the hub is downloaded if it is not in the cache.
    ///
    /// # Errors
    /// When the name is neither a directory nor a model of the hub, or the download fails. The message says how to get the model by hand.
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

/// Reads the text of a file that an option names, without a byte-order mark.
///
/// # Errors
/// When the file cannot be read or is not UTF-8. The message has the file's name and the line.
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
