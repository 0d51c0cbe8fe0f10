//! The models of a run that learn, and those that stay as they came. The loop knows them by the trait [`Trained`] alone.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;

use super::learner::unusable;
use super::outcome::RunError;
use super::{Learner, Objective, Training};
use crate::clock::MicroBatch;
use crate::hook::{Evaluation, Gradients, Scene};
use crate::measure::evaluation::mean_loss;
use crate::model::{Dropout, Network, Pair, Role};
use crate::random::{Purpose, stream};
use crate::record::checkpoint::{Put, model_folder, optimiser_file};

/// Weights and optimisers of one moment. Serialises them, in any thread, and hands over the files that a checkpoint keeps of them.
pub(super) type Frozen = Box<dyn FnOnce(&mut Put<RunError>) -> Result<(), RunError> + Send>;

/// What the loop asks of what it trains.
pub(super) trait Trained {
    /// Forward and backward pass of each model over rows of token ids, `[row][time]`, of a step that has `predictions` predictions in all.
    fn micro_batch(&mut self, rows: &[&[u32]], predictions: usize, index: MicroBatch);

    /// Closes the step's accumulation and gives each model's mean loss, in nats a token.
    fn gather(&mut self) -> BTreeMap<Role, f64>;

    /// L2 norm of all gradients of each model.
    fn gradient_norms(&self) -> BTreeMap<Role, f64>;

    /// Scales the gradients of each model, whose norms are given, so that their norm is at most `limit`.
    fn clip(&mut self, norms: &BTreeMap<Role, f64>, limit: f64);

    /// Moves the weights by one optimiser step.
    fn step(&mut self, learning_rate: f64);

    /// The step's gradients, for hooks.
    fn gradients(&self) -> Vec<(Role, Gradients<'_>)>;

    /// The pair as it stands, for reading.
    fn pair(&self) -> Pair;

    /// Mean loss of each model on the held-out split.
    fn evaluate(&self, scene: &Scene) -> Result<Evaluation, RunError>;

    /// The first weight that is NaN or infinite: its model, its tensor and its value.
    fn not_finite(&self) -> Option<(Role, String, f64)>;

    /// Weights and optimisers as they are now. They share memory with those in training until the next step changes these.
    fn frozen(&self) -> Frozen;

    /// Takes weights and optimisers back from the folder of a checkpoint; after an error nothing has changed.
    fn restore(&mut self, checkpoint: &Path) -> Result<(), RunError>;
}

/// A micro-batch of a run.
struct Batch<'a> {
    seed: u64,
    /// Token ids, `[row][time]`.
    rows: &'a [&'a [u32]],
    /// Of its whole step.
    predictions: usize,
    index: MicroBatch,
}

/// A model of the pair.
enum Member {
    Learns(Box<Learner>, Objective),
    Stays(Box<Network>),
}

impl Member {
    fn model(&self) -> &Network {
        match self {
            Self::Learns(learner, _) => &learner.model,
            Self::Stays(model) => model,
        }
    }

    /// Forward and backward pass of a micro-batch, where it learns. `other` is the other model of the pair.
    fn micro_batch(&mut self, role: Role, other: &Network, batch: &Batch) {
        let Self::Learns(learner, objective) = self else {
            return;
        };
        let rng = stream(batch.seed, Purpose::Dropout, role as u64, batch.index.0);
        let mut dropout = Dropout::new(rng);
        learner.accumulate(batch.predictions, |model| {
            objective.loss(model, other, batch.rows, &mut dropout)
        });
    }

    fn learner(&self) -> Option<&Learner> {
        match self {
            Self::Learns(learner, _) => Some(learner),
            Self::Stays(_) => None,
        }
    }

    fn learner_mut(&mut self) -> Option<&mut Learner> {
        match self {
            Self::Learns(learner, _) => Some(learner),
            Self::Stays(_) => None,
        }
    }
}

/// The pair of a run: some of its models learn. Of those the weights that they came with are not kept.
pub(super) struct Learners {
    seed: u64,
    main: Member,
    assistant: Member,
}

impl Learners {
    /// `pair` must be on an autodiff device.
    pub fn new(seed: u64, pair: Pair, training: &Training) -> Self {
        let member = |role: Role, model: Network| {
            if training.models.contains(&role) {
                let learner = Learner::new(model, training.weight_decay);
                Member::Learns(Box::new(learner), training.objectives.get(role))
            } else {
                Member::Stays(Box::new(model))
            }
        };
        Self {
            seed,
            main: member(Role::Main, pair.main),
            assistant: member(Role::Assistant, pair.assistant),
        }
    }

    /// The models that learn.
    fn learners(&self) -> impl Iterator<Item = (Role, &Learner)> {
        let both = [(Role::Main, &self.main), (Role::Assistant, &self.assistant)];
        let learners = both.into_iter();
        learners.filter_map(|(role, member)| Some((role, member.learner()?)))
    }

    fn learners_mut(&mut self) -> impl Iterator<Item = (Role, &mut Learner)> {
        let both = [
            (Role::Main, &mut self.main),
            (Role::Assistant, &mut self.assistant),
        ];
        let learners = both.into_iter();
        learners.filter_map(|(role, member)| Some((role, member.learner_mut()?)))
    }
}

impl Trained for Learners {
    fn micro_batch(&mut self, rows: &[&[u32]], predictions: usize, index: MicroBatch) {
        let batch = Batch {
            seed: self.seed,
            rows,
            predictions,
            index,
        };
        let others = [self.assistant.model().clone(), self.main.model().clone()];
        let [main, assistant] = [&mut self.main, &mut self.assistant];
        let mut main = || main.micro_batch(Role::Main, &others[0], &batch);
        let mut assistant = || assistant.micro_batch(Role::Assistant, &others[1], &batch);
        if others
            .iter()
            .all(|model| model.device().inner() == Device::flex())
        {
            // Neither looks at the other's gradients, and what one core makes does not depend on the others.
            rayon::join(main, assistant);
        } else {
            main();
            assistant();
        }
    }

    fn gather(&mut self) -> BTreeMap<Role, f64> {
        let learners = self.learners_mut();
        learners
            .map(|(role, learner)| (role, learner.gather()))
            .collect()
    }

    fn gradient_norms(&self) -> BTreeMap<Role, f64> {
        let learners = self.learners();
        learners
            .map(|(role, learner)| (role, learner.gradient_norm()))
            .collect()
    }

    fn clip(&mut self, norms: &BTreeMap<Role, f64>, limit: f64) {
        for (role, learner) in self.learners_mut() {
            learner.clip(norms[&role], limit);
        }
    }

    fn step(&mut self, learning_rate: f64) {
        for (_, learner) in self.learners_mut() {
            learner.step(learning_rate);
        }
    }

    fn gradients(&self) -> Vec<(Role, Gradients<'_>)> {
        let learners = self.learners();
        learners
            .map(|(role, learner)| (role, learner.gradients()))
            .collect()
    }

    fn pair(&self) -> Pair {
        let pair = Pair {
            main: self.main.model().clone(),
            assistant: self.assistant.model().clone(),
        };
        pair.snapshot()
    }

    fn evaluate(&self, scene: &Scene) -> Result<Evaluation, RunError> {
        let pair = self.pair();
        let mut evaluation = Evaluation::default();
        for role in Role::BOTH {
            let loss = mean_loss(pair.get(role), &scene.held_out, scene.batch, &|| Ok(()));
            let loss = loss.map_err(|error| RunError::Evaluation(error.to_string()))?;
            evaluation.losses.insert(role, loss);
        }
        Ok(evaluation)
    }

    fn not_finite(&self) -> Option<(Role, String, f64)> {
        self.learners().find_map(|(role, learner)| {
            let (name, value) = learner.not_finite()?;
            Some((role, name, value))
        })
    }

    fn frozen(&self) -> Frozen {
        let frozen = self.learners().map(|(role, learner)| {
            let (model, optimiser) = (learner.model.clone(), learner.optimiser.clone());
            (role, model, optimiser)
        });
        let frozen: Vec<_> = frozen.collect();
        Box::new(move |put| {
            for (role, model, optimiser) in frozen {
                for (name, bytes) in model.files()? {
                    put(&format!("{}/{name}", model_folder(role)), &bytes)?;
                }
                let name = optimiser_file(role);
                let bytes = optimiser.to_bytes();
                put(
                    &name,
                    &bytes.map_err(|error| unusable(Path::new(&name), &error))?,
                )?;
            }
            Ok(())
        })
    }

    fn restore(&mut self, checkpoint: &Path) -> Result<(), RunError> {
        let mut restored = Vec::new();
        for (role, learner) in self.learners() {
            let model = checkpoint.join(model_folder(role));
            let optimiser = checkpoint.join(optimiser_file(role));
            restored.push(learner.restored(&model, &optimiser)?);
        }
        for ((_, learner), (model, optimiser)) in self.learners_mut().zip(restored) {
            (learner.model, learner.optimiser) = (model, optimiser);
        }
        Ok(())
    }
}
