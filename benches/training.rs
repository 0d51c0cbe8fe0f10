//! Tokens a second of a training step (forward, backward, AdamW) on flex and the devices that are named, in turns: `make bench-devices DEVICE=tch`.
//!
//! `benches/training.py` does the same step with PyTorch and transformers.

use std::time::Instant;

use burn::tensor::Device;
use milepost::device::open;
use milepost::model::Network;
use milepost::random::{Purpose, stream};
use milepost::train::Learner;

const BATCH: usize = 8;
const TIME: usize = 128;
const ROUNDS: usize = 7;
/// 6 layers of 256 over a vocabulary of 8192.
const CONFIG: &str = r#"{"model_type": "gpt2", "vocab_size": 8192, "n_positions": 128, "n_embd": 256, "n_layer": 6, "n_head": 8,
    "embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}"#;

/// A model in training on one device.
struct Trainee {
    name: String,
    learner: Learner,
    /// Tokens a second of each round.
    speeds: Vec<f64>,
}

fn main() -> anyhow::Result<()> {
    milepost::allocator::keep_pages();
    // `cargo bench` adds options of its own.
    let others = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'));
    let mut trainees = vec![Trainee::new("flex".to_owned(), &open("flex")?)?];
    for name in others {
        let device = open(&name)?;
        trainees.push(Trainee::new(name, &device)?);
    }
    let ids: Vec<u32> = (0..BATCH * (TIME + 1))
        .map(|index| (index * 7919 % 8192) as u32)
        .collect();
    let rows: Vec<&[u32]> = ids.chunks(TIME + 1).collect();
    let mut losses = Vec::new();
    for round in 0..ROUNDS {
        for trainee in &mut trainees {
            let loss = trainee.step(&rows);
            if round == 0 {
                losses.push(loss);
            }
        }
    }
    let flex = trainees[0].median();
    for (trainee, loss) in trainees.iter_mut().zip(losses) {
        let median = trainee.median();
        println!(
            "{:<12}{median:>9.0} tokens/s, {:.2} x flex (first loss {loss:.5})",
            trainee.name,
            median / flex
        );
    }
    Ok(())
}

impl Trainee {
    fn new(name: String, device: &Device) -> anyhow::Result<Self> {
        let mut rng = stream(1, Purpose::Initialisation, 0, 0);
        let model = Network::init(CONFIG, &mut rng, &device.clone().autodiff())?;
        Ok(Self {
            name,
            learner: Learner::new(model, 0.0),
            speeds: Vec::new(),
        })
    }

    /// One step; its loss is read, so the device has finished.
    fn step(&mut self, rows: &[&[u32]]) -> f64 {
        let start = Instant::now();
        self.learner.accumulate(rows, BATCH * TIME, None);
        let loss = self.learner.gather();
        self.learner.clip(self.learner.gradient_norm(), 1.0);
        self.learner.step(1e-4);
        self.speeds
            .push((BATCH * TIME) as f64 / start.elapsed().as_secs_f64());
        loss
    }

    /// Without the first round, in which kernels are chosen and memory is taken.
    fn median(&self) -> f64 {
        let mut speeds = self.speeds[1..].to_vec();
        speeds.sort_by(f64::total_cmp);
        speeds[speeds.len() / 2]
    }
}
