//! Random streams: every draw of a run comes from a generator that is keyed by its purpose.
//!
//! burn's generator is global to the process and its state cannot be saved, so a hook that drew from it would change the training. Here
//! each stream is a pure function of (seed, purpose, a, b). A resume has no state to restore, and no hook can change the loop's draws.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The purpose of a stream. The numbers determine every result: never reuse or renumber them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights; `a` is the model's index in the pair.
    Initialisation = 1,
    /// Dropout masks; `a` is the model's index in the pair, `b` the micro-batch.
    Dropout = 2,
    /// The order of the blocks in an epoch; `a` is the epoch.
    DataOrder = 4,
    /// A hook's own stream; `a` is a hash of its instance name, `b` the optimiser step.
    Hook = 3,
    /// Sampled decoding; `a` is a hash of the prompt.
    Decoding = 5,
    /// Bootstrap draws and random signs; `a` is the chunk of draws.
    Statistics = 6,
    /// Random swaps of the two groups in a calibration; `a` is the round.
    Calibration = 7,
    /// The seeds of further samples of the same prompts; `a` is the index of the sample.
    Samples = 8,
    /// Treatments of the text to train on; `a` is the place of the treatment among them, `b` the place of the document in the source.
    Text = 11,
    /// Random subsets of the documents.
    Subset = 12,
    /// Bootstrap draws and permutations of the datamodeling score; `a` is 0 for draws and 1 for permutations.
    Datamodels = 13,
    /// Which documents are held out, where that is a random share of them.
    HeldOut = 14,
    /// Adapters; `a` is the model's index in the pair.
    Adapters = 15,
}

/// Returns the generator of (seed, purpose, a, b). The four numbers fill the 256-bit ChaCha key, so that two different streams never share
/// a key.
pub fn stream(seed: u64, purpose: Purpose, a: u64, b: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (slot, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, a, b]) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// The 64-bit FNV-1a hash of a hook's instance name. It is the hook's stream number, the same on every machine.
pub fn name_hash(name: &str) -> u64 {
    fnv(name.bytes())
}

/// The 64-bit FNV-1a hash of token ids.
pub fn token_hash(tokens: &[u32]) -> u64 {
    fnv(tokens.iter().flat_map(|token| token.to_le_bytes()))
}

fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
