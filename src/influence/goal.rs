//! What documents have influence on, and the direction in which it grows.

use anyhow::ensure;

use crate::measure::evaluation::each_prompt;
use crate::measure::smooth::SmoothMeasure;
use crate::model::{Direction, LastLogits, Pair, Role, batches};
use crate::train::AdamW;

/// A measure at the last token of each prompt, summed over the prompts, each times its weight: its mean, or its gap between two groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    /// Its name: `kl/mean`.
    pub name: String,
    /// The measure.
    pub measure: SmoothMeasure,
    /// The weight of each prompt.
    pub weights: Vec<f64>,
}

impl Goal {
    /// The prompts that have a weight, by their index.
    fn counted(&self) -> Vec<usize> {
        let all = 0..self.weights.len();
        all.filter(|&one| self.weights[one] != 0.0).collect()
    }

    /// How many passes its gradient at one state of a pair takes.
    ///
    /// # Errors
    /// When a prompt does not fit the models.
    pub(super) fn passes(&self, prompts: &[Vec<u32>], pair: &Pair) -> anyhow::Result<usize> {
        self.check(prompts)?;
        let counted = self.counted();
        let texts: Vec<&[u32]> = counted.iter().map(|&one| &prompts[one][..]).collect();
        Ok(batches(&texts, pair.main.config())?.len())
    }

    /// There must be a weight for each prompt.
    fn check(&self, prompts: &[Vec<u32>]) -> anyhow::Result<()> {
        ensure!(
            self.weights.len() == prompts.len(),
            "{} weights for {} prompts",
            self.weights.len(),
            prompts.len()
        );
        Ok(())
    }
}

/// Asked before each piece of work whether to go on.
pub type GoOn<'a> = dyn Fn() -> anyhow::Result<()> + 'a;

/// The value of each goal for a pair.
///
/// # Errors
/// Those of `go_on`; when a prompt does not fit the models, or logits are not finite.
pub fn measured(
    pair: &Pair,
    prompts: &[Vec<u32>],
    goals: &[Goal],
    go_on: &GoOn,
) -> anyhow::Result<Vec<f64>> {
    let mut values = vec![0.0; goals.len()];
    each_prompt(&pair.snapshot(), prompts, go_on, &mut |index, p, q| {
        for (value, goal) in values.iter_mut().zip(goals) {
            let weight = goal.weights[index];
            if weight != 0.0 {
                *value += weight * goal.measure.slope(p, q)?.value;
            }
        }
        Ok(())
    })?;
    Ok(values)
}

/// The gradient of a goal by the weights of main model and assistant, as the mean over two states of the pair, multiplied weight by weight by
/// what their optimisers make of it. None for a model without an optimiser, which is not trained.
pub(super) fn direction(
    pairs: &[Pair; 2],
    optimisers: &[Option<AdamW>; 2],
    prompts: &[Vec<u32>],
    goal: &Goal,
    go_on: &GoOn,
) -> anyhow::Result<[Option<Direction>; 2]> {
    let trained = optimisers.each_ref().map(Option::is_some);
    let mut sums = [None, None];
    for pair in pairs {
        add_gradients(&mut sums, pair, trained, prompts, goal, go_on)?;
    }
    let mut both = optimisers.iter().zip(sums);
    let mut next = || {
        let (optimiser, sum) = both.next()?;
        let mean = sum?.map(|_, part| part / pairs.len() as f64);
        Some(optimiser.as_ref()?.preconditioned(mean))
    };
    Ok([next(), next()])
}

/// Adds the gradient of a goal at one state of the pair, for the models that are trained.
fn add_gradients(
    sums: &mut [Option<Direction>; 2],
    pair: &Pair,
    trained: [bool; 2],
    prompts: &[Vec<u32>],
    goal: &Goal,
    go_on: &GoOn,
) -> anyhow::Result<()> {
    let counted = goal.counted();
    let texts: Vec<&[u32]> = counted.iter().map(|&one| &prompts[one][..]).collect();
    batches(&texts, pair.assistant.config())?;
    for batch in batches(&texts, pair.main.config())? {
        go_on()?;
        let rows: Vec<&[u32]> = batch.iter().map(|&index| texts[index]).collect();
        let passes = Role::BOTH.map(|role| LastLogits::of(pair.get(role), &rows));
        let weights = batch.iter().map(|&index| goal.weights[counted[index]]);
        let by_logits = slopes(goal.measure, &passes, &weights.collect::<Vec<f64>>())?;
        for (role, (pass, by_logits)) in passes.into_iter().zip(by_logits).enumerate() {
            if trained[role] && by_logits.iter().any(|&slope| slope != 0.0) {
                let gradient = pass.gradient(by_logits);
                sums[role] = Some(match sums[role].take() {
                    Some(sum) => Direction::plus(sum, gradient),
                    None => gradient,
                });
            }
        }
    }
    Ok(())
}

/// The derivatives of the weighted sum of a measure by the logits of both models, row by row.
fn slopes(
    measure: SmoothMeasure,
    passes: &[LastLogits; 2],
    weights: &[f64],
) -> anyhow::Result<[Vec<f32>; 2]> {
    let [p, q] = passes.each_ref().map(LastLogits::values);
    let vocab = p.len() / weights.len();
    let rows = p.chunks_exact(vocab).zip(q.chunks_exact(vocab));
    let mut found = [Vec::with_capacity(p.len()), Vec::with_capacity(q.len())];
    for ((p, q), &weight) in rows.zip(weights) {
        let slope = measure.slope(p, q)?;
        for (found, by_logits) in found.iter_mut().zip([slope.by_main, slope.by_assistant]) {
            found.extend(by_logits.iter().map(|one| one * weight as f32));
        }
    }
    Ok(found)
}
