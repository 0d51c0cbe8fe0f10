//! The keys of a `config.json` about rotary positions, and the angles that they ask for.

use std::f64::consts::TAU;

use serde::Serialize;
use serde_json::{Map, Value};

use super::ConfigError;
use super::keys::Keys;

/// How the angles of rotary positions are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rope {
    /// The base of the angles.
    pub theta: f64,
    /// The share of a head's channels that is turned.
    pub share: f64,
    /// What is done with the angles for longer texts.
    pub scaling: Option<Scaling>,
}

/// How angles are changed for texts that are longer than those of the pretraining. Serialised as transformers' `rope_scaling`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "rope_type", rename_all = "lowercase")]
pub(super) enum Scaling {
    /// All are divided by the factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// They depend on the length of texts that are longer than `max_position_embeddings`. No such text is read, so they are not changed.
    Dynamic {
        /// The factor.
        factor: f64,
    },
    /// Slow ones are divided by the factor, fast ones stay.
    Llama3 {
        /// The factor.
        factor: f64,
        /// Turns in the length of the pretraining up to which an angle is slow.
        low_freq_factor: f64,
        /// Turns in that length from which on an angle is fast.
        high_freq_factor: f64,
        /// That length, in tokens.
        original_max_position_embeddings: usize,
    },
}

/// Where a family has what of [`Rope`], and what it is when it is absent.
pub(super) struct Names {
    /// The key of the base, and the usual base.
    pub theta: (&'static str, f64),
    /// The key of the share, and the usual share.
    pub share: (&'static str, f64),
}

impl Rope {
    /// Reads `rope_scaling` or `rope_parameters`, as transformers does: the first where it is not empty, and what it has before the keys beside it.
    ///
    /// # Errors
    /// When angles of another kind are asked for, or a key is not one of that kind.
    pub fn read(keys: &Keys, names: &Names, positions: usize) -> Result<Self, ConfigError> {
        let mut given = Given::read(keys)?;
        let theta = given.number("rope_theta")?;
        let theta = match theta {
            Some(theta) => theta,
            None => keys.or(names.theta.0, names.theta.1)?,
        };
        let share = given.number("partial_rotary_factor")?;
        let share = match share {
            Some(share) => share,
            None => keys.or(names.share.0, names.share.1)?,
        };
        let scaling = given.scaling(positions)?;
        given.finish()?;
        if !(theta > 0.0 && theta.is_finite()) {
            return Err(unsupported(names.theta.0, theta, "a positive number"));
        }
        if !(share > 0.0 && share <= 1.0) {
            return Err(unsupported(
                names.share.0,
                share,
                "a share above 0, up to 1",
            ));
        }
        Ok(Self {
            theta,
            share,
            scaling,
        })
    }

    /// Channels of a head of this width that are turned: an even number.
    pub fn turned(&self, width: usize) -> usize {
        self.channels(width).next_multiple_of(2)
    }

    /// As many as the share asks for.
    fn channels(&self, width: usize) -> usize {
        (width as f64 * self.share) as usize
    }

    /// The angle of each pair of channels from one position to the next, in radians, in single precision as transformers computes them: of pair i
    /// of d channels `theta^(-2i/d)`, scaled.
    pub fn steps(&self, width: usize) -> Vec<f32> {
        let channels = self.channels(width);
        let pairs = 0..self.turned(width) / 2;
        let steps = pairs.map(|pair| {
            let exponent = (2 * pair) as f32 / channels as f32;
            1.0 / (self.theta as f32).powf(exponent)
        });
        steps.map(|step| self.scaled(step)).collect()
    }

    fn scaled(&self, step: f32) -> f32 {
        match self.scaling {
            None | Some(Scaling::Dynamic { .. }) => step,
            Some(Scaling::Linear { factor }) => step / factor as f32,
            Some(Scaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: length,
            }) => {
                let turns = length as f64 * f64::from(step) / TAU;
                if turns > high {
                    return step;
                }
                if turns < low {
                    return step / factor as f32;
                }
                let smooth = (turns - low) / (high - low);
                let step = f64::from(step);
                ((1.0 - smooth) * step / factor + smooth * step) as f32
            }
        }
    }
}

/// The object with the keys of rotary positions, of which what was read is removed.
struct Given {
    key: &'static str,
    keys: Map<String, Value>,
    kind: String,
}

impl Given {
    fn read(keys: &Keys) -> Result<Self, ConfigError> {
        let object = |key: &'static str| -> Result<Option<Map<String, Value>>, ConfigError> {
            let found: Option<Option<Map<String, Value>>> = keys.get(key)?;
            Ok(found.flatten().filter(|found| !found.is_empty()))
        };
        let (key, mut found) = match object("rope_scaling")? {
            Some(found) => ("rope_scaling", found),
            None => {
                let key = "rope_parameters";
                (key, object(key)?.unwrap_or_default())
            }
        };
        // Older files have `type`; where both are there, the newer holds.
        let [newer, older] = ["rope_type", "type"].map(|name| found.remove(name));
        let kind = match newer.or(older) {
            None => "default".to_owned(),
            Some(Value::String(kind)) => kind,
            Some(other) => {
                return Err(ConfigError::Value {
                    key,
                    message: format!("`rope_type` is {other}, not a name"),
                });
            }
        };
        Ok(Self {
            key,
            keys: found,
            kind,
        })
    }

    /// Takes a number; None where it is absent or null.
    fn number(&mut self, name: &str) -> Result<Option<f64>, ConfigError> {
        match self.keys.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(&format!("`{name}` is {value}, not a number"))),
            },
        }
    }

    /// Takes a positive number that must be there.
    fn needed(&mut self, name: &str) -> Result<f64, ConfigError> {
        match self.number(name)? {
            Some(number) if number > 0.0 && number.is_finite() => Ok(number),
            Some(number) => {
                Err(self.wrong(&format!("`{name}` is {number}, not a positive number")))
            }
            None => Err(self.wrong(&format!("`{name}` is missing, which `{}` needs", self.kind))),
        }
    }

    /// Takes a whole number that must be there.
    fn whole(&mut self, name: &str) -> Result<usize, ConfigError> {
        let number = self.needed(name)?;
        if number.fract() != 0.0 || number > 1e15 {
            return Err(self.wrong(&format!("`{name}` is {number}, not a whole number")));
        }
        Ok(number as usize)
    }

    fn scaling(&mut self, positions: usize) -> Result<Option<Scaling>, ConfigError> {
        match self.kind.as_str() {
            "default" => Ok(None),
            "linear" => Ok(Some(Scaling::Linear {
                factor: self.needed("factor")?,
            })),
            "dynamic" => Ok(Some(Scaling::Dynamic {
                factor: self.needed("factor")?,
            })),
            "llama3" => self.llama3(positions).map(Some),
            other => Err(self.wrong(&format!(
                "`rope_type` is `{other}`, but only `default`, `linear`, `dynamic` and `llama3` are supported"
            ))),
        }
    }

    fn llama3(&mut self, positions: usize) -> Result<Scaling, ConfigError> {
        const LENGTH: &str = "original_max_position_embeddings";
        let [low, high] = [
            self.needed("low_freq_factor")?,
            self.needed("high_freq_factor")?,
        ];
        if low >= high {
            return Err(self.wrong(&format!(
                "`low_freq_factor` is {low}, but must be below `high_freq_factor`, {high}"
            )));
        }
        Ok(Scaling::Llama3 {
            factor: self.needed("factor")?,
            low_freq_factor: low,
            high_freq_factor: high,
            original_max_position_embeddings: match self.keys.get(LENGTH) {
                None | Some(Value::Null) => positions,
                Some(_) => self.whole(LENGTH)?,
            },
        })
    }

    /// Refuses what was not read.
    fn finish(&self) -> Result<(), ConfigError> {
        let left = self.keys.iter().find(|(_, value)| !value.is_null());
        match left {
            Some((name, _)) => Err(self.wrong(&format!(
                "`{name}` is not supported with `rope_type` `{}`: remove it if it has no meaning there",
                self.kind
            ))),
            None => Ok(()),
        }
    }

    fn wrong(&self, message: &str) -> ConfigError {
        ConfigError::Value {
            key: self.key,
            message: message.to_owned(),
        }
    }
}

fn unsupported(key: &'static str, found: f64, supported: &'static str) -> ConfigError {
    ConfigError::Unsupported {
        key,
        found: found.to_string(),
        supported,
    }
}
