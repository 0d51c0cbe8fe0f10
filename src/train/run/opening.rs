//! The first writes of a run, or its way back to where it was killed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::Run;
use crate::clock::Clock;
use crate::model::Role;
use crate::tensorboard::{Entry, HparamValue, Layout};
use crate::train::dispatcher::Dispatcher;
use crate::train::outcome::RunError;
use crate::train::recorder::{RecordError, Recorder};
use crate::train::run_directory::RunDirectory;
use crate::train::{Learner, Plan, Reporter, charts, checkpoint};

impl<'a> Run<'a> {
    pub(super) fn open(
        plan: Plan,
        resume: bool,
        reporter: &'a mut dyn Reporter,
        interrupt: &'a AtomicBool,
    ) -> Result<Self, RunError> {
        let directory = match resume {
            true => RunDirectory::existing(&plan.directory)?,
            false => RunDirectory::create(&plan.directory)?,
        };
        let newest = match resume {
            true => checkpoint::newest(&plan.directory)?,
            false => None,
        };
        let state = newest.as_deref().map(checkpoint::read_state).transpose()?;
        if resume {
            let checkpoint = newest.as_deref().zip(state.as_ref());
            let lines = checkpoint.map(|(path, state)| (path, state.lines));
            cut_lines(&directory, lines)?;
            directory.remove("outcome.json")?;
        } else {
            directory.write("experiment.toml", plan.resolved.as_bytes())?;
            directory.write("manifest.json", format!("{:#}\n", plan.manifest).as_bytes())?;
        }
        directory.write_pairs(&plan.scene.templates)?;
        let resumed_at = state.as_ref().map(|state| state.clock.step.0);
        // Without a checkpoint a resumed run starts over, so everything that was drawn before is stale.
        let purge = resume.then(|| resumed_at.map_or(0, |step| step + 1));
        let mut recorder = Recorder::create(directory.path(), purge)?;
        let mut learners: BTreeMap<Role, Learner> = plan
            .training
            .models
            .iter()
            .map(|&role| {
                let model = plan.pair.get(role).clone();
                (role, Learner::new(model, plan.training.weight_decay))
            })
            .collect();
        let kinds: Vec<String> = plan.hooks.iter().map(|hook| hook.kind.clone()).collect();
        let mut dispatcher = Dispatcher::new(
            plan.hooks,
            plan.scene.clone(),
            plan.pair.snapshot(),
            plan.extent.clone(),
            plan.queue,
        )?
        .watched_by(reporter.watch());
        let mut clock = Clock::default();
        let fresh = state.is_none();
        if let (Some(path), Some(state)) = (&newest, state) {
            checkpoint::restore(path, &mut learners)?;
            clock = state.clock;
            recorder.restore_spans(state.spans);
            dispatcher.restore(state.hooks)?;
            reporter.say(&format!("resumed from {}", path.display()));
        }
        if fresh {
            let layout = charts::layout(&kinds);
            describe(
                &mut recorder,
                plan.hparams,
                layout,
                &plan.resolved,
                &plan.origin,
            )?;
        }
        Ok(Self {
            seed: plan.seed,
            extent: plan.extent,
            training: plan.training,
            frozen: plan.pair,
            learners,
            blocks: plan.blocks,
            scene: plan.scene,
            tokenizer_json: plan.tokenizer_json,
            before: clock.clone(),
            started: Instant::now() - clock.elapsed,
            clock,
            losses: BTreeMap::new(),
            evaluation: None,
            evaluated_at: None,
            saved_at: resumed_at,
            evaluate_next: false,
            dispatcher,
            recorder,
            directory,
            reporter,
            interrupt,
        })
    }
}

/// Drops the lines of `milestones.jsonl` that a resumed run will write again; without a checkpoint, all of them.
fn cut_lines(directory: &RunDirectory, checkpoint: Option<(&Path, u64)>) -> Result<(), RunError> {
    let path = directory.path().join("milestones.jsonl");
    let failed = |source| RecordError::Io {
        path: path.clone(),
        source,
    };
    let file = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    let bytes = checkpoint.map_or(0, |(_, bytes)| bytes);
    let there = file.metadata().map_err(failed)?.len();
    if let Some((checkpoint, _)) = checkpoint.filter(|_| there < bytes) {
        let message = format!(
            "it has {there} bytes of the {bytes} that were written when {} was saved: lines are lost; remove that folder to go on from the checkpoint before it",
            checkpoint.display()
        );
        return Err(RunError::Checkpoint { path, message });
    }
    Ok(file.set_len(bytes).map_err(failed)?)
}

/// What TensorBoard shows of a run beside its curves.
fn describe(
    recorder: &mut Recorder,
    hparams: Vec<(String, HparamValue)>,
    layout: Layout,
    resolved: &str,
    origin: &str,
) -> Result<(), RecordError> {
    let metrics = [
        "eval/main/perplexity",
        "kl/mean_nats",
        "decode/assistant_share",
        "gender/disparity",
    ];
    recorder.send(Entry::Hparams {
        hparams,
        metrics: metrics.map(str::to_owned).to_vec(),
    })?;
    recorder.send(Entry::Layout(layout))?;
    for (tag, markdown) in [
        ("run/experiment", format!("```toml\n{resolved}\n```")),
        ("run/data", origin.to_owned()),
    ] {
        recorder.send(Entry::Text {
            tag: tag.to_owned(),
            step: 0,
            wall: std::time::SystemTime::now(),
            markdown,
        })?;
    }
    Ok(())
}
