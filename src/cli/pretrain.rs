//! `milepost pretrain`: trains the mini pair that the next build includes.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;

use super::progress;
use super::terminal::say;
use crate::pretrain::{Recipe, install, perplexities};
use crate::train::{Begin, finetune};

#[derive(Args)]
pub(super) struct Arguments {
    /// Seed of the corpus, the weights and the order.
    #[arg(long, default_value_t = Recipe::default().seed)]
    seed: u64,
    /// Optimiser steps.
    #[arg(long, default_value_t = Recipe::default().steps)]
    steps: u64,
    /// Folder of the pretraining run, which must be new [default: runs/pretrain/<time>].
    #[arg(long, value_name = "FOLDER")]
    run: Option<PathBuf>,
    /// Folder that the pair is put into.
    #[arg(long, default_value = "datasets/mini", value_name = "FOLDER")]
    into: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let device = crate::device::open("flex")?.autodiff();
    let recipe = Recipe {
        seed: arguments.seed,
        steps: arguments.steps,
        ..Recipe::default()
    };
    let usual = || crate::record::name::fresh(Path::new("runs/pretrain"));
    let directory = arguments.run.clone().unwrap_or_else(usual);
    say!("generating the corpus and training the tokenizer");
    let prepared = recipe.prepare(&device, directory)?;
    let entropy = prepared.entropy.nats_per_token;
    say!(
        "the grammar's entropy is {entropy:.4} nats a token, perplexity {:.4}",
        entropy.exp()
    );
    let mut reporter = progress::reporter(prepared.plan.extent.steps(), None);
    let outcome = finetune(
        prepared.plan,
        Begin::Anew,
        reporter.as_mut(),
        &AtomicBool::new(false),
    );
    drop(reporter);
    let outcome = outcome?;
    for (role, perplexity) in perplexities(&outcome.spans) {
        say!("held-out perplexity of {role}: {perplexity:.4}");
    }
    install(&outcome.directory, &arguments.into)?;
    say!(
        "the pair is in {}; the next build includes it",
        arguments.into.display()
    );
    Ok(0)
}
