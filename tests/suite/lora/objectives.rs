//! Adapters under every objective and in half precision.

use milepost::hook::testing::changed;
use milepost::model::{Network, Precision, TrainingPass, next_token_loss};
use milepost::train::{Direction, Distil, Learner};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{REFERENCE, adapters, load, near, on_flex, parameters, slices};
use crate::harness::rows;

/// `[rows, columns]`, row by row.
struct Matrix {
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    fn new(columns: usize, values: &[f32]) -> Self {
        let values = values.iter().map(|&value| f64::from(value)).collect();
        Self { columns, values }
    }

    fn transposed(&self) -> Self {
        let rows = self.values.len() / self.columns;
        let values = (0..self.columns)
            .flat_map(|column| (0..rows).map(move |row| self.values[row * self.columns + column]));
        Self {
            columns: rows,
            values: values.collect(),
        }
    }

    fn times(&self, other: &Self) -> Self {
        let values = self.values.chunks(self.columns).flat_map(|row| {
            (0..other.columns).map(move |column| {
                let products = row.iter().zip(other.values.chunks(other.columns));
                products.map(|(one, other)| one * other[column]).sum()
            })
        });
        Self {
            columns: other.columns,
            values: values.collect(),
        }
    }

    fn scaled(&self, by: f64) -> Vec<f32> {
        let values = self.values.iter();
        values.map(|value| (value * by) as f32).collect()
    }
}

/// The gradients of a loss by the parameters that are trained.
fn learned(
    model: Network,
    distil: Option<Distil>,
    teacher: &Network,
    rows: &[Vec<u32>],
) -> Learner {
    let mut learner = Learner::new(model, 0.0);
    let weights: Vec<f32> = (0..rows.len() * (rows[0].len() - 1))
        .map(|at| [0.0, 1.0, 0.5][at % 3])
        .collect();
    learner.accumulate(weights.len(), |student| match distil {
        None => next_token_loss(student, &slices(rows), None).0,
        Some(distil) => distil.loss(student, teacher, &slices(rows), Some(&weights), None),
    });
    learner.gather();
    learner
}

/// By the chain rule from the gradient of the merged weight, which is compared with PyTorch for every objective: with W + s B A, that of B is
/// `s G A'` and that of A `s B' G`.
#[test]
fn gradients_follow_from_those_of_the_merged_weights_under_every_objective() {
    let distil = |direction, temperature, text| Distil {
        direction,
        temperature,
        text,
        answers: false,
    };
    for (name, expected) in adapters() {
        let rows = rows(&expected["ids"]);
        let model = load(name, &on_flex().autodiff());
        let scale = model.adapters().unwrap().scale();
        let all = parameters(&model);
        // A teacher with adapters of its own.
        let teacher = changed(&load(name, &on_flex()), |_, index, weight| {
            weight + 0.02 * (index as f32).cos()
        });
        for objective in [
            None,
            Some(distil(Direction::Forward, 1.0, 0.0)),
            Some(distil(Direction::Reverse, 2.0, 0.3)),
        ] {
            let own = learned(model.clone(), objective, &teacher, &rows);
            let whole = learned(
                model.clone().merged(),
                objective,
                &teacher.clone().merged(),
                &rows,
            );
            let mut compared = 0;
            for (tensor, _) in own.gradients().norms() {
                let (layer, factor) = tensor.split_once(".lora_").unwrap();
                let [a, b] = ["A", "B"].map(|one| &all[&format!("{layer}.lora_{one}.weight")]);
                let r = model.adapters().unwrap().r;
                let (inner, outer) = (a.len() / r, b.len() / r);
                let (a, b) = (Matrix::new(inner, a), Matrix::new(r, b));
                let gradient = whole
                    .gradients()
                    .values(&format!("{layer}.weight"))
                    .unwrap();
                // GPT-2 stores a weight with a row for each input.
                let gradient = match expected["base"].as_str().unwrap() {
                    "gpt2/main" => Matrix::new(outer, &gradient).transposed(),
                    _ => Matrix::new(inner, &gradient),
                };
                let by_chain_rule = match factor {
                    "A.weight" => b.transposed().times(&gradient),
                    _ => gradient.times(&a.transposed()),
                };
                let found = own.gradients().values(&tensor).unwrap();
                let what = format!("{name} {objective:?} {tensor}");
                near(&found, &by_chain_rule.scaled(scale), 1e-4, &what);
                compared += 1;
            }
            assert!(compared >= 2, "{name}");
        }
    }
}

/// Losses of 20 steps in bf16 are as near to those by PyTorch's autocast as those are to its own in single precision.
#[test]
fn in_bf16_losses_are_those_by_autocast() {
    for (name, expected) in adapters() {
        let model = load(name, &on_flex().autodiff()).with_dropout(0.0);
        let mut learner = Learner::new(model, REFERENCE["weight_decay"].as_f64().unwrap());
        let steps = expected["steps"].as_array().unwrap();
        let losses = super::floats(&expected["losses_bf16"]);
        assert_eq!(steps.len(), losses.len());
        let (mut apart, mut of_autocast) = (0.0f64, 0.0f64);
        for (step, autocast) in steps.iter().zip(losses) {
            let rows = rows(&step["rows"]);
            let count = rows.iter().map(|row| row.len() - 1).sum();
            learner.accumulate(count, |model| {
                let pass = TrainingPass::new(ChaCha8Rng::seed_from_u64(0));
                let mut pass = pass.in_precision(Precision::Bf16);
                next_token_loss(model, &slices(&rows), Some(&mut pass)).0
            });
            let (loss, autocast) = (learner.gather(), f64::from(autocast));
            let norm = learner.gradient_norm();
            learner.clip(norm, 1.0);
            learner.step(step["lr"].as_f64().unwrap());
            let single = step["loss"].as_f64().unwrap();
            assert_ne!(loss, single, "{name}");
            apart = apart.max((loss / autocast - 1.0).abs());
            of_autocast = of_autocast.max((single / autocast - 1.0).abs());
        }
        println!("{name}: losses in bf16 within {apart:.1e}, f32 within {of_autocast:.1e}");
        assert!(apart < 2.0 * of_autocast, "{name}");
    }
}
