//! `adapter_config.json`, as PEFT has it.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Base, Lora};
use crate::model::WeightsError;

/// The name of the file.
pub(super) const NAME: &str = "adapter_config.json";

/// Keys that change nothing of what an adapter computes. Every other key that is unknown here must be empty.
const WITHOUT_EFFECT: [&str; 9] = [
    "auto_mapping",
    "ensure_weight_tying",
    "fan_in_fan_out",
    "inference_mode",
    "loftq_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "task_type",
];

/// What an `adapter_config.json` says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AdapterConfig {
    pub lora: Lora,
    pub base: Base,
}

impl AdapterConfig {
    /// Reads the file in an adapter's directory.
    ///
    /// # Errors
    /// When it cannot be read, or the adapter computes what is not supported.
    pub fn read(directory: &Path) -> Result<Self, WeightsError> {
        let path = directory.join(NAME);
        let text = std::fs::read_to_string(&path).map_err(|source| WeightsError::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        Self::parse(&text).map_err(|message| WeightsError::Content { path, message })
    }

    /// Parses the text of the file.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let keys: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))?;
        let mut keys = Keys(keys);
        match keys.take("peft_type") {
            Value::String(kind) if kind == "LORA" => {}
            other => return Err(refused("peft_type", &other, "only \"LORA\" is supported")),
        }
        match keys.take("bias") {
            Value::Null => {}
            Value::String(bias) if bias == "none" => {}
            other => return Err(refused("bias", &other, "only \"none\" is supported")),
        }
        match keys.take("init_lora_weights") {
            Value::Null | Value::Bool(_) => {}
            Value::String(name) if name == "gaussian" => {}
            other => {
                let why = "it may change the base, so the adapter cannot be used without that";
                return Err(refused("init_lora_weights", &other, why));
            }
        }
        let lora = Lora {
            r: keys.rank()?,
            alpha: keys.number("lora_alpha", 8.0)?,
            target_modules: keys.targets()?,
            dropout: keys.number("lora_dropout", 0.0)?,
            use_rslora: keys.flag("use_rslora")?,
        };
        if !(0.0..1.0).contains(&lora.dropout) {
            return Err("`lora_dropout` must be at least 0 and below 1".to_owned());
        }
        let base = keys.take("base_model_name_or_path");
        let Value::String(name) = base else {
            return Err(refused(
                "base_model_name_or_path",
                &base,
                "write the directory of the base model, or its name on the hub",
            ));
        };
        let revision = match keys.take("revision") {
            Value::Null => None,
            Value::String(revision) => Some(revision),
            other => return Err(refused("revision", &other, "it must be a string")),
        };
        keys.finish()?;
        Ok(Self {
            lora,
            base: Base { name, revision },
        })
    }

    /// The text of the file. `fan_in_fan_out` says whether the base stores its weights `[in, out]`.
    pub(super) fn to_text(&self, fan_in_fan_out: bool) -> String {
        let Self { lora, base } = self;
        let alpha = match lora.alpha as i64 {
            whole if whole as f64 == lora.alpha => json!(whole),
            _ => json!(lora.alpha),
        };
        let keys = json!({
            "alpha_pattern": {},
            "base_model_name_or_path": base.name,
            "bias": "none",
            "fan_in_fan_out": fan_in_fan_out,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_to_transform": null,
            "lora_alpha": alpha,
            "lora_dropout": lora.dropout,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": lora.r,
            "rank_pattern": {},
            "revision": base.revision,
            "target_modules": lora.target_modules,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": lora.use_rslora,
        });
        format!("{keys:#}\n")
    }
}

/// The keys that are still to be read.
struct Keys(Map<String, Value>);

impl Keys {
    /// The value of a key; null where it is absent.
    fn take(&mut self, key: &str) -> Value {
        self.0.remove(key).unwrap_or_default()
    }

    fn number(&mut self, key: &'static str, usual: f64) -> Result<f64, String> {
        match self.take(key) {
            Value::Null => Ok(usual),
            value => {
                let number = value.as_f64().filter(|number| number.is_finite());
                number.ok_or_else(|| refused(key, &value, "it must be a number"))
            }
        }
    }

    fn flag(&mut self, key: &'static str) -> Result<bool, String> {
        match self.take(key) {
            Value::Null => Ok(false),
            Value::Bool(flag) => Ok(flag),
            value => Err(refused(key, &value, "it must be true or false")),
        }
    }

    fn rank(&mut self) -> Result<usize, String> {
        match self.take("r") {
            Value::Null => Ok(8),
            value => {
                let rank = value.as_u64().filter(|rank| *rank >= 1);
                let rank = rank.and_then(|rank| usize::try_from(rank).ok());
                rank.ok_or_else(|| refused("r", &value, "it must be at least 1"))
            }
        }
    }

    fn targets(&mut self) -> Result<Vec<String>, String> {
        let value = self.take("target_modules");
        let listed = value.as_array().and_then(|names| {
            let names = names.iter().map(|name| name.as_str().map(str::to_owned));
            names.collect::<Option<Vec<String>>>()
        });
        listed
            .filter(|names| !names.is_empty())
            .ok_or_else(|| refused("target_modules", &value, "it must be a list of names"))
    }

    /// Refuses what is left where it would change what the adapter computes.
    fn finish(self) -> Result<(), String> {
        let mut left = self.0.iter();
        let left =
            left.find(|(key, value)| !WITHOUT_EFFECT.contains(&key.as_str()) && !is_empty(value));
        match left {
            None => Ok(()),
            Some((key, value)) => Err(refused(
                key,
                value,
                "this is not supported; merge the adapter into its base with PEFT and save the model",
            )),
        }
    }
}

/// Whether a value turns nothing on.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(keys) => keys.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    }
}

fn refused(key: &str, value: &Value, why: &str) -> String {
    format!("`{key}` is {value}: {why}")
}
