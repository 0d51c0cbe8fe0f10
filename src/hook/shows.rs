//! What hooks of a kind show beside their curves: rows of the tables, charts, and the numbers that stand for a run.

use crate::tensorboard::Chart;

/// A row of the tables that have a run's start and end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The measure's name, with its unit where it has one.
    pub name: String,
    /// The scalar's tag. Of an interval, what its two tags have before `_low` and `_high`.
    pub tag: String,
    /// Which cells it has.
    pub cells: Cells,
}

/// The cells of a [`Row`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells {
    /// A value at the start and at the end, and how much it changed.
    Change,
    /// An interval at the start and at the end.
    Interval,
    /// A value at the start and at the end whose change means nothing, such as a p-value.
    Ends,
    /// A value at the end alone.
    End,
}

/// What a kind, or one hook of it, shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shows {
    /// Rows of the table at the end of a run, of `compare` and of `measure`.
    pub rows: Vec<Row>,
    /// Charts of TensorBoard's custom scalars page, each with its category. Charts of one category stand together, also those of several hooks.
    pub charts: Vec<(String, Chart)>,
    /// Tags whose last values stand beside a run's settings in TensorBoard's table of runs (HParams).
    pub metrics: Vec<String>,
}

impl Shows {
    /// What a hook shows whose tags stand below `prefix` (`mine/`, or nothing for a hook that goes by its kind's name).
    pub fn below(&self, prefix: &str) -> Self {
        let name = |name: &str| match prefix.strip_suffix('/') {
            Some(hook) => format!("{hook}: {name}"),
            None => name.to_owned(),
        };
        let tag = |tag: &String| format!("{prefix}{tag}");
        let rows = self.rows.iter().map(|row| Row {
            name: name(&row.name),
            tag: tag(&row.tag),
            cells: row.cells,
        });
        let charts = self.charts.iter().map(|(category, chart)| {
            let chart = match chart {
                Chart::Lines { title, tags } => Chart::Lines {
                    title: name(title),
                    tags: tags.iter().map(tag).collect(),
                },
                Chart::Band {
                    title,
                    value,
                    lower,
                    upper,
                } => Chart::Band {
                    title: name(title),
                    value: tag(value),
                    lower: tag(lower),
                    upper: tag(upper),
                },
            };
            (category.clone(), chart)
        });
        Self {
            rows: rows.collect(),
            charts: charts.collect(),
            metrics: self.metrics.iter().map(tag).collect(),
        }
    }

    /// The tag of every scalar that is shown.
    pub fn tags(&self) -> Vec<String> {
        let ends = |tag: &str| ["_low", "_high"].map(|end| format!("{tag}{end}"));
        let rows = self.rows.iter().flat_map(|row| match row.cells {
            Cells::Interval => ends(&row.tag).to_vec(),
            Cells::Change | Cells::Ends | Cells::End => vec![row.tag.clone()],
        });
        let charts = self.charts.iter().flat_map(|(_, chart)| match chart {
            Chart::Lines { tags, .. } => tags.clone(),
            Chart::Band {
                value,
                lower,
                upper,
                ..
            } => vec![value.clone(), lower.clone(), upper.clone()],
        });
        rows.chain(charts).chain(self.metrics.clone()).collect()
    }

    /// Whether one of the rows shows a tag.
    pub fn has(&self, tag: &str) -> bool {
        self.rows.iter().any(|row| match row.cells {
            Cells::Interval => {
                let end = tag.strip_prefix(row.tag.as_str());
                end.is_some_and(|end| end == "_low" || end == "_high")
            }
            Cells::Change | Cells::Ends | Cells::End => row.tag == tag,
        })
    }
}

/// What stands before the tags of a hook: its name, where that is not its kind's.
pub(crate) fn tag_prefix(name: &str, kind: &str) -> String {
    if name == kind {
        String::new()
    } else {
        format!("{name}/")
    }
}
