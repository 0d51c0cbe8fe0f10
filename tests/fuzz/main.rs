//! Mutated inputs, in-process: whatever a file holds, what reads it gives a value or an error. It must not panic, take more than 10 s, or
//! hold more than 1 GB.
//!
//! A target is one function in the list below. Each runs for `MILEPOST_FUZZ_SECONDS` (1 by default) after the inputs of
//! `tests/corpus/<target>/`; `MILEPOST_FUZZ_SEED` gives other mutations. An input that fails is kept, and its place is said: put it into the
//! corpus with what mends it.

mod allocator;
mod checkpoint;
mod experiment;
mod mutation;
mod run;
mod runner;
mod text;
mod tokenizer;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

/// Makes a test of each target.
macro_rules! targets {
    ($($name:ident: $target:path,)+) => {
        $(#[test]
        fn $name() {
            runner::run(stringify!($name), $target());
        })+
    };
}

targets! {
    tokenizer_json: tokenizer::json,
    vocabulary: tokenizer::vocabulary,
    tokenizer_settings: tokenizer::settings,
    experiment: experiment::plan,
    overrides: experiment::overrides,
    cadence: experiment::cadence,
    csv: text::csv,
    templates: text::templates,
    lexicon: text::lexicon,
    config: checkpoint::config,
    safetensors: checkpoint::safetensors,
    shard_index: checkpoint::index,
    pickle: checkpoint::pickle,
    roberta_config: checkpoint::roberta_config,
    roberta_weights: checkpoint::roberta_weights,
    milestones: run::milestones,
    outcome: run::outcome,
    columns: run::columns,
    state: run::state,
    sums: run::sums,
    optimiser: run::optimiser,
}
