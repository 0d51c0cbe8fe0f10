//! Special tokens, with a role (`eos_token`, ...) or without, as `tokenizer_config.json` and `special_tokens_map.json` name them.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use tokenizers::AddedToken;

use super::class::Class;

/// The roles that every tokenizer can have.
const ROLES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
const EXTRA: &str = "extra_special_tokens";
const FORMER_EXTRA: &str = "additional_special_tokens";
const OTHER_ROLES: &str = "model_specific_special_tokens";

/// The special tokens of a tokenizer, and the rest of its settings.
#[derive(Debug, Clone)]
pub(super) struct Special {
    /// The settings of `tokenizer_config.json`, with the special tokens of other files merged in.
    settings: Map<String, Value>,
    /// The keys that `special_tokens_map.json` gives.
    mapped: HashSet<String>,
    /// The tokens by role, in transformers' order.
    pub roles: Vec<(String, AddedToken)>,
    /// Special tokens without a role.
    pub extra: Vec<AddedToken>,
    /// The key that the files use for `extra`, which has two spellings.
    extra_key: &'static str,
}

impl Special {
    /// The special tokens of `tokenizer_config.json`.
    pub fn of_settings(mut settings: Map<String, Value>) -> Result<Self, String> {
        let mut extra_key = EXTRA;
        if let Some(former) = settings.remove(FORMER_EXTRA) {
            let both = [settings.get(EXTRA), Some(&former)];
            let given = |value: &&Value| !is_empty(value);
            if both.into_iter().flatten().filter(given).count() == 2 {
                return Err(format!(
                    "`{FORMER_EXTRA}` and `{EXTRA}` are both there; keep one"
                ));
            }
            if settings.get(EXTRA).is_none_or(is_empty) {
                settings.insert(EXTRA.to_owned(), former);
                extra_key = FORMER_EXTRA;
            }
        }
        let mut others = Map::new();
        let own = |(key, value): (&String, &Value)| {
            let role = key.ends_with("_token") && !ROLES.contains(&key.as_str());
            (role && value.is_string()).then(|| key.clone())
        };
        let own: Vec<String> = settings.iter().filter_map(own).collect();
        for key in own {
            if let Some(value) = settings.remove(&key) {
                others.insert(key, value);
            }
        }
        if let Some(Value::Object(_)) = settings.get(EXTRA)
            && let Some(Value::Object(named)) = settings.remove(EXTRA)
        {
            others.extend(named);
        }
        if !others.is_empty() {
            if settings
                .get(OTHER_ROLES)
                .is_some_and(|roles| !is_empty(roles))
            {
                return Err(format!(
                    "`{OTHER_ROLES}` and other roles are both there; keep one"
                ));
            }
            settings.insert(OTHER_ROLES.to_owned(), Value::Object(others));
        }
        Ok(Self {
            settings,
            mapped: HashSet::new(),
            roles: Vec::new(),
            extra: Vec::new(),
            extra_key,
        })
    }

    /// Removes a setting and returns it.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.settings.remove(key)
    }

    /// Merges `special_tokens_map.json`, which takes precedence over `tokenizer_config.json`.
    pub fn merge(&mut self, map: Map<String, Value>) -> Result<(), String> {
        for (key, mut value) in map {
            if key == EXTRA && value.is_array() {
                let mut all = match self.settings.remove(EXTRA) {
                    Some(Value::Array(all)) => all,
                    _ => Vec::new(),
                };
                for mut item in value.as_array().cloned().unwrap_or_default() {
                    mark(&mut item);
                    if !all.contains(&item) {
                        all.push(item);
                    }
                }
                value = Value::Array(all);
            } else if key != EXTRA {
                mark(&mut value);
            }
            self.mapped.insert(key.clone());
            self.settings.insert(key, value);
        }
        if let Some(Value::Object(_)) = self.settings.get(EXTRA)
            && let Some(Value::Object(named)) = self.settings.remove(EXTRA)
        {
            let others = (self.settings)
                .entry(OTHER_ROLES)
                .or_insert_with(|| json!({}));
            match others.as_object_mut() {
                Some(others) => others.extend(named),
                None => return Err(format!("`{OTHER_ROLES}` is not an object")),
            }
        }
        Ok(())
    }

    /// The texts of the special tokens that files have named so far.
    pub fn contents(&self) -> HashSet<String> {
        let role = |key: &&str| match self.settings.get(*key) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Object(token)) if self.mapped.contains(*key) => {
                token.get("content")?.as_str().map(str::to_owned)
            }
            _ => None,
        };
        let roles = ROLES.iter().filter_map(role);
        let extra = self.settings.get(EXTRA).and_then(Value::as_array);
        let extra = extra.into_iter().flatten();
        let extra = extra.filter_map(|item| match item {
            Value::String(text) => Some(text.clone()),
            item => item.get("content")?.as_str().map(str::to_owned),
        });
        roles.chain(extra).collect()
    }

    /// Takes the padding token from the `padding` of `tokenizer.json` when no other file names one.
    pub fn heed_padding(&mut self, file: &Map<String, Value>) {
        let token = file
            .get("padding")
            .and_then(|padding| padding.get("pad_token"));
        if let Some(token) = token
            && !self.settings.contains_key("pad_token")
        {
            self.settings.insert("pad_token".to_owned(), token.clone());
        }
    }

    /// Fills `roles` and `extra` from the settings, with the class's defaults.
    pub fn settle(&mut self, class: Class) -> Result<(), String> {
        for (role, usual) in class.usual_tokens() {
            if !self.settings.contains_key(*role) {
                self.settings.insert((*role).to_owned(), json!(usual));
            }
        }
        let further = self.settings.get(FORMER_EXTRA).cloned();
        if let Some(further) = further {
            // `special_tokens_map.json`, which is merged after `of_settings`, may have brought this key.
            if self.settings.contains_key(EXTRA) {
                return Err(format!(
                    "`{FORMER_EXTRA}` and `{EXTRA}` are both there; keep one"
                ));
            }
            self.settings.remove(FORMER_EXTRA);
            self.settings.insert(EXTRA.to_owned(), further);
            self.extra_key = FORMER_EXTRA;
        }
        let mut roles: Vec<(String, Value)> = Vec::new();
        for role in ROLES {
            if let Some(value) = self.settings.get(role) {
                roles.push((role.to_owned(), value.clone()));
            }
        }
        for (key, value) in &self.settings {
            let other = key.ends_with("_token") && !ROLES.contains(&key.as_str());
            if other && value.is_object() {
                roles.push((key.clone(), value.clone()));
            }
        }
        match self.settings.get(OTHER_ROLES) {
            None | Some(Value::Null) => {}
            Some(Value::Object(others)) => {
                roles.extend(
                    others
                        .iter()
                        .map(|(key, value)| (key.clone(), value.clone())),
                );
            }
            Some(_) => return Err(format!("`{OTHER_ROLES}` is not an object")),
        }
        for (role, value) in roles {
            if !value.is_null() {
                let read = self::token(&role, &value, Some("AddedToken"))?;
                self.settings.insert(role.clone(), json!(read.content));
                self.roles.push((role, read));
            }
        }
        self.settings.remove(OTHER_ROLES);
        let extra = match self.settings.get(EXTRA) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items.clone(),
            Some(_) => return Err(format!("`{}` is not a list", self.extra_key)),
        };
        for (index, value) in extra.iter().enumerate() {
            let key = format!("{}[{index}]", self.extra_key);
            self.extra
                .push(self::token(&key, value, Some("AddedToken"))?);
        }
        let texts: Vec<&str> = self.extra.iter().map(|token| &*token.content).collect();
        if !texts.is_empty() {
            let texts = json!(texts);
            self.settings.insert(EXTRA.to_owned(), texts);
        }
        Ok(())
    }

    /// The text of the token that has a role.
    pub fn role(&self, role: &str) -> Option<&str> {
        let found = self.roles.iter().find(|(name, _)| name == role);
        found.map(|(_, token)| token.content.as_str())
    }

    /// The `tokenizer_config.json` that goes with a `tokenizer.json` that contains all added tokens.
    pub fn to_settings(&self, class: Class) -> Value {
        let mut settings = self.settings.clone();
        settings.insert("tokenizer_class".to_owned(), json!(class.name()));
        if class == Class::AsFile {
            // The flags are in `tokenizer.json`. Without this key, transformers would make each token that has a role special.
            settings.insert("added_tokens_decoder".to_owned(), json!({}));
        }
        Value::Object(settings)
    }
}

/// Reads an added token from JSON. A string is a special token with that text; an object also has flags. With `mark`, the object's `__type`
/// must be that.
pub(super) fn token(key: &str, value: &Value, mark: Option<&str>) -> Result<AddedToken, String> {
    let fields = match value {
        Value::String(text) => return Ok(AddedToken::from(text.as_str(), true)),
        Value::Object(fields) => fields,
        other => return Err(format!("`{key}` is {other}, not a token")),
    };
    let mut fields = fields.clone();
    if let Some(mark) = mark {
        match fields.remove("__type") {
            Some(found) if found == mark => {}
            _ => return Err(format!("`{key}`: `__type` is not \"{mark}\"")),
        }
    }
    let Some(Value::String(text)) = fields.remove("content") else {
        return Err(format!("`{key}`: no `content`"));
    };
    let mut flag = |name: &str| match fields.remove(name) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(flag)),
        Some(other) => Err(format!("`{key}`: `{name}` is {other}, not true or false")),
    };
    let special = flag("special")?.unwrap_or(false);
    let mut token = AddedToken::from(text, special);
    token.normalized = flag("normalized")?.unwrap_or(token.normalized);
    token.single_word = flag("single_word")?.unwrap_or(false);
    token.lstrip = flag("lstrip")?.unwrap_or(false);
    token.rstrip = flag("rstrip")?.unwrap_or(false);
    match fields.keys().next() {
        None => Ok(token),
        Some(unknown) => Err(format!("`{key}`: unknown key `{unknown}`")),
    }
}

/// Marks the object of an added token as special.
fn mark(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.insert("special".to_owned(), json!(true));
        fields.insert("__type".to_owned(), json!("AddedToken"));
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        _ => false,
    }
}
