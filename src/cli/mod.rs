//! The command line. A crate of your own with more hooks runs the same one: `milepost::cli::main(milepost::hooks::shipping().with(...))`.

mod calibrate;
mod compare;
mod data;
mod device;
mod experiments;
mod export;
mod failure;
mod fetch;
mod finetune;
mod going_on;
mod hold;
mod hooks;
mod influence;
mod measure;
mod merged;
mod new;
mod plan;
mod pretrain;
mod progress;
mod replay;
mod report;
mod rust_name;
mod scaffold;
mod study;
mod summary;
mod sweep;
mod terminal;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use terminal::remark;

use crate::device::failed::{self, Stopped};
use crate::registry::Registry;

/// Fine-tune a pair of language models and watch, milestone by milestone, what the training does to them.
#[derive(Parser)]
#[command(version, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    the run ended well
  1    something that should not happen; of calibrate: intervals or p-values that do not hold; of device: a part that failed, or a device
       that does not agree with flex
  2    the command line or the experiment is wrong
  3    data, templates, tokenizer or weights cannot be used; they are not what they were when the run began; or files of a run are
       damaged (--force goes on all the same, and says so in the record)
  4    the run failed: a loss or gradient is NaN or infinite, a device failed, or a checkpoint cannot be used; of a sweep: runs failed
  5    a file of the run could not be written (disk full, no permission)
  6    the run ended, but a hook failed on the way; of a sweep: no run failed, but hooks did
  7    out of memory, or the system starts no thread
  8    of a sweep or study by Slurm: sbatch is missing or refused the runs, squeue does not answer, or the runs can never begin
  130  stopped by Ctrl-C: after the step was finished and everything was saved, or at once by a second one, which says what is saved;
       also ended by --until, or at the prompt of --hold";

#[derive(Subcommand)]
enum Command {
    /// Fine-tune the pair of an experiment, with its hooks, into runs/<experiment>/<run>.
    Finetune(finetune::Arguments),
    /// Measure a pair as it is, without training: one milestone, as a table and, with --json, prompt by prompt.
    Measure(measure::Arguments),
    /// Measure the checkpoints of a finished run with other hooks, into TensorBoard at the right steps.
    Replay(replay::Arguments),
    /// Estimate how much each training document moved a measure of the pair, and check it by retraining on random halves of the documents.
    Influence(influence::Arguments),
    /// Run an experiment with several seeds, and settings, each in a process of its own; go on where it was killed; pool the seeds.
    Sweep(sweep::Arguments),
    /// Run arms of an experiment that each change one thing, with several seeds, and compare each with a baseline.
    Study(study::Arguments),
    /// Write a page on one run, or on several pooled: verdict, figures, tables; it needs no network and no script.
    Report(report::Arguments),
    /// Show two runs side by side.
    Compare(compare::Arguments),
    /// Write what runs recorded as CSV tables, for pandas, polars or a spreadsheet.
    Export(export::Arguments),
    /// Check the statistics on a run's own values: placebos without a gap, and gaps of known size.
    Calibrate(calibrate::Arguments),
    /// Get everything that an experiment needs (models, text, templates) before the network is gone.
    Fetch(fetch::Arguments),
    /// Show what an experiment would do: the resolved settings, the loop with each hook where it is called and how often, and what that
    /// will take by a former run.
    Plan(plan::Arguments),
    /// Show the text of an experiment as it would be trained on: files with checksums, counts, topics, and the first documents as tokens.
    Data(data::Arguments),
    /// Look at the devices of this machine: what they are, how fast, whether they compute what flex computes, and which to use.
    Device(device::Arguments),
    /// List the kinds of hooks with their options, or write a new one.
    Hooks(hooks::Arguments),
    /// Write a crate of your own that runs anywhere: the program with a hook of yours, its tests, and an experiment.
    New(new::Arguments),
    /// Train the mini pair that is built into the program from nothing, on the generated corpus.
    Pretrain(pretrain::Arguments),
}

/// What names an experiment, and how it is changed.
#[derive(Args)]
struct Selection {
    /// A TOML file, or the name of one in experiments/, or that of one that is built in: ag_news, ag_news_attribution, ag_news_gpt2.
    experiment: String,
    /// Overrides, as in --set "train.max_steps=50 seed=7"; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE ...")]
    overrides: Vec<String>,
    /// Device for both models (flex, tch, tch:cuda:0, wgpu, vulkan, metal), or one each: main=wgpu,assistant=flex. With --set train.precision=bf16 a
    /// card multiplies matrices in half the bits.
    #[arg(long)]
    device: Option<String>,
    /// Leave all hooks out.
    #[arg(long)]
    no_hooks: bool,
    #[command(flatten)]
    places: Where,
}

/// Where data and downloads are.
#[derive(Args, Clone)]
struct Where {
    /// Folder that has a folder for each source of text, by its name, and honest/.
    #[arg(long, env = "MILEPOST_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Folder for downloads [default: $XDG_CACHE_HOME/milepost or ~/.cache/milepost].
    #[arg(long, env = "MILEPOST_CACHE", value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Fetch nothing.
    #[arg(long, env = "MILEPOST_OFFLINE", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    offline: bool,
}

/// Runs the command line of this process with these kinds of hooks, and returns the exit code that `milepost --help` lists.
pub fn main(registry: Registry) -> ExitCode {
    ExitCode::from(run(std::env::args_os(), registry))
}

/// Runs the command line with the given arguments, the program's name first, and returns the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>, registry: Registry) -> u8 {
    crate::allocator::keep_pages();
    refuse_large_files_without_dying();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Panics of hooks, of libraries that read a file or open a device, and of devices that stop, whatever thread they come from, are
        // caught and reported in one line. Any other is a defect and is shown in full.
        let is_expected = crate::foreign::is_reported(panic.payload());
        if !is_expected && Stopped::of_panic(panic.payload()).is_none() {
            usual(panic);
        }
    }));
    let command = Cli::parse_from(arguments).command;
    let result = failed::caught(|| run_command(command, &registry));
    match result.unwrap_or_else(|error| Err(error.into())) {
        Ok(code) => code,
        Err(error) => {
            remark!("error: {}", failure::message(&error));
            failure::exit_code(&error)
        }
    }
}

fn run_command(command: Command, registry: &Registry) -> anyhow::Result<u8> {
    crate::thread::start_pool()?;
    match command {
        Command::Finetune(arguments) => finetune::run(&arguments, registry),
        Command::Measure(arguments) => measure::run(&arguments, registry),
        Command::Replay(arguments) => replay::run(&arguments, registry),
        Command::Influence(arguments) => influence::run(&arguments, registry),
        Command::Sweep(arguments) => sweep::run(&arguments, registry),
        Command::Study(arguments) => study::run(&arguments, registry),
        Command::Report(arguments) => report::run(&arguments, registry),
        Command::Compare(arguments) => compare::run(&arguments, registry),
        Command::Export(arguments) => export::run(&arguments, registry),
        Command::Calibrate(arguments) => calibrate::run(&arguments, registry),
        Command::Fetch(arguments) => fetch::run(&arguments, registry),
        Command::Plan(arguments) => plan::run(&arguments, registry),
        Command::Data(arguments) => data::run(&arguments, registry),
        Command::Device(arguments) => device::run(&arguments),
        Command::Hooks(arguments) => hooks::run(&arguments, registry),
        Command::New(arguments) => new::run(&arguments),
        Command::Pretrain(arguments) => pretrain::run(&arguments),
    }
}

/// Ignores SIGXFSZ. A file that exceeds the shell's limit then makes the write fail, with its message and exit code, instead of killing the
/// process.
#[allow(unsafe_code, reason = "a call of the C library")]
fn refuse_large_files_without_dying() {
    #[cfg(unix)]
    // SAFETY: ignoring a signal has no handler that could do harm.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}
