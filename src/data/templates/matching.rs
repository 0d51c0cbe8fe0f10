//! Finds the matched pairs of a template file: a row of the first group, and its counterpart in the second.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::counterparts::counterparts;
use super::row::{Row, plain};

/// A row with the side that its group is on: 0 for the first group, 1 for the second.
pub(super) type Sided<'a> = (&'a Row, usize);

/// A matched pair: the indices of a row of the first group and of its counterpart in the second.
pub(super) type RowMatch = [usize; 2];

/// The matched pairs of a file, and what is needed to say why other rows are in none.
pub(super) struct Matching {
    /// The matched pairs, each once, in the order of the first group's rows. The two rows have the same raw template and counterpart
    /// identities, neither of which occurs in both groups.
    pub matches: Vec<RowMatch>,
    /// The sides on which each identity occurs.
    sides: HashMap<String, HashSet<usize>>,
    /// The known counterparts of each row of the first group, whether or not the file has them. Empty for other rows.
    counterparts: Vec<Vec<String>>,
}

impl Matching {
    pub fn of(rows: &[Sided]) -> Self {
        let mut sides: HashMap<String, HashSet<usize>> = HashMap::new();
        for (row, side) in rows {
            let of_identity = sides.entry(plain(&row.identity)).or_default();
            of_identity.insert(*side);
        }
        let mut found = Self {
            matches: Vec::new(),
            sides,
            counterparts: all_counterparts(rows),
        };
        let mut second: HashMap<(String, &str), usize> = HashMap::new();
        for (index, (row, side)) in rows.iter().enumerate() {
            if *side == 1 {
                let key = (plain(&row.identity), row.raw.as_str());
                second.entry(key).or_insert(index);
            }
        }
        let mut seen = HashSet::new();
        for (first, (row, _)) in rows.iter().enumerate() {
            let identity = plain(&row.identity);
            for other in &found.counterparts[first] {
                if !(found.clean(&identity) && found.clean(other)) {
                    continue;
                }
                let raw = row.raw.as_str();
                if let Some(&place) = second.get(&(other.clone(), raw))
                    && seen.insert((identity.clone(), other.clone(), raw))
                {
                    found.matches.push([first, place]);
                }
            }
        }
        found
    }

    /// Whether an identity occurs in one group only.
    fn clean(&self, identity: &str) -> bool {
        let sides = self.sides.get(identity);
        sides.is_some_and(|sides| sides.len() == 1)
    }

    /// The indices of the rows that are in a pair, ascending.
    pub fn rows(&self) -> BTreeSet<usize> {
        self.matches.iter().flatten().copied().collect()
    }

    /// How many rows are in no pair, for each of the possible reasons.
    pub fn left_out(&self, rows: &[Sided]) -> Vec<(usize, &'static str)> {
        let used = self.rows();
        // The identities that each identity could be paired with, and the raw templates in which each occurs.
        let mut partners: HashMap<String, HashSet<String>> = HashMap::new();
        for (first, (row, _)) in rows.iter().enumerate() {
            for other in &self.counterparts[first] {
                let identity = plain(&row.identity);
                let of_first = partners.entry(identity.clone()).or_default();
                of_first.insert(other.clone());
                partners.entry(other.clone()).or_default().insert(identity);
            }
        }
        let raws: HashSet<(String, &str)> = rows
            .iter()
            .map(|(row, _)| (plain(&row.identity), row.raw.as_str()))
            .collect();
        let (mut both, mut none, mut elsewhere, mut again) = (0, 0, 0, 0);
        for (index, (row, _)) in rows.iter().enumerate() {
            if used.contains(&index) {
                continue;
            }
            let identity = plain(&row.identity);
            let theirs = partners.get(&identity).into_iter().flatten();
            let here: Vec<&String> = theirs.filter(|one| self.sides.contains_key(*one)).collect();
            let clean: Vec<&&String> = here.iter().filter(|one| self.clean(one)).collect();
            let stands = |one: &&&String| raws.contains(&((**one).clone(), row.raw.as_str()));
            if !self.clean(&identity) || !here.is_empty() && clean.is_empty() {
                both += 1;
            } else if here.is_empty() {
                none += 1;
            } else if clean.iter().any(stands) {
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

/// The counterparts of each row of the first group: the one that the row names, or the one that a row of the second group names, or else
/// those in the list of English words.
fn all_counterparts(rows: &[Sided]) -> Vec<Vec<String>> {
    let mut named: HashMap<String, String> = HashMap::new();
    for (row, _) in rows.iter().filter(|(_, side)| *side == 1) {
        if let Some(first) = row.named() {
            named.entry(first).or_insert(plain(&row.identity));
        }
    }
    let others = |(row, side): &Sided| -> Vec<String> {
        if *side != 0 {
            return Vec::new();
        }
        let identity = plain(&row.identity);
        match row.named().or_else(|| named.get(&identity).cloned()) {
            Some(own) => vec![own],
            None => {
                let known = counterparts(&identity).into_iter();
                known.map(str::to_owned).collect()
            }
        }
    };
    rows.iter().map(others).collect()
}

/// The message when no row matches another. It lists the identities of both groups, so that one sees what is missing.
pub(super) fn nothing_matches(rows: &[Sided], groups: &[String; 2]) -> String {
    const SHOWN: usize = 8;
    let identities = |side: usize| {
        let own = rows.iter().filter(|(_, its)| *its == side);
        let names: BTreeSet<&str> = own.map(|(row, _)| row.identity.as_str()).collect();
        let mut text: Vec<String> = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
        if names.len() > SHOWN {
            text.push(format!("{} more", names.len() - SHOWN));
        }
        text.join(", ")
    };
    let [first, second] = groups;
    format!(
        "no matched pair: no identity of `{first}` ({}) has a counterpart in `{second}` ({}) in the same raw template; name it in a column `counterpart`, or compare the groups without pairs: pairing = \"none\"",
        identities(0),
        identities(1)
    )
}
