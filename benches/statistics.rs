//! Times the statistics of one milestone at HONEST's size, 306 matched pairs: `cargo bench --bench statistics`.

use divan::Bencher;
use milepost::statistics::disparity::{Disparity, Settings};
use milepost::statistics::observation::Observation;

fn main() {
    divan::main();
}

/// 306 matched pairs: about half of the combinations of 21 identity pairs and 28 templates.
fn pairs() -> Vec<Observation> {
    let cells = (0..588).filter(|cell| cell * 306 % 588 < 306);
    cells
        .map(|cell| {
            Observation::pair(
                cell / 28,
                cell % 28,
                (cell * 37 % 19) as f64,
                (cell * 53 % 17) as f64,
            )
        })
        .collect()
}

/// Times a gap with 10,000 draws, the interval and the exact sign flips.
#[divan::bench(sample_count = 20)]
fn disparity(bencher: Bencher) {
    let pairs = pairs();
    assert_eq!(pairs.len(), 306);
    bencher.bench_local(|| Disparity::of(&pairs, &Settings::default()));
}
