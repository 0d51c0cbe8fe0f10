//! What is said of an estimate, as `influence.json` has it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::estimate::OfGoal;
use super::score::Score;
use crate::statistics::family::holm;
use crate::statistics::log_odds::{Counts, Marking, markings};
use crate::statistics::rank::pearson;
use crate::statistics::sample::{Estimated, difference, total};
use crate::treatment::words;

/// Documents that are listed on either side.
const LISTED: usize = 20;
/// Words that are listed on either side.
const WORDS: usize = 20;
/// The share of the documents, on either side, whose words are compared. At least [`LISTED`] are.
const MARKED: f64 = 0.1;
/// The name of the only topic of a text without topics.
const NO_TOPIC: &str = "(no topic)";

/// `influence.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run's folder.
    pub run: String,
    /// What was estimated of which state of the run.
    pub made_of: MadeOf,
    /// Whether the tables are evidence, in a sentence.
    pub evidence: String,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// Documents of the text.
    pub documents: usize,
    /// Of these, those that the run has seen. The others are in no total.
    pub seen: usize,
    /// The steps at which the goals' values are known.
    pub states: Vec<u64>,
    /// What the documents have influence on.
    pub goals: Vec<OfOneGoal>,
    /// The retrainings.
    pub check: Option<Check>,
}

/// What an estimate was made of. Another one under the same name is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MadeOf {
    /// Names of the goals.
    pub goals: Vec<String>,
    /// The tokens of log-odds.
    pub tokens: Option<[String; 2]>,
    /// The steps of the checkpoints whose gradients are used.
    pub checkpoints: Vec<u64>,
    /// SHA-256 of the run's manifest, outcome and checkpoints.
    pub run_sha256: String,
    /// The version of the program.
    pub milepost: String,
}

/// The estimate for one goal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfOneGoal {
    /// Its name: `kl/gap`.
    pub name: String,
    /// As people read it, with its unit.
    pub title: String,
    /// Its value at each state.
    pub values: Vec<f64>,
    /// From each state to the next: what was observed, and what the documents are said to have done.
    pub segments: Vec<Part>,
    /// The same from the first state to the last.
    pub whole: Part,
    /// Pearson's correlation over the segments of observed and predicted change. None for fewer than three.
    pub correlation: Option<f64>,
    /// The topics, the largest total first.
    pub topics: Vec<Topic>,
    /// The documents that raise it most.
    pub raise: Vec<Listed>,
    /// The documents that lower it most.
    pub lower: Vec<Listed>,
    /// How many documents of either side [`OfOneGoal::words_raise`] are taken from.
    pub compared: usize,
    /// The words that mark documents that raise it, against those that lower it.
    pub words_raise: Vec<Word>,
    /// The words that mark documents that lower it.
    pub words_lower: Vec<Word>,
    /// The datamodeling score.
    pub score: Option<Scored>,
    /// The same for the gap of n_matches, where the run measures it and this is a gap.
    pub n_matches_score: Option<Scored>,
}

/// A change, and what the documents are said to have done to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The step before it.
    pub from: u64,
    /// The step after it.
    pub to: u64,
    /// The change that was measured.
    pub observed: f64,
    /// The documents' influence, both models.
    pub predicted: f64,
    /// Through the main model.
    pub main: f64,
    /// Through the assistant.
    pub assistant: f64,
}

/// A topic's documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    /// Its name.
    pub topic: String,
    /// How many of its documents the run has seen.
    pub documents: usize,
    /// How many predictions of their tokens it was trained on.
    pub predictions: u64,
    /// Their influence through both models.
    pub both: Total,
    /// Through the main model.
    pub main: Total,
    /// Through the assistant.
    pub assistant: Total,
}

/// What documents of a topic come to. The documents are the units: intervals and p-values are of Student's t, for other documents from the
/// same source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Total {
    /// The sum of their influence.
    pub sum: Number,
    /// The mean of a document, less that of a document of the other topics. None without other topics.
    pub beyond_others: Option<Number>,
    /// Holm's adjustment of the p-value of `beyond_others` over the topics.
    pub adjusted_p_value: Option<f64>,
}

/// An estimate with its 95% interval, which is missing where there are too few documents.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Number {
    /// The estimate.
    pub value: f64,
    /// The lower end.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
    /// The two-sided p-value that it is 0.
    pub p_value: f64,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// Its number in the text that was trained on, from 0, as hooks see it.
    pub document: usize,
    /// Its topic.
    pub topic: Option<String>,
    /// Its influence through both models.
    pub both: f64,
    /// Through the main model.
    pub main: f64,
    /// Through the assistant.
    pub assistant: f64,
    /// Its text, as it was trained on.
    pub text: String,
}

/// A word that marks one side: see [`markings`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The word.
    pub word: String,
    /// How often it stands in the documents that raise the goal.
    pub raise: u64,
    /// In those that lower it.
    pub lower: u64,
    /// The log-odds ratio.
    pub log_odds: f64,
    /// Divided by its error.
    pub z: f64,
}

/// The retrainings on subsets of the documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// How many documents each has.
    pub documents: usize,
    /// Each subset.
    pub subsets: Vec<Subset>,
}

/// A retraining.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subset {
    /// The seed of `data.subset`.
    pub seed: u64,
    /// The value of each goal at its end.
    pub outcomes: Vec<f64>,
    /// The gap of n_matches at its end, where the run measures it.
    pub n_matches: Option<f64>,
}

/// A datamodeling score with what it is compared to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Spearman's correlation over subsets of predicted and retrained outcome.
    pub value: f64,
    /// Its 95% interval, by bootstrap over subsets.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// With the documents' influence permuted: the mean.
    pub random: f64,
    /// The lower end of the middle 95% of it.
    pub random_low: f64,
    /// The upper end.
    pub random_high: f64,
    /// The share of permutations that score at least as high.
    pub p_value: f64,
    /// What each subset was predicted to come to, apart from a constant.
    pub predicted: Vec<f64>,
}

/// The documents of a text, as a summary needs them.
pub struct Documents {
    /// The topic of each.
    pub topics: Vec<Option<String>>,
    /// The text of each, as it was trained on.
    pub texts: Vec<String>,
    /// How many predictions of its tokens the run was trained on.
    pub predictions: Vec<u64>,
}

impl Documents {
    /// The numbers of those that the run has seen.
    pub fn seen(&self) -> Vec<usize> {
        let all = self.predictions.iter().enumerate();
        let seen = all.filter(|(_, predictions)| **predictions > 0);
        seen.map(|(document, _)| document).collect()
    }
}

impl From<Estimated> for Number {
    fn from(one: Estimated) -> Self {
        let finite = |value: f64| value.is_finite().then_some(value);
        Self {
            value: one.value,
            low: finite(one.interval.0),
            high: finite(one.interval.1),
            p_value: one.p_value,
        }
    }
}

impl From<Score> for Scored {
    fn from(score: Score) -> Self {
        Self {
            value: score.value,
            low: score.interval.0,
            high: score.interval.1,
            random: score.random.0,
            random_low: score.random.1.0,
            random_high: score.random.1.1,
            p_value: score.p_value,
            predicted: score.predicted,
        }
    }
}

impl OfOneGoal {
    /// Says what `found` is. `states` are the steps of its values.
    pub fn new(
        name: String,
        title: String,
        found: &OfGoal,
        states: &[u64],
        documents: &Documents,
    ) -> Self {
        let segments = segments(found, states);
        let columns = segments.iter().filter(|part| part.predicted.is_finite());
        let (observed, predicted): (Vec<f64>, Vec<f64>) =
            columns.map(|part| (part.observed, part.predicted)).unzip();
        let seen = documents.seen();
        let totals = found.totals();
        let mut order = seen.clone();
        order.sort_by(|&a, &b| totals[b].total_cmp(&totals[a]));
        let listed = |document: &usize| Listed {
            document: *document,
            topic: documents.topics[*document].clone(),
            both: totals[*document],
            main: found.documents[*document][0],
            assistant: found.documents[*document][1],
            text: documents.texts[*document].clone(),
        };
        let raise = order.iter().take_while(|&&document| totals[document] > 0.0);
        let lower = order.iter().rev();
        let lower = lower.take_while(|&&document| totals[document] < 0.0);
        let compared = ((MARKED * seen.len() as f64) as usize).max(LISTED);
        let compared = compared.min(seen.len() / 2);
        let marked = marked(&order, compared, documents);
        Self {
            name,
            title,
            values: found.values.clone(),
            whole: whole(&segments, states),
            correlation: pearson(&observed, &predicted).filter(|_| segments.len() > 2),
            segments,
            topics: topics(found, documents, &seen),
            raise: raise.take(LISTED).map(listed).collect(),
            lower: lower.take(LISTED).map(listed).collect(),
            compared,
            words_raise: marked
                .iter()
                .take_while(|word| word.z > 0.0)
                .take(WORDS)
                .map(Word::of)
                .collect(),
            words_lower: marked
                .iter()
                .rev()
                .take_while(|word| word.z < 0.0)
                .take(WORDS)
                .map(Word::of)
                .collect(),
            score: None,
            n_matches_score: None,
        }
    }
}

impl Word {
    fn of(marking: &Marking) -> Self {
        Self {
            word: marking.word.clone(),
            raise: marking.counts[0],
            lower: marking.counts[1],
            log_odds: marking.log_odds,
            z: marking.z,
        }
    }
}

fn segments(found: &OfGoal, states: &[u64]) -> Vec<Part> {
    let ends = states.windows(2).zip(found.values.windows(2));
    let parts = ends.zip(&found.predicted);
    let parts = parts.map(|((steps, values), &[main, assistant])| Part {
        from: steps[0],
        to: steps[1],
        observed: values[1] - values[0],
        predicted: main + assistant,
        main,
        assistant,
    });
    parts.collect()
}

fn whole(segments: &[Part], states: &[u64]) -> Part {
    let sum = |of: fn(&Part) -> f64| segments.iter().map(of).sum();
    Part {
        from: states.first().copied().unwrap_or(0),
        to: states.last().copied().unwrap_or(0),
        observed: sum(|part| part.observed),
        predicted: sum(|part| part.predicted),
        main: sum(|part| part.main),
        assistant: sum(|part| part.assistant),
    }
}

/// The topics of the documents that were seen, the largest total first.
fn topics(found: &OfGoal, documents: &Documents, seen: &[usize]) -> Vec<Topic> {
    let name = |document: usize| documents.topics[document].as_deref().unwrap_or(NO_TOPIC);
    let names: BTreeSet<&str> = seen.iter().map(|&document| name(document)).collect();
    let columns: [&dyn Fn(usize) -> f64; 3] = [
        &|document| found.documents[document].iter().sum(),
        &|document| found.documents[document][0],
        &|document| found.documents[document][1],
    ];
    let of = columns.map(|column| totals(&names, seen, &name, column));
    let [both, main, assistant] = of.map(Vec::into_iter);
    let each = names.iter().zip(both.zip(main.zip(assistant)));
    let topics = each.map(|(topic, (both, (main, assistant)))| {
        let own = seen.iter().filter(|&&document| name(document) == *topic);
        Topic {
            topic: (*topic).to_owned(),
            documents: own.clone().count(),
            predictions: own.map(|&document| documents.predictions[document]).sum(),
            both,
            main,
            assistant,
        }
    });
    let mut topics: Vec<Topic> = topics.collect();
    topics.sort_by(|one, other| other.both.sum.value.total_cmp(&one.both.sum.value));
    topics
}

/// What the documents of each topic come to in one column.
fn totals<'a>(
    names: &BTreeSet<&str>,
    seen: &[usize],
    name: &dyn Fn(usize) -> &'a str,
    column: &dyn Fn(usize) -> f64,
) -> Vec<Total> {
    let each = names.iter().map(|topic| {
        let of = |own: bool| {
            let some = seen
                .iter()
                .filter(|&&document| (name(document) == *topic) == own);
            some.map(|&document| column(document)).collect::<Vec<f64>>()
        };
        let (own, others) = (of(true), of(false));
        let beyond = (!others.is_empty()).then(|| difference(&own, &others));
        (total(&own), beyond)
    });
    let each: Vec<_> = each.collect();
    let p_values = each
        .iter()
        .filter_map(|(_, beyond)| Some(beyond.as_ref()?.p_value));
    let mut adjusted = holm(&p_values.collect::<Vec<f64>>()).into_iter();
    let totals = each.into_iter().map(|(sum, beyond)| Total {
        sum: sum.into(),
        adjusted_p_value: beyond.as_ref().and_then(|_| adjusted.next()),
        beyond_others: beyond.map(Number::from),
    });
    totals.collect()
}

/// The words that mark the first `compared` documents of an order against as many of the last ones; the background is all of them.
fn marked(order: &[usize], compared: usize, documents: &Documents) -> Vec<Marking> {
    let counts = |some: &[usize]| {
        let mut counts: Counts = BTreeMap::new();
        for &document in some {
            let text = &documents.texts[document];
            for word in words(text) {
                *counts.entry(text[word].to_lowercase()).or_default() += 1;
            }
        }
        counts
    };
    let sides = [&order[..compared], &order[order.len() - compared..]].map(counts);
    markings([&sides[0], &sides[1]], &counts(order))
}
