//! What a sweep says over seeds of the two models and of the places in the weights, against Student's t by hand.

use std::collections::BTreeMap;

use milepost::data::templates::ContrastNames;
use milepost::hooks::shipping;
use milepost::record::{Ended, Stop};
use milepost::report::number::{number, range, signed};
use milepost::report::pooling::Estimate;
use milepost::report::{
    PositionInDraft, RecordedHook, RecordedRun, page, pooled_attributions, pooled_heat_maps,
    pooled_rows, positions_in_draft,
};
use serde_json::Value;

use crate::harness::{Project, close, milestones};

/// Mean, interval and p-value of three values by the closed forms of Student's t with two degrees of freedom: its distribution is
/// 1/2 + t / (2 sqrt(2 + t^2)), its quantile of p (2p - 1) / sqrt(2p (1 - p)). Without spread the p-value is 0, or 1 of a mean of 0.
fn by_hand(values: [f64; 3]) -> [f64; 4] {
    let mean = values.iter().sum::<f64>() / 3.0;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let error = (squares / 2.0 / 3.0).sqrt();
    let half = error * 0.95 / (2.0 * 0.975 * 0.025f64).sqrt();
    let t = mean.abs() / error;
    let p = if error > 0.0 {
        1.0 - t / (2.0 + t * t).sqrt()
    } else {
        f64::from(u8::from(mean == 0.0))
    };
    [mean, mean - half, mean + half, p]
}

#[track_caller]
fn is_by_hand(found: [f64; 4], values: [f64; 3], what: &str) {
    let expected = by_hand(values);
    let size = expected[1].abs().max(expected[2].abs()).max(1e-12);
    for (index, name) in ["mean", "low", "high"].into_iter().enumerate() {
        close(
            found[index],
            expected[index],
            1e-8,
            size,
            &format!("{what}: {name}"),
        );
    }
    close(found[3], expected[3], 1e-6, 1.0, &format!("{what}: p"));
}

fn of(estimate: &Estimate) -> [f64; 4] {
    let Estimate {
        value,
        low,
        high,
        p_value,
        ..
    } = *estimate;
    [value, low, high, p_value]
}

fn of_json(value: &Value) -> [f64; 4] {
    ["mean", "low", "high", "p_value"].map(|key| value[key].as_f64().unwrap())
}

/// A run of ten steps with the hooks `attribution` and `weight-attribution` and these values at its end.
fn run(name: &str, seed: u64, values: &[(&str, f64)]) -> RecordedRun {
    let contrast = ContrastNames {
        name: "gender".to_owned(),
        groups: ["female", "male"].map(str::to_owned),
    };
    let hooks = ["attribution", "weight-attribution", "assistant-share"].map(|kind| RecordedHook {
        name: kind.to_owned(),
        kind: kind.to_owned(),
        prefix: String::new(),
        shows: (shipping().get(kind).unwrap().shows).of_contrasts(std::slice::from_ref(&contrast)),
        section: None,
    });
    let values = values.iter();
    let scalars = values.map(|(tag, value)| ((*tag).to_owned(), vec![(0, 0.0), (10, *value)]));
    RecordedRun {
        path: format!("runs/made/{name}").into(),
        experiment: toml::from_str(&format!("seed = {seed}")).unwrap(),
        hooks: hooks.into(),
        scalars: scalars.collect(),
        ended: Some(Ended {
            stop: Stop::Complete,
            reason: None,
            steps: 10,
            milestones: None,
            hooks: Default::default(),
            interventions: Vec::new(),
            jumps: Vec::new(),
        }),
        ..RecordedRun::default()
    }
}

const NORMS: &str = "weight_attribution/kl/mean/main/block_0/norms";
const QKV: &str = "weight_attribution/kl/mean/main/block_1/attention_qkv";
const HEAD: &str = "weight_attribution/kl/mean/assistant/final/head";

/// Three runs, one that lacks a number of each hook, and one with the seed of the first.
fn runs() -> Vec<RecordedRun> {
    let values = |index: usize| {
        let own = |values: [f64; 4]| values[index];
        vec![
            ("attribution/n_matches/by_main", own([1.0, 2.0, 3.0, 9.0])),
            (
                "attribution/n_matches/by_assistant",
                own([-2.0, 0.0, -1.0, 9.0]),
            ),
            (NORMS, own([0.25, 0.5, 1.5, 9.0])),
            (QKV, own([-2.0, -2.1, -1.9, 9.0])),
            (
                "attribution/n_matches/interaction",
                own([0.5, 0.25, -3.0, 9.0]),
            ),
            (HEAD, own([0.125, -0.5, 0.0, 9.0])),
        ]
    };
    vec![
        run("seed=1", 1, &values(0)),
        run("seed=4", 4, &values(3)[..4]),
        run("seed=2", 2, &values(1)),
        run("again", 1, &values(3)),
        run("seed=3", 3, &values(2)),
    ]
}

/// A mean over seeds counts no seed twice, and no run that ended elsewhere.
#[test]
fn a_row_leaves_out_runs_of_one_seed_and_runs_that_ended_at_another_step() {
    const TAG: &str = "decode/assistant_share";
    let mut shorter = run("shorter", 7, &[]);
    shorter.scalars = [(TAG.to_owned(), vec![(0, 0.0), (8, 9.0)])].into();
    shorter.ended.as_mut().unwrap().steps = 8;
    let runs = [
        run("seed=1", 1, &[(TAG, 0.25), (NORMS, 1.0)]),
        run("again", 1, &[(TAG, 9.0), (NORMS, 9.0)]),
        run("seed=2", 2, &[(TAG, 0.5), (NORMS, 2.0)]),
        run("without", 4, &[(NORMS, 4.0)]),
        shorter,
        run("seed=3", 3, &[(TAG, -1.0), (NORMS, 3.0)]),
    ];
    let all: Vec<&RecordedRun> = runs.iter().collect();
    let rows = pooled_rows(&all);
    let row = rows.iter().find(|row| row.tag == TAG).unwrap();
    assert_eq!(row.runs, 3);
    is_by_hand(of(&row.change.unwrap()), [0.25, 0.5, -1.0], "change");
    assert_eq!((row.start, row.end), (0.0, -0.25 / 3.0));
    let left_out = [
        (
            "made/again",
            "its seed, 1, is also that of made/seed=1: the same result would count twice",
        ),
        ("made/without", "not measured at the start"),
        ("made/shorter", "it ended at step 8, made/seed=1 at step 10"),
    ];
    let found = row.left_out.iter();
    let found: Vec<(&str, &str)> = found
        .map(|one| (one.run.as_str(), one.reason.as_str()))
        .collect();
    assert_eq!(found, left_out);
    let html = page(&runs);
    for (run, reason) in left_out {
        let said = format!("{run} is left out of assistant's share of tokens: {reason}.");
        assert!(html.contains(&said), "{said}");
    }
    // The same holds of the places in the weights.
    let maps = pooled_heat_maps(&all);
    let reasons: Vec<&str> = maps[0]
        .left_out
        .iter()
        .map(|one| one.run.as_str())
        .collect();
    assert_eq!(
        (maps[0].runs, reasons),
        (4, vec!["made/again", "made/shorter"])
    );
    // Runs that stand behind another step of the first are left out, whatever the first one is.
    let other = pooled_rows(&[&runs[4], &runs[0], &runs[2]]);
    assert_eq!(
        (other[0].runs, other[0].left_out.len(), other[0].change),
        (1, 2, None)
    );
}

/// The attributes of each element of a page with `data-pooled`: what it is called, its value and its interval; and all that stands in it.
fn on_page(html: &str) -> BTreeMap<String, ([f64; 3], String)> {
    let elements = html.split("data-pooled=\"").skip(1).map(|rest| {
        let (name, _) = rest.split_once('"').unwrap();
        let number = |key: &str| -> f64 {
            let (_, value) = rest.split_once(&format!("data-{key}=\"")).unwrap();
            value.split_once('"').unwrap().0.parse().unwrap()
        };
        let end = rest
            .find("</td>")
            .into_iter()
            .chain(rest.find("</span>"))
            .min();
        let values = ["value", "low", "high"].map(number);
        (name.to_owned(), (values, rest[..end.unwrap()].to_owned()))
    });
    let all: Vec<_> = elements.collect();
    let found: BTreeMap<_, _> = all.iter().cloned().collect();
    assert_eq!(found.len(), all.len(), "each stands there once");
    found
}

#[test]
fn the_part_of_each_model_is_its_mean_over_the_runs_that_have_all_parts() {
    let runs = runs();
    let found = pooled_attributions(&runs.iter().collect::<Vec<_>>());
    assert_eq!(
        found.len(),
        1,
        "the other measures were not reported: {found:?}"
    );
    let one = &found[0];
    assert_eq!(
        (one.measure.name.as_str(), one.runs),
        ("n_matches a prompt", 3)
    );
    let changes = one.changes.unwrap();
    is_by_hand(of(&changes.in_all), [-1.0, 2.0, 2.0], "in all");
    is_by_hand(of(&changes.by_main), [1.0, 2.0, 3.0], "by main");
    is_by_hand(of(&changes.by_assistant), [-2.0, 0.0, -1.0], "by assistant");
    is_by_hand(of(&changes.interaction), [0.5, 0.25, -3.0], "interaction");
    let left_out: Vec<_> = one.left_out.iter().map(|one| one.run.as_str()).collect();
    assert_eq!(left_out, ["made/seed=4", "made/again"]);
    assert!(
        one.left_out[0].reason.contains("not measured at the end"),
        "{one:?}"
    );
    assert!(
        one.left_out[1]
            .reason
            .contains("its seed, 1, is also that of made/seed=1")
    );
    let two = [&runs[0], &runs[1]];
    let alone = pooled_attributions(&two);
    assert_eq!((alone[0].runs, alone[0].changes), (1, None));
    assert!(page(&[runs[0].clone(), runs[1].clone()]).contains("fewer than two runs have it"));

    let html = page(&runs);
    let shown = on_page(&html);
    for (key, _, part) in changes.parts() {
        let (values, text) = &shown[&format!("attribution/n_matches/{key}")];
        assert_eq!(*values, [part.value, part.low, part.high], "{key}");
        let said = format!(">{}<br>{}", signed(part.value), range(part.low, part.high));
        assert!(text.ends_with(&said), "{text}");
    }
    for one in &one.left_out {
        assert!(
            html.contains(&format!("{} is left out of", one.run)),
            "{one:?}"
        );
        assert!(html.contains(&one.reason), "{one:?}");
    }
}

#[test]
fn a_cell_of_a_heat_map_is_its_mean_over_the_runs_and_marked_where_the_interval_has_no_0() {
    let runs = runs();
    let found = pooled_heat_maps(&runs.iter().collect::<Vec<_>>());
    assert_eq!(found.len(), 1);
    let one = &found[0];
    assert_eq!((one.runs, one.left_out.len()), (3, 2));
    let rows: Vec<&str> = one.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(rows, ["main/block_0", "main/block_1", "assistant/final"]);
    let cells: BTreeMap<&str, Estimate> = one
        .cells()
        .map(|(tag, mean)| (tag.as_str(), *mean))
        .collect();
    let expected = [
        (NORMS, [0.25, 0.5, 1.5], false),
        (QKV, [-2.0, -2.1, -1.9], true),
        (HEAD, [0.125, -0.5, 0.0], false),
    ];
    assert_eq!(cells.len(), expected.len());
    let shown = on_page(&page(&runs));
    for (tag, values, is_shown) in expected {
        let cell = cells[tag];
        is_by_hand(of(&cell), values, tag);
        assert_eq!(cell.is_shown(), is_shown, "{tag}");
        let (values, text) = &shown[tag];
        assert_eq!(*values, [cell.value, cell.low, cell.high], "{tag}");
        let title = format!("title=\"{}\"", range(cell.low, cell.high));
        assert!(text.contains(&title), "{text}");
        let mark = if is_shown { "\u{a0}*" } else { "" };
        assert!(
            text.ends_with(&format!(">{}{mark}", number(cell.value))),
            "{text}"
        );
        // The colour is the stronger the nearer the mean is to the largest, which is that of QKV.
        let strength = (100.0 * cell.value.abs() / 2.0).round();
        assert!(text.contains(&format!("--strength: {strength}%")), "{text}");
        let sign = if cell.value < 0.0 { "less" } else { "more" };
        assert!(text.contains(&format!("class=\"{sign}\"")), "{text}");
    }
    let sums: BTreeMap<&str, Estimate> = (one.sums.iter())
        .map(|(name, sum)| (name.as_str(), *sum))
        .collect();
    is_by_hand(of(&sums["main"]), [-1.75, -1.6, -0.4], "main");
    is_by_hand(of(&sums["assistant"]), [0.125, -0.5, 0.0], "assistant");
    for (name, sum) in sums {
        let (values, text) = &shown[&format!("weight_attribution/kl/mean/{name}")];
        assert_eq!(*values, [sum.value, sum.low, sum.high], "{name}");
        let said = format!(">{} {}", signed(sum.value), range(sum.low, sum.high));
        assert!(text.ends_with(&said), "{text}");
    }
    assert_eq!(one.shown(), 1);
    assert!(one.marked().starts_with("1 of 3 cells"), "{}", one.marked());
    let alone = pooled_heat_maps(&[&runs[0], &runs[1]]);
    assert_eq!((alone[0].runs, alone[0].rows.len()), (1, 0));
}

/// What `pooled.json` says is what comes out of the runs' files by hand, and the page and the terminal say the same.
#[test]
fn a_sweep_pools_the_models_parts_and_the_places_in_the_weights() {
    let project = Project::new();
    let more = "[hooks.attribution]\nat = 'end'\n[hooks.weight-attribution]\nat = 'end'\npoints = 2\nmost_points = 2\n";
    project.write("small.toml", project.read("small.toml") + more);
    let sweep = ["sweep", "small.toml", "--seeds", "1,2,3"];
    let assert = project.milepost(&sweep).assert().success();
    let said = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let ends = [1, 2, 3].map(|seed| {
        let run = project.path().join(format!("runs/small/sweep/seed={seed}"));
        let lines = milestones(&run)
            .into_iter()
            .filter(|line| line["step"] == 6);
        let scalars = lines.flat_map(|line| line["scalars"].as_object().unwrap().clone());
        let scalars = scalars.filter_map(|(tag, value)| Some((tag, value.as_f64()?)));
        scalars.collect::<BTreeMap<String, f64>>()
    });
    let text = project.read("runs/small/sweep/pooled.json");
    let document: Value = serde_json::from_str(&text).unwrap();
    let parts = document.as_array().unwrap().iter();
    let part = parts.clone().find(|part| !part["rows"].is_null()).unwrap();
    let mut pooled: BTreeMap<String, [f64; 4]> = BTreeMap::new();

    let attributions = part["attributions"].as_array().unwrap();
    assert_eq!(attributions.len(), 4);
    for one in attributions {
        let tag = one["tag"].as_str().unwrap();
        assert_eq!(
            (&one["runs"], &one["left_out"]),
            (&3.into(), &Value::Array(vec![]))
        );
        let cell = |main: &str, assistant: &str| {
            let tag = format!("{tag}/main_{main}_assistant_{assistant}");
            ends.each_ref().map(|end| end[&tag])
        };
        let both = [
            cell("start", "start"),
            cell("start", "now"),
            cell("now", "start"),
            cell("now", "now"),
        ];
        // From the four cells alone.
        for (key, of) in [
            ("in_all", (|[ss, _, _, nn]| nn - ss) as fn([f64; 4]) -> f64),
            ("by_main", |[ss, sn, ns, nn]| (ns + nn - ss - sn) / 2.0),
            ("by_assistant", |[ss, sn, ns, nn]| (sn + nn - ss - ns) / 2.0),
            ("interaction", |[ss, sn, ns, nn]| nn + ss - ns - sn),
        ] {
            let values = [0, 1, 2].map(|seed| of(both.map(|cell| cell[seed])));
            let found = of_json(&one[key]);
            let what = format!("{tag}/{key}");
            is_by_hand(found, values, &what);
            pooled.insert(what, found);
        }
        let heading = format!(
            "change since the start: {}\n",
            one["name"].as_str().unwrap()
        );
        assert!(said.contains(&heading), "{said}");
    }

    let maps = part["heat_maps"].as_array().unwrap();
    assert_eq!(maps.len(), 2, "mean and gap of KL");
    for map in maps {
        let tag = map["tag"].as_str().unwrap();
        let cells = map["cells"].as_array().unwrap();
        let recorded = ends[0]
            .keys()
            .filter_map(|key| key.strip_prefix(tag)?.strip_prefix('/'));
        let recorded = recorded
            .filter(|place| place.split('/').count() == 3)
            .count();
        assert_eq!(cells.len(), recorded);
        assert!(recorded > 20, "{recorded}");
        for cell in cells {
            let name = cell["tag"].as_str().unwrap();
            let found = of_json(cell);
            is_by_hand(found, ends.each_ref().map(|end| end[name]), name);
            assert_eq!(cell["shown"], found[1] > 0.0 || found[2] < 0.0, "{name}");
            pooled.insert(name.to_owned(), found);
        }
        let sums = map["sums"].as_array().unwrap();
        assert_eq!(sums.len(), 2);
        for sum in sums {
            // The hook says of each model what its shares add up to.
            let name = sum["name"].as_str().unwrap();
            let told = ends.each_ref().map(|end| end[&format!("{tag}/by_{name}")]);
            is_by_hand(of_json(sum), told, name);
            pooled.insert(format!("{tag}/{name}"), of_json(sum));
            let row = said.lines().find(|line| {
                line.contains(&format!("  all of {name} "))
                    && line.contains(&signed(of_json(sum)[0]))
            });
            let [_, low, high, _] = of_json(sum);
            assert!(
                row.is_some_and(|row| row.contains(&range(low, high))),
                "{said}"
            );
        }
        assert!(said.contains(map["title"].as_str().unwrap()), "{said}");
    }

    // The report of each run says how its matches changed at each position; tests/suite/draft_positions.rs holds that against its files.
    let each = [1, 2, 3].map(|seed| {
        let run = project.path().join(format!("runs/small/sweep/seed={seed}"));
        let run = RecordedRun::read(&run, &shipping()).unwrap();
        positions_in_draft(&run, &run.contrasts[0]).unwrap()
    });
    let positions = part["positions"].as_array().unwrap();
    assert_eq!(
        (positions.len(), &positions[0]["contrast"]),
        (1, &"gender".into())
    );
    let positions = positions[0]["positions"].as_array().unwrap();
    assert_eq!(positions.len(), 5);
    for (index, one) in positions.iter().enumerate() {
        assert_eq!(one["position"], index + 1);
        for (key, of) in [
            (
                "first",
                (|one| one.change.means[0]) as fn(&PositionInDraft) -> f64,
            ),
            ("second", |one| one.change.means[1]),
            ("gap", |one| one.change.difference),
        ] {
            let place = format!("positions/gender/{}/{key}", index + 1);
            let found = of_json(&one[key]);
            is_by_hand(found, each.each_ref().map(|run| of(&run[index])), &place);
            pooled.insert(place, found);
        }
    }

    let shown = on_page(&project.read("runs/small/sweep/report.html"));
    assert_eq!(shown.len(), pooled.len());
    for (name, (values, _)) in shown {
        assert_eq!(values, pooled[&name][..3], "{name}");
    }
}
