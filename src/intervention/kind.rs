//! The kinds of interventions that an experiment's TOML can name.

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::de::ValueDeserializer;

use super::Intervention;

type Build =
    dyn Fn(ValueDeserializer<'_>) -> Result<Box<dyn Intervention>, toml::de::Error> + Send + Sync;

/// A kind of intervention, which `kind = "..."` in an experiment names.
pub struct InterventionKind {
    /// The kind's name, in kebab case.
    pub name: &'static str,
    /// What its interventions do, in one line.
    pub about: &'static str,
    /// When they decide, unless the experiment says so. None: the experiment must, by `at` or `when`.
    pub at: Option<&'static str>,
    /// The options with their defaults, as TOML.
    pub defaults: String,
    /// The options with their meanings.
    pub options: Vec<(&'static str, &'static str)>,
    /// Whether they may go back to a checkpoint.
    pub rolls_back: bool,
    build: Box<Build>,
}

impl InterventionKind {
    /// A kind whose interventions `build` makes from typed options. `O` should deny unknown fields and have a default for every field. They
    /// decide after every step, unless [`InterventionKind::at`] or the experiment says otherwise.
    pub fn new<O, I>(
        name: &'static str,
        about: &'static str,
        build: impl Fn(O) -> I + Send + Sync + 'static,
    ) -> Self
    where
        O: DeserializeOwned + Serialize + Default,
        I: Intervention + 'static,
    {
        Self {
            name,
            about,
            at: Some("every step"),
            defaults: toml::to_string(&O::default()).unwrap_or_default(),
            options: Vec::new(),
            rolls_back: false,
            build: Box::new(move |value| Ok(Box::new(build(O::deserialize(value)?)))),
        }
    }

    /// Declares an option with its meaning, for `milepost hooks`.
    pub fn option(mut self, name: &'static str, meaning: &'static str) -> Self {
        self.options.push((name, meaning));
        self
    }

    /// Sets when interventions of this kind decide: a cadence such as `start`. None: an experiment must say when, by `at` or by `when`.
    pub fn at(mut self, at: Option<&'static str>) -> Self {
        self.at = at;
        self
    }

    /// Declares that interventions of this kind may go back to a checkpoint. Their runs save one before the first step, so that there always
    /// is one.
    pub fn rolls_back(mut self) -> Self {
        self.rolls_back = true;
        self
    }

    /// Builds an intervention of this kind from the options in a TOML value.
    ///
    /// # Errors
    /// When an option is unknown or of the wrong type. The error has the option's span.
    pub fn build(
        &self,
        options: ValueDeserializer<'_>,
    ) -> Result<Box<dyn Intervention>, toml::de::Error> {
        (self.build)(options)
    }
}
