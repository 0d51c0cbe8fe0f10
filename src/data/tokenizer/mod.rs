//! The tokenizer that both models of a pair share. Its files are read as transformers reads them, or refused.

mod behind;
mod chat;
mod class;
mod difference;
mod files;
mod library;
mod special;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::processors::template::TemplateProcessing;

use crate::foreign;
use chat::ChatTemplates;
use class::Class;
use files::{Files, content};
use library::{check_ids, parse, tokens_to_add};
use special::Special;

/// The token that ends a text in the vocabularies of GPT-2 and of the mini pair.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// The files that a tokenizer may consist of, besides chat templates and `config.json`, which names the model type.
const FILES: [&str; 6] = [
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// Whether a repository's file of this name may be one of a tokenizer.
pub(crate) fn is_tokenizer_file(name: &str) -> bool {
    FILES.contains(&name) || chat::is_template(name)
}

/// The files in a model directory that its tokenizer is read from, besides `config.json`.
///
/// # Errors
/// When the folder of further chat templates cannot be read.
pub(crate) fn tokenizer_files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let files = FILES.map(|name| directory.join(name)).into_iter();
    let mut files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
    files.extend(chat::paths(directory)?);
    Ok(files)
}

/// Why a tokenizer could not be read or used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// Neither `tokenizer.json` nor `vocab.json` with `merges.txt` is there.
    #[error(
        "{0}: no tokenizer here; expected `tokenizer.json`, or `vocab.json` and `merges.txt`. If there is only a `tokenizer.model`, load it with transformers' AutoTokenizer and save it here with `save_pretrained`"
    )]
    Missing(PathBuf),
    /// A file is there but is not a tokenizer's.
    #[error("{origin}: not a readable tokenizer: {message}")]
    Format {
        /// The file.
        origin: PathBuf,
        /// The library's reason.
        message: String,
    },
    /// A file asks for something unsupported, or contradicts another file.
    #[error("{path}: {message}")]
    Content {
        /// The file.
        path: PathBuf,
        /// Which key or token, and what is wrong.
        message: String,
    },
    /// A text could not be encoded or ids could not be decoded.
    #[error("tokenizer failed: {0}")]
    Use(String),
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Turns text into token ids and back.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The same for a text that stands behind another, if that is not the same.
    behind: Option<tokenizers::Tokenizer>,
    /// The special tokens that are put before a text.
    beginning: Vec<u32>,
    class: Class,
    special: Special,
    templates: ChatTemplates,
    /// The file with the vocabulary.
    origin: PathBuf,
    /// What of the file is not used.
    left_out: Option<String>,
}

impl Tokenizer {
    /// Reads the tokenizer of a model directory as transformers' `AutoTokenizer` does: `tokenizer.json`, or else `vocab.json` and
    /// `merges.txt`, with the tokens that `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` add. Truncation,
    /// padding and dropout that a tool left in a file are ignored.
    ///
    /// # Errors
    /// When a file is missing or malformed, asks for something unsupported, or contradicts another.
    pub fn load(directory: &Path) -> Result<Self, TokenizerError> {
        Self::build(Files::read(directory)?)
    }

    /// Reads the bytes of a `tokenizer.json` of GPT-2's kind. `origin` stands for the file in messages.
    ///
    /// # Errors
    /// When they are malformed.
    pub fn from_bytes(origin: &Path, bytes: &[u8]) -> Result<Self, TokenizerError> {
        Self::build(Files::alone(origin, bytes)?)
    }

    fn build(files: Files) -> Result<Self, TokenizerError> {
        let origin = files.origin;
        let mut inner =
            parse(&Value::Object(files.document)).map_err(|message| TokenizerError::Format {
                origin: origin.clone(),
                message,
            })?;
        let tokens = tokens_to_add(&inner, files.class, &files.added, &files.special);
        let added = foreign::call(|| inner.add_tokens(tokens).map_err(|error| error.to_string()));
        added.and_then(|added| added).map_err(content(&origin))?;
        check_ids(&inner).map_err(content(&origin))?;
        for (id, added) in &files.added {
            let found = inner.token_to_id(&added.token.content);
            if found.map(u64::from) != Some(*id) {
                let found = found.map_or("none".to_owned(), |found| found.to_string());
                return Err(content(&added.file)(format!(
                    "token `{}` has id {id} here, but becomes {found}: ids of added tokens go on where the vocabulary ends",
                    added.token.content
                )));
            }
        }
        let behind = foreign::call(|| behind::behind(&inner));
        let behind = behind.and_then(|behind| behind).map_err(content(&origin))?;
        let mut tokenizer = Self {
            inner,
            behind,
            beginning: Vec::new(),
            class: files.class,
            special: files.special,
            templates: files.templates,
            origin,
            left_out: files.left_out,
        };
        tokenizer.put_ends(files.ends)?;
        Ok(tokenizer)
    }

    /// Makes the tokenizers of RoBERTa and XLM-RoBERTa put their begin and end tokens around a text, and others those that settings ask for.
    fn put_ends(&mut self, asked: [bool; 2]) -> Result<(), TokenizerError> {
        let end = |role: &str| {
            let token = self.special.role(role);
            token.and_then(|token| Some((token.to_owned(), self.id(token)?)))
        };
        let wrong = content(&self.origin);
        let missing = || wrong("the tokens that begin and end a text are missing".to_owned());
        let [begin, end] = match self.class {
            Class::Roberta => {
                let (sep, cls) = end("sep_token").zip(end("cls_token")).ok_or_else(missing)?;
                let processor = RobertaProcessing::new(sep, cls);
                self.inner.with_post_processor(Some(processor));
                return Ok(());
            }
            Class::XlmRoberta => {
                let both = end("bos_token").zip(end("eos_token"));
                let (begin, end) = both.ok_or_else(missing)?;
                [Some(begin), Some(end)]
            }
            _ => {
                let of = |role, asked: bool| if asked { end(role) } else { None };
                [of("bos_token", asked[0]), of("eos_token", asked[1])]
            }
        };
        if begin.is_none() && end.is_none() {
            return Ok(());
        }
        let text = |end: &Option<(String, u32)>| end.as_ref().map(|(token, _)| token.clone());
        let template = [text(&begin), Some("$A".to_owned()), text(&end)];
        let template: Vec<String> = template.into_iter().flatten().collect();
        let tokens: Vec<(String, u32)> = [begin, end].into_iter().flatten().collect();
        let processor = TemplateProcessing::builder()
            .try_single(template)
            .map_err(&wrong)?
            .special_tokens(tokens)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        self.inner.with_post_processor(Some(processor));
        Ok(())
    }

    /// Wraps a tokenizer of GPT-2's kind that this program has trained.
    pub(crate) fn trained(inner: tokenizers::Tokenizer) -> Result<Self, TokenizerError> {
        let json = inner.to_string(false).map_err(use_error)?;
        Self::from_bytes(Path::new("tokenizer.json"), json.as_bytes())
    }

    /// The same tokenizer, which from now on puts before a text the special tokens that its files put there: `<s>` of Llama 2,
    /// `<|begin_of_text|>` of Llama 3, none of GPT-2. transformers does so unless it is called with `add_special_tokens=False`.
    ///
    /// # Errors
    /// When the tokenizer refuses a text of one letter.
    pub fn with_beginning(mut self) -> Result<Self, TokenizerError> {
        let encoding = foreign::call(|| self.inner.encode_fast("a", true));
        let encoding = encoding.map_err(TokenizerError::Use)?.map_err(use_error)?;
        let special = encoding.get_special_tokens_mask().iter();
        let first = special.take_while(|special| **special == 1).count();
        self.beginning = encoding.get_ids()[..first].to_vec();
        Ok(self)
    }

    /// The special tokens that [`Tokenizer::encode`] puts before a text.
    pub fn beginning(&self) -> &[u32] {
        &self.beginning
    }

    /// Encodes `text`. Returns its ids, behind those of [`Tokenizer::beginning`]; no token is put behind it.
    ///
    /// # Errors
    /// When the tokenizer refuses the text; byte-level BPE refuses none.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut all = self.beginning.clone();
        all.extend(ids(&self.inner, text, false)?);
        Ok(all)
    }

    /// Encodes `text` as it goes on behind another one: without the space that some tokenizers put before a text. Returns its ids.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn encode_behind(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        ids(self.behind.as_ref().unwrap_or(&self.inner), text, false)
    }

    /// The special tokens that the tokenizer puts around a text: the ids of an empty text.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn ends(&self) -> Result<Vec<u32>, TokenizerError> {
        ids(&self.inner, "", true)
    }

    /// Decodes the `ids` of a whole text, special tokens included.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        text(&self.inner, ids)
    }

    /// Decodes `ids` that stand behind others, as those of a continuation: the space that some tokenizers take away where a text begins
    /// is kept. Special tokens are included.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn decode_behind(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        text(self.behind.as_ref().unwrap_or(&self.inner), ids)
    }

    /// What of the tokenizer's file is not used, since its class in transformers does not use it. With the file; None mostly.
    pub fn left_out(&self) -> Option<&str> {
        self.left_out.as_deref()
    }

    /// Number of tokens, special ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of the token with exactly this text in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The id of the token that ends a text: the one that the files name, or GPT-2's.
    pub fn end_of_text(&self) -> Option<u32> {
        self.id(self.special.role("eos_token").unwrap_or(END_OF_TEXT))
    }

    /// Checks that a model's embedding table with `rows` rows has a row for every id.
    ///
    /// # Errors
    /// When it has not; the error names the token with the largest id, and the file.
    pub fn check_table(&self, rows: usize) -> Result<(), TokenizerError> {
        match self.by_id().pop_last() {
            Some((id, token)) if id as usize >= rows => Err(content(&self.origin)(format!(
                "token `{token}` has id {id}, but the model's table of embeddings has only {rows} rows: tokenizer and model do not belong together"
            ))),
            _ => Ok(()),
        }
    }

    /// One more than the highest id.
    pub fn id_bound(&self) -> usize {
        let last = self.by_id().pop_last();
        last.map_or(0, |(id, _)| id as usize + 1)
    }

    /// The tokens by their ids.
    fn by_id(&self) -> BTreeMap<u32, String> {
        let vocabulary = self.inner.get_vocab(true).into_iter();
        vocabulary.map(|(token, id)| (id, token)).collect()
    }

    /// Writes `tokenizer.json`, `tokenizer_config.json` and chat templates into a directory, which must exist, so that this program and
    /// transformers read the same tokenizer from them.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<(), TokenizerError> {
        let settings = format!("{:#}", self.special.to_settings(self.class));
        for (name, text) in [
            (files::TOKENIZER, self.to_json()?),
            (files::CONFIG, settings),
        ] {
            let path = directory.join(name);
            crate::atomic::write(&path, text.as_bytes())
                .map_err(|source| TokenizerError::Write { path, source })?;
        }
        self.templates.write(directory)
    }

    /// The tokenizer as the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// When the library cannot serialise it.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        self.inner.to_string(false).map_err(use_error)
    }
}

/// Encodes a text, with the special tokens that are put around one if `ends`.
fn ids(
    tokenizer: &tokenizers::Tokenizer,
    text: &str,
    ends: bool,
) -> Result<Vec<u32>, TokenizerError> {
    let encoding = foreign::call(|| tokenizer.encode_fast(text, ends));
    let encoding = encoding.map_err(TokenizerError::Use)?.map_err(use_error)?;
    Ok(encoding.get_ids().to_vec())
}

fn text(tokenizer: &tokenizers::Tokenizer, ids: &[u32]) -> Result<String, TokenizerError> {
    let text = foreign::call(|| tokenizer.decode(ids, false));
    text.map_err(TokenizerError::Use)?.map_err(use_error)
}

fn use_error(error: tokenizers::Error) -> TokenizerError {
    TokenizerError::Use(error.to_string())
}
