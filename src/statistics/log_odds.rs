//! Which words mark one of two texts: log-odds ratios with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008, "Fightin' Words",
//! Political Analysis 16:372, section 3.5.1).

use std::collections::BTreeMap;

/// Counts of words.
pub type Counts = BTreeMap<String, u64>;

/// A word with how much more it marks the first text than the second.
#[derive(Debug, Clone, PartialEq)]
pub struct Marking {
    /// The word.
    pub word: String,
    /// How often it stands in each text.
    pub counts: [u64; 2],
    /// The log-odds ratio under the prior: above 0 where the word is more frequent in the first text.
    pub log_odds: f64,
    /// The same, divided by its standard error.
    pub z: f64,
}

/// The words of two texts, those with the largest `z` first. `background` counts the words of a larger text that both are part of. The prior
/// has its frequencies, and weighs as much as the mean of the two texts: a word of the background has
/// `a = (n_1 + n_2) / 2 x its frequency` pseudocounts in either text. With its count y_i in text i,
///
/// `log_odds = ln((y_1 + a) / (n_1 + a_0 - y_1 - a)) - ln((y_2 + a) / (n_2 + a_0 - y_2 - a))`, of variance about `1 / (y_1 + a) + 1 / (y_2 + a)`.
///
/// Words that are not in the background are left out.
pub fn markings(texts: [&Counts; 2], background: &Counts) -> Vec<Marking> {
    let total = |counts: &Counts| counts.values().sum::<u64>() as f64;
    let n = texts.map(total);
    let (prior, all) = ((n[0] + n[1]) / 2.0, total(background));
    let marking = |(word, &count): (&String, &u64)| {
        let counts = texts.map(|text| text.get(word).copied().unwrap_or(0));
        if counts == [0, 0] {
            return None;
        }
        let a = prior * count as f64 / all;
        let seen = counts.map(|count| count as f64 + a);
        let odds = [0, 1].map(|text| (seen[text] / (n[text] + prior - seen[text])).ln());
        let log_odds = odds[0] - odds[1];
        let error = (1.0 / seen[0] + 1.0 / seen[1]).sqrt();
        let z = log_odds / error;
        z.is_finite().then(|| Marking {
            word: word.clone(),
            counts,
            log_odds,
            z,
        })
    };
    let mut found: Vec<Marking> = background.iter().filter_map(marking).collect();
    found.sort_by(|one, other| other.z.total_cmp(&one.z));
    found
}
