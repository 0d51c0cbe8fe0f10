//! The tokenizer class that transformers chooses for a folder, and the parts that the class fixes besides vocabulary and merges.

mod byte_level;
pub(super) mod parts;
mod sentence_piece;

use serde_json::{Map, Value};

use parts::{as_file, part_of};

/// The supported tokenizer classes of transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// `GPT2Tokenizer`.
    Gpt2,
    /// `GPTNeoXTokenizer`.
    GptNeox,
    /// `Qwen2Tokenizer`.
    Qwen2,
    /// `LlamaTokenizer`.
    Llama,
    /// `RobertaTokenizer`.
    Roberta,
    /// `XLMRobertaTokenizer`.
    XlmRoberta,
    /// `PreTrainedTokenizerFast`, which does what `tokenizer.json` says.
    AsFile,
}

/// Where a space is put before a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    /// Nowhere.
    Never,
    /// At its begin.
    First,
    /// At its begin and behind each added token.
    Always,
}

/// A `tokenizer.json` that a class has made of a file.
pub(super) struct Made {
    pub document: Map<String, Value>,
    /// A part of the file that the class leaves out, in words.
    pub left_out: Option<String>,
}

impl Class {
    /// The class for a model type and the `tokenizer_class` that a file names, as transformers' `AutoTokenizer` has it. `file` is the
    /// `tokenizer.json`, if there is one.
    pub fn of(
        model_type: &str,
        named: Option<&str>,
        file: Option<&Map<String, Value>>,
    ) -> Result<Self, String> {
        match model_type {
            // Whatever is named: a list in transformers says that the names that are found there are wrong.
            "qwen2" => return Ok(Self::Qwen2),
            "mistral" => return Ok(Self::AsFile),
            _ => {}
        }
        let Some(named) = named else {
            return match model_type {
                "gpt2" => Ok(Self::Gpt2),
                "gpt_neox" => Ok(Self::GptNeox),
                "qwen3" => Ok(Self::Qwen2),
                "llama" | "smollm3" => Ok(Self::AsFile),
                "roberta" => Ok(Self::Roberta),
                "xlm-roberta" => Ok(Self::XlmRoberta),
                other => Err(format!(
                    "`model_type` is `{other}`, whose tokenizer is not known; name a `tokenizer_class`"
                )),
            };
        };
        match named.strip_suffix("Fast").unwrap_or(named) {
            "GPT2Tokenizer" => Ok(Self::Gpt2),
            "GPTNeoXTokenizer" => Ok(Self::GptNeox),
            "Qwen2Tokenizer" => Ok(Self::Qwen2),
            // Llama 3 has bytes, but checkpoints of it name the class of Llama 2.
            "LlamaTokenizer" if file.is_some_and(names_byte_level) => Ok(Self::AsFile),
            "LlamaTokenizer" => Ok(Self::Llama),
            "RobertaTokenizer" => Ok(Self::Roberta),
            "XLMRobertaTokenizer" => Ok(Self::XlmRoberta),
            "PreTrainedTokenizer" | "TokenizersBackend" => Ok(Self::AsFile),
            _ => Err(format!(
                "`tokenizer_class` is `{named}`; only GPT2Tokenizer, GPTNeoXTokenizer, Qwen2Tokenizer, LlamaTokenizer, RobertaTokenizer, XLMRobertaTokenizer and PreTrainedTokenizerFast are supported: save the tokenizer as the last"
            )),
        }
    }

    /// The name in `tokenizer_config.json` that every version of transformers understands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "GPT2Tokenizer",
            Self::GptNeox => "GPTNeoXTokenizer",
            Self::Qwen2 => "Qwen2Tokenizer",
            Self::Llama => "LlamaTokenizer",
            Self::Roberta => "RobertaTokenizer",
            Self::XlmRoberta => "XLMRobertaTokenizer",
            Self::AsFile => "PreTrainedTokenizerFast",
        }
    }

    /// The class's default tokens, by role, for roles that no file gives.
    pub fn usual_tokens(self) -> &'static [(&'static str, &'static str)] {
        const END: &str = super::END_OF_TEXT;
        match self {
            Self::Gpt2 => &[("bos_token", END), ("eos_token", END), ("unk_token", END)],
            Self::GptNeox => &[
                ("bos_token", END),
                ("eos_token", END),
                ("unk_token", END),
                ("pad_token", "<|padding|>"),
            ],
            Self::Qwen2 => &[("eos_token", END), ("unk_token", END), ("pad_token", END)],
            Self::Llama => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("unk_token", "<unk>"),
            ],
            Self::Roberta | Self::XlmRoberta => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("unk_token", "<unk>"),
                ("sep_token", "</s>"),
                ("pad_token", "<pad>"),
                ("cls_token", "<s>"),
                ("mask_token", "<mask>"),
            ],
            Self::AsFile => &[],
        }
    }

    /// Where `add_prefix_space` and `legacy` of the settings have a space put before a text.
    pub fn prefix(self, settings: &Map<String, Value>) -> Result<Prefix, String> {
        let space = match (self, settings.get("add_prefix_space")) {
            (_, Some(Value::Bool(space))) => *space,
            (Self::Llama | Self::XlmRoberta, None) | (Self::Llama, Some(Value::Null)) => true,
            (_, None) | (Self::Qwen2 | Self::AsFile, Some(Value::Null)) => false,
            (_, Some(other)) => return Err(format!("`add_prefix_space` is {other}")),
        };
        let legacy = match settings.get("legacy") {
            Some(Value::Bool(legacy)) => *legacy,
            None | Some(Value::Null) => false,
            Some(other) => return Err(format!("`legacy` is {other}")),
        };
        Ok(match (space, self) {
            (false, _) => Prefix::Never,
            (true, Self::Llama) if !legacy => Prefix::First,
            (true, _) => Prefix::Always,
        })
    }

    /// Builds the `tokenizer.json` that the class makes of a file's model, without added tokens. Except for `AsFile`, transformers uses a
    /// normalizer and a pre-tokenizer of the class. A file whose parts are others asks for texts to be cut in another way. It is refused,
    /// unless the hub has its form under this class; then the part is named as left out.
    pub fn of_json(self, file: &Map<String, Value>, prefix: Prefix) -> Result<Made, String> {
        let own = match self {
            Self::AsFile => {
                let document = as_file(file);
                let left_out = None;
                return Ok(Made { document, left_out });
            }
            Self::Llama => sentence_piece::llama(file, prefix)?,
            Self::XlmRoberta => sentence_piece::xlm_roberta(file, prefix)?,
            _ => byte_level::document(self, file, prefix)?,
        };
        let mut left_out = None;
        for part in ["normalizer", "pre_tokenizer"] {
            let (ours, theirs) = (part_of(&own, part)?, part_of(file, part)?);
            if ours == theirs {
                continue;
            }
            let known = match self {
                Self::Gpt2 => byte_level::is_digits(&theirs),
                Self::Llama => sentence_piece::is_of_the_hub(part, &theirs),
                _ => false,
            };
            let (name, remedy) = (self.name(), self.remedy());
            if !known {
                return Err(format!(
                    "`{part}` is {theirs}, but transformers' {name} always has {ours}; {remedy}"
                ));
            }
            left_out.get_or_insert(format!(
                "`{part}` is {theirs}, which is not used: transformers' {name} always has {ours}, and so the ids are those of transformers 5; {remedy}"
            ));
        }
        Ok(Made {
            document: own,
            left_out,
        })
    }

    /// Builds the `tokenizer.json` that the class makes of a vocabulary and its merges.
    pub fn of_vocabulary(self, file: &Map<String, Value>, prefix: Prefix) -> Result<Made, String> {
        let document = match self {
            Self::Gpt2 | Self::GptNeox | Self::Qwen2 | Self::Roberta => {
                byte_level::document(self, file, prefix)?
            }
            Self::Llama | Self::XlmRoberta | Self::AsFile => {
                return Err(format!("{} needs a tokenizer.json", self.name()));
            }
        };
        let left_out = None;
        Ok(Made { document, left_out })
    }

    /// The advice for a file that its class does not fit.
    fn remedy(self) -> &'static str {
        match self {
            // No other class is possible for Qwen2's models.
            Self::Qwen2 => {
                "if transformers is right, load the tokenizer there and save it with `save_pretrained`"
            }
            _ => {
                "if the file is right, set `tokenizer_class` in tokenizer_config.json to `PreTrainedTokenizerFast`"
            }
        }
    }
}

/// Whether a part or a token of a `tokenizer.json` has the name by which transformers tells that the tokenizer works on bytes.
fn names_byte_level(file: &Map<String, Value>) -> bool {
    fn has(value: &Value) -> bool {
        match value {
            Value::String(text) => text == "ByteLevel",
            Value::Array(items) => items.iter().any(has),
            Value::Object(fields) => names_byte_level(fields),
            _ => false,
        }
    }
    file.iter()
        .any(|(key, value)| key == "ByteLevel" || has(value))
}
