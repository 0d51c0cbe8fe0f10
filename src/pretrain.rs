//! Pretraining of the mini pair: a GPT-2 main model and assistant with their tokenizer, trained from scratch on the generated corpus by the
//! same loop that fine-tunes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use burn::tensor::Device;
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as Bpe};

use crate::cadence::Cadence;
use crate::clock::{Extent, Length};
use crate::data::blocks::Blocks;
use crate::data::templates::{ContrastSpec, TemplateSet, Templates};
use crate::data::tokenizer::{END_OF_TEXT, Tokenizer};
use crate::decode::Settings;
use crate::generator::{self, Document};
use crate::hook::Scene;
use crate::model::{Network, Pair, Precision, Role};
use crate::random::{Purpose, stream};
use crate::record::checkpoint::model_folder;
use crate::record::layout::MODELS;
use crate::record::progress::Span;
use crate::train::{Decay, Objectives, Plan, Schedule, Training, WeightDecay};

/// The settings of pretraining. The defaults make the pair that ships.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The seed of the corpus, the initial weights and the order of blocks.
    pub seed: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Blocks per step.
    pub batch: usize,
    /// Tokens per block, and positions of the models.
    pub block: usize,
    /// The share of everyday texts in the corpus, from 0 to 1; the rest is news.
    pub everyday: f64,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            seed: 1,
            steps: 2400,
            batch: 8,
            block: 128,
            everyday: 0.8,
            vocab_size: 2048,
            learning_rate: 2e-3,
        }
    }
}

/// How predictable a corpus is under the grammar that generated it.
#[derive(Debug, Clone, Copy)]
pub struct Entropy {
    /// Mean of -ln P per token, in nats: no model of the corpus can have a lower cross-entropy.
    pub nats_per_token: f64,
}

/// A pretraining run that is ready to start.
pub struct Pretraining {
    /// The run, as the training loop takes it.
    pub plan: Plan,
    /// The entropy of the held-out text.
    pub entropy: Entropy,
}

impl Recipe {
    /// Generates the corpus, trains the tokenizer and lays out the run. The run will be written into `directory`.
    ///
    /// # Errors
    /// When no run can be made of the recipe's numbers, or the tokenizer cannot be trained.
    pub fn prepare(&self, device: &Device, directory: PathBuf) -> anyhow::Result<Pretraining> {
        let needed = self.steps as usize * self.batch * self.block;
        // A text has about 50 tokens, so that each is read once or, near the end, twice.
        let documents: Vec<Document> = generator::documents(self.seed, self.everyday)
            .take(needed.div_ceil(50).max(2000))
            .collect();
        let held_out: Vec<Document> = generator::documents(self.seed + 1, self.everyday)
            .take(400)
            .collect();
        let tokenizer = self.train_tokenizer(&documents)?;
        let eos = tokenizer
            .id(END_OF_TEXT)
            .context("the trained tokenizer has no end-of-text token")?;
        let blocks = Blocks::cut(tokens(&tokenizer, eos, &documents)?, self.block)?;
        let held_out_tokens = tokens(&tokenizer, eos, &held_out)?;
        let log_prob: f64 = held_out.iter().map(|document| document.log_prob).sum();
        let entropy = Entropy {
            nats_per_token: -log_prob / held_out_tokens.len() as f64,
        };
        let pair = self.fresh_pair(tokenizer.vocab_size(), eos, device)?;
        let mut templates = Templates::default();
        for contrast in ContrastSpec::usual(TemplateSet::Paired) {
            templates.join(Templates::parse(
                "built in",
                crate::mini::TEMPLATES,
                &contrast,
            )?);
        }
        let prompts = templates.prompts().iter();
        let prompts = prompts.map(|template| tokenizer.encode(&template.prompt));
        let scene = Scene {
            seed: self.seed,
            prompts: prompts.collect::<Result<_, _>>()?,
            eos: Some(eos),
            ends: Some(eos).into(),
            templates,
            held_out: Arc::new(Blocks::cut(held_out_tokens, self.block)?),
            on_answers: Vec::new(),
            batch: 16,
            decode: Settings::default(),
            tokenizer: tokenizer.clone(),
        };
        let extent = Extent::new(
            blocks.len() as u64,
            self.batch as u64,
            1,
            self.block as u64,
            Length::Steps(self.steps),
        )?;
        let cadence = |clauses: &[&str]| {
            Cadence::parse(clauses).map_err(|(_, error)| anyhow::anyhow!("{error}"))
        };
        let plan = Plan {
            seed: self.seed,
            assistant_tokenizer: tokenizer.clone(),
            extent,
            training: Training {
                models: Role::BOTH.to_vec(),
                objectives: Objectives::default(),
                batch: self.batch,
                accumulation: 1,
                precision: Precision::F32,
                schedule: Schedule {
                    peak: self.learning_rate,
                    warmup: self.steps / 20,
                    total: self.steps,
                    decay: Decay::Cosine,
                },
                clip: Some(1.0),
                // The pair that ships was trained with this.
                weight_decay: WeightDecay {
                    rate: 0.01,
                    norms_and_biases: true,
                },
                evaluate: cadence(&["every 5%"])?,
                save: Some(cadence(&["every 20%"])?),
                keep: Some(2),
                keep_best: None,
            },
            pair,
            blocks,
            treatments: Vec::new(),
            scene: Arc::new(scene),
            hooks: Vec::new(),
            interventions: Vec::new(),
            queue: 1,
            origin: "generated corpus".to_owned(),
            resolved: format!("# {self:?}\n"),
            manifest: serde_json::json!({ "recipe": format!("{self:?}") }).into(),
            hparams: Vec::new(),
            directory,
        };
        Ok(Pretraining { plan, entropy })
    }

    fn train_tokenizer(&self, documents: &[Document]) -> anyhow::Result<Tokenizer> {
        let trainer = BpeTrainer::builder()
            .vocab_size(self.vocab_size)
            .show_progress(false)
            .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let mut bpe = Bpe::new(BPE::default());
        bpe.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        bpe.with_decoder(Some(ByteLevelDecoder::default()));
        let texts = documents.iter().take(20_000).map(|document| &document.text);
        bpe.train(&mut TrainerWrapper::from(trainer), texts)
            .map_err(|error| anyhow::anyhow!("training the tokenizer: {error}"))?;
        Ok(Tokenizer::trained(bpe)?)
    }

    fn fresh_pair(&self, vocab_size: usize, eos: u32, device: &Device) -> anyhow::Result<Pair> {
        let fresh = |role: Role, n_embd: usize, n_layer: usize, n_head: usize| {
            let config = serde_json::json!({
                "model_type": "gpt2",
                "vocab_size": vocab_size, "n_positions": self.block,
                "n_embd": n_embd, "n_layer": n_layer, "n_head": n_head,
                // No dropout: a text is read once, so there is nothing to overfit.
                "embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0,
                "bos_token_id": eos, "eos_token_id": eos,
            });
            let mut rng = stream(self.seed, Purpose::Initialisation, role as u64, 0);
            Network::init(&config.to_string(), &mut rng, device)
        };
        Ok(Pair::new(
            fresh(Role::Main, 128, 4, 4)?,
            fresh(Role::Assistant, 64, 2, 2)?,
        )?)
    }
}

fn tokens(tokenizer: &Tokenizer, eos: u32, documents: &[Document]) -> anyhow::Result<Vec<u32>> {
    let mut ids = Vec::new();
    for document in documents {
        ids.extend(tokenizer.encode(&document.text)?);
        ids.push(eos);
    }
    Ok(ids)
}

/// Copies a pretrained pair from the folder of its run to `folder/main` and `folder/assistant`, from where the next build takes its mini
/// pair.
///
/// # Errors
/// When a file cannot be read or written.
pub fn install(run: &Path, folder: &Path) -> anyhow::Result<()> {
    for role in Role::BOTH {
        let (from, to) = (
            run.join(MODELS).join(model_folder(role)),
            folder.join(role.as_str()),
        );
        std::fs::create_dir_all(&to).with_context(|| to.display().to_string())?;
        for name in ["config.json", "model.safetensors", "tokenizer.json"] {
            let bytes = std::fs::read(from.join(name));
            let bytes = bytes.with_context(|| from.join(name).display().to_string())?;
            crate::atomic::write(&to.join(name), &bytes)
                .with_context(|| to.join(name).display().to_string())?;
        }
    }
    Ok(())
}

/// The perplexities of a pretrained pair on its held-out text, shown at the end of `milepost pretrain`: exp of the last `eval/<role>/loss`.
pub fn perplexities(spans: &std::collections::HashMap<String, Span>) -> BTreeMap<Role, f64> {
    let last = |role: Role| {
        spans
            .get(&format!("eval/{role}/loss"))
            .map(|span| span.last.1.exp())
    };
    Role::BOTH
        .into_iter()
        .filter_map(|role| Some((role, last(role)?)))
        .collect()
}
