//! Makes the summary of one goal: what the documents, their topics and their words come to.

use std::collections::{BTreeMap, BTreeSet};

use super::estimate::OfGoal;
use super::summary::{Documents, Listed, Number, OfOneGoal, Part, Topic, Total, Word};
use crate::statistics::family::holm;
use crate::statistics::log_odds::{Counts, Marking, markings};
use crate::statistics::rank::pearson;
use crate::statistics::sample::{difference, total};
use crate::treatment::words;

/// Documents that are listed on either side.
const LISTED: usize = 20;
/// Words that are listed on either side.
const WORDS: usize = 20;
/// The share of the documents, on either side, whose words are compared. At least [`LISTED`] are.
const MARKED: f64 = 0.1;
/// The name of the only topic of a text without topics.
const NO_TOPIC: &str = "(no topic)";

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
            others: Vec::new(),
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
