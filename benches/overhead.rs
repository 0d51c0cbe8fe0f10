//! Measures what the loop costs besides the training itself: `cargo bench --bench overhead`.
//!
//! It trains the same steps of the mini pair in three ways: with `finetune` without hooks (including events, cadences, records and the event
//! file), with a bare loop of the same pieces (`Learner` with its AdamW, the same losses in the same order), and with the loop that one would
//! write in burn alone. The first two differ only by what the loop adds, and come to the same loss, bit for bit. The three take turns within
//! one process, so that other load on the machine affects all. It prints the steps per second of each, and the median over the pairs of the
//! same step of the same round. On Linux it also compares the processor time of all steps, which other load hardly changes. Then it measures the cost of a checkpoint every 20 steps: within one run, it compares the steps after each
//! checkpoint to the others around it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::Device;
use milepost::cadence::Cadence;
use milepost::clock::{Extent, Length};
use milepost::data::blocks::Blocks;
use milepost::data::order::epoch_order;
use milepost::data::templates::{ContrastSpec, TemplateSet, Templates};
use milepost::data::tokenizer::Tokenizer;
use milepost::decode::Settings;
use milepost::event::Event;
use milepost::hook::{Milestone, Scene};
use milepost::mini;
use milepost::model::{Ends, Pair, Precision, Role, next_token_loss};
use milepost::train::{
    Begin, Decay, Learner, Objectives, Plan, Reporter, Schedule, Training, WeightDecay, finetune,
};

const STEPS: u64 = 12;
const ROUNDS: usize = 20;
/// In the run that saves, a checkpoint follows every `PERIOD` steps. Its cost falls on the `AFFECTED` steps after it.
const PERIOD: usize = 20;
const AFFECTED: usize = 4;
const CHECKPOINTS: usize = 40;
const BATCH: usize = 8;
const BLOCK: usize = 64;

/// The end of each step, the last loss of the main model, and the ticks of processor time.
type Timed = (Vec<Duration>, f64, Option<f64>);

/// Times only the steps, from the start of the first to the end of each.
struct Stopwatch {
    start: Instant,
    ends: Vec<Duration>,
    /// The ticks before the first step, and until the end of the last one so far.
    before: Option<f64>,
    spent: Option<f64>,
}

impl Reporter for Stopwatch {
    fn event(&mut self, event: Event, milestone: &Milestone) {
        if event == Event::StepStart && milestone.step == 1 {
            self.start = Instant::now();
            self.before = ticks();
        }
        if event == Event::StepEnd {
            self.ends.push(self.start.elapsed());
            if milestone.step == milestone.total_steps {
                self.spent = since(self.before);
            }
        }
    }
}

fn main() -> anyhow::Result<()> {
    let tokenizer = mini::tokenizer()?;
    let mut text = Vec::new();
    for article in milepost::generator::articles(1).take(400) {
        text.extend(tokenizer.encode(&article.description)?);
    }
    let blocks = Blocks::cut(text, BLOCK)?;
    let mut steps = [const { Vec::<f64>::new() }; 3];
    let mut losses = [0.0; 3];
    let mut busy = [const { Vec::<f64>::new() }; 3];
    for round in 0..ROUNDS {
        // The loops also take turns at going first, since the first one finds a colder machine.
        for turn in 0..3 {
            let which = (round + turn) % 3;
            let (ends, loss, spent) = match which {
                0 => our_loop(&blocks, &tokenizer, STEPS, None)?,
                1 => same_loop(&blocks)?,
                _ => burn_loop(&blocks)?,
            };
            losses[which] = loss;
            busy[which].extend(spent);
            steps[which].extend(lengths(&ends));
        }
    }
    let [ours, same, burn] = losses;
    anyhow::ensure!(
        ours == same && (ours - burn).abs() < 1e-4,
        "the loops do not train alike: {losses:?}"
    );
    let [ours, same, burn] = &steps;
    for (name, steps) in [
        ("milepost, no hooks", ours),
        ("bare loop of the same pieces", same),
        ("bare burn loop", burn),
    ] {
        println!("{name:<30}{:8.3} steps/s", 1.0 / median(steps.clone()));
    }
    for (name, other) in [("the same pieces", same), ("burn alone", burn)] {
        let ratios: Vec<f64> = ours
            .iter()
            .zip(other)
            .map(|(ours, other)| ours / other)
            .collect();
        let count = ratios.len();
        println!(
            "a step against {name}: {:+.2}%, the median of {count} pairs; half of them from {:+.2}% to {:+.2}%",
            100.0 * (median(ratios.clone()) - 1.0),
            100.0 * (quantile(ratios.clone(), 0.25) - 1.0),
            100.0 * (quantile(ratios, 0.75) - 1.0),
        );
    }
    let [ours, same, _] = &busy;
    if !ours.is_empty() {
        let ratios: Vec<f64> = ours.iter().zip(same).map(|(a, b)| a / b).collect();
        println!(
            "processor time of a step against the same pieces: {:+.2}%, of all rounds; half of the {} rounds from {:+.2}% to {:+.2}%",
            100.0 * (ours.iter().sum::<f64>() / same.iter().sum::<f64>() - 1.0),
            ratios.len(),
            100.0 * (quantile(ratios.clone(), 0.25) - 1.0),
            100.0 * (quantile(ratios, 0.75) - 1.0),
        );
    }
    checkpoints(&blocks, &tokenizer)
}

/// The processor time that this process has had, in ticks of the system. None where the system does not say.
fn ticks() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in parentheses, may hold spaces. Behind it the twelfth and thirteenth fields are what is wanted.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let [user, system] = [fields.get(11)?, fields.get(12)?].map(|field| field.parse::<f64>().ok());
    Some(user? + system?)
}

/// The ticks from `before` until now.
fn since(before: Option<f64>) -> Option<f64> {
    Some(ticks()? - before?)
}

fn median(values: Vec<f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value below which a share of the values lies.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

/// The seconds of each step, of their ends.
fn lengths(ends: &[Duration]) -> Vec<f64> {
    let starts = std::iter::once(&Duration::ZERO).chain(ends);
    let steps = ends.iter().zip(starts);
    steps
        .map(|(end, start)| (*end - *start).as_secs_f64())
        .collect()
}

/// Prints how much checkpoints slow down training: the mean excess time of the affected steps over the other steps of the same period,
/// relative to a period, with its standard error over the checkpoints.
fn checkpoints(blocks: &Blocks, tokenizer: &Tokenizer) -> anyhow::Result<()> {
    let steps = PERIOD * (CHECKPOINTS + 1);
    let cadence = format!("every {PERIOD} steps");
    let (ends, _, _) = our_loop(blocks, tokenizer, steps as u64, Some(&cadence))?;
    // From the end of the first step on.
    let took = &lengths(&ends)[1..];
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    // The interval with index `PERIOD - 1` is the first after a checkpoint.
    let excesses: Vec<f64> = took[PERIOD - 1..]
        .chunks_exact(PERIOD)
        .map(|period| {
            let (affected, others) = period.split_at(AFFECTED);
            let step = mean(others);
            (mean(affected) - step) * AFFECTED as f64 / (step * PERIOD as f64)
        })
        .collect();
    let excess = mean(&excesses);
    let squares: Vec<f64> = excesses.iter().map(|one| (one - excess).powi(2)).collect();
    let error = (mean(&squares) / (squares.len() - 1) as f64).sqrt();
    println!(
        "a checkpoint every {PERIOD} steps: {:+.2}%, standard error {:.2}% over {} checkpoints",
        100.0 * excess,
        100.0 * error,
        excesses.len()
    );
    Ok(())
}

fn schedule(steps: u64) -> Schedule {
    Schedule {
        peak: 1e-4,
        warmup: 0,
        total: steps,
        decay: Decay::Linear,
    }
}

fn pair() -> anyhow::Result<Pair> {
    let device = Device::flex().autodiff();
    let model = |role| anyhow::Ok(mini::model(role, &device)?.with_dropout(0.0));
    Ok(Pair::new(model(Role::Main)?, model(Role::Assistant)?)?)
}

/// Runs milepost's loop without hooks. Returns the end of each step and the last loss of the main model.
fn our_loop(
    blocks: &Blocks,
    tokenizer: &Tokenizer,
    steps: u64,
    save: Option<&str>,
) -> anyhow::Result<Timed> {
    let folder = tempfile::tempdir()?;
    let mut watch = Stopwatch {
        start: Instant::now(),
        ends: Vec::new(),
        before: None,
        spent: None,
    };
    let mut plan = plan(&folder.path().join("run"), blocks, tokenizer, steps)?;
    plan.training.save = save.map(str::parse).transpose()?;
    let outcome = finetune(plan, Begin::Anew, &mut watch, &AtomicBool::new(false))?;
    let loss = outcome.spans["train/main/loss"].last.1;
    Ok((watch.ends, loss, watch.spent))
}

/// The bare loop of the pieces that milepost trains with: what it does of a step, and nothing else. Returns the end of each step and the last
/// loss of the main model.
fn same_loop(blocks: &Blocks) -> anyhow::Result<Timed> {
    let pair = pair()?;
    let learner = |model| Learner::new(model, WeightDecay::default());
    let (mut main, mut assistant) = (learner(pair.main), learner(pair.assistant));
    let order = epoch_order(1, 0, blocks.len());
    let (mut loss, mut ends) = (0.0, Vec::new());
    let (start, before) = (Instant::now(), ticks());
    for (step, batch) in order.chunks(BATCH).take(STEPS as usize).enumerate() {
        let rows: Vec<&[u32]> = batch.iter().map(|&index| blocks.get(index)).collect();
        let predictions = rows.len() * (BLOCK - 1);
        let forward = |learner: &mut Learner| {
            learner.forward(predictions as f64, |model| {
                next_token_loss(model, &rows, None).0
            });
        };
        rayon::join(|| forward(&mut main), || forward(&mut assistant));
        rayon::join(|| main.backward(), || assistant.backward());
        loss = main.gather();
        assistant.gather();
        let rate = schedule(STEPS).rate(step as u64);
        main.step(rate);
        assistant.step(rate);
        ends.push(start.elapsed());
    }
    Ok((ends, loss, since(before)))
}

/// The loop that one would write in burn alone. Returns as [`same_loop`].
fn burn_loop(blocks: &Blocks) -> anyhow::Result<Timed> {
    let pair = pair()?;
    let adamw = || {
        AdamWConfig::new()
            .with_epsilon(1e-8)
            .with_weight_decay(0.0)
            .init()
    };
    let mut learners = [(pair.main, adamw()), (pair.assistant, adamw())];
    let order = epoch_order(1, 0, blocks.len());
    let (mut losses, mut ends) = ([0.0; 2], Vec::new());
    let (start, before) = (Instant::now(), ticks());
    for (step, batch) in order.chunks(BATCH).take(STEPS as usize).enumerate() {
        let rows: Vec<&[u32]> = batch.iter().map(|&index| blocks.get(index)).collect();
        for ((model, optimiser), last) in learners.iter_mut().zip(&mut losses) {
            let (sum, count) = next_token_loss(model, &rows, None);
            let loss = sum * (1.0 / count as f64);
            let gradients = GradientsParams::from_grads(loss.backward(), model);
            *last = f64::from(loss.into_scalar::<f32>());
            *model = optimiser.step(schedule(STEPS).rate(step as u64), model.clone(), gradients);
        }
        ends.push(start.elapsed());
    }
    Ok((ends, losses[0], since(before)))
}

fn plan(
    directory: &std::path::Path,
    blocks: &Blocks,
    tokenizer: &Tokenizer,
    steps: u64,
) -> anyhow::Result<Plan> {
    let templates = Templates::parse(
        "built in",
        mini::TEMPLATES,
        &ContrastSpec::new("gender", ["female", "male"], TemplateSet::Paired),
    )?;
    let end = Cadence::parse(&["steps 1000000"]).map_err(|(_, error)| error)?;
    Ok(Plan {
        seed: 1,
        assistant_tokenizer: tokenizer.clone(),
        extent: Extent::new(
            blocks.len() as u64,
            BATCH as u64,
            1,
            BLOCK as u64,
            Length::Steps(steps),
        )?,
        training: Training {
            models: Role::BOTH.to_vec(),
            objectives: Objectives::default(),
            batch: BATCH,
            accumulation: 1,
            precision: Precision::F32,
            schedule: schedule(steps),
            clip: None,
            weight_decay: WeightDecay::default(),
            evaluate: end,
            save: None,
            keep: Some(2),
            keep_best: None,
        },
        pair: pair()?,
        blocks: blocks.clone(),
        treatments: Vec::new(),
        scene: Arc::new(Scene {
            seed: 1,
            eos: None,
            ends: Ends::default(),
            templates,
            prompts: Vec::new(),
            held_out: Arc::new(blocks.clone()),
            on_answers: Vec::new(),
            batch: BATCH,
            decode: Settings::default(),
            tokenizer: tokenizer.clone(),
        }),
        hooks: Vec::new(),
        interventions: Vec::new(),
        queue: 1,
        origin: "generated".to_owned(),
        resolved: String::new(),
        manifest: milepost::record::Manifest::default(),
        hparams: Vec::new(),
        directory: directory.to_owned(),
    })
}
