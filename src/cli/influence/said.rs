//! What is said of an estimate on the terminal.

use crate::influence::summary::{Number, OfOneGoal, Scored, Summary, Topic};
use crate::report::influence::{score_in_words, step_sum_in_words};
use crate::report::number::{number, range, signed};

/// Documents of either side on the terminal; the page has more.
const DOCUMENTS: usize = 3;
/// The longest text of one, in characters.
const WIDTH: usize = 100;
/// Words of either side.
const WORDS: usize = 8;

/// Everything that is to be said; without a check no table.
pub(super) fn said(summary: &Summary) -> String {
    let mut text = format!(
        "\n{} documents, {} of them seen\n",
        summary.documents, summary.seen
    );
    for goal in &summary.goals {
        text += &format!("\n{}\n  {}\n", goal.title, step_sum_in_words(goal));
        for (what, _, score) in goal.scores() {
            text += &format!("  {}\n", line(&what, score, summary));
        }
        if summary.check.is_some() {
            text += &tables(goal);
        }
    }
    text + &format!("\n{}\n\n", summary.evidence)
}

fn line(what: &str, score: &Scored, summary: &Summary) -> String {
    let subsets = summary
        .check
        .as_ref()
        .map_or(0, |check| check.subsets.len());
    score_in_words(what, score, subsets)
}

fn tables(goal: &OfOneGoal) -> String {
    let mut text = format!(
        "  {:<20}{:>10}{:>12}{:>26}{:>12}{:>12}{:>24}\n",
        "topic",
        "documents",
        "total",
        "95% interval",
        "main",
        "assistant",
        "p, beyond others (Holm)"
    );
    for topic in &goal.topics {
        text += &row(topic);
    }
    for (what, listed, words) in [
        ("raise", &goal.raise, &goal.words_raise),
        ("lower", &goal.lower, &goal.words_lower),
    ] {
        text += &format!("  documents that {what} it most\n");
        for one in listed.iter().take(DOCUMENTS) {
            let topic = one.topic.as_deref().unwrap_or("-");
            let excerpt: String = one.text.chars().take(WIDTH).collect();
            text += &format!("    {:>11}  {topic}: {excerpt}\n", signed(one.both));
        }
        let words: Vec<&str> = words
            .iter()
            .take(WORDS)
            .map(|word| word.word.as_str())
            .collect();
        if !words.is_empty() {
            text += &format!("    words that mark them: {}\n", words.join(", "));
        }
    }
    text
}

fn row(topic: &Topic) -> String {
    let adjusted = topic.both.adjusted_p_value.map_or("-".to_owned(), number);
    format!(
        "  {:<20}{:>10}{:>12}{:>26}{:>12}{:>12}{:>24}\n",
        topic.topic,
        topic.documents,
        signed(topic.both.sum.value),
        interval(&topic.both.sum),
        signed(topic.main.sum.value),
        signed(topic.assistant.sum.value),
        adjusted
    )
}

fn interval(number: &Number) -> String {
    match (number.low, number.high) {
        (Some(low), Some(high)) => range(low, high),
        _ => "-".to_owned(),
    }
}
