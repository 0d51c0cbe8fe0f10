//! `[train.lora.main]` and `[train.lora.assistant]`: adapters that are trained in place of all weights.

use serde::{Deserialize, Serialize};

use super::Written;
use super::model_source::ModelSource;
use crate::diagnostic::Diagnostic;
use crate::model::{Lora, Network, Role};
use crate::random::{Purpose, stream};

/// The largest rank.
const RANK: usize = 4096;
/// The word for all dense layers but the head.
const ALL_LINEAR: &str = "all-linear";

/// `[train.lora]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraSections {
    /// The main model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub main: Option<LoraSection>,
    /// The assistant's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assistant: Option<LoraSection>,
}

/// The adapters of one model. What is absent is PEFT's default, or the setting of the adapter that the training goes on with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraSection {
    /// The rank; 8 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r: Option<usize>,
    /// The product is multiplied by it and divided by the rank; 8 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// The layers that have an adapter; by default those that PEFT has for the `model_type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_modules: Option<Targets>,
    /// The dropout of an adapter's input; 0 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// Whether the product is divided by the root of the rank; false by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_rslora: Option<bool>,
    /// Which biases are trained: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias: Option<String>,
    /// Further layers that are trained whole: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules_to_save: Option<Vec<String>>,
}

/// `target_modules`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a list of names such as [\"q_proj\", \"v_proj\"], or \"all-linear\""
)]
pub enum Targets {
    /// `target_modules = "all-linear"`
    Word(String),
    /// `target_modules = ["q_proj", "v_proj"]`
    Names(Vec<String>),
}

impl LoraSections {
    /// The adapters of one of the two models.
    pub fn get(&self, role: Role) -> Option<&LoraSection> {
        match role {
            Role::Main => self.main.as_ref(),
            Role::Assistant => self.assistant.as_ref(),
        }
    }
}

impl Written {
    /// Checks the settings of adapters.
    ///
    /// # Errors
    /// A diagnostic at the key.
    pub(super) fn check_lora(&self) -> Result<(), Diagnostic> {
        let train = &self.experiment.train;
        for role in Role::BOTH {
            let Some(section) = train.lora.get(role) else {
                continue;
            };
            let check = |key: &str, sound: bool, message: &str| {
                let path = ["train", "lora", role.as_str(), key];
                let path = if key.is_empty() { &path[..3] } else { &path };
                if sound {
                    Ok(())
                } else {
                    Err(self.wrong(path, message))
                }
            };
            let trained = train.models.contains(&role);
            check(
                "",
                trained,
                "this model is not trained: name it in `train.models`",
            )?;
            let rank = section.r.unwrap_or(1);
            let message = format!("must be from 1 to {RANK}");
            check("r", (1..=RANK).contains(&rank), &message)?;
            let alpha = section.alpha.unwrap_or(1.0);
            check("alpha", (alpha as f32).is_finite(), "must be a number")?;
            let dropout = section.dropout.unwrap_or(0.0);
            let message = "must be at least 0 and below 1";
            check("dropout", (0.0..1.0).contains(&dropout), message)?;
            let bias = section.bias.as_deref().unwrap_or("none");
            let message = "only \"none\" is supported: biases are not trained beside adapters";
            check("bias", bias == "none", message)?;
            let whole = section.modules_to_save.as_deref().unwrap_or_default();
            let message = "is not supported: beside adapters no layer is trained whole";
            check("modules_to_save", whole.is_empty(), message)?;
            match &section.target_modules {
                None => {}
                Some(Targets::Word(word)) => {
                    let message =
                        "patterns are not supported: write a list of names, or \"all-linear\"";
                    check("target_modules", word == ALL_LINEAR, message)?;
                }
                Some(Targets::Names(names)) => {
                    let sound = !names.is_empty() && names.iter().all(|name| !name.is_empty());
                    check("target_modules", sound, "names no layer")?;
                }
            }
        }
        Ok(())
    }

    /// A model that is trained, with the adapters that the experiment gives it. The adapter of a model that is trained without is merged into its
    /// weights.
    ///
    /// # Errors
    /// A diagnostic at a key that does not fit the model.
    pub(super) fn adapted(
        &self,
        model: Network,
        role: Role,
        source: &ModelSource,
    ) -> Result<Network, Diagnostic> {
        let section = self.experiment.train.lora.get(role);
        match (section, model.adapters()) {
            (None, None) => Ok(model),
            (None, Some(_)) => Ok(model.merged()),
            (Some(section), None) => self.with_fresh(model, role, section, source),
            (Some(section), Some(lora)) => {
                let lora = lora.clone();
                self.check_same(&model, role, section, &lora)?;
                Ok(model.with_adapter_dropout(section.dropout.unwrap_or(lora.dropout)))
            }
        }
    }

    fn with_fresh(
        &self,
        model: Network,
        role: Role,
        section: &LoraSection,
        source: &ModelSource,
    ) -> Result<Network, Diagnostic> {
        let key = |key| ["train", "lora", role.as_str(), key];
        let targets = section.targets(&model).ok_or_else(|| {
            let message = format!(
                "there is no usual choice for this model: name some of {}, or write \"{ALL_LINEAR}\"",
                model.all_linear().join(", ")
            );
            self.wrong(&key("target_modules"), message)
        })?;
        let lora = Lora {
            r: section.r.unwrap_or(8),
            alpha: section.alpha.unwrap_or(8.0),
            target_modules: targets,
            dropout: section.dropout.unwrap_or(0.0),
            use_rslora: section.use_rslora.unwrap_or(false),
        };
        let seed = self.experiment.seed;
        let mut rng = stream(seed, Purpose::Adapters, role as u64, 0);
        let adapted = model.with_fresh_adapters(&lora, source.base(), &mut rng);
        adapted.map_err(|error| self.wrong(&key(error.key), error.to_string()))
    }

    /// Refuses settings that are not those of the adapter that the training goes on with.
    fn check_same(
        &self,
        model: &Network,
        role: Role,
        section: &LoraSection,
        lora: &Lora,
    ) -> Result<(), Diagnostic> {
        let targets = section.target_modules.as_ref();
        let targets = targets.and_then(|_| section.targets(model));
        let same_layers = targets.is_none_or(|targets| {
            let wanted = Lora {
                target_modules: targets,
                ..lora.clone()
            };
            model.adapted_by(&wanted) == model.adapted_by(lora)
        });
        for (key, is_same) in [
            ("r", section.r.is_none_or(|r| r == lora.r)),
            (
                "alpha",
                section.alpha.is_none_or(|alpha| alpha == lora.alpha),
            ),
            (
                "use_rslora",
                section.use_rslora.is_none_or(|one| one == lora.use_rslora),
            ),
            ("target_modules", same_layers),
        ] {
            if !is_same {
                let message = format!(
                    "the {role} model has an adapter already, with another `{key}`; leave the key out to go on with it"
                );
                return Err(self.wrong(&["train", "lora", role.as_str(), key], message));
            }
        }
        Ok(())
    }
}

impl LoraSection {
    /// The names of the layers that have an adapter. None where nothing says which.
    fn targets(&self, model: &Network) -> Option<Vec<String>> {
        match &self.target_modules {
            None => model.usual_targets(),
            Some(Targets::Word(_)) => Some(model.all_linear()),
            Some(Targets::Names(names)) => Some(names.clone()),
        }
    }
}
