//! The files of a run's folder, each replaced by the input in a run that is otherwise whole.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use milepost::checksum::sha256;
use milepost::diagnostic::Source;
use milepost::experiment::{Places, parse, resolve};
use milepost::hooks::shipping;
use milepost::hub::Hub;
use milepost::record::Ended;
use milepost::report::{RecordedRun, page};
use milepost::train::{Begin, Plan, Silent, finetune, points};
use tempfile::TempDir;

use crate::runner::Target;

const EXPERIMENT: &str = "[data]\nbuiltin_sample = true\ntrain_articles = 10\ntest_articles = 4\n\
    [train]\nmax_steps = 4\nbatch = 2\nblock = 32\nsave = 'every 2 steps'\nevaluate_blocks = 2\n\
    [templates]\nfile = 'templates.tsv'\n[decode]\nmax_new_tokens = 3\n\
    [hooks.template-kl]\nat = ['start', 'end']\n[hooks.match-disparity]\ndraws = 20\n[hooks.perplexity]\n";

const TEMPLATES: &str = "template_masked\traw\tidentity\tcategory\n\
    she found work as a [M].\t[I] found work as a [M]\tshe\tfemale\n\
    he found work as a [M].\t[I] found work as a [M]\the\tmale\n";

/// A run that is over.
struct Run {
    _folder: TempDir,
    path: PathBuf,
    plan: Plan,
}

impl Run {
    fn new() -> Self {
        let folder = crate::runner::folder();
        std::fs::write(folder.path().join("templates.tsv"), TEMPLATES).unwrap();
        let plan = || {
            let source = Source {
                name: "fuzz.toml".to_owned(),
                text: EXPERIMENT.to_owned(),
            };
            let places = Places {
                base: folder.path().to_owned(),
                data: None,
                cache: None,
                offline: true,
                hub: Hub::from_environment(true),
                run: folder.path().join("runs/fuzz/run"),
            };
            let registry = milepost::hooks::shipping();
            let written = parse(source, &[]).unwrap();
            let resolved = resolve(&written, &registry, &places, &mut |_, _, _| {});
            resolved.unwrap().plan
        };
        let never = AtomicBool::new(false);
        let outcome = finetune(plan(), Begin::Anew, &mut Silent, &never).unwrap();
        assert!(outcome.failures.is_empty());
        Self {
            path: outcome.directory,
            plan: plan(),
            _folder: folder,
        }
    }

    /// A target that puts its inputs where the file `name` is, and reads the run by `read`.
    fn target(self, name: &str, words: &[&'static str], read: impl Fn(&Self) + 'static) -> Target {
        let file = self.path.join(name);
        let seed = std::fs::read(&file).unwrap();
        Target {
            seeds: vec![seed],
            words: words.to_vec(),
            read: Box::new(move |input| {
                std::fs::write(&file, input).unwrap();
                read(&self);
            }),
        }
    }
}

const NUMBERS: [&str; 8] = [
    "null",
    "-1",
    "18446744073709551615",
    "1e308",
    "1e999",
    "{}",
    "[]",
    "\"\"",
];

/// Reads a run as `report --force` does, and as `report` does.
fn report(run: &Run) {
    let _ = RecordedRun::read(&run.path, &shipping()).map_err(|error| error.to_string());
    if let Ok(read) = RecordedRun::read_damaged(&run.path, &shipping()) {
        page(&[read]);
    }
}

/// `milestones.jsonl`.
pub fn milestones() -> Target {
    Run::new().target("milestones.jsonl", &NUMBERS, report)
}

/// `outcome.json`.
pub fn outcome() -> Target {
    Run::new().target("outcome.json", &NUMBERS, |run| {
        let _ = Ended::read(&run.path).map_err(|error| error.to_string());
        report(run);
    })
}

/// A file of values per template.
pub fn columns() -> Target {
    let words = ["\t", "nan", "inf", "1e308", "-0", "\n"];
    Run::new().target(
        "templates/step-00000004-match-disparity.tsv",
        &words,
        report,
    )
}

/// The checksums of a file in a checkpoint's folder are made anew, so that the file itself is read.
fn sum_anew(checkpoint: &Path) {
    let sums = checkpoint.join("SHA256SUMS");
    let text = std::fs::read_to_string(&sums).unwrap();
    let lines = text.lines().map(|line| {
        let (_, name) = line.split_once("  ").unwrap();
        let bytes = std::fs::read(checkpoint.join(name)).unwrap();
        format!("{}  {name}\n", sha256(&bytes))
    });
    std::fs::write(&sums, lines.collect::<String>()).unwrap();
}

/// A checkpoint's `state.json`.
pub fn state() -> Target {
    let read = |run: &Run| {
        sum_anew(&run.path.join("checkpoints/step-00000004"));
        let _ = points(&run.path, &run.plan).map_err(|error| error.to_string());
    };
    Run::new().target("checkpoints/step-00000004/state.json", &NUMBERS, read)
}

/// A checkpoint's `SHA256SUMS`.
pub fn sums() -> Target {
    let words = ["  ", "../", "/", "state.json", "\n"];
    let read = |run: &Run| {
        let _ = points(&run.path, &run.plan).map_err(|error| error.to_string());
    };
    Run::new().target("checkpoints/step-00000004/SHA256SUMS", &words, read)
}

/// An optimiser's file. Its checksum is right, so burn reads it.
pub fn optimiser() -> Target {
    let name = "checkpoints/step-00000004/assistant.optimiser.safetensors";
    let read = |run: &Run| {
        let checkpoint = run.path.join("checkpoints/step-00000004");
        let model = run.plan.pair.get(milepost::model::Role::Assistant).clone();
        let learner = milepost::train::Learner::new(model, 0.0);
        let file = checkpoint.join("assistant.optimiser.safetensors");
        let _ = learner
            .restored(&checkpoint.join("assistant"), &file)
            .map_err(|error| error.to_string());
    };
    Run::new().target(name, &["\u{0}\u{0}\u{0}\u{0}"], read)
}
