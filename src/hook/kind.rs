//! The kinds of hooks that an experiment's TOML can name.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::de::ValueDeserializer;

use super::shows::{Bars, Cells, HeatMap, Row, Shows, TwoByTwo};
use super::{Hook, Predicate, Section, Seen};
use crate::event::Event;
use crate::tensorboard::Chart;

/// Whether a hook runs beside the training or as part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runs {
    /// In a worker thread, on a snapshot of the pair, while training goes on.
    Background,
    /// In the loop, while training waits. Sees live gradients at the events that have them.
    Inline,
}

/// What an option names outside of the experiment's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A file. A relative path starts at the experiment's folder.
    File,
    /// A directory in Hugging Face layout, relative to the experiment's folder, or a model of the hub.
    Model,
}

type Build = dyn Fn(ValueDeserializer<'_>) -> Result<Box<dyn Hook>, toml::de::Error> + Send + Sync;

/// A kind of hook, which `kind = "..."` in an experiment names.
pub struct Kind {
    /// The kind's name, in kebab case.
    pub name: &'static str,
    /// An earlier name of the kind, which experiments may still use.
    pub former_name: Option<&'static str>,
    /// What its hooks measure, in one line.
    pub about: &'static str,
    /// Where its hooks run, unless the experiment says otherwise.
    pub runs: Runs,
    /// The event at which its hooks are called. None for the moments that their cadence names: start, ends of steps and
    /// epochs, end.
    pub on: Option<Event>,
    /// The options with their defaults, as TOML.
    pub defaults: String,
    /// The options with their meanings.
    pub options: Vec<(&'static str, &'static str)>,
    /// The events of their own that its hooks may emit.
    pub emits: Vec<&'static str>,
    /// When its hooks want to be called, of the moments at which they are due.
    pub when: Option<Arc<Predicate>>,
    /// Whether its hooks use the pair as it was before the first step.
    pub compares_with_start: bool,
    /// The options that name a file or a model.
    pub inputs: Vec<(&'static str, Input)>,
    /// The options that are decode settings of the hook's own.
    pub decodings: Vec<&'static str>,
    /// What a hook with the kind's own name shows in tables, charts and the report.
    pub shows: Shows,
    /// Writes the part of a hook's section of the report that declarations cannot make.
    pub section: Option<Section>,
    /// Built-in texts that replace a file: option, value of the option, text.
    builtins: Vec<(&'static str, &'static str, &'static str)>,
    build: Box<Build>,
}

impl Kind {
    /// A kind whose hooks `build` makes from typed options. `O` should deny unknown fields and have a default for every field.
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
            emits: Vec::new(),
            when: None,
            compares_with_start: false,
            inputs: Vec::new(),
            decodings: Vec::new(),
            shows: Shows::default(),
            section: None,
            builtins: Vec::new(),
            build: Box::new(move |value| Ok(Box::new(build(O::deserialize(value)?)))),
        }
    }

    /// Keeps an earlier name of the kind. Hooks of that name report under the same tags.
    pub fn formerly(mut self, name: &'static str) -> Self {
        self.former_name = Some(name);
        self
    }

    /// Whether `name` is the kind's name, present or earlier.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.former_name == Some(name)
    }

    /// The prefix of the tags and columns of a hook of this kind: `<hook>/`, or nothing when the hook has the kind's own name.
    pub fn tag_prefix(&self, hook: &str) -> String {
        if self.is_called(hook) {
            String::new()
        } else {
            format!("{hook}/")
        }
    }

    /// Declares an option with its meaning, for `milepost hooks`.
    pub fn option(mut self, name: &'static str, meaning: &'static str) -> Self {
        self.options.push((name, meaning));
        self
    }

    /// Declares a string option that names a file or a model. A path that exists is made absolute, and `fetch` downloads a model.
    pub fn input(mut self, name: &'static str, input: Input, meaning: &'static str) -> Self {
        self.inputs.push((name, input));
        self.option(name, meaning)
    }

    /// Declares an option that is a [`Settings`](crate::decode::Settings) of the hook's own. It is checked before the run as `[decode]` is.
    pub fn decoding(mut self, name: &'static str, meaning: &'static str) -> Self {
        self.decodings.push(name);
        self.option(name, meaning)
    }

    /// Declares a built-in text that an input means with the value `name`, such as `builtin`. The run's manifest gets its checksum.
    pub fn builtin(mut self, option: &'static str, name: &'static str, text: &'static str) -> Self {
        self.builtins.push((option, name, text));
        self
    }

    /// The built-in text that an option's value names, if there is one.
    pub fn builtin_text(&self, option: &str, value: &str) -> Option<&'static str> {
        let mut texts = self.builtins.iter();
        let found = texts.find(|(name, known, _)| *name == option && *known == value)?;
        Some(found.2)
    }

    /// Shows a scalar in the tables of start and end, with its change.
    ///
    /// Names, titles and tags, here and below, may contain places: `{contrast}` is the name of a contrast of the run, `{first}` and
    /// `{second}` are its groups, and `{gap}` is the part of a tag that [`Context::gap`](super::Context::gap) adds. A row, chart or metric
    /// with one of them is shown for each contrast. A row whose name contains `{several}` is shown only in a run with several contrasts.
    pub fn row(self, name: &str, tag: &str) -> Self {
        self.cells(name, tag, Cells::Change)
    }

    /// Shows the interval from the scalar `<tag>_low` to `<tag>_high` in the tables of start and end.
    pub fn interval(self, name: &str, tag: &str) -> Self {
        self.cells(name, tag, Cells::Interval)
    }

    /// Shows a scalar in the tables of start and end without its change, which means nothing for a p-value.
    pub fn p_value(self, name: &str, tag: &str) -> Self {
        self.cells(name, tag, Cells::Ends)
    }

    /// Shows a scalar only at the end of the run, for values that describe the change itself.
    pub fn at_end(self, name: &str, tag: &str) -> Self {
        self.cells(name, tag, Cells::End)
    }

    /// Gives a tag a name in the report's table of the hook. The other tables do not show it.
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

    /// Shows, in a table of its own, a measure of the four pairs that the states at start and end of the two models make. It is reported
    /// under `<tag>/<cell>` with the cells of [`TWO_BY_TWO`](super::TWO_BY_TWO).
    pub fn two_by_two(mut self, name: &str, tag: &str) -> Self {
        let (name, tag) = (name.to_owned(), tag.to_owned());
        self.shows.two_by_two.push(TwoByTwo { name, tag });
        self
    }

    /// Shows, at the end of the run, the scalars `<tag>/<row>/<column>` as a table of the report whose cells are coloured by sign and size.
    /// Rows and columns stand in the order given. A star at the end of a row stands for the numbers from 0 on, as far as they were
    /// reported: `block_*`. Cells that were not reported are empty. The hook's other table leaves these tags out.
    pub fn heat_map(mut self, title: &str, tag: &str, rows: &[&str], columns: &[&str]) -> Self {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        self.shows.heat_maps.push(HeatMap {
            title: title.to_owned(),
            tag: tag.to_owned(),
            rows: texts(rows),
            columns: texts(columns),
        });
        self
    }

    /// Gives the hook's section of the report a heading and a sentence on its content. Without it the section has the hook's name and the
    /// kind's `about`.
    pub fn section(mut self, heading: &str, about: &str) -> Self {
        self.shows.heading = Some((heading.to_owned(), about.to_owned()));
        self
    }

    /// Adds what `section` makes of the hook's records to the end of its section of the report.
    pub fn section_with(mut self, section: Section) -> Self {
        self.section = Some(section);
        self
    }

    /// Shows shares from 0 to 1, given as names and tags, as bars before and after in the report.
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

    /// Declares that tags which begin with `change` are changes of the scalar `of` since the start. Tables leave them out when `of` was not
    /// measured at the start.
    pub fn change_of(mut self, change: &str, of: &str) -> Self {
        self.shows.changes.push((change.to_owned(), of.to_owned()));
        self
    }

    /// Shows scalars as lines of one chart on TensorBoard's custom scalars page, below the heading `category`.
    pub fn lines(mut self, category: &str, title: &str, tags: &[&str]) -> Self {
        let chart = Chart::Lines {
            title: title.to_owned(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        };
        self.shows.charts.push((category.to_owned(), chart));
        self
    }

    /// Shows a scalar as a line in such a chart, with the band from `<tag>_low` to `<tag>_high` around it.
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

    /// Keeps the pair as it was before the first step for the kind's hooks. That takes as much memory as the weights of the trained models.
    pub fn compares_with_start(mut self) -> Self {
        self.compares_with_start = true;
        self
    }

    /// Makes the kind's hooks run inline.
    pub fn inline(mut self) -> Self {
        self.runs = Runs::Inline;
        self
    }

    /// Calls the kind's hooks at `event` in the steps that their cadence names.
    pub fn on(mut self, event: Event) -> Self {
        self.on = Some(event);
        self
    }

    /// Declares events of its own that a hook of this kind may emit, for others to be called at. The hook must run inline where another hook
    /// listens to them: when a background hook emits depends on the machine.
    pub fn emits(mut self, signals: &[&'static str]) -> Self {
        self.emits.extend(signals);
        self
    }

    /// Calls the kind's hooks only where `condition` is true, of the moments at which they are due. It must be a pure function of what it
    /// sees. Then a run that was killed and resumed is the same as one that was not. It is called in the loop, so it should be quick. A
    /// panic in it counts as a failure of the hook. Where a hook's TOML has `when`, too, both must be true.
    pub fn when(mut self, condition: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Self {
        self.when = Some(Arc::new(condition));
        self
    }

    /// Declares scalars that hooks of this kind report and show nowhere else, so that conditions of other hooks may name them. A `*` at
    /// the end of a tag stands for any text: `gradient_norm_main/*`. Places for a contrast are filled in as in [`Kind::row`].
    pub fn reports(mut self, tags: &[&str]) -> Self {
        let tags = tags.iter().map(|tag| (*tag).to_owned());
        self.shows.reports.extend(tags);
        self
    }

    /// Builds a hook of this kind from the options in a TOML value.
    ///
    /// # Errors
    /// When an option is unknown or of the wrong type. The error has the option's span.
    pub fn build(&self, options: ValueDeserializer<'_>) -> Result<Box<dyn Hook>, toml::de::Error> {
        (self.build)(options)
    }
}
