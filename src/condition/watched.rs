//! A condition with what it must remember of the run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Condition, Exact, Lasting, Test};

/// What a condition must remember of a run, by its tests as they are written. It does not grow with the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Memory(BTreeMap<String, Trail>);

/// What a test must remember of the values of its tag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Trail {
    /// The last value.
    value: Exact,
    /// The optimiser step that it belongs to.
    step: u64,
    /// How many values in a row have passed, up to the last one.
    passed: u64,
    /// The step of the last value that did not pass.
    failed: Option<u64>,
}

/// A condition that sees a run's values as they are recorded.
#[derive(Debug, Clone)]
pub struct Watched {
    condition: Condition,
    /// Each test once, as it is written.
    tests: BTreeMap<String, Test>,
    memory: Memory,
}

impl Watched {
    /// Watches a run from its start.
    pub fn new(condition: Condition) -> Self {
        let tests = condition.0.tests().into_iter();
        Self {
            tests: tests.map(|test| (test.to_string(), test.clone())).collect(),
            memory: Memory::default(),
            condition,
        }
    }

    /// Sees a value. `step` is the optimiser step that it belongs to; in the middle of a step, that step. Values come in the order in
    /// which they are recorded.
    pub fn see(&mut self, step: u64, tag: &str, value: f64) {
        for (written, test) in self.tests.iter().filter(|(_, test)| test.tag == tag) {
            let before = self.memory.0.remove(written);
            let passes = test
                .check
                .passes(before.as_ref().map(|one| one.value.0), value);
            let (passed, failed) = before.map_or((0, None), |one| (one.passed, one.failed));
            let trail = Trail {
                value: Exact(value),
                step,
                passed: if passes { passed + 1 } else { 0 },
                failed: if passes { failed } else { Some(step) },
            };
            self.memory.0.insert(written.clone(), trail);
        }
    }

    /// Whether the condition is true after `done` optimiser steps.
    pub fn holds(&self, done: u64) -> bool {
        self.condition.0.holds(&|test| {
            let trail = self.memory.0.get(&test.to_string());
            trail.is_some_and(|trail| trail.lasts(test.lasting, done))
        })
    }

    /// What it remembers, for a checkpoint.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Takes back what it remembered. What belongs to other tests than its own is dropped.
    pub fn restore(&mut self, memory: Memory) {
        self.memory = memory;
        let known = &self.tests;
        self.memory
            .0
            .retain(|written, _| known.contains_key(written));
    }
}

impl Trail {
    /// Whether values have passed for long enough.
    fn lasts(&self, lasting: Lasting, done: u64) -> bool {
        match lasting {
            Lasting::Values(count) => self.passed >= count,
            Lasting::Steps(count) => done.checked_sub(count).is_some_and(|begin| {
                self.step > begin && self.failed.is_none_or(|failed| failed <= begin)
            }),
        }
    }
}
