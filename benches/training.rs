//! Tokens a second of a training step (forward, backward, clip, AdamW; dropout 0.1): `make bench-train PYTHON=...` in turns with PyTorch eager and
//! `torch.compile` at three sizes, and `make bench-devices DEVICE=tch` in turns with other devices. With `--precision bf16` each contestant trains in that precision, too.
//!
//! `benches/training.py` takes the same step with PyTorch and transformers.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use burn::tensor::{Device, Distribution, Tensor};
use milepost::device::open;
use milepost::model::profile::{profiled, table};
use milepost::model::{Network, Precision, TrainingPass, next_token_loss};
use milepost::random::{Purpose, stream};
use milepost::train::{Learner, WeightDecay};
use serde_json::json;

/// A network and a batch.
struct Size {
    name: &'static str,
    layers: usize,
    width: usize,
    heads: usize,
    vocab: usize,
    batch: usize,
    time: usize,
    /// Steps of a round.
    steps: usize,
}

const SIZES: [Size; 3] = [
    Size {
        name: "small",
        layers: 2,
        width: 128,
        heads: 4,
        vocab: 4096,
        batch: 8,
        time: 128,
        steps: 20,
    },
    Size {
        name: "medium",
        layers: 6,
        width: 256,
        heads: 8,
        vocab: 8192,
        batch: 8,
        time: 128,
        steps: 5,
    },
    Size {
        name: "gpt2",
        layers: 12,
        width: 768,
        heads: 12,
        vocab: 50257,
        batch: 4,
        time: 128,
        steps: 1,
    },
];

/// What the command line asks.
struct Options {
    python: Option<String>,
    compile: bool,
    profile: bool,
    sizes: Vec<String>,
    rounds: usize,
    precisions: Vec<Precision>,
    devices: Vec<String>,
}

impl Options {
    fn parse() -> anyhow::Result<Self> {
        let mut options = Self {
            python: None,
            compile: true,
            profile: false,
            sizes: Vec::new(),
            rounds: 5,
            precisions: vec![Precision::F32],
            devices: vec!["flex".to_owned()],
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} needs a value"))
            };
            match word.as_str() {
                // What cargo adds.
                "--bench" => {}
                "--python" => options.python = Some(value()?),
                "--eager-only" => options.compile = false,
                "--profile" => options.profile = true,
                "--size" => options.sizes.push(value()?),
                "--rounds" => options.rounds = value()?.parse()?,
                "--precision" => options.precisions.push(precision(&value()?)?),
                device => options.devices.push(device.to_owned()),
            }
        }
        Ok(options)
    }

    fn wants(&self, size: &Size) -> bool {
        self.sizes.is_empty() || self.sizes.iter().any(|name| name == size.name)
    }
}

fn precision(name: &str) -> anyhow::Result<Precision> {
    let mut all = Precision::ALL.into_iter();
    let found = all.find(|one| one.as_str() == name);
    found.with_context(|| format!("--precision {name}: f32, bf16 or f16"))
}

fn main() -> anyhow::Result<()> {
    milepost::allocator::keep_pages();
    let options = Options::parse()?;
    for size in SIZES.iter().filter(|size| options.wants(size)) {
        size.run(&options)?;
    }
    Ok(())
}

impl Size {
    fn config(&self) -> String {
        let Self {
            layers,
            width,
            heads,
            vocab,
            time,
            ..
        } = self;
        json!({
            "model_type": "gpt2", "vocab_size": vocab, "n_positions": time + 1, "n_embd": width, "n_layer": layers, "n_head": heads,
            "embd_pdrop": 0.1, "attn_pdrop": 0.1, "resid_pdrop": 0.1,
        })
        .to_string()
    }

    /// Floating-point operations of a step in matrix products: 6 a weight and token, and 6 a pair of positions, channel and layer in the attention,
    /// where a position attends to half of the others.
    fn operations(&self) -> f64 {
        let tokens = (self.batch * self.time) as f64;
        let weights = 12 * self.layers * self.width * self.width + self.vocab * self.width;
        let attention = 6 * self.layers * self.width * self.time;
        tokens * (6 * weights + attention) as f64
    }

    /// All contestants in turns, and what came of it.
    fn run(&self, options: &Options) -> anyhow::Result<()> {
        let ids: Vec<u32> = (0..self.batch * (self.time + 1))
            .map(|index| (index * 7919 % self.vocab) as u32)
            .collect();
        let rows: Vec<&[u32]> = ids.chunks(self.time + 1).collect();
        reset_memory();
        let mut own = Vec::new();
        for name in &options.devices {
            for &precision in &options.precisions {
                own.push(Trainee::new(name, self, &open(name)?, precision)?);
            }
        }
        let mut peer = (options.python.as_deref())
            .map(|python| Peer::start(python, self))
            .transpose()?;
        let mut kinds = vec!["eager"];
        kinds.extend(options.compile.then_some("compiled"));
        let others = options.precisions.iter().map(|one| one.as_str());
        kinds.extend(others.filter(|name| *name != Precision::F32.as_str()));
        let mut theirs: Vec<Vec<f64>> = vec![Vec::new(); kinds.len()];
        let mut limits = Vec::new();
        for trainee in &mut own {
            trainee.warm_up(&rows);
        }
        for _ in 0..options.rounds {
            limits.push(sgemm());
            for trainee in &mut own {
                trainee.round(&rows, self.steps);
            }
            if let Some(peer) = &mut peer {
                for (kind, seconds) in kinds.iter().zip(&mut theirs) {
                    seconds.push(peer.ask(kind)?);
                }
            }
        }
        let tokens = (self.batch * self.time) as f64;
        let limit = median(&limits) * 1e9 / self.operations() * tokens;
        println!(
            "\n{}: {} layers of {}, vocabulary {}, {} x {} tokens; at the speed of sgemm ({:.0} GFLOP/s): {limit:.0} tokens/s",
            self.name,
            self.layers,
            self.width,
            self.vocab,
            self.batch,
            self.time,
            median(&limits)
        );
        let first = own
            .first()
            .map_or(&[][..], |trainee| &trainee.seconds)
            .to_vec();
        let show = |name: &str, seconds: &[f64], memory: Option<f64>| {
            let ratios: Vec<f64> = seconds
                .iter()
                .zip(&first)
                .map(|(its, own)| its / own)
                .collect();
            let speed = tokens / median(seconds);
            let [low, high] = spread(&ratios);
            let memory = memory.map_or(String::new(), |bytes| {
                format!(", peak {:.2} GB", bytes / 1e9)
            });
            println!(
                "{name:<18}{speed:>9.0} tokens/s, {:>3.0}% of the limit; flex is {:.2} times as fast ({low:.2} to {high:.2}){memory}",
                100.0 * speed / limit,
                median(&ratios)
            );
        };
        let memory = peak_memory();
        for trainee in &own {
            show(&trainee.name, &trainee.seconds, memory);
        }
        if let Some(peer) = &mut peer {
            let memory = peer.ask("memory")?;
            for (kind, seconds) in kinds.iter().zip(&theirs) {
                show(&format!("PyTorch, {kind}"), seconds, Some(memory));
            }
        }
        if let (true, Some(flex)) = (options.profile, own.first_mut()) {
            self.profile(flex, &rows, median(&limits));
        }
        Ok(())
    }

    /// Where the time of a step on flex goes, kernel by kernel. `limit` is the speed of sgemm in GFLOP/s.
    fn profile(&self, flex: &mut Trainee, rows: &[&[u32]], limit: f64) {
        let start = Instant::now();
        let (_, costs) = profiled(|| (0..self.steps).for_each(|_| flex.step(rows)));
        println!(
            "{} steps:\n{}",
            self.steps,
            table(&costs, start.elapsed(), limit)
        );
    }
}

/// A model in training on one device.
struct Trainee {
    name: String,
    precision: Precision,
    learner: Learner,
    micro_batch: u64,
    /// Of a step, in each round.
    seconds: Vec<f64>,
}

impl Trainee {
    fn new(
        device_name: &str,
        size: &Size,
        device: &Device,
        precision: Precision,
    ) -> anyhow::Result<Self> {
        let mut rng = stream(1, Purpose::Initialisation, 0, 0);
        let model = Network::init(&size.config(), &mut rng, &device.clone().autodiff())?;
        let decay = WeightDecay {
            rate: 0.01,
            norms_and_biases: true,
        };
        let learner = Learner::new(model, decay);
        let (name, learner) = match precision {
            Precision::F32 => (device_name.to_owned(), learner),
            Precision::Bf16 => (format!("{device_name}, bf16"), learner),
            Precision::F16 => (format!("{device_name}, f16"), learner.with_loss_scale()),
        };
        Ok(Self {
            name,
            precision,
            learner,
            micro_batch: 0,
            seconds: Vec::new(),
        })
    }

    fn warm_up(&mut self, rows: &[&[u32]]) {
        for _ in 0..2 {
            self.step(rows);
        }
    }

    fn round(&mut self, rows: &[&[u32]], steps: usize) {
        let start = Instant::now();
        for _ in 0..steps {
            self.step(rows);
        }
        self.seconds
            .push(start.elapsed().as_secs_f64() / steps as f64);
    }

    /// One step; its loss is read, so the device has finished.
    fn step(&mut self, rows: &[&[u32]]) {
        let predictions = rows.len() * (rows[0].len() - 1);
        let keys = stream(1, Purpose::Dropout, 0, self.micro_batch);
        let mut pass = TrainingPass::new(keys).in_precision(self.precision);
        self.micro_batch += 1;
        self.learner.accumulate(predictions, |model| {
            next_token_loss(model, rows, Some(&mut pass)).0
        });
        assert!(self.learner.gather().is_finite());
        self.learner.clip(self.learner.gradient_norm(), 1.0);
        self.learner.step(1e-4);
    }
}

/// A process of `training.py`.
struct Peer {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Peer {
    fn start(python: &str, size: &Size) -> anyhow::Result<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/training.py");
        let size = json!({
            "layers": size.layers, "width": size.width, "heads": size.heads, "vocab": size.vocab, "batch": size.batch, "time": size.time,
            "steps": size.steps,
        });
        let mut child = Command::new(python)
            .args([script, &size.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {python}"))?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        Ok(Self {
            child,
            to: to.context("no pipe")?,
            from: BufReader::new(from.context("no pipe")?),
        })
    }

    fn ask(&mut self, word: &str) -> anyhow::Result<f64> {
        writeln!(self.to, "{word}")?;
        let mut answer = String::new();
        self.from.read_line(&mut answer)?;
        let answer = answer.trim();
        answer
            .parse()
            .with_context(|| format!("training.py answered `{answer}` to `{word}`"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// GFLOP/s of a product of 1024 x 1024 matrices on flex.
fn sgemm() -> f64 {
    let device = Device::flex();
    let random = || Tensor::<2>::random([1024, 1024], Distribution::Uniform(0.0, 1.0), &device);
    let (a, b) = (random(), random());
    let times = (0..10).map(|_| {
        let start = Instant::now();
        let product = a.clone().matmul(b.clone());
        drop(product);
        start.elapsed().as_secs_f64()
    });
    2.0 * 1024f64.powi(3) / times.fold(f64::INFINITY, f64::min) / 1e9
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn spread(values: &[f64]) -> [f64; 2] {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    [
        low,
        values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    ]
}

/// Makes [`peak_memory`] begin anew.
fn reset_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory that the process has had since, in bytes; None where the system does not say.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024.0)
}
