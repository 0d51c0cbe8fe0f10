//! `influence.html`: the page of an estimate, made as that of a run. Each number says where in `influence.json` it stands (`data-at`).

use maud::{Markup, html};

use super::step_sum_in_words;
use super::tables::{cited, listed, topics, words};
use crate::influence::summary::{Check, OfOneGoal, Part, Summary, Topic, Total};
use crate::report::chart::{Line, Row, intervals, lines, scatter};
use crate::report::number::{number, signed};
use crate::report::page::document;

/// The page, as HTML. It needs no network and no script.
pub fn page(summary: &Summary) -> String {
    let body = html! {
        p.sub { "milepost influence · " (summary.run) }
        h1 { "Which documents moved the pair?" }
        p { "To first order: how much each document of the training text moved a measure of main model and assistant, through either model. A document's influence is the sum over its tokens and over the steps that saw them." }
        div.verdict { p { (summary.evidence) } }
        @if !summary.notes.is_empty() {
            div.caveats { ul { @for note in &summary.notes { li { (note) } } } }
        }
        p { (cited("seen", summary.seen.to_string())) " of " (cited("documents", summary.documents.to_string())) " documents were seen; the others are in no total. Gradients are taken at "
            @for (index, step) in summary.made_of.checkpoints.iter().enumerate() { @if index > 0 { ", " } "step " (cited(&format!("made_of/checkpoints/{index}"), step.to_string())) } "." }
        @for (index, goal) in summary.goals.iter().enumerate() {
            (of_goal(summary, goal, index))
        }
    };
    document(&summary.run, &body)
}

fn of_goal(summary: &Summary, goal: &OfOneGoal, index: usize) -> Markup {
    let at = &format!("goals/{index}");
    html! {
        h2 { (goal.title) }
        (step_sum(summary, goal, at))
        @match &summary.check {
            None => p.caveats { "No tables of topics, documents and words: they are kept back until a check was made." },
            Some(check) => {
                (scores(goal, check, index, at))
                h3 { "Topics" }
                (totals(goal))
                (topics(&goal.topics, at))
                h3 { "Documents that raise it most" }
                (listed(&goal.raise, &format!("{at}/raise")))
                h3 { "Documents that lower it most" }
                (listed(&goal.lower, &format!("{at}/lower")))
                h3 { "Words" }
                p { "The " (cited(&format!("{at}/compared"), goal.compared.to_string())) " documents that raise it most against as many that lower it most: log-odds ratios with an informative Dirichlet prior from all documents (Monroe, Colaresi and Quinn 2008), the largest first." }
                div.figures {
                    div { p.sub { "words that mark documents that raise it" } (words(&goal.words_raise, &format!("{at}/words_raise"))) }
                    div { p.sub { "words that mark documents that lower it" } (words(&goal.words_lower, &format!("{at}/words_lower"))) }
                }
            },
        }
    }
}

/// The sum over all documents against what was observed.
fn step_sum(summary: &Summary, goal: &OfOneGoal, at: &str) -> Markup {
    let steps = summary.states.iter().map(|&step| step as f64);
    let observed: Vec<(f64, f64)> = steps.zip(goal.values.iter().copied()).collect();
    let mut predicted: Vec<(f64, f64)> = observed.iter().take(1).copied().collect();
    for part in &goal.segments {
        let before = predicted.last().map_or(0.0, |last| last.1);
        predicted.push((part.to as f64, before + part.predicted));
    }
    let drawn = [
        Line::new("observed", 3, observed),
        Line::new("sum of the documents' influence", 1, predicted),
    ];
    html! {
        h3 { "Does the influence of all documents add up to the change?" }
        p { (step_sum_in_words(goal)) "." }
        div.figures { (lines(&goal.title, "", &drawn)) }
        div.scroll { table {
            thead { tr { th { "steps" } th { "observed" } th { "predicted" } th { "through the main model" } th { "through the assistant" } } }
            tbody {
                @for (index, part) in goal.segments.iter().enumerate() {
                    (part_row(&format!("{} to {}", part.from, part.to), part, &format!("{at}/segments/{index}")))
                }
                (part_row("all", &goal.whole, &format!("{at}/whole")))
            }
        } }
        @if let Some(correlation) = goal.correlation {
            p.sub { "Correlation over the segments: " (cited(&format!("{at}/correlation"), number(correlation))) "." }
        }
    }
}

fn part_row(name: &str, part: &Part, at: &str) -> Markup {
    let columns = [
        ("observed", part.observed),
        ("predicted", part.predicted),
        ("main", part.main),
        ("assistant", part.assistant),
    ];
    html! {
        tr { td { (name) } @for (column, value) in columns { td { (cited(&format!("{at}/{column}"), signed(value))) } } }
    }
}

/// The datamodeling scores.
fn scores(goal: &OfOneGoal, check: &Check, index: usize, at: &str) -> Markup {
    let rows = goal.scores();
    let outcomes = check.subsets.iter();
    let outcomes = outcomes.filter_map(|subset| subset.outcomes.get(index).copied());
    let outcomes: Vec<f64> = outcomes.collect();
    html! {
        h3 { "Is it to be believed? The datamodeling score" }
        p { "The run was trained again " (check.subsets.len()) " times, each time with only a random half of its documents (" (cited("check/documents", check.documents.to_string())) ") counting in the loss. The score is the rank correlation of what came out with the sum of the influence of the documents that counted (Park et al. 2023). The interval is by bootstrap over the subsets; random influence gives each document that of another." }
        @if rows.is_empty() { p { "Nothing varies: there is no score." } }
        @if !rows.is_empty() {
            div.scroll { table {
                thead { tr { th { "outcome" } th { "score" } th { "95% interval" } th { "random influence" } th { "its middle 95%" } th { "p" } } }
                tbody { @for (name, key, score) in &rows {
                    @let at = format!("{at}/{key}");
                    tr {
                        td { (name) }
                        td { (cited(&format!("{at}/value"), signed(score.value))) }
                        td { "[" (cited(&format!("{at}/low"), number(score.low))) ", " (cited(&format!("{at}/high"), number(score.high))) "]" }
                        td { (cited(&format!("{at}/random"), signed(score.random))) }
                        td { "[" (cited(&format!("{at}/random_low"), number(score.random_low))) ", " (cited(&format!("{at}/random_high"), number(score.random_high))) "]" }
                        td { (cited(&format!("{at}/p_value"), number(score.p_value))) }
                    }
                } }
            } }
        }
        @if let Some(score) = &goal.score {
            @let points: Vec<(f64, f64)> = score.predicted.iter().copied().zip(outcomes).collect();
            div.figures { (scatter("Retrained outcome of each subset", "sum of its documents' influence", &points, fitted(&points))) }
        }
    }
}

/// The line of least squares: intercept and slope.
fn fitted(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let products = points.iter().map(|point| (point.0 - x) * (point.1 - y));
    let squares = points.iter().map(|point| (point.0 - x) * (point.0 - x));
    let slope = products.sum::<f64>() / squares.sum::<f64>();
    let slope = if slope.is_finite() { slope } else { 0.0 };
    (y - slope * x, slope)
}

/// The totals of the topics with their intervals, by model.
fn totals(goal: &OfOneGoal) -> Markup {
    let figure = |title: &str, of: fn(&Topic) -> &Total| {
        let rows = goal.topics.iter().filter_map(|topic| {
            let sum = &of(topic).sum;
            Some(Row {
                name: topic.topic.clone(),
                value: (sum.value, sum.low?, sum.high?),
                colour: 1,
            })
        });
        let rows: Vec<Row> = rows.collect();
        html! { @if !rows.is_empty() { (intervals(title, "95% intervals over documents", &rows)) } }
    };
    html! {
        div.figures {
            (figure("Through both models", |topic| &topic.both))
            (figure("Through the main model", |topic| &topic.main))
            (figure("Through the assistant", |topic| &topic.assistant))
        }
    }
}
