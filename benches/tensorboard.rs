//! Times the TensorBoard writer: `cargo bench --bench tensorboard`.

use std::time::SystemTime;

use divan::Bencher;
use divan::counter::ItemsCount;
use milepost::tensorboard::{Entry, Writer};

const SCALARS: usize = 100_000;

fn main() {
    divan::main();
}

/// Writes 100,000 scalars of 20 tags through the queue into a real file, which is then synced and closed.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn scalars_into_a_file(bencher: Bencher) {
    bencher
        .counter(ItemsCount::new(SCALARS))
        .with_inputs(|| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let writer = Writer::create(folder.path(), 4096).expect("an event file");
            (folder, writer)
        })
        .bench_values(|(folder, writer)| {
            for index in 0..SCALARS {
                let entry = Entry::Scalar {
                    tag: format!("group/tag_{}", index % 20),
                    step: (index / 20) as u64,
                    wall: SystemTime::UNIX_EPOCH,
                    value: index as f64,
                };
                writer.send(entry).expect("room on the disk");
            }
            writer.close().expect("room on the disk");
            folder
        });
}
