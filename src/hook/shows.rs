//! What a kind's hooks show besides their curves: rows of tables, charts, bars, and metrics of the run.

use crate::data::templates::ContrastNames;
use crate::tensorboard::Chart;

/// A row of the tables of start and end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The measure's name, with its unit if it has one.
    pub name: String,
    /// The scalar's tag. For an interval, its two tags without `_low` and `_high`.
    pub tag: String,
    /// Which cells the row has.
    pub cells: Cells,
}

/// The cells of a [`Row`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells {
    /// A value at the start and at the end, and the change.
    Change,
    /// An interval at the start and at the end.
    Interval,
    /// A value at the start and at the end whose change means nothing, such as a p-value.
    Ends,
    /// A value at the end only.
    End,
}

/// Shares that a report draws as bars, before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bars {
    /// The heading of the figure.
    pub title: String,
    /// Name and tag of each share.
    pub shares: Vec<(String, String)>,
}

/// A measure of the four pairs of main model and assistant, each at the start or now: see [`TWO_BY_TWO`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwoByTwo {
    /// The measure's name, with its unit if it has one.
    pub name: String,
    /// The tags without their last part: `<tag>/main_start_assistant_now`.
    pub tag: String,
}

/// Scalars `<tag>/<row>/<column>` that a report draws as a table with coloured cells, at the end of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeatMap {
    /// What the cells have, with its unit if it has one.
    pub title: String,
    /// The tags without their row and column.
    pub tag: String,
    /// The rows from top to bottom. A star at the end stands for the numbers from 0 on.
    pub rows: Vec<String>,
    /// The columns from left to right.
    pub columns: Vec<String>,
}

impl HeatMap {
    /// Whether a cell shows a tag.
    pub fn has(&self, tag: &str) -> bool {
        let cell = tag.strip_prefix(self.tag.as_str());
        let cell = cell.and_then(|cell| cell.strip_prefix('/')?.rsplit_once('/'));
        let Some((row, column)) = cell else {
            return false;
        };
        let is_row = |known: &String| match known.strip_suffix('*') {
            Some(stem) => row.strip_prefix(stem).is_some_and(is_number),
            None => row == known,
        };
        self.columns.iter().any(|known| known == column) && self.rows.iter().any(is_row)
    }

    /// The beginnings of its tags, each with a star.
    fn tags(&self) -> impl Iterator<Item = String> {
        self.rows.iter().map(|row| match row.strip_suffix('*') {
            Some(stem) => format!("{}/{stem}*", self.tag),
            None => format!("{}/{row}/*", self.tag),
        })
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The cells of a [`TwoByTwo`], as last parts of tags with their names: the four pairs, and what follows from them. The change by one model
/// is the mean, over the two states of the other model, of the change that its fine-tuning makes. The interaction is how much that change
/// depends on the other model's state.
pub const TWO_BY_TWO: [(&str, &str); 7] = [
    ("main_start_assistant_start", "both at the start"),
    (
        "main_start_assistant_now",
        "main at the start, assistant now",
    ),
    (
        "main_now_assistant_start",
        "main now, assistant at the start",
    ),
    ("main_now_assistant_now", "both now"),
    ("by_main", "change by the main model"),
    ("by_assistant", "change by the assistant"),
    ("interaction", "interaction"),
];

/// Everything that a kind, or one hook of it, shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shows {
    /// The heading of the hook's section of the report, and a sentence below it.
    pub heading: Option<(String, String)>,
    /// Rows of the table at the end of a run, of `compare` and of `measure`.
    pub rows: Vec<Row>,
    /// Further tags with names, which only the report's tables show.
    pub names: Vec<Row>,
    /// Measures of the four pairs, shown in a table of their own.
    pub two_by_two: Vec<TwoByTwo>,
    /// Tables with coloured cells of the report.
    pub heat_maps: Vec<HeatMap>,
    /// Charts of the report and of TensorBoard's custom scalars page, each with its category on that page. Charts of one category are
    /// grouped, also when they are of several hooks.
    pub charts: Vec<(String, Chart)>,
    /// Bars of the report.
    pub bars: Vec<Bars>,
    /// Tags that are changes of another tag since the start: their beginning, and the other tag. Without a value of the other tag at the
    /// start they mean something else.
    pub changes: Vec<(String, String)>,
    /// Tags whose last values are shown beside a run's settings in TensorBoard's table of runs (HParams).
    pub metrics: Vec<String>,
    /// Further tags that are reported and not shown. A `*` at the end stands for any text.
    pub reports: Vec<String>,
}

/// The places for the names of a contrast in a kind's declarations: see [`Kind::row`](super::Kind::row).
const PLACES: [&str; 4] = ["{contrast}", "{first}", "{second}", "{gap}"];
/// The mark of a row that is shown only in a run with several contrasts.
const SEVERAL: &str = "{several}";

/// Whether a text has a place for a contrast.
fn has_place(text: &str) -> bool {
    PLACES.iter().any(|place| text.contains(place))
}

/// Fills one contrast of a run into a kind's declarations.
struct Filling<'a> {
    contrast: &'a ContrastNames,
    /// Whether it is the run's only contrast.
    alone: bool,
}

impl Filling<'_> {
    fn text(&self, text: &str) -> String {
        let ContrastNames { name, groups } = self.contrast;
        let gap = if self.alone {
            "disparity".to_owned()
        } else {
            format!("{name}/disparity")
        };
        let text = text.replace("{contrast}", name).replace("{gap}", &gap);
        text.replace("{first}", &groups[0])
            .replace("{second}", &groups[1])
    }

    /// A chart's title. With several contrasts it begins with the contrast's name, since titles must differ.
    fn title(&self, title: &str) -> String {
        if self.alone {
            self.text(title)
        } else {
            format!("{}: {}", self.contrast.name, self.text(title))
        }
    }

    fn row(&self, row: &Row) -> Row {
        Row {
            name: self.text(&row.name),
            tag: self.text(&row.tag),
            cells: row.cells,
        }
    }

    fn chart(&self, chart: &Chart) -> Chart {
        chart.map(|title| self.title(title), |tag| self.text(tag))
    }
}

/// Returns `items` in which each sequence of neighbours about a contrast is repeated for each of `fillings`.
fn filled<T: Clone>(
    items: &[T],
    fillings: &[Filling],
    is_about: impl Fn(&T) -> bool,
    fill: impl Fn(&Filling, &T) -> T,
) -> Vec<T> {
    let chunks = items.chunk_by(|a, b| is_about(a) == is_about(b));
    let mut all = Vec::new();
    for chunk in chunks {
        if !chunk.first().is_some_and(&is_about) {
            all.extend_from_slice(chunk);
            continue;
        }
        for filling in fillings {
            all.extend(chunk.iter().map(|item| fill(filling, item)));
        }
    }
    all
}

impl Shows {
    /// What is shown in a run with these contrasts: declarations about a contrast are repeated for each of them.
    pub fn of_contrasts(&self, contrasts: &[ContrastNames]) -> Self {
        let alone = contrasts.len() == 1;
        let fillings = contrasts.iter();
        let fillings = fillings.map(|contrast| Filling { contrast, alone });
        let fillings: Vec<Filling> = fillings.collect();
        let rows = |rows: &[Row]| {
            let is_about = |row: &Row| has_place(&row.name) || has_place(&row.tag);
            let mut rows = filled(rows, &fillings, is_about, |filling, row| filling.row(row));
            rows.retain(|row| !alone || !row.name.contains(SEVERAL));
            for row in &mut rows {
                row.name = row.name.replace(SEVERAL, "");
            }
            rows
        };
        let is_about = |(name, tag): &(String, String)| has_place(name) || has_place(tag);
        let named = |filling: &Filling, (name, tag): &(String, String)| {
            (filling.text(name), filling.text(tag))
        };
        let tags = |tags: &[String]| {
            let is_about = |tag: &String| has_place(tag);
            filled(tags, &fillings, is_about, |filling, tag| filling.text(tag))
        };
        let bars = self.bars.iter().map(|bars| Bars {
            title: bars.title.clone(),
            shares: filled(&bars.shares, &fillings, is_about, named),
        });
        Self {
            heading: self.heading.clone(),
            rows: rows(&self.rows),
            names: rows(&self.names),
            two_by_two: filled(
                &self.two_by_two,
                &fillings,
                |one| has_place(&one.name) || has_place(&one.tag),
                |filling, one| TwoByTwo {
                    name: filling.text(&one.name),
                    tag: filling.text(&one.tag),
                },
            ),
            heat_maps: filled(
                &self.heat_maps,
                &fillings,
                |one| has_place(&one.title) || has_place(&one.tag),
                |filling, one| HeatMap {
                    title: filling.text(&one.title),
                    tag: filling.text(&one.tag),
                    ..one.clone()
                },
            ),
            charts: filled(
                &self.charts,
                &fillings,
                |(_, chart)| has_place(chart.title()) || chart.tags().any(has_place),
                |filling, (category, chart)| (category.clone(), filling.chart(chart)),
            ),
            bars: bars.collect(),
            changes: filled(&self.changes, &fillings, is_about, named),
            metrics: tags(&self.metrics),
            reports: tags(&self.reports),
        }
    }

    /// The declarations of a hook whose tags begin with `prefix`: `mine/`, or nothing for a hook with its kind's name.
    pub fn below(&self, prefix: &str) -> Self {
        let name = |name: &str| match prefix.strip_suffix('/') {
            Some(hook) => format!("{hook}: {name}"),
            None => name.to_owned(),
        };
        let tag = |tag: &str| format!("{prefix}{tag}");
        let row = |row: &Row| Row {
            name: name(&row.name),
            tag: tag(&row.tag),
            cells: row.cells,
        };
        let two_by_two = self.two_by_two.iter().map(|one| TwoByTwo {
            name: name(&one.name),
            tag: tag(&one.tag),
        });
        let heat_maps = self.heat_maps.iter().map(|one| HeatMap {
            title: name(&one.title),
            tag: tag(&one.tag),
            ..one.clone()
        });
        let charts = self.charts.iter().map(|(category, chart)| {
            let chart = chart.map(|title| name(title), |one| tag(one));
            (category.clone(), chart)
        });
        let bars = self.bars.iter().map(|bars| Bars {
            title: name(&bars.title),
            shares: (bars.shares.iter())
                .map(|(name, one)| (name.clone(), tag(one)))
                .collect(),
        });
        let heading = self.heading.as_ref();
        Self {
            heading: heading.map(|(heading, about)| (name(heading), about.clone())),
            rows: self.rows.iter().map(row).collect(),
            names: self.names.iter().map(row).collect(),
            two_by_two: two_by_two.collect(),
            heat_maps: heat_maps.collect(),
            charts: charts.collect(),
            bars: bars.collect(),
            changes: (self.changes.iter())
                .map(|(change, of)| (tag(change), tag(of)))
                .collect(),
            metrics: self.metrics.iter().map(|one| tag(one)).collect(),
            reports: self.reports.iter().map(|one| tag(one)).collect(),
        }
    }

    /// The tags of all scalars that a hook must report for what it shows, without those of `names`.
    pub fn tags(&self) -> Vec<String> {
        let rows = self.rows.iter().flat_map(Row::tags);
        let cells = |one: &TwoByTwo| TWO_BY_TWO.map(|(cell, _)| format!("{}/{cell}", one.tag));
        let two_by_two = self.two_by_two.iter().flat_map(cells);
        let charts = self.charts.iter().flat_map(|(_, chart)| match chart {
            Chart::Lines { tags, .. } => tags.clone(),
            Chart::Band {
                value,
                lower,
                upper,
                ..
            } => vec![value.clone(), lower.clone(), upper.clone()],
        });
        let bars = self.bars.iter().flat_map(|bars| &bars.shares);
        let bars = bars.map(|(_, tag)| tag.clone());
        let all = rows.chain(two_by_two).chain(charts).chain(bars);
        all.chain(self.metrics.clone()).collect()
    }

    /// Everything that it says a hook may report: the tags of all that is shown, and what is reported besides. A `*` at the end of a tag
    /// stands for any text.
    pub fn declared(&self) -> Vec<String> {
        let names = self.names.iter().flat_map(Row::tags);
        let all = self.tags().into_iter().chain(names);
        let all = all.chain(self.heat_maps.iter().flat_map(HeatMap::tags));
        all.chain(self.reports.clone()).collect()
    }

    /// Whether any row or name shows a tag.
    pub fn has(&self, tag: &str) -> bool {
        let mut rows = self.rows.iter().chain(&self.names);
        rows.any(|row| row.has(tag))
    }
}

impl Row {
    /// The tags of the scalars that it shows.
    fn tags(&self) -> Vec<String> {
        match self.cells {
            Cells::Interval => ["_low", "_high"]
                .map(|end| format!("{}{end}", self.tag))
                .to_vec(),
            Cells::Change | Cells::Ends | Cells::End => vec![self.tag.clone()],
        }
    }

    /// Whether the row shows a tag.
    fn has(&self, tag: &str) -> bool {
        match self.cells {
            Cells::Interval => {
                let end = tag.strip_prefix(self.tag.as_str());
                end.is_some_and(|end| end == "_low" || end == "_high")
            }
            Cells::Change | Cells::Ends | Cells::End => self.tag == tag,
        }
    }
}
