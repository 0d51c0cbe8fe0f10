//! What a hook reported on a bench.

use std::collections::HashSet;

use anyhow::{Result, anyhow, ensure};
use serde_json::Value;

use crate::hook::{Output, Request, Shows};
use crate::suggestion::did_you_mean;

/// What a hook reported, milestone by milestone. Asking for a tag at a step at which it was not reported is an error that lists what was.
#[derive(Debug)]
pub struct Reported {
    /// The step and the report of each milestone, in order.
    pub(super) calls: Vec<(u64, Output)>,
    /// The hook's state after each milestone.
    pub(super) states: Vec<Value>,
}

impl Reported {
    /// The number with this tag at this step.
    ///
    /// # Errors
    /// When it was not reported.
    pub fn scalar(&self, tag: &str, step: u64) -> Result<f64> {
        self.find("scalar", tag, step, |output| &output.scalars)
            .copied()
    }

    /// The steps and values of a number, at every milestone that reported it.
    pub fn scalars(&self, tag: &str) -> Vec<(u64, f64)> {
        let calls = self.calls.iter().flat_map(|(step, output)| {
            let of_tag = output.scalars.iter().filter(|(other, _)| other == tag);
            of_tag.map(|(_, value)| (*step, *value))
        });
        calls.collect()
    }

    /// The distribution with this tag at this step.
    ///
    /// # Errors
    /// When it was not reported.
    pub fn histogram(&self, tag: &str, step: u64) -> Result<&[f64]> {
        let found = self.find("histogram", tag, step, |output| &output.histograms);
        found.map(Vec::as_slice)
    }

    /// The text with this tag at this step, in Markdown.
    ///
    /// # Errors
    /// When it was not reported.
    pub fn text(&self, tag: &str, step: u64) -> Result<&str> {
        let found = self.find("text", tag, step, |output| &output.texts);
        found.map(String::as_str)
    }

    /// The column of this name at this step: a value for each prompt, in their order.
    ///
    /// # Errors
    /// When there is no such column.
    pub fn per_template(&self, column: &str, step: u64) -> Result<&[f64]> {
        let found = self.find("column", column, step, |output| &output.per_template);
        found.map(Vec::as_slice)
    }

    /// The hook's requests to the loop, with their steps.
    pub fn requests(&self) -> Vec<(u64, Request)> {
        let calls = self.calls.iter().flat_map(|(step, output)| {
            let requests = output.requests.iter();
            requests.map(|request| (*step, request.clone()))
        });
        calls.collect()
    }

    /// The step of the call in which the hook ended its calls.
    pub fn detached(&self) -> Option<u64> {
        let last = self.calls.last();
        last.filter(|(_, output)| output.detached)
            .map(|(step, _)| *step)
    }

    /// The hook's state after the last milestone, as a checkpoint would save it.
    pub fn state(&self) -> Value {
        self.states.last().cloned().unwrap_or_default()
    }

    /// Everything that was reported at a step.
    ///
    /// # Errors
    /// When there was no milestone at this step.
    pub fn output(&self, step: u64) -> Result<&Output> {
        let call = self.calls.iter().find(|(other, _)| *other == step);
        let steps: Vec<String> = self
            .calls
            .iter()
            .map(|(step, _)| step.to_string())
            .collect();
        let output = call.map(|(_, output)| output);
        output.ok_or_else(|| {
            anyhow!(
                "no milestone at step {step}; there were {}",
                steps.join(", ")
            )
        })
    }

    fn find<'o, T>(
        &'o self,
        what: &str,
        tag: &str,
        step: u64,
        of: impl Fn(&'o Output) -> &'o Vec<(String, T)>,
    ) -> Result<&'o T> {
        let reported = of(self.output(step)?);
        let found = reported.iter().find(|(other, _)| other == tag);
        let tags: Vec<String> = reported.iter().map(|(tag, _)| format!("`{tag}`")).collect();
        found.map(|(_, value)| value).ok_or_else(|| match tags[..] {
            [] => anyhow!("no {what} was reported at step {step}, not `{tag}` either"),
            _ => anyhow!(
                "no {what} `{tag}` at step {step}; reported there: {}",
                tags.join(", ")
            ),
        })
    }

    /// Refuses a tag that the kind declares but the hook did not report at any milestone.
    pub(super) fn check_shown(&self, shows: &Shows) -> Result<()> {
        let scalars = self.calls.iter().flat_map(|(_, output)| &output.scalars);
        let reported: HashSet<&str> = scalars.map(|(tag, _)| tag.as_str()).collect();
        for tag in shows.tags() {
            let nearest = match did_you_mean(&tag, reported.iter().copied()) {
                Some(tag) => format!("; it reported `{tag}`"),
                None => String::new(),
            };
            ensure!(
                reported.contains(tag.as_str()),
                "the kind declares the tag `{tag}` in a row, chart or metric, but the hook has not reported it at any of these milestones{nearest}"
            );
        }
        Ok(())
    }
}

/// Describes the first difference between two reports. Numbers are compared bit by bit.
pub(super) fn difference(found: &Output, expected: &Output) -> Option<String> {
    let single = |values: &[(String, f64)]| -> Vec<(String, Vec<f64>)> {
        let values = values.iter();
        values
            .map(|(tag, value)| (tag.clone(), vec![*value]))
            .collect()
    };
    let numbers = [
        ("scalar", single(&found.scalars), single(&expected.scalars)),
        (
            "histogram",
            found.histograms.clone(),
            expected.histograms.clone(),
        ),
        (
            "column",
            found.per_template.clone(),
            expected.per_template.clone(),
        ),
    ];
    for (what, found, expected) in &numbers {
        if let Some(said) = first_difference(what, found, expected, |a, b| {
            let bits = |values: &[f64]| values.iter().map(|one| one.to_bits()).collect::<Vec<_>>();
            bits(a) == bits(b)
        }) {
            return Some(said);
        }
    }
    if let Some(said) = first_difference("text", &found.texts, &expected.texts, |a, b| a == b) {
        return Some(said);
    }
    if found.detached != expected.detached {
        let said = if found.detached {
            "it ends its calls, and otherwise does not"
        } else {
            "it does not end its calls, and otherwise does"
        };
        return Some(said.to_owned());
    }
    (found.requests != expected.requests).then(|| {
        format!(
            "it asked for {:?}, and otherwise for {:?}",
            found.requests, expected.requests
        )
    })
}

fn first_difference<T: std::fmt::Debug>(
    what: &str,
    found: &[(String, T)],
    expected: &[(String, T)],
    same: impl Fn(&T, &T) -> bool,
) -> Option<String> {
    let tags = |all: &[(String, T)]| all.iter().map(|(tag, _)| tag.clone()).collect::<Vec<_>>();
    if tags(found) != tags(expected) {
        let (found, expected) = (tags(found), tags(expected));
        return Some(format!(
            "it reported the {what}s {found:?}, and otherwise {expected:?}"
        ));
    }
    let mut both = found.iter().zip(expected);
    let ((tag, found), (_, expected)) = both.find(|((_, a), (_, b))| !same(a, b))?;
    Some(format!(
        "{what} `{tag}` is {found:?}, and otherwise {expected:?}"
    ))
}
