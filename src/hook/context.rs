//! What a hook is given at a milestone: the pair to read, shared probes, and places for what it has to say.

use std::sync::Arc;

use rand::RngCore;
use rand_chacha::ChaCha8Rng;

use super::probe::{Deadline, Probes};
use super::{Evaluation, Gradients, Milestone, Output, Request, Scene};
use crate::decode::{Decoding, Request as DecodeRequest, Sampling, Settings, assisted};
use crate::measure::divergence::{Divergence, MeanDivergence};
use crate::measure::evaluation::{mean_loss, template_divergences};
use crate::measure::positions::{Positions, Text, divergences_along};
use crate::model::{Pair, Role};
use crate::random::{Purpose, stream};

/// Which state of a model: before the first step of the run, or at the milestone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum When {
    /// Before the first step.
    Start,
    /// At the milestone.
    Now,
}

/// Told how far a long measurement is: what is being done, how many prompts are done, how many there are.
pub type Watch = dyn Fn(&str, usize, usize) + Send + Sync;

/// One hook's view of one milestone. Everything it shows is read-only; what the hook reports is collected and written when it returns.
pub struct Context<'a> {
    pub(crate) milestone: &'a Milestone,
    pub(crate) pair: &'a Pair,
    /// None where the hook's kind does not compare with it.
    pub(crate) start: Option<&'a Pair>,
    pub(crate) scene: &'a Scene,
    pub(crate) probes: &'a Probes,
    pub(crate) gradients: &'a [(Role, Gradients<'a>)],
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
    /// When the hook's kind does not say that it [compares with the start](super::Kind::compares_with_start): then nobody keeps it.
    pub fn start(&self) -> anyhow::Result<&'a Pair> {
        self.start.ok_or_else(|| {
            anyhow::anyhow!("the pair of the start is kept only for kinds that declare it: Kind::compares_with_start")
        })
    }

    /// A main model and an assistant, each as it was at the start or is at the milestone; no weights are copied.
    ///
    /// # Errors
    /// As [`Context::start`], where one of the two is that of the start.
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

    /// This hook's own random stream: a function of the run's seed, the hook's name and the step. Nothing drawn here reaches the training.
    pub fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }

    /// Live gradients of the trained models; empty unless the hook runs inline at `gradients-ready` or `gradients-clipped`.
    pub fn gradients(&self) -> &'a [(Role, Gradients<'a>)] {
        self.gradients
    }

    /// An error once the hook's deadline has passed. The probes ask by themselves; long loops of a hook's own should too.
    ///
    /// # Errors
    /// When the deadline has passed.
    pub fn check_deadline(&self) -> anyhow::Result<()> {
        Ok(Deadline::check(self.deadline)?)
    }

    /// Tells whoever watches how far a long measurement is: what is being done, how many are done, how many there are.
    pub fn progress(&self, what: &str, done: usize, all: usize) {
        if let Some(watch) = self.watch {
            watch(what, done, all);
        }
    }

    /// A value that other hooks at this milestone may need too: computed by the first that asks, under a key that names everything
    /// it depends on.
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

    /// The divergences between main model and assistant at the last position of every template, in the templates' order.
    ///
    /// # Errors
    /// When a model's logits are not finite or the deadline passes.
    pub fn divergences(&self) -> anyhow::Result<Arc<Vec<Divergence>>> {
        self.divergences_of(When::Now, When::Now)
    }

    /// The same between any of the four pairs that start and milestone make.
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

    /// The means of the divergences over some positions of every template, in the templates' order.
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
                // The last new token predicts nothing that was chosen.
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

    /// Assisted decodings of every template, in the templates' order, with the run's settings or the hook's own.
    ///
    /// # Errors
    /// When a prompt does not fit the models, logits are not finite, or the deadline passes.
    pub fn decodings(&self, settings: Option<Settings>) -> anyhow::Result<Arc<Vec<Decoding>>> {
        self.decodings_of(When::Now, When::Now, settings)
    }

    /// The same with any of the four pairs that start and milestone make.
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
        let (prompts, eos) = (&self.scene.prompts, self.scene.eos);
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
            let decodings = assisted(&pair, &requests, eos, &settings, &go_on)?;
            self.progress(what, prompts.len(), prompts.len());
            Ok(decodings)
        })
    }

    /// `samples` sampled continuations of every template by the main model alone, in the templates' order: `[samples][prompts]`. Sample i
    /// draws from the run's seed and i. Nothing is drafted: an assistant would not change what the text is distributed as, and many
    /// prompts at once fill the main model's passes without it.
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

    /// Losses on the held-out split: those of the loop's own evaluation at this step, or else computed now.
    ///
    /// # Errors
    /// When the deadline passes.
    pub fn evaluation(&self) -> anyhow::Result<Arc<Evaluation>> {
        let go_on = || self.check_deadline();
        self.probe("milepost/evaluation", || {
            if let Some(evaluation) = &self.milestone.evaluation {
                return Ok(evaluation.clone());
            }
            let mut evaluation = Evaluation::default();
            for role in Role::BOTH {
                let (model, held_out) = (self.pair.get(role), &self.scene.held_out);
                let loss = mean_loss(model, held_out, self.scene.batch, &go_on)?;
                evaluation.losses.insert(role, loss);
            }
            Ok(evaluation)
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

    /// Keeps a value for every template, in the templates' order: a column of the milestone's file under `templates/`.
    pub fn per_template(&mut self, column: impl Into<String>, values: Vec<f64>) {
        self.output.per_template.push((column.into(), values));
    }

    /// Asks the loop to end the run after this step (a background hook: after the step in which its answer arrives).
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
}
