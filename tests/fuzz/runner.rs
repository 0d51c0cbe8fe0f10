//! Runs a target on its corpus and on mutations of its seeds, one target at a time.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use crate::allocator;
use crate::mutation::Mutator;

/// What reads an input.
pub type Read = dyn FnMut(&[u8]);

/// What is tried.
pub struct Target {
    /// Valid inputs, which are mutated.
    pub seeds: Vec<Vec<u8>>,
    /// Words that mean something to the reader, put into inputs.
    pub words: Vec<&'static str>,
    /// Reads an input. It may return an error, and then drops it.
    pub read: Box<Read>,
}

/// Longest time for one input.
const PATIENCE: Duration = Duration::from_secs(10);

/// One target at a time: the memory held is the process's.
static TURN: Mutex<()> = Mutex::new(());
/// The target at work, and what it said when it panicked.
static AT_WORK: Mutex<(&str, String)> = Mutex::new(("", String::new()));
/// When the input at hand was begun, in milliseconds since the first; 0 between inputs.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// Ends the process; the input at hand stays where it was written.
pub fn abort(why: &str) -> ! {
    let name = AT_WORK.try_lock().map_or("?", |at_work| at_work.0);
    let _ = writeln!(
        std::io::stderr(),
        "fuzz target {name}: {why}; the input is {}",
        place(name).display()
    );
    std::process::abort()
}

/// The folder for files that are written with every input: in memory where the system has such a folder, since a disk would take most of the time.
fn fast() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        Path::new(env!("CARGO_TARGET_TMPDIR"))
    }
}

/// A folder for the files that a target puts its inputs into.
pub fn folder() -> TempDir {
    tempfile::tempdir_in(fast()).unwrap()
}

/// Where the input at hand of a target is written before it is read. It stays there when the process ends with it.
fn place(name: &str) -> PathBuf {
    fast().join(format!("milepost-fuzz-{}-{name}", std::process::id()))
}

fn number(variable: &str, usual: f64) -> f64 {
    let value = std::env::var(variable).ok();
    value.map_or(usual, |value| value.parse().expect(variable))
}

/// Runs a target; fails with the place of the input that made it panic.
pub fn run(name: &'static str, mut target: Target) {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    std::panic::set_hook(Box::new(|panic| {
        if let Ok(mut at_work) = AT_WORK.lock() {
            at_work.1 = panic.to_string();
        }
    }));
    AT_WORK.lock().unwrap().0 = name;
    let clock = Instant::now();
    let watched = std::thread::spawn(move || watch(clock));
    let corpus = corpus(name);
    let found = corpus
        .iter()
        .try_for_each(|input| read(name, &mut target, input, clock))
        .and_then(|()| mutate(name, &mut target, corpus, clock));
    BEGUN.store(u64::MAX, Ordering::Relaxed);
    watched.join().unwrap();
    BEGUN.store(0, Ordering::Relaxed);
    let _ = std::panic::take_hook();
    match found {
        Ok(inputs) => {
            println!("{name}: {inputs} inputs");
            let _ = std::fs::remove_file(place(name));
        }
        Err(why) => panic!("{name}: {why}\nthe input is {}", place(name).display()),
    }
}

/// Mutations of the seeds and of the corpus, until the time is over.
fn mutate(
    name: &str,
    target: &mut Target,
    corpus: Vec<Vec<u8>>,
    clock: Instant,
) -> Result<u64, String> {
    let seconds = Duration::from_secs_f64(number("MILEPOST_FUZZ_SECONDS", 1.0));
    let rng = ChaCha8Rng::seed_from_u64(number("MILEPOST_FUZZ_SEED", 1.0) as u64);
    for seed in target.seeds.clone() {
        read(name, target, &seed, clock)?;
    }
    let seeds: Vec<Vec<u8>> = target.seeds.iter().cloned().chain(corpus).collect();
    let mut mutator = Mutator::new(rng, seeds, target.words.clone());
    let mut inputs = 0;
    while clock.elapsed() < seconds {
        let input = mutator.next();
        read(name, target, &input, clock)?;
        inputs += 1;
    }
    Ok(inputs)
}

fn read(name: &str, target: &mut Target, input: &[u8], clock: Instant) -> Result<(), String> {
    std::fs::write(place(name), input).unwrap();
    allocator::begin();
    BEGUN.store(1 + clock.elapsed().as_millis() as u64, Ordering::Relaxed);
    let result = catch_unwind(AssertUnwindSafe(|| (target.read)(input)));
    BEGUN.store(0, Ordering::Relaxed);
    result.map_err(|_| AT_WORK.lock().unwrap().1.clone())
}

/// Ends the process where an input takes too long.
fn watch(clock: Instant) {
    loop {
        match BEGUN.load(Ordering::Relaxed) {
            0 => {}
            u64::MAX => return,
            begun if clock.elapsed() > Duration::from_millis(begun) + PATIENCE => {
                abort("more than 10 s")
            }
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The inputs that are kept for a target, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name);
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}
