//! What models are trained for: distillation against a second implementation in double precision, and runs that ask for it.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use milepost::hook::Gradients;
use milepost::model::{Network, Role, named_parameters};
use milepost::train::{Direction, Distil, Learner};
use serde_json::Value;

use crate::harness::{Project, close, fixture};

/// Blocks of the fixtures' vocabulary.
const ROWS: [&[u32]; 2] = [&[1, 5, 9, 2, 17, 30, 3], &[8, 8, 40, 11, 0, 22, 7]];

fn model(name: &str, device: &Device) -> Network {
    Network::load(&fixture(name), device).unwrap()
}

/// Probabilities of the next token at each position of all rows but their last, in double precision.
fn probabilities(model: &Network, temperature: f64) -> Vec<Vec<f64>> {
    let ids: Vec<i32> = ROWS
        .iter()
        .flat_map(|row| row[..6].iter().map(|&id| id as i32))
        .collect();
    let ids: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, [2, 6]), &Device::flex());
    let logits = model.logits(ids);
    let vocab = logits.dims()[2];
    let logits = logits.into_data().try_into_vec::<f32>().unwrap();
    let rows = logits.chunks_exact(vocab).map(|row| {
        let weights: Vec<f64> = row
            .iter()
            .map(|&z| (f64::from(z) / temperature).exp())
            .collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    });
    rows.collect()
}

/// The sum over positions of KL(p || q).
fn divergence(p: &[Vec<f64>], q: &[Vec<f64>]) -> f64 {
    let rows = p.iter().zip(q);
    rows.map(|(p, q)| p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum::<f64>())
        .sum()
}

fn distils() -> [Distil; 4] {
    [
        (Direction::Forward, 1.0),
        (Direction::Forward, 3.0),
        (Direction::Reverse, 1.0),
        (Direction::Reverse, 0.5),
    ]
    .map(|(direction, temperature)| Distil {
        direction,
        temperature,
        ..Distil::default()
    })
}

#[test]
fn distillation_is_the_divergence_of_the_two_distributions() {
    let (student, teacher) = (
        model("assistant", &Device::flex()),
        model("main", &Device::flex()),
    );
    for distil in distils() {
        let found = distil
            .loss(&student, &teacher, &ROWS, None, None)
            .into_scalar::<f32>();
        let [q, p] = [&student, &teacher].map(|one| probabilities(one, distil.temperature));
        let expected = match distil.direction {
            Direction::Forward => divergence(&p, &q),
            Direction::Reverse => divergence(&q, &p),
        };
        let expected = expected * distil.temperature.powi(2);
        close(
            f64::from(found),
            expected,
            1e-4,
            1e-3,
            &format!("{distil:?}"),
        );
    }
}

/// The gradient is checked along itself: a small step against it lowers the loss by the step times its squared norm.
#[test]
fn its_gradient_is_its_slope_and_goes_to_the_student_alone() {
    let device = Device::flex().autodiff();
    let teacher = model("main", &device);
    for distil in distils() {
        let mut learner = Learner::new(model("assistant", &device), 0.0);
        let loss = |model: &Network| distil.loss(model, &teacher, &ROWS, None, None);
        learner.accumulate(1, loss);
        let before = learner.gather();
        let norm = learner.gradient_norm();
        let at = |step: f64| {
            let moved = moved(&learner, step);
            let losses = distil.loss(&moved, &teacher, &ROWS, None, None);
            f64::from(losses.into_scalar::<f32>())
        };
        let step = 2e-2 / norm;
        let slope = (at(step) - at(-step)) / (2.0 * step);
        close(
            slope,
            norm * norm,
            1e-2,
            1e-9,
            &format!("{distil:?} at {before}"),
        );
    }
}

/// The learner's model, moved so far along its gradient.
fn moved(learner: &Learner, step: f64) -> Network {
    struct Move<'a> {
        gradients: Gradients<'a>,
        names: std::vec::IntoIter<(String, TensorData)>,
        step: f64,
    }
    impl ModuleMapper for Move<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (name, _) = self.names.next().unwrap();
            let Some(gradient) = self.gradients.values(&name) else {
                return param;
            };
            let step = self.step;
            param.map(|value| {
                let gradient = TensorData::new(gradient, value.shape());
                value.clone() + Tensor::from_data(gradient, &value.device()) * step
            })
        }
    }
    learner.model.clone().map(&mut Move {
        gradients: learner.gradients(),
        names: named_parameters(&learner.model).into_iter(),
        step,
    })
}

#[test]
fn a_student_that_is_its_teacher_has_nothing_to_learn() {
    let device = Device::flex().autodiff();
    let teacher = model("main", &device);
    for distil in distils() {
        let mut learner = Learner::new(model("main", &device), 0.0);
        learner.accumulate(1, |model| distil.loss(model, &teacher, &ROWS, None, None));
        assert!(learner.gather().abs() < 1e-5);
        assert!(
            learner.gradient_norm() < 1e-4,
            "{}",
            learner.gradient_norm()
        );
    }
}

fn losses(run: &std::path::Path, tag: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(run.join("milestones.jsonl")).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter_map(|line| line["scalars"][tag].as_f64())
        .collect()
}

#[test]
fn a_run_distils_the_assistant_and_leaves_the_main_model_as_it_would_be() {
    let project = Project::new();
    let plain = project.run("plain", &[]);
    let set = "train.objective.assistant={kind='distil',temperature=2.0,direction='reverse'}";
    let distilled = project.run("distilled", &["--set", set]);
    let resolved = std::fs::read_to_string(distilled.join("experiment.toml")).unwrap();
    assert!(
        resolved.contains("kind = \"distil\"") && resolved.contains("temperature = 2.0"),
        "{resolved}"
    );
    assert!(
        !std::fs::read_to_string(plain.join("experiment.toml"))
            .unwrap()
            .contains("objective")
    );
    let tag = |role: Role| format!("train/{}/loss", role.as_str());
    let [main, assistant] = Role::BOTH.map(|role| {
        let tag = tag(role);
        (losses(&plain, &tag), losses(&distilled, &tag))
    });
    assert!(!main.0.is_empty());
    assert_eq!(main.0, main.1);
    assert_ne!(assistant.0, assistant.1);
}

#[test]
fn an_objective_that_does_not_exist_is_named_with_its_line() {
    let project = Project::new();
    for (set, word) in [
        ("train.objective.assistant={kind='distill'}", "distill"),
        (
            "train.objective.assistant={kind='distil',temperature=0}",
            "temperature",
        ),
        ("train.objective.assistant={kind='distil',heat=1}", "heat"),
        ("train.objective.main={kind='distil',text=1.0}", "below 1"),
        ("train.objective.main={kind='distil',text=nan}", "below 1"),
        (
            "train.objective.assistant={kind='distil',answers=true}",
            "data.prompt",
        ),
        ("train.objective.main={kind='text',heat=1}", "heat"),
        ("train.objective.both={kind='text'}", "both"),
    ] {
        let arguments = ["plan", "small.toml", "--set", set];
        let assert = project.milepost(&arguments).assert().code(2);
        let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(said.contains(word), "{set}: {said}");
    }
}
