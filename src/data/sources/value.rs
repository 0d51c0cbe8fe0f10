//! The value of a field, as JSON, CSV and parquet have it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// None: `null`.
    Null,
    /// A text, or a whole number, `true` or `false` as they are written.
    Text(String),
    /// Values by their place.
    List(Vec<Value>),
    /// Values by their name.
    Table(BTreeMap<String, Value>),
    /// What is no text, in words with an article: `a number with a fraction`.
    Other(&'static str),
}

/// What a number is that is no whole number of 64 bits.
pub(super) const FRACTION: &str = "a number that is not a whole number of 64 bits";

impl Value {
    /// The value at a path: a name, or names and places of lists with dots between them. A name with dots in it comes before a path. None where
    /// there is nothing.
    pub fn at(&self, path: &str) -> Option<&Self> {
        match self {
            Self::Table(table) => {
                if let Some(value) = table.get(path) {
                    return Some(value);
                }
                let (first, rest) = path.split_once('.')?;
                table.get(first)?.at(rest)
            }
            Self::List(list) => {
                let (first, rest) = match path.split_once('.') {
                    Some((first, rest)) => (first, Some(rest)),
                    None => (path, None),
                };
                let value = list.get(first.parse::<usize>().ok()?)?;
                rest.map_or(Some(value), |rest| value.at(rest))
            }
            _ => None,
        }
    }

    /// What kind of value it is, in words with an article.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(OfJson)
    }
}

/// Makes values of JSON. A table with a key that stands twice is an error, since readers differ in which of the two they take.
struct OfJson;

impl<'de> Visitor<'de> for OfJson {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other(FRACTION))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut table = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry::<String, Value>()? {
            if table.contains_key(&key) {
                return Err(A::Error::custom(format!("the key `{key}` stands twice")));
            }
            table.insert(key, value);
        }
        Ok(Value::Table(table))
    }
}
