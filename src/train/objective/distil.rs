//! Distillation: a model learns the distribution that the other model of the pair has over the next token. It is the usual way to make a better
//! assistant, since the share of its drafts that is accepted follows from how near the two distributions are.

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::model::{Network, Precision, TrainingPass, token_tensor};
use crate::readback::data;

/// `kind = "distil"`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Distil {
    /// Which of the two divergences is made small.
    pub direction: Direction,
    /// Both models' logits are divided by it.
    pub temperature: f64,
    /// The share of the text's own loss: 0 is the divergence alone.
    pub text: f64,
    /// Whether predictions of tokens in prompts weigh nothing.
    pub answers: bool,
}

/// Which way a divergence is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// KL(teacher || student), as Hinton et al. (2015, arXiv 1503.02531) have it: the student covers all that the teacher may say.
    #[default]
    Forward,
    /// KL(student || teacher), as Gu et al. (2024, arXiv 2306.08543) have it: the student keeps to what the teacher says most.
    Reverse,
}

impl Default for Distil {
    fn default() -> Self {
        Self {
            direction: Direction::Forward,
            temperature: 1.0,
            text: 0.0,
            answers: false,
        }
    }
}

impl Distil {
    /// The sum over all predictions of `rows` `[batch][time]` of `(1 - text) T^2 KL + text H`, in nats. KL is the divergence between `student` and
    /// `teacher` at the temperature T: with the factor T^2 the size of its gradients does not depend on T (Hinton et al. 2015, section 2). H is the
    /// student's cross-entropy of the token that follows, at temperature 1. With `weights`, one for each prediction row by row, each is multiplied by
    /// its weight.
    ///
    /// All distributions are over the tokens that the pair may say: rows of a table that is padded further than the other's have no part in them.
    ///
    /// Gradients go to `student` alone. `training` is its pass. The teacher reads in the same precision, without dropout.
    pub fn loss(
        &self,
        student: &Network,
        teacher: &Network,
        rows: &[&[u32]],
        weights: Option<&[f32]>,
        training: Option<&mut TrainingPass>,
    ) -> Tensor<1> {
        let inputs: Vec<&[u32]> = rows.iter().map(|row| &row[..row.len() - 1]).collect();
        let device = student.device();
        let wanted = self.log_probabilities(teacher, &inputs, Precision::of(&training), &device);
        let logits = student.training_logits(token_tensor(&inputs, &device), training);
        let own = log_softmax(logits.clone() / self.temperature, 1);
        let divergence = match self.direction {
            Direction::Forward => wanted.clone().exp() * (wanted - own),
            Direction::Reverse => own.clone().exp() * (own - wanted),
        };
        let share = (1.0 - self.text) * self.temperature * self.temperature;
        let mut losses = divergence.sum_dim(1) * share;
        if self.text > 0.0 {
            losses = losses + cross_entropy(logits, rows) * self.text;
        }
        let Some(weights) = weights else {
            return losses.sum();
        };
        let weights = TensorData::new(weights.to_vec(), [weights.len(), 1]);
        (losses * Tensor::<2>::from_data(weights, &device)).sum()
    }

    /// What the teacher says, on the student's device: ln of the probabilities, `[batch * time, vocab]`.
    fn log_probabilities(
        &self,
        teacher: &Network,
        inputs: &[&[u32]],
        precision: Precision,
        device: &Device,
    ) -> Tensor<2> {
        let teacher = teacher.valid();
        let tokens = token_tensor(inputs, &teacher.device());
        let mut pass = TrainingPass::without_dropout(precision);
        let logits = teacher.training_logits(tokens, Some(&mut pass));
        let said = log_softmax(logits / self.temperature, 1);
        if teacher.device() == device.clone().inner() {
            return Tensor::from_inner(said);
        }
        Tensor::from_data(data(said), device)
    }
}

/// The cross-entropy of the token that follows each but the last of `rows`, by `logits` `[batch * time, vocab]`: `[batch * time, 1]`.
fn cross_entropy(logits: Tensor<2>, rows: &[&[u32]]) -> Tensor<2> {
    let targets = rows.iter().flat_map(|row| &row[1..]);
    let targets: Vec<i32> = targets.map(|&id| id as i32).collect();
    let targets = TensorData::new(targets, [logits.dims()[0], 1]);
    let targets: Tensor<2, Int> = Tensor::from_data(targets, &logits.device());
    -log_softmax(logits, 1).gather(1, targets)
}
