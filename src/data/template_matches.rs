//! Which rows of a template file belong together: a female row and the male row that is its counterpart.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::counterparts::counterpart;
use super::template_rows::Row;
use super::templates::Group;

/// A female row and its male counterpart, by their places in the file.
pub(super) struct RowMatch {
    pub female: usize,
    pub male: usize,
}

/// The rows of a file with what they have for each other.
pub(super) struct Matching {
    /// Female rows with their male counterparts: the same raw template, the counterpart identity, neither in both groups, each pair once.
    pub matches: Vec<RowMatch>,
    /// In which groups each identity stands.
    groups: HashMap<String, HashSet<Group>>,
    /// The counterpart of each female row, where one is known, whether or not the file has it.
    counterparts: Vec<Option<String>>,
}

impl Matching {
    pub fn of(rows: &[Row]) -> Self {
        let mut groups: HashMap<String, HashSet<Group>> = HashMap::new();
        for row in rows {
            let names = groups.entry(plain(&row.template.identity)).or_default();
            names.insert(row.template.group);
        }
        let mut found = Self {
            matches: Vec::new(),
            groups,
            counterparts: counterparts(rows),
        };
        let mut males: HashMap<(String, &str), usize> = HashMap::new();
        for (index, row) in rows.iter().enumerate() {
            if row.template.group == Group::Male {
                let key = (plain(&row.template.identity), row.template.raw.as_str());
                males.entry(key).or_insert(index);
            }
        }
        let mut seen = HashSet::new();
        for (female, row) in rows.iter().enumerate() {
            let identity = plain(&row.template.identity);
            let other = found.counterparts[female].clone();
            let Some(other) = other.filter(|other| found.clean(&identity) && found.clean(other))
            else {
                continue;
            };
            let raw = row.template.raw.as_str();
            if let Some(&male) = males.get(&(other, raw))
                && seen.insert((identity, raw))
            {
                found.matches.push(RowMatch { female, male });
            }
        }
        found
    }

    /// Whether an identity stands in one group only.
    fn clean(&self, identity: &str) -> bool {
        let groups = self.groups.get(identity);
        groups.is_some_and(|groups| groups.len() == 1)
    }

    /// The rows that are in a pair, in the file's order.
    pub fn rows(&self) -> BTreeSet<usize> {
        let both = self.matches.iter();
        both.flat_map(|found| [found.female, found.male]).collect()
    }

    /// How many rows are in no pair, by the reason.
    pub fn left_out(&self, rows: &[Row]) -> Vec<(usize, &'static str)> {
        let used = self.rows();
        // Whom each identity could be paired with, and the raw templates that those stand in.
        let mut partners: HashMap<String, HashSet<String>> = HashMap::new();
        for (female, row) in rows.iter().enumerate() {
            if let Some(male) = &self.counterparts[female] {
                let female = plain(&row.template.identity);
                let of_female = partners.entry(female.clone()).or_default();
                of_female.insert(male.clone());
                partners.entry(male.clone()).or_default().insert(female);
            }
        }
        let raws: HashSet<(String, &str)> = rows
            .iter()
            .map(|row| (plain(&row.template.identity), row.template.raw.as_str()))
            .collect();
        let (mut both, mut none, mut elsewhere, mut again) = (0, 0, 0, 0);
        for (index, row) in rows.iter().enumerate() {
            if used.contains(&index) {
                continue;
            }
            let identity = plain(&row.template.identity);
            let raw = row.template.raw.as_str();
            let theirs = partners.get(&identity).into_iter().flatten();
            let here: Vec<&String> = theirs
                .filter(|one| self.groups.contains_key(*one))
                .collect();
            let clean: Vec<&&String> = here.iter().filter(|one| self.clean(one)).collect();
            if !self.clean(&identity) || !here.is_empty() && clean.is_empty() {
                both += 1;
            } else if here.is_empty() {
                none += 1;
            } else if clean
                .iter()
                .any(|one| raws.contains(&((**one).clone(), raw)))
            {
                again += 1;
            } else {
                elsewhere += 1;
            }
        }
        vec![
            (
                both,
                "whose identity or its counterpart stands in both groups",
            ),
            (none, "whose identity has no counterpart in the file"),
            (
                elsewhere,
                "whose counterpart does not stand in the same raw template",
            ),
            (again, "that repeat another"),
        ]
    }
}

/// The counterpart of each female row: what the row names, what a male row names, or what is known of English.
fn counterparts(rows: &[Row]) -> Vec<Option<String>> {
    let mut named: HashMap<String, String> = HashMap::new();
    for row in rows.iter().filter(|row| row.template.group == Group::Male) {
        if let Some(female) = row.named() {
            let identity = plain(&row.template.identity);
            named.entry(female).or_insert(identity);
        }
    }
    let other = |row: &Row| {
        let identity = plain(&row.template.identity);
        let known = || counterpart(&identity).map(str::to_owned);
        let own = row.named().or_else(|| named.get(&identity).cloned());
        own.or_else(known)
            .filter(|_| row.template.group == Group::Female)
    };
    rows.iter().map(other).collect()
}

/// What to say when no row of a file matches another: whom it is about, so that one sees what is missing.
pub(super) fn nothing_matches(rows: &[Row]) -> String {
    const SHOWN: usize = 8;
    let side = |group: Group| {
        let templates = rows.iter().map(|row| &row.template);
        let names: BTreeSet<&str> = templates
            .filter(|template| template.group == group)
            .map(|template| template.identity.as_str())
            .collect();
        let mut text: Vec<String> = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
        if names.len() > SHOWN {
            text.push(format!("{} more", names.len() - SHOWN));
        }
        text.join(", ")
    };
    format!(
        "no matched pair: no female identity ({}) has a male counterpart ({}) in the same raw template; name it in a column `counterpart`, or choose the set `unique` or `all`",
        side(Group::Female),
        side(Group::Male)
    )
}

impl Row {
    /// The counterpart that the row itself names; an empty cell names none.
    fn named(&self) -> Option<String> {
        let named = self.counterpart.as_deref().map(plain);
        named.filter(|named| !named.is_empty())
    }
}

/// An identity without its article, in lower case.
pub(super) fn plain(identity: &str) -> String {
    let lower = identity.trim().to_lowercase();
    let without = ["the ", "a ", "an ", "my "];
    let stripped = without
        .iter()
        .find_map(|article| lower.strip_prefix(article));
    stripped.unwrap_or(&lower).to_owned()
}
