//! A contrast: two groups of prompts that are compared.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::error::TemplateError;
use super::matching::{Matching, RowMatch, Sided, nothing_matches};
use super::row::{Row, plain};
use crate::statistics::observation::{Observation, SIDES, Unit, observations};

/// Which rows of a file are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TemplateSet {
    /// Rows whose identity has a true counterpart in the same raw template, and stands in one group only: the clean set.
    #[default]
    Paired,
    /// Every prompt once; the last row of a prompt decides its group, as a Python dict keyed on the text has it.
    Unique,
    /// Every row.
    All,
}

impl TemplateSet {
    /// As in an experiment's `set`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paired => "paired",
            Self::Unique => "unique",
            Self::All => "all",
        }
    }
}

/// What is compared with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pairing {
    /// A prompt with that of its identity's counterpart in the same raw template.
    #[default]
    Counterpart,
    /// The groups as two samples of identities.
    None,
}

/// A contrast as an experiment names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContrastSpec {
    /// Its name, the beginning of its tags.
    pub name: String,
    /// The categories of both groups: a category of the template file, or the beginning of several with a star behind it.
    pub categories: [String; 2],
    /// The names of both groups in tags and tables.
    pub groups: [String; 2],
    /// Which rows are used.
    pub set: TemplateSet,
    /// What is compared with what.
    pub pairing: Pairing,
}

/// The names of a contrast and of its groups, which tags are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContrastNames {
    /// The contrast's.
    pub name: String,
    /// Its groups'; the gap is the first less the second.
    pub groups: [String; 2],
}

impl ContrastSpec {
    /// A contrast of two categories. The groups are named after them, without a star.
    pub fn new(name: &str, categories: [&str; 2], set: TemplateSet) -> Self {
        let group = |category: &str| {
            let stem = category.strip_suffix('*');
            let stem = stem.map_or(category, |stem| stem.trim_end_matches(['_', '-', ' ']));
            stem.replace(|c: char| !c.is_alphanumeric() && c != '-', "_")
        };
        Self {
            name: name.to_owned(),
            categories: categories.map(str::to_owned),
            groups: categories.map(group),
            set,
            pairing: Pairing::Counterpart,
        }
    }

    /// The contrasts of an experiment that names none, from datasets/contrasts.toml.
    pub fn usual(set: TemplateSet) -> Vec<Self> {
        #[derive(Deserialize)]
        struct Usual {
            groups: [String; 2],
        }
        // A test reads the file: it cannot be broken in a program that was built from a tested source.
        let text = include_str!("../../../datasets/contrasts.toml");
        let usual: BTreeMap<String, Usual> = toml::from_str(text).unwrap_or_default();
        let specs = usual.iter().map(|(name, Usual { groups })| {
            Self::new(name, groups.each_ref().map(String::as_str), set)
        });
        specs.collect()
    }

    /// Its names.
    pub fn names(&self) -> ContrastNames {
        ContrastNames {
            name: self.name.clone(),
            groups: self.groups.clone(),
        }
    }

    /// Makes the names of groups tell the contrasts of one run apart: a group that several of them have gets its contrast's name before it.
    pub fn tell_apart(specs: &mut [Self]) {
        let mut times: HashMap<String, usize> = HashMap::new();
        for group in specs.iter().flat_map(|spec| &spec.groups) {
            *times.entry(group.clone()).or_default() += 1;
        }
        for spec in specs {
            for group in &mut spec.groups {
                if times[group.as_str()] > 1 {
                    *group = format!("{}_{group}", spec.name);
                }
            }
        }
    }

    /// Whether the group of a side has a category.
    fn has(&self, side: usize, category: &str) -> bool {
        let pattern = &self.categories[side];
        match pattern.strip_suffix('*') {
            Some(stem) => category.starts_with(stem),
            None => category == pattern,
        }
    }

    /// The side of a category; None where it belongs to neither group.
    fn side(&self, category: &str) -> Option<usize> {
        SIDES.into_iter().find(|&side| self.has(side, category))
    }
}

/// A prompt of a contrast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The text to continue.
    pub prompt: String,
    /// The sentence with `[I]` in place of the identity.
    pub raw: String,
    /// Who it is about.
    pub identity: String,
    /// Its group's name.
    pub group: String,
    /// Its group's place in the contrast: 0 or 1.
    pub side: usize,
    /// The file's `type`, or empty.
    pub kind: String,
    /// The file's line.
    pub line: usize,
}

/// Two groups of a run's prompts, with what is compared.
#[derive(Debug, Clone)]
pub struct Contrast {
    /// Its name, the beginning of its tags.
    pub name: String,
    /// The names of the two groups. The gap is the first less the second.
    pub groups: [String; 2],
    /// The places of its prompts among all prompts of the run.
    pub prompts: Range<usize>,
    /// What is compared: matched pairs by the first group's rows, or single prompts. The places are among all prompts of the run.
    pub units: Vec<Unit>,
    /// The identities of the units by their number, one a side; empty on the side that a single prompt lacks.
    pub identities: Vec<[String; 2]>,
    /// The raw templates of the units by their number.
    pub raws: Vec<String>,
    /// What it was read from, as it stands in messages.
    pub source: String,
    /// SHA-256 of the text that it was read from.
    pub sha256: String,
    /// How many rows it leaves out, and why, in a sentence; None when it has them all.
    pub left_out: Option<String>,
}

impl Contrast {
    /// Whether matched pairs are compared, and not two samples.
    pub fn is_paired(&self) -> bool {
        let both = |unit: &Unit| unit.sides.iter().all(Option::is_some);
        self.units.iter().all(both)
    }

    /// The observations of the units, from a column with a value for each prompt of the run; none where the column is too short.
    pub fn observations(&self, column: &[f64]) -> Vec<Observation> {
        observations(&self.units, column).unwrap_or_default()
    }

    /// The same with its prompts `by` places further on.
    pub(super) fn moved(mut self, by: usize) -> Self {
        self.prompts = self.prompts.start + by..self.prompts.end + by;
        for place in self.units.iter_mut().flat_map(|unit| &mut unit.sides) {
            *place = place.map(|place| place + by);
        }
        self
    }
}

/// The prompts of a contrast, from the rows of its file.
pub(super) fn build(
    spec: &ContrastSpec,
    name: &str,
    rows: &[Row],
    sha256: String,
) -> Result<(Vec<Template>, Contrast), TemplateError> {
    let fail = |message: String| TemplateError::File {
        name: name.to_owned(),
        message,
    };
    let sided = sided(spec, rows).map_err(fail)?;
    let matching = Matching::of(&sided);
    let matched = spec.pairing == Pairing::Counterpart && !matching.matches.is_empty();
    if spec.set == TemplateSet::Paired && !matched {
        return Err(fail(nothing_matches(&sided, &spec.groups)));
    }
    let (used, mut left_out) = used(spec.set, &sided, &matching);
    left_out.push((
        rows.len() - sided.len(),
        "whose category is in neither group",
    ));
    let prompts: Vec<Template> = used
        .iter()
        .map(|&place| template(spec, sided[place]))
        .collect();
    let mut units = Units::default();
    if matched {
        units.match_up(&prompts, &sided, &matching.matches);
    } else {
        units.each(&prompts);
    }
    let contrast = Contrast {
        name: spec.name.clone(),
        groups: spec.groups.clone(),
        prompts: 0..prompts.len(),
        units: units.units,
        identities: units.identities,
        raws: units.raws,
        source: name.to_owned(),
        sha256,
        left_out: note(name, rows.len(), spec.set, &left_out),
    };
    Ok((prompts, contrast))
}

/// The rows of both groups, in the file's order; an error where a group has none, or both have the same.
fn sided<'a>(spec: &ContrastSpec, rows: &'a [Row]) -> Result<Vec<Sided<'a>>, String> {
    let categories: BTreeSet<&str> = rows.iter().map(|row| row.category.as_str()).collect();
    let both = |one: &&str| SIDES.iter().all(|&side| spec.has(side, one));
    if let Some(category) = categories.iter().find(|one| both(one)) {
        return Err(format!(
            "category `{category}` would be in both groups of the contrast `{}`",
            spec.name
        ));
    }
    let found = rows
        .iter()
        .filter_map(|row| Some((row, spec.side(&row.category)?)));
    let found: Vec<Sided> = found.collect();
    for side in SIDES {
        if !found.iter().any(|(_, its)| *its == side) {
            let known: Vec<String> = categories.iter().map(|one| format!("`{one}`")).collect();
            return Err(format!(
                "no row of category `{}`; the file's categories are {}; name the two to be compared: [contrasts.{}] groups = [.., ..]; a star at the end takes all that begin so",
                spec.categories[side],
                known.join(", "),
                spec.name
            ));
        }
    }
    Ok(found)
}

fn template(spec: &ContrastSpec, (row, side): Sided) -> Template {
    Template {
        prompt: row.prompt.clone(),
        raw: row.raw.clone(),
        identity: row.identity.clone(),
        group: spec.groups[side].clone(),
        side,
        kind: row.kind.clone(),
        line: row.line,
    }
}

/// The places of the rows that a set uses, in the order of its prompts, and how many others it leaves out, by the reason.
fn used(
    set: TemplateSet,
    rows: &[Sided],
    matching: &Matching,
) -> (Vec<usize>, Vec<(usize, &'static str)>) {
    match set {
        TemplateSet::All => ((0..rows.len()).collect(), Vec::new()),
        TemplateSet::Paired => (
            matching.rows().into_iter().collect(),
            matching.left_out(rows),
        ),
        TemplateSet::Unique => {
            let mut place: HashMap<&str, usize> = HashMap::new();
            let mut kept: Vec<usize> = Vec::new();
            for (index, (row, _)) in rows.iter().enumerate() {
                match place.get(row.prompt.as_str()) {
                    Some(&earlier) => kept[earlier] = index,
                    None => {
                        place.insert(&row.prompt, kept.len());
                        kept.push(index);
                    }
                }
            }
            let lost = rows.len() - kept.len();
            (kept, vec![(lost, "with a text that a later row has too")])
        }
    }
}

/// Units while they are put together.
#[derive(Default)]
struct Units {
    units: Vec<Unit>,
    identities: Vec<[String; 2]>,
    numbers: BTreeMap<[String; 2], usize>,
    raws: Vec<String>,
    raw_numbers: BTreeMap<String, usize>,
}

impl Units {
    /// Matched pairs, of those whose prompts are used.
    fn match_up(&mut self, prompts: &[Template], rows: &[Sided], matches: &[RowMatch]) {
        // A prompt is found by text and group: in `unique` a text may have lost its group to a later row.
        let mut places = HashMap::new();
        for (index, template) in prompts.iter().enumerate() {
            let key = (template.prompt.as_str(), template.side);
            places.entry(key).or_insert(index);
        }
        for found in matches {
            let sides = found.map(|row| {
                let (row, side) = rows[row];
                places.get(&(row.prompt.as_str(), side)).copied()
            });
            if sides.contains(&None) {
                continue;
            }
            let [first, second] = found.map(|row| rows[row].0);
            let names = [first.identity.clone(), second.identity.clone()];
            self.push(sides, names, &first.raw);
        }
    }

    /// Every prompt by itself.
    fn each(&mut self, prompts: &[Template]) {
        for (index, template) in prompts.iter().enumerate() {
            let (mut sides, mut names) = ([None; 2], [String::new(), String::new()]);
            sides[template.side] = Some(index);
            names[template.side] = template.identity.clone();
            self.push(sides, names, &template.raw);
        }
    }

    fn push(&mut self, sides: [Option<usize>; 2], names: [String; 2], raw: &str) {
        // "the girl" and "girl" are one identity: the statistics must not take them for two independent ones.
        let key = names.each_ref().map(|name| plain(name));
        let identity = *self.numbers.entry(key).or_insert_with(|| {
            self.identities.push(names);
            self.identities.len() - 1
        });
        let template = *self.raw_numbers.entry(raw.to_owned()).or_insert_with(|| {
            self.raws.push(raw.to_owned());
            self.raws.len() - 1
        });
        self.units.push(Unit {
            sides,
            identity,
            template,
        });
    }
}

/// What to say of the rows that a set leaves out; each part has its number and what the rows have in common.
fn note(name: &str, rows: usize, set: TemplateSet, parts: &[(usize, &str)]) -> Option<String> {
    let all: usize = parts.iter().map(|(count, _)| count).sum();
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    (all > 0).then(|| {
        format!(
            "{name}: {all} of {rows} rows are not in the set `{}`: {}",
            set.as_str(),
            parts.join(", ")
        )
    })
}
