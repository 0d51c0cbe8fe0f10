//! The tokenizer that both models of a pair share: byte-level BPE, read in Hugging Face layout.

use std::path::{Path, PathBuf};

use tokenizers::AddedToken;
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

/// The token that ends a text, in GPT-2's vocabulary and ours.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Why a tokenizer could not be read or used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// Neither `tokenizer.json` nor `vocab.json` with `merges.txt` is there.
    #[error("{0}: no tokenizer here; expected `tokenizer.json`, or `vocab.json` and `merges.txt`")]
    Missing(PathBuf),
    /// The files are there but not a tokenizer.
    #[error("{origin}: not a readable tokenizer: {message}")]
    Format {
        /// The file or directory.
        origin: PathBuf,
        /// The library's reason.
        message: String,
    },
    /// A text could not be encoded or ids could not be decoded.
    #[error("tokenizer failed: {0}")]
    Use(String),
}

/// Text to token ids and back.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, or else GPT-2's `vocab.json` and `merges.txt`, from a model directory.
    ///
    /// # Errors
    /// When neither is there or what is there is malformed.
    pub fn load(directory: &Path) -> Result<Self, TokenizerError> {
        let json = directory.join("tokenizer.json");
        if json.is_file() {
            let inner = tokenizers::Tokenizer::from_file(&json).map_err(format_error(&json))?;
            return Ok(Self { inner });
        }
        let (vocab, merges) = (directory.join("vocab.json"), directory.join("merges.txt"));
        if !vocab.is_file() || !merges.is_file() {
            return Err(TokenizerError::Missing(directory.to_owned()));
        }
        let bpe = BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy())
            .build()
            .map_err(format_error(directory))?;
        let mut inner = tokenizers::Tokenizer::new(bpe);
        inner.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        inner.with_decoder(Some(ByteLevelDecoder::default()));
        // These two files do not say that it is special; GPT-2's own tokenizer knows.
        if inner.token_to_id(END_OF_TEXT).is_some() {
            let special = AddedToken::from(END_OF_TEXT, true);
            inner
                .add_special_tokens([special])
                .map_err(format_error(directory))?;
        }
        Ok(Self { inner })
    }

    /// Reads the bytes of a `tokenizer.json`; `origin` names them in messages.
    ///
    /// # Errors
    /// When they are malformed.
    pub fn from_bytes(origin: &Path, bytes: &[u8]) -> Result<Self, TokenizerError> {
        let inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(format_error(origin))?;
        Ok(Self { inner })
    }

    /// Wraps a tokenizer that was trained here.
    pub(crate) fn trained(inner: tokenizers::Tokenizer) -> Self {
        Self { inner }
    }

    /// The ids of `text`, without special tokens added.
    ///
    /// # Errors
    /// When the tokenizer refuses the text; byte-level BPE refuses none.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.inner.encode_fast(text, false);
        encoding
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|error| TokenizerError::Use(error.to_string()))
    }

    /// The text of `ids`, special tokens included.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        let text = self.inner.decode(ids, false);
        text.map_err(|error| TokenizerError::Use(error.to_string()))
    }

    /// Number of tokens, special ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a token by its exact text in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The first token or merge that another tokenizer has otherwise, in words; None when they cut texts alike.
    pub fn difference(&self, other: &Self) -> Option<String> {
        self.different_token(other)
            .or_else(|| self.different_merge(other))
    }

    /// The first pair of tokens that is merged in another order.
    fn different_merge(&self, other: &Self) -> Option<String> {
        let (ours, theirs) = (self.merges(), other.merges());
        let index = (0..ours.len().max(theirs.len()))
            .find(|&index| ours.get(index) != theirs.get(index))?;
        let merge = |merges: &[String]| {
            merges
                .get(index)
                .map_or("none".to_owned(), |merge| format!("`{merge}`"))
        };
        Some(format!(
            "merge {index} is {} for the main model and {} for the assistant",
            merge(&ours),
            merge(&theirs)
        ))
    }

    /// The merges in their order; empty for a model without any.
    fn merges(&self) -> Vec<String> {
        let json = serde_json::to_value(self.inner.get_model()).unwrap_or_default();
        let merges = json["merges"].as_array().map_or(&[][..], Vec::as_slice);
        let text = |merge: &serde_json::Value| match merge {
            serde_json::Value::Array(pair) => {
                let parts = pair.iter().map(|part| part.as_str().unwrap_or_default());
                parts.collect::<Vec<_>>().join(" ")
            }
            merge => merge.as_str().unwrap_or_default().to_owned(),
        };
        merges.iter().map(text).collect()
    }

    fn different_token(&self, other: &Self) -> Option<String> {
        let (ours, theirs) = (self.vocab_size(), other.vocab_size());
        let token = |tokenizer: &Self, id: u32| tokenizer.inner.id_to_token(id);
        let differs = |id: &u32| token(self, *id) != token(other, *id);
        let id = (0..ours.max(theirs) as u32).find(differs)?;
        Some(format!(
            "token {id} is {:?} for the main model and {:?} for the assistant",
            token(self, id).unwrap_or_default(),
            token(other, id).unwrap_or_default()
        ))
    }

    /// As the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        let json = self.inner.to_string(false);
        json.map_err(|error| TokenizerError::Use(error.to_string()))
    }
}

fn format_error(origin: &Path) -> impl FnOnce(tokenizers::Error) -> TokenizerError {
    let origin = origin.to_owned();
    move |error| TokenizerError::Format {
        origin,
        message: error.to_string(),
    }
}
