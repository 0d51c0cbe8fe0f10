//! Experiments: their text, overrides, and the cadences in them.

use std::path::PathBuf;

use milepost::cadence::Cadence;
use milepost::clock::{Extent, Length, Step};
use milepost::diagnostic::Source;
use milepost::experiment::{Places, parse, resolve};
use milepost::hub::Hub;
use milepost::overrides::{apply, split};

use crate::runner::Target;

const EXPERIMENT: &str = "seed = 1\nqueue = 2\n[data]\nfolder = 'news'\ntrain_articles = 20\n\
    [train]\nmax_steps = 20\nepochs = 1\nbatch = 2\nblock = 32\naccumulation = 2\nlr = 1e-3\nweight_decay = 0.1\n\
    evaluate = ['start', 'every 10%']\nsave = 'every 3 steps'\nkeep = 2\n[templates]\nset = 'unique'\n\
    [decode]\nmax_new_tokens = 4\nsampling = { temperature = 0.9, top_k = 3 }\n\
    [hooks.template-kl]\nat = 'every 2 steps from step 4'\n\
    [hooks.match-disparity]\ndraws = 100\ndecode = { draft_length = 2 }\nruns = 'inline'\n\
    [hooks.two]\nkind = 'perplexity'\non = 'evaluated'\ndeadline_seconds = 9\n\
    [hooks.honest]\ncontinuations = 2\n[hooks.gradient-norm]\nat = 'log2 steps'\n";

const WORDS: [&str; 25] = [
    "9223372036854775807",
    "18446744073709551615",
    "-1",
    "0",
    "nan",
    "inf",
    "1e308",
    "''",
    "'a/b'",
    "\"\\n\"",
    "[hooks.x]\nkind = 'drift'\n",
    "kind = 'pronoun-gap'\n",
    "kind = 'attribution'\n",
    "'every 0.001%'",
    "'every 1 s'",
    "'budget 5%'",
    "on = 'checkpoint-saved'\n",
    "max_steps = 1000000000\n",
    "enabled = false\n",
    "once = true\n",
    "when = 'kl/mean_nats rises for 2 values or not (train/lr < 1)'\n",
    "on = 'run-end'\n",
    "[",
    "]",
    "\u{e9}",
];

fn source(text: &str) -> Source {
    Source {
        name: "fuzz.toml".to_owned(),
        text: text.to_owned(),
    }
}

/// A whole plan, with the pair that is built in and a few articles.
pub fn plan() -> Target {
    let folder = crate::runner::folder();
    let rows: String = (0..40)
        .map(|row| format!("{},Title {row},The coach said so again.\n", row % 4 + 1))
        .collect();
    std::fs::create_dir(folder.path().join("news")).unwrap();
    for name in ["news/train.csv", "news/test.csv"] {
        std::fs::write(folder.path().join(name), &rows).unwrap();
    }
    let registry = milepost::hooks::shipping();
    let read = move |input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        let Ok(written) = parse(source(&text), &[]) else {
            return;
        };
        let places = Places {
            base: folder.path().to_owned(),
            data: None,
            cache: None,
            offline: true,
            hub: Hub::from_environment(true),
            run: PathBuf::new(),
        };
        if let Ok(resolved) = resolve(&written, &registry, &places, &mut |_, _, _| {}) {
            // What a run writes down is understood again.
            parse(source(&resolved.plan.resolved), &[]).unwrap();
        }
    };
    Target {
        seeds: vec![EXPERIMENT.into()],
        words: WORDS.to_vec(),
        read: Box::new(read),
    }
}

/// Overrides, a byte 0, and the text that they change.
pub fn overrides() -> Target {
    let read = |input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        let (set, text) = text.split_once('\0').unwrap_or((&text, EXPERIMENT));
        let Ok(overrides) = split(set) else { return };
        let merged = apply(text, &overrides);
        if let Ok(merged) = merged {
            merged.parse::<toml::Table>().unwrap();
        }
        let _ = parse(source(text), &overrides).map_err(|error| error.to_string());
    };
    let seeds = [
        "train.max_steps=50 seed=7 hooks.two.at=['start', 'end']\0",
        "decode={max_new_tokens=3} hooks.'a.b'.kind=drift hooks={} models.main=\"x y\"\0",
    ];
    Target {
        seeds: seeds.map(|set| [set, EXPERIMENT].concat().into()).to_vec(),
        words: WORDS.to_vec(),
        read: Box::new(read),
    }
}

/// Clauses, one a line, with the firings of what is understood in runs short and long.
pub fn cadence() -> Target {
    let read = |input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        let clauses: Vec<&str> = text.lines().collect();
        let Ok(cadence) = Cadence::parse(&clauses) else {
            return;
        };
        assert_eq!(Cadence::parse(&cadence.clauses()).unwrap(), cadence);
        for steps in [1, 100, 1_000_000_000, 1 << 50] {
            let extent = Extent::new(77, 3, 2, 5, Length::Steps(steps)).unwrap();
            let firings: Vec<Step> = cadence.firings(&extent).take(50).collect();
            assert!(firings.is_sorted() && firings.iter().all(|step| step.0 <= steps));
            let _ = cadence.never_fires(&extent);
        }
    };
    let seeds = [
        "start\nevery 10%\nend",
        "every 50 steps from step 100 until step 1000\nlog2 steps",
        "every 1M tokens\nevery 1000 samples\nevery 2 epochs",
        "every 5 min\nbudget 2.5%\nsteps 1, 10, 100",
    ];
    Target {
        seeds: seeds.map(Into::into).to_vec(),
        words: vec![
            "18446744073709551615",
            "0",
            "0.000000001",
            "99.999999999",
            "%",
            "k",
            "G",
            "steps",
            "tokens",
            "every ",
            "from step ",
            "until step ",
            "_",
            ",",
        ],
        read: Box::new(read),
    }
}
