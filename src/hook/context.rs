//! What a hook gets at a milestone: the pair to read, probes that hooks share, and methods to report with.

use std::sync::Arc;

use rand::RngCore;
use rand_chacha::ChaCha8Rng;

use super::probe::{Deadline, Probes};
use super::{
    Batch, Evaluation, Gradients, Live, Milestone, Optimiser, Output, ParameterValues, Request,
    Scene,
};
use crate::decode::{Decoding, Request as DecodeRequest, Sampling, Settings, assisted};
use crate::event::Axis;
use crate::measure::divergence::{Divergence, MeanDivergence};
use crate::measure::evaluation::template_divergences;
use crate::measure::positions::{Positions, Text, divergences_along};
use crate::model::{Activations, Layer, Pair, Role};
use crate::random::{Purpose, stream};

/// A state of a model: at the start of the run, or at the milestone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum When {
    /// Before the first step.
    Start,
    /// At the milestone.
    Now,
}

/// A callback for the progress of long measurements. It gets what is being measured, how many prompts are done, and how many there are.
pub type Watch = dyn Fn(&str, usize, usize) + Send + Sync;

/// One hook's view of one milestone. Everything it shows is read-only. What the hook reports is collected, and written when the hook
/// returns.
pub struct Context<'a> {
    pub(crate) milestone: &'a Milestone,
    pub(crate) pair: &'a Pair,
    /// The pair at the start; None when the hook's kind does not compare with it.
    pub(crate) start: Option<&'a Pair>,
    pub(crate) scene: &'a Scene,
    pub(crate) probes: &'a Probes,
    pub(crate) batch: Option<&'a Batch>,
    pub(crate) live: Live<'a>,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) watch: Option<&'a Watch>,
    pub(crate) output: Output,
}

impl<'a> Context<'a> {
    /// The moment, its clock and its losses.
    pub fn milestone(&self) -> &'a Milestone {
        self.milestone
    }

    /// Main model and assistant as they were at the milestone, without autodiff.
    pub fn pair(&self) -> &'a Pair {
        self.pair
    }

    /// Main model and assistant as they were before the first step, without autodiff.
    ///
    /// # Errors
    /// When the hook's kind does not declare that it [compares with the start](super::Kind::compares_with_start), since the pair is then
    /// not kept.
    pub fn start(&self) -> anyhow::Result<&'a Pair> {
        self.start.ok_or_else(|| {
            anyhow::anyhow!("the pair of the start is kept only for kinds that declare it: Kind::compares_with_start")
        })
    }

    /// A pair of a main model and an assistant, each as it was at the start or is at the milestone. No weights are copied.
    ///
    /// # Errors
    /// As [`Context::start`], when either is the one of the start.
    pub fn pair_of(&self, main: When, assistant: When) -> anyhow::Result<Pair> {
        let at = |when| match when {
            When::Start => self.start(),
            When::Now => Ok(self.pair),
        };
        Ok(Pair {
            main: at(main)?.main.clone(),
            assistant: at(assistant)?.assistant.clone(),
        })
    }

    /// Tokenizer, templates, held-out blocks and settings of the run.
    pub fn scene(&self) -> &'a Scene {
        self.scene
    }

    /// This hook's own random stream. It depends on the run's seed, the hook's name and the step. Drawing from it does not affect the
    /// training.
    pub fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }

    /// Live gradients of the trained models; empty unless the hook runs inline at `gradients-ready` or `gradients-clipped`.
    pub fn gradients(&self) -> &'a [(Role, Gradients<'a>)] {
        self.live.gradients
    }

    /// The rows of the micro-batch, step or evaluation batch at hand, with the documents that they are made of.
    ///
    /// # Errors
    /// At a moment without one: outside a step and its end.
    pub fn batch(&self) -> anyhow::Result<&'a Batch> {
        let event = self.milestone.event;
        self.batch.ok_or_else(|| {
            anyhow::anyhow!(
                "there is no batch at `{event}`: see the moments of a step in docs/hooks.md"
            )
        })
    }

    /// The next-token loss of each prediction of the batch at hand by a model, in nats: `[row][time - 1]`, rows as in [`Context::batch`]. They
    /// are those of the training pass, which is made again with the same dropout; of an evaluation there is none.
    ///
    /// # Errors
    /// At a moment without a batch, and after the optimisers have moved the weights.
    pub fn batch_losses(&self, role: Role) -> anyhow::Result<Arc<Vec<Vec<f32>>>> {
        let (batch, event) = (self.batch()?, self.milestone.event);
        anyhow::ensure!(
            event.is_before_update() || event.axis() == Axis::EvaluationBatches,
            "at `{event}` the weights have moved since the pass: ask for losses at `gradients-ready` or `micro-batch-end`"
        );
        self.probe(&format!("milepost/batch_losses/{role}"), || {
            Ok(batch.losses(self.pair.get(role), role, self.scene.seed))
        })
    }

    /// The optimiser of a model: its moments and step sizes.
    ///
    /// # Errors
    /// When the hook does not run inline, or the model is not trained.
    pub fn optimiser(&self, role: Role) -> anyhow::Result<Optimiser> {
        (self.live.optimiser)(role).ok_or_else(|| {
            anyhow::anyhow!("the optimiser of the {role} model is seen by inline hooks alone, and only if the model is trained")
        })
    }

    /// What the optimiser step has just added to each weight of a model.
    ///
    /// # Errors
    /// When the hook does not run inline at `weights-updated`, or the model is not trained.
    pub fn update(&self, role: Role) -> anyhow::Result<ParameterValues> {
        (self.live.update)(role).ok_or_else(|| {
            anyhow::anyhow!("the update of the {role} model is seen by inline hooks at `weights-updated` alone, and only if the model is trained")
        })
    }

    /// Checks the hook's deadline. The probes check it by themselves; long loops of a hook's own should, too.
    ///
    /// # Errors
    /// When the deadline has passed.
    pub fn check_deadline(&self) -> anyhow::Result<()> {
        Ok(Deadline::check(self.deadline)?)
    }

    /// Reports the progress of a long measurement to the terminal: what is being measured, how many are done, how many there are.
    pub fn progress(&self, what: &str, done: usize, all: usize) {
        if let Some(watch) = self.watch {
            watch(what, done, all);
        }
    }

    /// A value that other hooks may need at the same milestone. The first hook that asks for `key` computes it, and the others share the
    /// result. The key must name everything that the value depends on.
    ///
    /// # Errors
    /// Those of `compute`.
    pub fn probe<T: Send + Sync + 'static>(
        &self,
        key: &str,
        compute: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<Arc<T>> {
        self.probes.get(key, compute)
    }

    /// The divergences between the next-token distributions of main model and assistant at the last position of every prompt, in the order
    /// of the prompts.
    ///
    /// # Errors
    /// When a model's logits are not finite or the deadline passes.
    pub fn divergences(&self) -> anyhow::Result<Arc<Vec<Divergence>>> {
        self.divergences_of(When::Now, When::Now)
    }

    /// As [`Context::divergences`], for any of the four pairs that the states at start and milestone make.
    ///
    /// # Errors
    /// When a model's logits are not finite or the deadline passes.
    pub fn divergences_of(
        &self,
        main: When,
        assistant: When,
    ) -> anyhow::Result<Arc<Vec<Divergence>>> {
        let go_on = || self.check_deadline();
        self.probe(
            &format!("milepost/divergences/{main:?}/{assistant:?}"),
            || {
                let pair = self.pair_of(main, assistant)?;
                template_divergences(&pair, &self.scene.prompts, &go_on)
            },
        )
    }

    /// The divergences of each prompt, averaged over `positions`, in the order of the prompts.
    ///
    /// # Errors
    /// When a prompt does not fit the models, a model's logits are not finite, or the deadline passes.
    pub fn divergences_at(&self, positions: Positions) -> anyhow::Result<Arc<Vec<MeanDivergence>>> {
        let prompts = &self.scene.prompts;
        let continued: Vec<Vec<u32>> = match positions {
            Positions::Continuation => {
                let greedy = Settings {
                    sampling: None,
                    ..self.scene.decode
                };
                let decodings = self.decodings(Some(greedy))?;
                let both = prompts.iter().zip(decodings.iter());
                // No token was chosen after the last new one.
                both.map(|(prompt, decoding)| {
                    let new = &decoding.tokens[..decoding.tokens.len().saturating_sub(1)];
                    [&prompt[..], new].concat()
                })
                .collect()
            }
            _ => Vec::new(),
        };
        let texts = (prompts.iter().enumerate()).map(|(index, prompt)| Text {
            tokens: continued.get(index).unwrap_or(prompt),
            from: match positions {
                Positions::Prompt => 0,
                _ => prompt.len().saturating_sub(1),
            },
        });
        let texts: Vec<Text> = texts.collect();
        let go_on = || self.check_deadline();
        self.probe(&format!("milepost/divergences_at/{positions:?}"), || {
            let found = divergences_along(self.pair, &texts, &go_on)?;
            let means = found.iter().map(|one| Divergence::mean(one.iter()));
            Ok(means.map(Option::unwrap_or_default).collect())
        })
    }

    /// The assisted decodings of every prompt, in the order of the prompts, with the run's settings or the given ones.
    ///
    /// # Errors
    /// When a prompt does not fit the models, logits are not finite, or the deadline passes.
    pub fn decodings(&self, settings: Option<Settings>) -> anyhow::Result<Arc<Vec<Decoding>>> {
        self.decodings_of(When::Now, When::Now, settings)
    }

    /// As [`Context::decodings`], with any of the four pairs that the states at start and milestone make.
    ///
    /// # Errors
    /// When a prompt does not fit the models, logits are not finite, or the deadline passes.
    pub fn decodings_of(
        &self,
        main: When,
        assistant: When,
        settings: Option<Settings>,
    ) -> anyhow::Result<Arc<Vec<Decoding>>> {
        let settings = settings.unwrap_or(self.scene.decode);
        self.decoded(main, assistant, settings, self.scene.seed)
    }

    fn decoded(
        &self,
        main: When,
        assistant: When,
        settings: Settings,
        seed: u64,
    ) -> anyhow::Result<Arc<Vec<Decoding>>> {
        let (prompts, ends) = (&self.scene.prompts, &self.scene.ends);
        let what = match settings.draft_length {
            0 => "sampling",
            _ => "assisted decoding",
        };
        let go_on = |done| {
            self.progress(what, done, prompts.len());
            Deadline::check(self.deadline).map_err(|stopped| stopped.to_string())
        };
        let key = format!("milepost/decodings/{main:?}/{assistant:?}/{settings:?}/{seed}");
        self.probe(&key, || {
            let pair = self.pair_of(main, assistant)?;
            let requests = prompts.iter().map(|prompt| DecodeRequest { prompt, seed });
            let requests: Vec<DecodeRequest> = requests.collect();
            let decodings = assisted(&pair, &requests, ends, &settings, &go_on)?;
            self.progress(what, prompts.len(), prompts.len());
            Ok(decodings)
        })
    }

    /// The assistant's own greedy draft of `length` tokens after every prompt, in the order of the prompts. An end-of-text token does not end it.
    ///
    /// # Errors
    /// When a prompt does not fit the assistant, logits are not finite, or the deadline passes.
    pub fn drafts(&self, assistant: When, length: usize) -> anyhow::Result<Arc<Vec<Vec<u32>>>> {
        let settings = Settings {
            max_new_tokens: length,
            draft_length: 0,
            ..Settings::default()
        };
        let go_on = |_| Deadline::check(self.deadline).map_err(|stopped| stopped.to_string());
        self.probe(&format!("milepost/drafts/{assistant:?}/{length}"), || {
            let drafter = self.pair_of(assistant, assistant)?.assistant;
            let alone = Pair::new(drafter.clone(), drafter)?;
            let requests = self.scene.prompts.iter();
            let requests = requests.map(|prompt| DecodeRequest { prompt, seed: 0 });
            let requests: Vec<DecodeRequest> = requests.collect();
            let decodings = assisted(&alone, &requests, None, &settings, &go_on)?;
            Ok(decodings.into_iter().map(|one| one.tokens).collect())
        })
    }

    /// Draws `samples` continuations of every prompt from the main model alone: `[samples][prompts]`, prompts in their order. Sample i
    /// draws from the run's seed and i. Nothing is drafted, because an assistant would not change the distribution of the text, and many
    /// prompts at once fill the main model's passes without one.
    ///
    /// # Errors
    /// When a prompt does not fit the models, logits are not finite, or the deadline passes.
    pub fn samples(
        &self,
        sampling: Sampling,
        samples: usize,
    ) -> anyhow::Result<Vec<Arc<Vec<Decoding>>>> {
        let settings = Settings {
            max_new_tokens: self.scene.decode.max_new_tokens,
            draft_length: 0,
            sampling: Some(sampling),
            ..Settings::default()
        };
        let all = (0..samples as u64).map(|sample| {
            let seed = stream(self.scene.seed, Purpose::Samples, sample, 0).next_u64();
            self.decoded(When::Now, When::Now, settings, seed)
        });
        all.collect()
    }

    /// The values of `layers` of a model at every prompt, `[prompts][layers]`, in the order of the prompts. They are kept until the milestone is
    /// over; [`Network::look_into_each`](crate::model::Network::look_into_each) keeps none.
    ///
    /// # Errors
    /// When the model has no such layer, a prompt does not fit it, or the deadline passes.
    pub fn inside(
        &self,
        role: Role,
        layers: &[Layer],
    ) -> anyhow::Result<Arc<Vec<Vec<Activations>>>> {
        let (model, prompts) = (self.pair.get(role), &self.scene.prompts);
        self.probe(&format!("milepost/inside/{role}/{layers:?}"), || {
            model.look_into(prompts, layers, &|| self.check_deadline())
        })
    }

    /// The losses on the held-out split, in nats per token, of answers alone for a model that is trained for answers: those of the loop's own evaluation at this step, else computed now.
    ///
    /// # Errors
    /// When the deadline passes during the computation.
    pub fn evaluation(&self) -> anyhow::Result<Arc<Evaluation>> {
        let go_on = || self.check_deadline();
        self.probe("milepost/evaluation", || {
            if let Some(evaluation) = &self.milestone.evaluation {
                return Ok(evaluation.clone());
            }
            self.scene.evaluation(self.pair, &go_on)
        })
    }

    /// Reports a number under a TensorBoard tag such as `kl/mean_nats`.
    pub fn scalar(&mut self, tag: impl Into<String>, value: f64) {
        self.output.scalars.push((tag.into(), value));
    }

    /// Reports a distribution under a tag.
    pub fn histogram(&mut self, tag: impl Into<String>, values: Vec<f64>) {
        self.output.histograms.push((tag.into(), values));
    }

    /// Reports a text in Markdown under a tag.
    pub fn text(&mut self, tag: impl Into<String>, markdown: impl Into<String>) {
        self.output.texts.push((tag.into(), markdown.into()));
    }

    /// Records a value for every prompt, in the order of the prompts: a column of the milestone's file under `templates/`.
    pub fn per_template(&mut self, column: impl Into<String>, values: Vec<f64>) {
        self.output.per_template.push((column.into(), values));
    }

    /// Asks the loop to end the run after this step. A background hook's request takes effect after the step in which it arrives.
    pub fn request_stop(&mut self, reason: impl Into<String>) {
        self.output.requests.push(Request::Stop(reason.into()));
    }

    /// Asks the loop to save a checkpoint.
    pub fn request_save(&mut self) {
        self.output.requests.push(Request::Save);
    }

    /// Asks the loop to evaluate on the held-out split at the end of the next step.
    pub fn request_evaluation(&mut self) {
        self.output.requests.push(Request::Evaluate);
    }

    /// Emits an event of the hook's own, such as `loss-spike`, which its kind declares by [`Kind::emits`](super::Kind::emits). Once all hooks of
    /// this moment have been called, hooks with `on = "loss-spike"` are, for the same moment.
    pub fn emit(&mut self, signal: impl Into<String>) {
        self.output.emitted.push(signal.into());
    }

    /// Ends the hook's calls: this one is the last, also after a resume. It is no failure. A background hook's calls that are queued
    /// already are dropped, so that the record does not depend on how far the worker was.
    pub fn detach(&mut self) {
        self.output.detached = true;
    }
}
