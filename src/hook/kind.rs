//! Kinds of hooks and their registry: what an experiment's TOML can name.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::de::ValueDeserializer;

use super::shows::{Bars, Cells, Row, Shows, TwoByTwo};
use super::{Hook, Section};
use crate::event::Event;
use crate::tensorboard::Chart;

/// Where a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runs {
    /// In a worker thread, on a snapshot of the pair, while training goes on.
    Background,
    /// In the loop, between two steps; sees live gradients at the events that have them.
    Inline,
}

/// What an option names outside of the experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A file; a relative path starts from the experiment's folder.
    File,
    /// A directory in Hugging Face layout, relative to the experiment's folder, or a model of the hub.
    Model,
}

type Build = dyn Fn(ValueDeserializer<'_>) -> Result<Box<dyn Hook>, toml::de::Error> + Send + Sync;

/// A kind of hook: what `kind = "..."` in an experiment names.
pub struct Kind {
    /// Its name, in kebab case.
    pub name: &'static str,
    /// The name that it had before, which an experiment may still use.
    pub former_name: Option<&'static str>,
    /// One line: what it measures.
    pub about: &'static str,
    /// Where it runs unless the experiment says otherwise.
    pub runs: Runs,
    /// The event that it is called at; None for settled moments (RunStart, StepEnd, EpochEnd, RunEnd), as its cadence says.
    pub on: Option<Event>,
    /// Its options with their defaults, as TOML.
    pub defaults: String,
    /// What each option means.
    pub options: Vec<(&'static str, &'static str)>,
    /// Whether its hooks look at the pair as it was before the first step.
    pub compares_with_start: bool,
    /// The options that name a file or a model.
    pub inputs: Vec<(&'static str, Input)>,
    /// The options that are a decode section of the hook's own.
    pub decodings: Vec<&'static str>,
    /// What a hook of this kind shows that goes by the kind's own name.
    pub shows: Shows,
    /// Makes what a hook's section of the report has besides what is declared.
    pub section: Option<Section>,
    /// What stands for a file where an option has a certain value: option, value, text.
    builtins: Vec<(&'static str, &'static str, &'static str)>,
    build: Box<Build>,
}

impl Kind {
    /// A kind whose hooks are made by `build` from typed options. `O` should deny unknown fields and have a default for every field.
    pub fn new<O, H>(
        name: &'static str,
        about: &'static str,
        build: impl Fn(O) -> H + Send + Sync + 'static,
    ) -> Self
    where
        O: DeserializeOwned + Serialize + Default,
        H: Hook + 'static,
    {
        Self {
            name,
            former_name: None,
            about,
            runs: Runs::Background,
            on: None,
            defaults: toml::to_string(&O::default()).unwrap_or_default(),
            options: Vec::new(),
            compares_with_start: false,
            inputs: Vec::new(),
            decodings: Vec::new(),
            shows: Shows::default(),
            section: None,
            builtins: Vec::new(),
            build: Box::new(move |value| Ok(Box::new(build(O::deserialize(value)?)))),
        }
    }

    /// Keeps a name that the kind had before. Hooks that go by it report under the same tags.
    pub fn formerly(mut self, name: &'static str) -> Self {
        self.former_name = Some(name);
        self
    }

    /// Whether a name is the kind's own, now or before.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.former_name == Some(name)
    }

    /// What stands before the tags and columns of a hook of this kind: its name, where that is not the kind's own.
    pub fn tag_prefix(&self, hook: &str) -> String {
        if self.is_called(hook) {
            String::new()
        } else {
            format!("{hook}/")
        }
    }

    /// Says what an option means, for `milepost hooks`.
    pub fn option(mut self, name: &'static str, meaning: &'static str) -> Self {
        self.options.push((name, meaning));
        self
    }

    /// The same for an option, a string, that names a file or a model: its path is made absolute where it exists, and `fetch` gets the
    /// model.
    pub fn input(mut self, name: &'static str, input: Input, meaning: &'static str) -> Self {
        self.inputs.push((name, input));
        self.option(name, meaning)
    }

    /// The same for an option that is a [`Settings`](crate::decode::Settings) of the hook's own: before the run it is checked as `[decode]` is.
    pub fn decoding(mut self, name: &'static str, meaning: &'static str) -> Self {
        self.decodings.push(name);
        self.option(name, meaning)
    }

    /// Says which text is meant where an input has the value `name`, such as `builtin`: its checksum is part of the run's manifest.
    pub fn builtin(mut self, option: &'static str, name: &'static str, text: &'static str) -> Self {
        self.builtins.push((option, name, text));
        self
    }

    /// The built-in text that an option's value names, if it names one.
    pub fn builtin_text(&self, option: &str, value: &str) -> Option<&'static str> {
        let mut texts = self.builtins.iter();
        let found = texts.find(|(name, known, _)| *name == option && *known == value)?;
        Some(found.2)
    }

    /// Shows a scalar in the tables of start and end, with its change.
    ///
    /// In names, titles and tags, here and below, `{contrast}` is the name of a contrast of the run, `{first}` and `{second}` are its groups, and
    /// `{gap}` is where [`Context::gap`](super::Context::gap) puts its gap below a tag. A row, chart or metric with one of them is shown for each contrast, and a
    /// row whose name has `{several}` only in a run with several contrasts.
    pub fn row(self, name: &str, tag: &str) -> Self {
        self.cells(name, tag, Cells::Change)
    }

    /// Shows the interval from the scalar `<tag>_low` to `<tag>_high` in the tables of start and end.
    pub fn interval(self, name: &str, tag: &str) -> Self {
        self.cells(name, tag, Cells::Interval)
    }

    /// Shows a scalar in the tables of start and end without a change, since it would mean nothing: a p-value.
    pub fn p_value(self, name: &str, tag: &str) -> Self {
        self.cells(name, tag, Cells::Ends)
    }

    /// Shows a scalar in the tables of start and end at the end alone: what is about the change itself.
    pub fn at_end(self, name: &str, tag: &str) -> Self {
        self.cells(name, tag, Cells::End)
    }

    /// Names a tag in the report's table of the hook, which has no row in the other tables.
    pub fn named(mut self, name: &str, tag: &str) -> Self {
        let cells = if ["p_value", "_low", "_high"]
            .iter()
            .any(|end| tag.ends_with(end))
        {
            Cells::Ends
        } else {
            Cells::Change
        };
        let (name, tag) = (name.to_owned(), tag.to_owned());
        self.shows.names.push(Row { name, tag, cells });
        self
    }

    /// Shows what was measured in each of the four pairs that start and end make of the two models, under `<tag>/<cell>` with the cells of
    /// [`TWO_BY_TWO`](super::TWO_BY_TWO), in a table of its own.
    pub fn two_by_two(mut self, name: &str, tag: &str) -> Self {
        let (name, tag) = (name.to_owned(), tag.to_owned());
        self.shows.two_by_two.push(TwoByTwo { name, tag });
        self
    }

    /// Heads the hook's section of the report, with a sentence on what stands there. Without it the section has the hook's name and what its kind
    /// is about.
    pub fn section(mut self, heading: &str, about: &str) -> Self {
        self.shows.heading = Some((heading.to_owned(), about.to_owned()));
        self
    }

    /// Ends the hook's section of the report with what `section` makes of its records.
    pub fn section_with(mut self, section: Section) -> Self {
        self.section = Some(section);
        self
    }

    /// Shows shares, 0 to 1, as bars before and after in the report: names and tags.
    pub fn shares(mut self, title: &str, shares: &[(&str, &str)]) -> Self {
        let shares = shares.iter();
        let shares = shares.map(|(name, tag)| ((*name).to_owned(), (*tag).to_owned()));
        self.shows.bars.push(Bars {
            title: title.to_owned(),
            shares: shares.collect(),
        });
        self
    }

    fn cells(mut self, name: &str, tag: &str, cells: Cells) -> Self {
        let (name, tag) = (name.to_owned(), tag.to_owned());
        self.shows.rows.push(Row { name, tag, cells });
        self
    }

    /// Says that tags which begin with `change` count from the start of the scalar `of`: where that was not measured at the start, tables leave them out.
    pub fn change_of(mut self, change: &str, of: &str) -> Self {
        self.shows.changes.push((change.to_owned(), of.to_owned()));
        self
    }

    /// Shows scalars over each other in a chart of TensorBoard's custom scalars page, below the heading `category`.
    pub fn lines(mut self, category: &str, title: &str, tags: &[&str]) -> Self {
        let chart = Chart::Lines {
            title: title.to_owned(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        };
        self.shows.charts.push((category.to_owned(), chart));
        self
    }

    /// Shows a scalar there with the band from `<tag>_low` to `<tag>_high` around it.
    pub fn band(mut self, category: &str, title: &str, tag: &str) -> Self {
        let chart = Chart::Band {
            title: title.to_owned(),
            value: tag.to_owned(),
            lower: format!("{tag}_low"),
            upper: format!("{tag}_high"),
        };
        self.shows.charts.push((category.to_owned(), chart));
        self
    }

    /// Shows a scalar's last value beside the settings in TensorBoard's table of runs (HParams).
    pub fn metric(mut self, tag: &str) -> Self {
        self.shows.metrics.push(tag.to_owned());
        self
    }

    /// Makes the pair as it was before the first step be kept for its hooks, which takes as much memory as the weights of the models that are trained.
    pub fn compares_with_start(mut self) -> Self {
        self.compares_with_start = true;
        self
    }

    /// Makes its hooks run inline.
    pub fn inline(mut self) -> Self {
        self.runs = Runs::Inline;
        self
    }

    /// Makes its hooks be called at `event` of the steps that the cadence names.
    pub fn on(mut self, event: Event) -> Self {
        self.on = Some(event);
        self
    }

    /// A hook of this kind with the options of a TOML value.
    ///
    /// # Errors
    /// When an option is unknown or of the wrong type; the error has its span.
    pub fn build(&self, options: ValueDeserializer<'_>) -> Result<Box<dyn Hook>, toml::de::Error> {
        (self.build)(options)
    }
}

/// The kinds that an experiment can name. The program's own are listed in `hooks/mod.rs`; a crate of your own adds its kinds by value.
#[derive(Default)]
pub struct Registry {
    kinds: Vec<Kind>,
}

impl Registry {
    /// Adds a kind; one of the same name is replaced.
    pub fn with(mut self, kind: Kind) -> Self {
        self.kinds.retain(|other| other.name != kind.name);
        self.kinds.push(kind);
        self
    }

    /// The kind that has that name, or had it before.
    pub fn get(&self, name: &str) -> Option<&Kind> {
        let own = self.kinds.iter().find(|kind| kind.name == name);
        own.or_else(|| self.kinds.iter().find(|kind| kind.is_called(name)))
    }

    /// All kinds, in the order in which they were added.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.iter()
    }
}
