//! Times one milestone at the size of gpt2 and distilgpt2: divergences and assisted decoding of 724 prompts, beside transformers' assisted
//! generation of 16 of them. `make bench-decode` runs it.
//!
//! The main model is random, and the assistant is its first six blocks. The prompts are HONEST's if MILEPOST_DATA has them, else the
//! built-in ones. They are encoded by the tokenizer in the folder that is named, else by the mini pair's.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use milepost::data::templates::{ContrastSpec, TemplateSet, Templates};
use milepost::data::tokenizer::Tokenizer;
use milepost::decode::{Decoding, Drafting, Request, Settings, assisted};
use milepost::measure::decoding::DecodingTotals;
use milepost::measure::divergence::Divergence;
use milepost::measure::evaluation::template_divergences;
use milepost::model::profile::{profiled, table};
use milepost::model::{Network, Pair};
use milepost::random::{Purpose, stream};
use rand::seq::SliceRandom;
use serde_json::{Value, json};

const TEMPLATES: usize = 724;
const BESIDE: usize = 16;
const EOS: u32 = 50256;

struct Options {
    tokenizer: Option<PathBuf>,
    python: Option<String>,
    /// The number of milestones in a row, to see that memory stays flat.
    milestones: usize,
    /// The numbers of prompts to time.
    counts: Vec<usize>,
    /// Whether to show where the time goes.
    profile: bool,
}

fn main() -> Result<()> {
    milepost::allocator::keep_pages();
    let options = Options::parse()?;
    let folder = tempfile::tempdir()?;
    let pair = pair(folder.path())?;
    let prompts = prompts(options.tokenizer.as_deref())?;
    let tokens: usize = prompts.iter().map(Vec::len).sum();
    println!(
        "{} prompts of {:.1} tokens on average; 20 new tokens, k = 5, greedy",
        prompts.len(),
        tokens as f64 / prompts.len() as f64
    );
    let bench = Bench {
        weights: (pair.main.num_params() + pair.assistant.num_params()) as f64 * 4.0
            / f64::from(1 << 30),
        pair,
    };
    println!("weights {:.2} GiB", bench.weights);
    for round in 0..options.milestones {
        let mut last = None;
        for &count in &options.counts {
            let some = &prompts[..count.min(prompts.len())];
            let start = Instant::now();
            let (done, costs) = profiled(|| bench.milestone(some));
            let done = done?;
            if options.profile {
                println!("{}", table(&costs, start.elapsed(), done.sgemm));
            }
            last = Some(done);
        }
        if let (0, Some(python), Some(done)) = (round, &options.python, last) {
            let seconds = beside(python, folder.path(), &prompts, &done.decodings)?;
            let [whole, lazy] = done.seconds.map(|own| seconds / own);
            println!("{whole:.1} times as fast a prompt; with lazy drafts {lazy:.1} times");
        }
    }
    Ok(())
}

impl Options {
    fn parse() -> Result<Self> {
        let mut options = Self {
            tokenizer: None,
            python: None,
            milestones: 1,
            counts: vec![50, 200, TEMPLATES],
            profile: false,
        };
        // `cargo bench` adds `--bench`.
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            if word == "--profile" {
                options.profile = true;
                continue;
            }
            let value = words.next().context("an option needs a value")?;
            match word.as_str() {
                "--tokenizer" => options.tokenizer = Some(value.into()),
                "--python" => options.python = Some(value),
                "--milestones" => options.milestones = value.parse()?,
                "--templates" => options.counts = vec![value.parse()?],
                _ => anyhow::bail!("unknown option {word}"),
            }
        }
        Ok(options)
    }
}

/// Makes a random model of gpt2's size and an assistant of its first six blocks. Also writes both into `folder` for transformers.
fn pair(folder: &Path) -> Result<Pair> {
    let device = Device::flex();
    let config = json!({
        "model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12
    });
    let mut rng = stream(1, Purpose::Initialisation, 0, 0);
    let main = Network::init(&config.to_string(), &mut rng, &device)?;
    let assistant = folder.join("assistant");
    for folder in [&folder.join("main"), &assistant] {
        std::fs::create_dir(folder)?;
    }
    main.save(&folder.join("main"))?;
    let text = std::fs::read_to_string(folder.join("main/config.json"))?;
    let mut config: Value = serde_json::from_str(&text)?;
    config["n_layer"] = json!(6);
    std::fs::write(assistant.join("config.json"), config.to_string())?;
    let bytes = std::fs::read(folder.join("main/model.safetensors"))?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes)?;
    let kept = tensors.iter().filter(|(name, _)| {
        let block = name
            .split("h.")
            .nth(1)
            .and_then(|rest| rest.split('.').next());
        block.is_none_or(|block| block.parse().is_ok_and(|block: usize| block < 6))
    });
    let file = assistant.join("model.safetensors");
    safetensors::serialize_to_file(kept, None, &file)?;
    let assistant = Network::load(&assistant, &device)?;
    Ok(Pair::new(main, assistant)?)
}

fn prompts(tokenizer: Option<&Path>) -> Result<Vec<Vec<u32>>> {
    let tokenizer = match tokenizer {
        Some(folder) => Tokenizer::load(folder)?,
        None => milepost::mini::tokenizer()?,
    };
    let honest = std::env::var_os("MILEPOST_DATA")
        .map(|folder| Path::new(&folder).join("honest/en_template.tsv"))
        .filter(|file| file.is_file());
    let templates = match honest {
        Some(file) => Templates::read(
            &file,
            &ContrastSpec::new("gender", ["female", "male"], TemplateSet::Unique),
        )?,
        None => Templates::read(
            Path::new("datasets/prompt_templates.tsv"),
            &ContrastSpec::new("gender", ["female", "male"], TemplateSet::Unique),
        )?,
    };
    println!("templates: {}", templates.contrasts()[0].source);
    let all = templates.prompts().iter();
    let mut prompts: Vec<Vec<u32>> = all
        .map(|template| tokenizer.encode(&template.prompt))
        .collect::<Result<_, _>>()?;
    prompts.shuffle(&mut stream(1, Purpose::DataOrder, 0, 0));
    prompts.truncate(TEMPLATES);
    Ok(prompts)
}

/// The pair, and the numbers to compare its times to.
struct Bench {
    pair: Pair,
    /// The size of both models' weights in GiB.
    weights: f64,
}

/// What a milestone took, with whole and with lazy drafts.
struct Done {
    /// Seconds a prompt.
    seconds: [f64; 2],
    decodings: Vec<Decoding>,
    /// The speed of a square matrix product meanwhile, in GFLOP/s.
    sgemm: f64,
}

impl Bench {
    /// Times the computations of one milestone.
    fn milestone(&self, prompts: &[Vec<u32>]) -> Result<Done> {
        let all = Speed::default();
        let (divergences, first) = all.timed(|go_on| {
            template_divergences(&self.pair, prompts, &|| {
                go_on(0).map_err(anyhow::Error::msg)
            })
        })?;
        let kl = Divergence::mean(divergences.iter()).unwrap_or_default().kl;
        println!("{:>4} prompts: {first:6.2} s divergences", prompts.len());
        let mut seconds = [0.0; 2];
        let mut speeds = vec![all.mean()];
        let mut texts = Vec::new();
        for (drafting, seconds) in [Drafting::Whole, Drafting::Lazy]
            .into_iter()
            .zip(&mut seconds)
        {
            let requests = prompts.iter().map(|prompt| Request { prompt, seed: 0 });
            let requests: Vec<Request> = requests.collect();
            let settings = Settings {
                drafting,
                ..Settings::default()
            };
            let speed = Speed::default();
            let (decodings, second) = speed
                .timed(|go_on| assisted(&self.pair, &requests, Some(EOS), &settings, go_on))?;
            let totals = DecodingTotals::of(&decodings);
            *seconds = (first + second) / prompts.len() as f64;
            println!(
                "      {second:6.2} s decoding, {} drafts: {:5.1} ms a prompt in all; the products alone would take {:.1} s at sgemm's {:.0} GFLOP/s",
                format!("{drafting:?}").to_lowercase(),
                *seconds * 1e3,
                self.work(prompts, &totals) / speed.mean() / 1e9,
                speed.mean(),
            );
            speeds.push(speed.mean());
            texts.push(decodings);
        }
        let [whole, lazy] = [0, 1].map(|drafting| {
            let tokens = texts[drafting].iter().map(|decoding| &decoding.tokens);
            tokens.collect::<Vec<_>>()
        });
        ensure!(whole == lazy, "lazy drafts gave other texts");
        let decodings = texts.swap_remove(0);
        println!(
            "      KL {kl:.4} nats, {:.1} matches a prompt; resident {:.2} GiB above the weights, at most {:.2}",
            DecodingTotals::of(&decodings)
                .n_matches_per_prompt()
                .unwrap_or_default(),
            memory("VmRSS")? - self.weights,
            memory("VmHWM")? - self.weights,
        );
        Ok(Done {
            seconds,
            decodings,
            sgemm: speeds.iter().sum::<f64>() / speeds.len() as f64,
        })
    }

    /// The floating-point operations of the matrix products that cannot be avoided: every distinct beginning once for divergences and once
    /// for decoding, every drafted token by the assistant, every new token by the main model, and their heads.
    fn work(&self, prompts: &[Vec<u32>], totals: &DecodingTotals) -> f64 {
        let beginnings: HashSet<&[u32]> = prompts
            .iter()
            .flat_map(|prompt| (1..=prompt.len()).map(|length| &prompt[..length]))
            .collect();
        let read = 2 * beginnings.len() as u64;
        let (main, assistant) = (self.pair.main.config(), self.pair.assistant.config());
        let head = (main.vocab_size * main.width) as u64;
        let blocks = |layers: usize| (12 * layers * main.width * main.width) as u64;
        let main = (read + totals.new_tokens) * blocks(main.layers)
            + (totals.new_tokens + prompts.len() as u64) * head;
        let assistant = (read + totals.drafted) * blocks(assistant.layers)
            + (totals.drafted + prompts.len() as u64) * head;
        2.0 * (main + assistant) as f64
    }
}

/// Decodes the first 16 prompts with transformers, and prints whether the texts are the same. Returns its seconds per prompt.
fn beside(
    python: &str,
    folder: &Path,
    prompts: &[Vec<u32>],
    decodings: &[Decoding],
) -> Result<f64> {
    // The prompts are in a random order already.
    let file = folder.join("prompts.json");
    std::fs::write(&file, json!(prompts[..BESIDE]).to_string())?;
    let output = Command::new(python)
        .arg("benches/decode.py")
        .arg(folder)
        .output()
        .with_context(|| format!("cannot run {python}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{complaint}");
    let found: Value = serde_json::from_slice(&output.stdout)?;
    let seconds = found["seconds"].as_f64().context("no seconds")?;
    println!(
        "transformers: {:.0} ms a prompt over {BESIDE} of them, which makes {:.0} s for {}; its sgemm {} GFLOP/s",
        seconds * 1e3,
        seconds * prompts.len() as f64,
        prompts.len(),
        found["sgemm"]
    );
    let texts = found["tokens"].as_array().context("no tokens")?;
    let equal = texts
        .iter()
        .zip(decodings)
        .filter(|(text, decoding)| **text == json!(decoding.tokens));
    println!("{} of {BESIDE} texts are equal", equal.count());
    Ok(seconds)
}

/// The speed of a square matrix product in the seconds in which something is timed: the machine does not keep its own.
#[derive(Default)]
struct Speed {
    found: RefCell<Vec<f64>>,
    /// When the last one was made.
    last: Cell<Option<Instant>>,
    /// What they took, which does not count.
    took: Cell<Duration>,
}

impl Speed {
    /// Runs `work`, which calls what it is given now and then. Returns its result and its seconds.
    fn timed<T, E: Into<anyhow::Error>>(
        &self,
        work: impl FnOnce(&dyn Fn(usize) -> Result<(), String>) -> Result<T, E>,
    ) -> Result<(T, f64)> {
        let start = Instant::now();
        let done = work(&|_| {
            self.take_every(Duration::from_secs(3));
            Ok(())
        });
        let took = start.elapsed() - self.took.get();
        self.take_every(Duration::ZERO);
        Ok((done.map_err(Into::into)?, took.as_secs_f64()))
    }

    /// Measures, unless that was done less than `pause` ago.
    fn take_every(&self, pause: Duration) {
        if self.last.get().is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        let start = Instant::now();
        self.found.borrow_mut().push(sgemm());
        self.took.set(self.took.get() + start.elapsed());
        self.last.set(Some(Instant::now()));
    }

    fn mean(&self) -> f64 {
        let found = self.found.borrow();
        found.iter().sum::<f64>() / found.len() as f64
    }
}

/// The speed of burn's matrix product in GFLOP/s, at the best of 5 tries.
fn sgemm() -> f64 {
    let device = Device::flex();
    let a = Tensor::<2>::ones([1024, 1024], &device);
    let speeds = (0..5).map(|_| {
        let start = Instant::now();
        let _ = a.clone().matmul(a.clone());
        2.0 * 1024f64.powi(3) / start.elapsed().as_secs_f64() / 1e9
    });
    speeds.fold(0.0, f64::max)
}

/// A value of /proc/self/status, in GiB; 0 when there is none.
fn memory(name: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.unwrap_or("0").parse::<f64>()? / f64::from(1 << 20))
}
