//! The tables of an estimate's page.

use maud::{Markup, html};

use crate::influence::summary::{Listed, Number, Topic, Total, Word};
use crate::report::number::{number, signed};

/// The longest text of a document on the page, in characters. `influence.json` has all of it.
const LONGEST: usize = 300;

/// A number with the place in `influence.json` where it stands.
pub(super) fn cited(at: &str, text: String) -> Markup {
    html! { span data-at=(at) { (text) } }
}

/// A cell with an estimate, and one with its interval.
fn estimated(one: &Number, at: &str) -> Markup {
    html! {
        td { (cited(&format!("{at}/value"), signed(one.value))) }
        td { @if let (Some(low), Some(high)) = (one.low, one.high) {
            "[" (cited(&format!("{at}/low"), number(low))) ", " (cited(&format!("{at}/high"), number(high))) "]"
        } }
    }
}

/// The topics' totals by model. The documents are the units.
pub(super) fn topics(topics: &[Topic], at: &str) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "topic" } th { "through" } th { "documents" } th { "total" } th { "95% interval" } th { "p" } th { "a document, beyond others" } th { "95% interval" } th { "p" } th { "p, Holm" } } }
            tbody { @for (index, topic) in topics.iter().enumerate() {
                @let at = format!("{at}/topics/{index}");
                @for (model, key, total) in [("both", "both", &topic.both), ("main model", "main", &topic.main), ("assistant", "assistant", &topic.assistant)] {
                    tr {
                        td { @if key == "both" { (topic.topic) } }
                        td { (model) }
                        td { @if key == "both" { (cited(&format!("{at}/documents"), topic.documents.to_string())) } }
                        (of_total(total, &format!("{at}/{key}")))
                    }
                }
            } }
        } }
        p.sub { "Total: the sum over the topic's documents that were seen. Beyond others: the mean of a document, less that of a document of the other topics (Welch). Intervals and p-values are of Student's t with the documents as units; Holm's adjustment is over the topics." }
    }
}

fn of_total(total: &Total, at: &str) -> Markup {
    html! {
        (estimated(&total.sum, &format!("{at}/sum")))
        td { (cited(&format!("{at}/sum/p_value"), number(total.sum.p_value))) }
        @match &total.beyond_others {
            Some(beyond) => {
                (estimated(beyond, &format!("{at}/beyond_others")))
                td { (cited(&format!("{at}/beyond_others/p_value"), number(beyond.p_value))) }
                td { @if let Some(p) = total.adjusted_p_value { (cited(&format!("{at}/adjusted_p_value"), number(p))) } }
            },
            None => td.missing colspan="4" { "there is no other topic" },
        }
    }
}

/// Documents with their influence.
pub(super) fn listed(documents: &[Listed], at: &str) -> Markup {
    html! {
        @if documents.is_empty() { p { "None." } }
        @if !documents.is_empty() {
            div.scroll { table {
                thead { tr { th { "document" } th { "topic" } th { "influence" } th { "main model" } th { "assistant" } th.text { "text" } } }
                tbody { @for (index, one) in documents.iter().enumerate() {
                    @let at = format!("{at}/{index}");
                    tr {
                        td { (cited(&format!("{at}/document"), one.document.to_string())) }
                        td { @if let Some(topic) = &one.topic { (topic) } }
                        td { (cited(&format!("{at}/both"), signed(one.both))) }
                        td { (cited(&format!("{at}/main"), signed(one.main))) }
                        td { (cited(&format!("{at}/assistant"), signed(one.assistant))) }
                        td.text { (excerpt(&one.text)) }
                    }
                } }
            } }
        }
    }
}

fn excerpt(text: &str) -> String {
    let shown: String = text.chars().take(LONGEST).collect();
    if shown.len() < text.len() {
        format!("{shown}...")
    } else {
        shown
    }
}

/// Words with their z-scores.
pub(super) fn words(words: &[Word], at: &str) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "word" } th { "raise" } th { "lower" } th { "log-odds" } th { "z" } } }
            tbody { @for (index, word) in words.iter().enumerate() {
                @let at = format!("{at}/{index}");
                tr {
                    td { (word.word) }
                    td { (cited(&format!("{at}/raise"), word.raise.to_string())) }
                    td { (cited(&format!("{at}/lower"), word.lower.to_string())) }
                    td { (cited(&format!("{at}/log_odds"), signed(word.log_odds))) }
                    td { (cited(&format!("{at}/z"), signed(word.z))) }
                }
            } }
        } }
    }
}
