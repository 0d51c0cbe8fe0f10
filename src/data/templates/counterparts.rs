//! The list of English counterparts that ships, for template files that name none.

use std::sync::LazyLock;

/// Pairs of words from datasets/counterparts.tsv.
static COUNTERPARTS: LazyLock<Vec<(&str, &str)>> = LazyLock::new(|| {
    let lines = include_str!("../../../datasets/counterparts.tsv").lines();
    let rows = lines.filter(|line| !line.starts_with('#'));
    rows.filter_map(|line| line.split_once('\t')).collect()
});

/// The counterparts of a word, on whichever side of the list it stands. Most words have one.
pub(super) fn counterparts(word: &str) -> Vec<&'static str> {
    let left = COUNTERPARTS.iter().filter(|(one, _)| *one == word);
    let left: Vec<&str> = left.map(|(_, other)| *other).collect();
    if !left.is_empty() {
        return left;
    }
    let right = COUNTERPARTS.iter().filter(|(_, other)| *other == word);
    right.map(|(one, _)| *one).collect()
}
