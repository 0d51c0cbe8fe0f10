//! What is said in words of runs made for the purpose: each sentence follows from the numbers.

use std::collections::BTreeMap;

use milepost::data::templates::ContrastNames;
use milepost::hooks::shipping;
use milepost::record::{Ended, Stop};
use milepost::report::gap::{all_gaps, attributed, course, gaps};
use milepost::report::pooling::pool;
use milepost::report::verdict::{Verdict, of_run, of_runs};
use milepost::report::{RecordedContrast, RecordedHook, RecordedRun, page};
use milepost::statistics::observation::Unit;

/// A run of seed `seed` whose gap is `gaps` at its steps, give or take a spread of identities, templates and their own of about 0.3.
fn run(seed: u64, gaps: &[(u64, f64)], identities: usize, templates: usize) -> RecordedRun {
    let experiment =
        format!("seed = {seed}\n[hooks.match-disparity]\nkind = 'match-disparity'\ndraws = 2000\n");
    let (mut units, mut words) = (Vec::new(), Vec::new());
    for identity in 0..identities {
        for template in 0..templates {
            units.push(Unit {
                sides: [Some(2 * units.len()), Some(2 * units.len() + 1)],
                identity,
                template,
            });
            words.push([
                format!("woman {identity}"),
                format!("man {identity}"),
                format!("[I] raw {template}"),
            ]);
        }
    }
    // Spread that sums to next to nothing in every direction, and is another at every step.
    let wave = |a: usize, b: u64| ((a as f64 + 1.0) * (b as f64 * 0.37 + 2.1)).sin();
    let at = |step: u64, gap: f64| -> Vec<f64> {
        let both = units.iter().enumerate().flat_map(|(index, pair)| {
            let spread = 0.2 * wave(pair.identity, step)
                + 0.2 * wave(pair.template, step + 5)
                + 0.2 * wave(index, step + 9);
            [10.0 + gap + spread, 10.0]
        });
        both.collect()
    };
    let steps = gaps.iter().map(|&(step, gap)| (step, at(step, gap)));
    let prompts = (0..2 * units.len()).map(|index| format!("prompt {index}"));
    RecordedRun {
        path: format!("runs/made/seed={seed}").into(),
        ended: Some(ended(40)),
        experiment: toml::from_str(&experiment).unwrap(),
        scalars: BTreeMap::from([("train/lr".to_owned(), vec![(1, 1e-3), (40, 1e-5)])]),
        prompts: prompts.collect(),
        columns: BTreeMap::from([("n_matches".to_owned(), steps.collect())]),
        hooks: vec![hook("match-disparity"), hook("attribution")],
        contrasts: vec![RecordedContrast {
            names: ContrastNames {
                name: "gender".to_owned(),
                groups: ["female", "male"].map(str::to_owned),
            },
            units,
            words,
        }],
        ..RecordedRun::default()
    }
}

/// A hook that goes by its kind's name, with what its kind declares.
fn hook(kind: &str) -> RecordedHook {
    RecordedHook {
        name: kind.to_owned(),
        kind: kind.to_owned(),
        prefix: String::new(),
        shows: shipping().get(kind).unwrap().shows.clone(),
        section: None,
    }
}

/// A run that did all of its steps.
fn ended(steps: u64) -> Ended {
    Ended {
        stop: Stop::Complete,
        reason: None,
        steps,
        milestones: None,
        hooks: Default::default(),
        interventions: Vec::new(),
        jumps: Vec::new(),
    }
}

fn verdict(run: &RecordedRun) -> Verdict {
    let (gaps, incomplete) = all_gaps(run);
    let contrast = &run.contrasts[0];
    let course = course(run, contrast);
    of_run(run, contrast, course.as_ref(), &gaps, &incomplete)
}

fn has(sentences: &[String], part: &str) -> bool {
    sentences.iter().any(|sentence| sentence.contains(part))
}

#[test]
fn what_became_of_the_gap_is_said_as_it_is() {
    for (before, after, says) in [
        (2.0, 1.0, "the gap shrank: from +"),
        (-2.0, -1.0, "the gap shrank: from -"),
        (2.0, 3.5, "the gap grew"),
        (2.0, -1.5, "the gap changed sign"),
        (2.0, 2.0, "but a change is not shown"),
        (0.0, 0.0, "so it cannot be said that one shrank"),
        (0.0, 1.5, "no gap can be shown"),
    ] {
        let run = run(1, &[(0, before), (40, after)], 8, 9);
        let found = verdict(&run);
        assert!(
            found.headline.contains(says),
            "{before} {after}: {}",
            found.headline
        );
        let changed = after - before != 0.0;
        assert_eq!(
            found.headline.contains("step 0 to 40"),
            changed || before > 0.0,
            "{}",
            found.headline
        );
    }
    let appeared = verdict(&run(1, &[(0, 0.0), (40, 1.5)], 8, 9));
    assert!(
        appeared.headline.contains("it changed by +1."),
        "{}",
        appeared.headline
    );
}

#[test]
fn the_moment_is_one_in_the_direction_of_the_end() {
    let there_and_back = run(1, &[(0, 0.0), (10, 2.0), (20, 0.5), (40, -2.0)], 8, 9);
    let found = verdict(&there_and_back);
    assert!(
        has(&found.evidence, "first visible at step 40"),
        "{found:?}"
    );
    let early = verdict(&run(1, &[(0, 0.0), (10, 2.0), (40, 2.0)], 8, 9));
    assert!(
        has(&early.evidence, "first visible at step 10"),
        "{early:?}"
    );
}

#[test]
fn there_is_no_change_without_a_start_and_an_end() {
    for (steps, why) in [
        (&[(5, 1.0), (40, 1.0)][..], "first measured at step 5"),
        (&[(0, 1.0), (30, 1.0)], "last measured at step 30"),
        (&[(0, 1.0)], "last measured at step 0"),
        (&[(40, 1.0)], "first measured at step 40"),
        (
            &[(5, 1.0), (30, 1.0)],
            "first measured at step 5; last measured at step 30",
        ),
    ] {
        let found = verdict(&run(1, steps, 8, 9));
        assert!(
            found.headline.contains("cannot answer the question")
                && found.headline.contains(&format!("({why})")),
            "{found:?}"
        );
    }
    let whole = verdict(&run(1, &[(0, 1.0), (40, 1.0)], 8, 9));
    assert!(!whole.headline.contains("cannot"), "{whole:?}");
    let mut killed = run(1, &[(0, 1.0), (40, 1.0)], 8, 9);
    killed.ended = None;
    let found = verdict(&killed);
    assert!(
        found.headline.contains("cannot answer the question"),
        "{found:?}"
    );
    assert!(
        has(&found.caveats, "under way, or it was killed"),
        "{found:?}"
    );
}

#[test]
fn few_identities_are_said_to_be_few() {
    let single = verdict(&run(1, &[(0, 3.0), (40, 1.0)], 1, 1));
    assert!(
        single.headline.contains("no gap can be shown"),
        "{single:?}"
    );
    assert!(
        has(&single.caveats, "A single identity in a single template"),
        "{single:?}"
    );
    assert!(
        !has(&single.evidence, "is shown to be smaller"),
        "{single:?}"
    );
    let four = verdict(&run(1, &[(0, 3.0), (40, 1.0)], 4, 9));
    assert!(has(&four.caveats, "With 4 identities"), "{four:?}");
    assert!(!has(&four.caveats, "tests disagree"), "{four:?}");
}

#[test]
fn a_model_is_named_only_if_it_is_shown_to_have_moved_the_gap_more() {
    let mut run = run(1, &[(0, 1.0), (40, 1.0)], 8, 9);
    // Without its scalars the table of the four cells would be left out, and the figure with it.
    let tag = "attribution/disparity/by_main".to_owned();
    run.scalars.insert(tag, vec![(0, 0.0), (40, 1.0)]);
    let spread = run.columns["n_matches"][&40].clone();
    for (main, assistant, interaction, says) in [
        (1.5, 0.1, 0.0, "the main model moved"),
        (0.1, -1.5, 2.0, "the assistant moved"),
        (0.03, 0.0, 0.0, "it is not shown that one moved"),
    ] {
        for (column, gap, times) in [
            ("n_matches_by_main", main, 1.0),
            ("n_matches_by_assistant", assistant, -0.5),
            ("n_matches_interaction", interaction, 0.7),
        ] {
            // A gap of 1 with its spread, moved to `gap`.
            let rows = spread.iter().enumerate().map(|(row, value)| match row % 2 {
                0 => times * (value - 11.0) + gap,
                _ => 0.0,
            });
            let steps = BTreeMap::from([(40, rows.collect())]);
            run.columns.insert(column.to_owned(), steps);
        }
        let found = verdict(&run);
        assert!(has(&found.evidence, says), "{found:?}");
        let depends = has(&found.caveats, "depends on the state of the other");
        assert_eq!(depends, interaction != 0.0, "{found:?}");
        // The figure shows each part for itself.
        let (html, parts) = (
            page(std::slice::from_ref(&run)),
            attributed(&run, &run.contrasts[0]).unwrap(),
        );
        for (name, part) in [
            ("by the main model", parts.by_main),
            ("by the assistant", parts.by_assistant),
            ("the first less the second", parts.difference),
            (
                "interaction: how one depends on the other",
                parts.interaction,
            ),
        ] {
            let (value, low, high) = (part.difference, part.low, part.high);
            let title = format!("<title>{name}: {value} [{low}, {high}]</title>");
            assert!(html.contains(&title), "{title}");
        }
        // They are parts of n_matches, no measures of their own.
        assert_eq!(gaps(&run).len(), 1);
    }
}

#[test]
fn runs_are_pooled_only_if_they_say_the_same_of_other_seeds() {
    let of = |seed, after| run(seed, &[(0, 2.0), (40, after)], 8, 9);
    let (a, b, c) = (of(1, 1.0), of(2, 1.1), of(3, 0.9));
    let pooled = pool(&[&a, &b, &c]).unwrap().remove(0);
    let found = of_runs(&pooled, &[&a, &b, &c]);
    assert!(
        found.headline.starts_with("Over 3 seeds the gap shrank"),
        "{}",
        found.headline
    );
    assert!(found.caveats.is_empty(), "{found:?}");
    let two = of_runs(&pool(&[&a, &b]).unwrap()[0], &[&a, &b]);
    assert!(has(&two.caveats, "2 seeds are no evidence"), "{two:?}");
    let turned: Vec<RecordedRun> = (1..4).map(|seed| of(seed, -1.5)).collect();
    let turned: Vec<&RecordedRun> = turned.iter().collect();
    let found = of_runs(&pool(&turned).unwrap()[0], &turned);
    assert!(
        found.headline.contains("changed sign"),
        "{}",
        found.headline
    );

    let refused = |other: &RecordedRun| pool(&[&a, other]).unwrap_err().to_string();
    assert!(refused(&of(1, 1.0)).contains("its seed, 1, is also that of"));
    let mut shorter = run(2, &[(0, 2.0), (30, 1.0)], 8, 9);
    assert!(refused(&shorter).contains("seed=2: last measured at step 30"));
    shorter.ended = Some(ended(30));
    assert!(refused(&shorter).contains("it ended at step 30, made/seed=1 at step 40"));
    // With two others such a run is left out, and named.
    let lacking = run(4, &[(0, 2.0)], 8, 9);
    let runs = [&a, &b, &lacking];
    let pooled = pool(&runs).unwrap().remove(0);
    assert_eq!(pooled.changes.len(), 2);
    assert_eq!(pooled.left_out[0].0, "made/seed=4");
    let said = of_runs(&pooled, &runs);
    let out = "made/seed=4 is left out: last measured at step 0";
    assert!(has(&said.caveats, out), "{said:?}");
    let mut others = of(2, 1.0);
    others.contrasts[0].words[3][0] = "somebody else".to_owned();
    assert!(refused(&others).contains("other matched pairs"));
}
