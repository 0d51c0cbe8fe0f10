//! The models of a run that learn, and those that stay as they came. The loop knows them by the trait [`Trained`] alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use burn::tensor::Tensor;

use super::learner::unusable;
use super::outcome::RunError;
use super::{Learner, Objective, Training};
use crate::clock::MicroBatch;
use crate::device::has_kernels;
use crate::hook::{Gradients, Optimiser, ParameterValues, Scene};
use crate::measure::evaluation::summed_loss;
use crate::model::{Network, Pair, Precision, Role, TrainingPass};
use crate::readback::lists;
use crate::record::checkpoint::{Put, loss_scale_file, model_folder, optimiser_file};

/// Weights and optimisers of one moment. Serialises them, in any thread, and hands over the files that a checkpoint keeps of them.
pub(super) type Frozen = Box<dyn FnOnce(&mut Put<RunError>) -> Result<(), RunError> + Send>;

/// A micro-batch of a step.
pub(super) struct TrainingBatch<'a> {
    /// Token ids, `[row][time]`.
    pub rows: &'a [&'a [u32]],
    /// What its predictions weigh for main model and assistant.
    pub weighings: [Weighing<'a>; 2],
    /// Its number.
    pub index: MicroBatch,
}

/// What the predictions of a micro-batch weigh for a model.
#[derive(Clone, Copy)]
pub(super) struct Weighing<'a> {
    /// What each prediction's loss is multiplied by, row by row; without them 1.
    pub each: Option<&'a [f32]>,
    /// The weights of all predictions of the step together.
    pub step: f64,
}

/// What the loop asks of what it trains.
pub(super) trait Trained {
    /// Forward pass of each model over a micro-batch.
    fn forward(&mut self, batch: &TrainingBatch);

    /// Backward pass of each model over the rows of its last forward pass.
    fn backward(&mut self);

    /// Closes the step's accumulation and gives each model's mean loss, in nats a token. With `norms`, [`Trained::gradient_norms`] will be asked
    /// for: what is on another device is then read with the losses.
    fn gather(&mut self, norms: bool) -> BTreeMap<Role, f64>;

    /// What each model's loss is scaled by, in half precision.
    fn loss_scales(&self) -> BTreeMap<Role, f64>;

    /// L2 norm of all gradients of each model.
    fn gradient_norms(&self) -> BTreeMap<Role, f64>;

    /// Scales the gradients of each model, whose norms are given, so that their norm is at most `limit`.
    fn clip(&mut self, norms: &BTreeMap<Role, f64>, limit: f64);

    /// The names of the parameters of a model that learns; none of one that does not.
    fn parameters(&self, role: Role) -> Vec<String>;

    /// Freezes the parameters of a model with these names, and no others.
    fn freeze(&mut self, role: Role, names: BTreeSet<String>);

    /// Moves the weights by one optimiser step. With `keep`, [`Trained::update`] tells afterwards by how much.
    fn step(&mut self, learning_rate: f64, keep: bool);

    /// The optimiser of a model, for hooks. None when the model does not learn.
    fn optimiser(&self, role: Role) -> Option<Optimiser>;

    /// What the last step added to each weight of a model, if that was kept.
    fn update(&self, role: Role) -> Option<ParameterValues>;

    /// Forgets the weights before the last step.
    fn forget_update(&mut self);

    /// The step's gradients, for hooks.
    fn gradients(&self) -> Vec<(Role, Gradients<'_>)>;

    /// The pair as it stands, for reading.
    fn pair(&self) -> Pair;

    /// The next-token losses of each model over some blocks of the held-out text, without dropout: their sum in nats, where the model is, `[1]`, and
    /// their number.
    fn losses(&self, scene: &Scene, blocks: Range<usize>) -> BTreeMap<Role, (Tensor<1>, usize)>;

    /// The first weight that is NaN or infinite: its model, its tensor and its value.
    fn not_finite(&self) -> Option<(Role, String, f64)>;

    /// Weights and optimisers as they are now. They share memory with those in training until the next step changes these.
    fn frozen(&self) -> Frozen;

    /// Takes weights and optimisers back from the folder of a checkpoint; after an error nothing has changed.
    fn restore(&mut self, checkpoint: &Path) -> Result<(), RunError>;
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

    /// Forward pass of a micro-batch, where it learns. `other` is the other model of the pair.
    fn forward(
        &mut self,
        other: &Network,
        rows: &[&[u32]],
        weighing: Weighing,
        mut pass: TrainingPass,
    ) {
        let Self::Learns(learner, objective) = self else {
            return;
        };
        learner.forward(weighing.step, |model| {
            objective.loss(model, other, rows, weighing.each, &mut pass)
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
    precision: Precision,
    main: Member,
    assistant: Member,
    /// The pair before the last step, where that is kept.
    before: Option<Pair>,
}

impl Learners {
    /// `pair` must be on an autodiff device.
    pub fn new(seed: u64, pair: Pair, training: &Training) -> Self {
        let member = |role: Role, model: Network| {
            if training.models.contains(&role) {
                let learner = Learner::new(model, training.weight_decay);
                let learner = match training.precision {
                    Precision::F32 | Precision::Bf16 => learner,
                    Precision::F16 => learner.with_loss_scale(),
                };
                Member::Learns(Box::new(learner), training.objectives.get(role))
            } else {
                Member::Stays(Box::new(model))
            }
        };
        Self {
            seed,
            precision: training.precision,
            main: member(Role::Main, pair.main),
            assistant: member(Role::Assistant, pair.assistant),
            before: None,
        }
    }

    fn member(&self, role: Role) -> &Member {
        match role {
            Role::Main => &self.main,
            Role::Assistant => &self.assistant,
        }
    }

    /// Does the same with both models, each with the other model of the pair: at the same time on flex, where what one core makes does not
    /// depend on the others. Neither looks at what changes in the other.
    fn both(&mut self, work: impl Fn(&mut Member, Role, &Network) + Sync) {
        let others = [self.assistant.model().clone(), self.main.model().clone()];
        let has_kernels = |model: &Network| has_kernels(&model.device());
        let [main, assistant] = [&mut self.main, &mut self.assistant];
        let mut main = || work(main, Role::Main, &others[0]);
        let mut assistant = || work(assistant, Role::Assistant, &others[1]);
        if others.iter().all(has_kernels) {
            rayon::join(main, assistant);
        } else {
            main();
            assistant();
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
    fn forward(&mut self, batch: &TrainingBatch) {
        let (seed, precision) = (self.seed, self.precision);
        self.both(|member, role, other| {
            let pass = TrainingPass::of(seed, role, batch.index.0).in_precision(precision);
            member.forward(other, batch.rows, batch.weighings[role as usize], pass);
        });
    }

    fn backward(&mut self) {
        self.both(|member, _, _| {
            if let Some(learner) = member.learner_mut() {
                learner.backward();
            }
        });
    }

    fn gather(&mut self, norms: bool) -> BTreeMap<Role, f64> {
        let learners = self.learners();
        let read = lists(learners.map(|(_, one)| one.to_read(norms)).collect());
        let learners = self.learners_mut().zip(read);
        learners
            .map(|((role, learner), read)| (role, learner.take(&read)))
            .collect()
    }

    fn loss_scales(&self) -> BTreeMap<Role, f64> {
        let learners = self.learners();
        let scales = learners.map(|(role, learner)| Some((role, learner.loss_scale()?.value())));
        scales.flatten().collect()
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

    fn parameters(&self, role: Role) -> Vec<String> {
        let model = self.member(role).learner().map(|learner| &learner.model);
        let named = model.map(Network::trained_parameters).unwrap_or_default();
        named.into_iter().map(|(name, _)| name).collect()
    }

    fn freeze(&mut self, role: Role, names: BTreeSet<String>) {
        let mut learners = self.learners_mut();
        if let Some((_, learner)) = learners.find(|(other, _)| *other == role) {
            learner.freeze(names);
        }
    }

    fn step(&mut self, learning_rate: f64, keep: bool) {
        // The optimiser then moves a copy.
        self.before = keep.then(|| self.pair());
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

    fn optimiser(&self, role: Role) -> Option<Optimiser> {
        Some(self.member(role).learner()?.optimiser.seen())
    }

    fn update(&self, role: Role) -> Option<ParameterValues> {
        let learner = self.member(role).learner()?;
        let before = self.before.as_ref()?.get(role);
        Some(ParameterValues::difference(&learner.model, before))
    }

    fn forget_update(&mut self) {
        self.before = None;
    }

    fn losses(&self, scene: &Scene, blocks: Range<usize>) -> BTreeMap<Role, (Tensor<1>, usize)> {
        let pair = self.pair();
        let losses = Role::BOTH.map(|role| {
            let answers = scene.on_answers.contains(&role);
            let losses = summed_loss(pair.get(role), &scene.held_out, blocks.clone(), answers);
            (role, losses)
        });
        losses.into()
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
            (role, model, optimiser, learner.loss_scale())
        });
        let frozen: Vec<_> = frozen.collect();
        Box::new(move |put| {
            for (role, model, optimiser, scale) in frozen {
                for (name, bytes) in model.files()? {
                    put(&format!("{}/{name}", model_folder(role)), &bytes)?;
                }
                let name = optimiser_file(role);
                let bytes = optimiser.to_bytes();
                put(
                    &name,
                    &bytes.map_err(|error| unusable(Path::new(&name), &error))?,
                )?;
                if let Some(scale) = scale {
                    let name = loss_scale_file(role);
                    let bytes = serde_json::to_vec(&scale);
                    put(
                        &name,
                        &bytes.map_err(|error| unusable(Path::new(&name), &error))?,
                    )?;
                }
            }
            Ok(())
        })
    }

    fn restore(&mut self, checkpoint: &Path) -> Result<(), RunError> {
        let mut restored = Vec::new();
        for (role, learner) in self.learners() {
            let model = checkpoint.join(model_folder(role));
            let optimiser = checkpoint.join(optimiser_file(role));
            let (model, optimiser) = learner.restored(&model, &optimiser)?;
            let scale = learner.restored_scale(&checkpoint.join(loss_scale_file(role)))?;
            restored.push((model, optimiser, scale));
        }
        for ((_, learner), (model, optimiser, scale)) in self.learners_mut().zip(restored) {
            learner.take_back(model, optimiser, scale);
        }
        Ok(())
    }
}
