//! Where in the weights a change comes from: against PyTorch's autograd (tests/fixtures/chord), and in a run.

use burn::tensor::Device;
use milepost::hook::testing::changed;
use milepost::measure::agreement::Agreement;
use milepost::measure::chord::{Chord, Points, Weighting};
use milepost::measure::smooth::SmoothMeasure;
use milepost::model::{Network, Pair, Place, Role};
use serde_json::Value;

use crate::harness::{Project, close, fixture, ids, milestones, numbers, rows};

fn reference() -> Value {
    let text = include_str!("../fixtures/chord/reference.json");
    serde_json::from_str(text).unwrap()
}

#[test]
fn shares_are_those_of_pytorch() {
    let reference = reference();
    let load = |role: Role| Network::load(&fixture(role.as_str()), &Device::flex()).unwrap();
    let moved = |role: Role| {
        let amount = reference["amounts"][role.as_str()].as_f64().unwrap();
        changed(&load(role), |_, index, weight| {
            (f64::from(weight) + amount * (index as f64 + 1.0).sin()) as f32
        })
    };
    let from = Pair::new(load(Role::Main), load(Role::Assistant)).unwrap();
    let to = Pair::new(moved(Role::Main), moved(Role::Assistant)).unwrap();
    let (prompts, drafted) = (rows(&reference["prompts"]), rows(&reference["drafted"]));
    let tokens: [u32; 2] = ids(&reference["tokens"]).try_into().unwrap();
    let log_odds = |role| SmoothMeasure::LogOdds { role, tokens };
    let matches = |agreement| SmoothMeasure::Matches {
        agreement,
        positions: 3,
    };
    for (name, texts, measure) in [
        ("kl", &prompts, SmoothMeasure::Kl),
        ("acceptance", &prompts, SmoothMeasure::Acceptance),
        ("log_odds_main", &prompts, log_odds(Role::Main)),
        ("log_odds_assistant", &prompts, log_odds(Role::Assistant)),
        ("expected_matches", &drafted, matches(Agreement::Overlap)),
        ("smooth_matches", &drafted, matches(Agreement::Cosine)),
    ] {
        let chord = Chord::new(&from, &to, texts).unwrap();
        let expected = &reference["measures"][name];
        let weightings = ["mean", "gap"].map(|weighting| Weighting {
            weights: numbers(&reference["weightings"][weighting]),
            observed: expected[weighting]["observed"].as_f64().unwrap(),
        });
        for points in [5, 20] {
            let exactly = Points {
                first: points,
                most: points,
            };
            let found = chord.decompose(measure, &weightings, exactly, &|_, _| Ok(()));
            let found = found.unwrap();
            assert_eq!(found.points, points);
            for (change, weighting) in found.changes.iter().zip(["mean", "gap"]) {
                let what = format!("{name}, {weighting}, {points} points");
                let expected = &expected[weighting][points.to_string()];
                let largest = change.shares.iter().map(|share| share.value.abs());
                let largest = largest.fold(0.0, f64::max);
                let mut seen = 0;
                for share in &change.shares {
                    let tensor = if share.weight.place == Place::HEAD {
                        "head"
                    } else {
                        &share.weight.tensor
                    };
                    let expected = expected[share.role.as_str()][tensor].as_f64().unwrap();
                    close(
                        share.value,
                        expected,
                        1e-4,
                        largest,
                        &format!("{what}: {tensor}"),
                    );
                    seen += 1;
                }
                let all = Role::BOTH.map(|role| expected[role.as_str()].as_object().unwrap().len());
                assert_eq!(seen, all.iter().sum::<usize>());
                // Only min(p, q) has corners, where a token is equally likely to both models.
                if !["acceptance", "expected_matches"].contains(&name) {
                    close(change.sum(None), change.observed, 1e-4, 0.0, &what);
                }
            }
        }
    }
}

#[test]
fn prompts_are_summed_in_batches_as_one_by_one() {
    let load = |role: Role| Network::load(&fixture(role.as_str()), &Device::flex()).unwrap();
    let from = Pair::new(load(Role::Main), load(Role::Assistant)).unwrap();
    let moved =
        |model: &Network| changed(model, |_, index, weight| weight + 1e-3 * (index % 7) as f32);
    let to = Pair::new(moved(&from.main), moved(&from.assistant)).unwrap();
    let prompts: Vec<Vec<u32>> = (0..9)
        .map(|one| (0..1 + one % 3).map(|place| 7 * one + place).collect())
        .collect();
    let chord = Chord::new(&from, &to, &prompts).unwrap();
    let points = Points { first: 3, most: 3 };
    let shares = |weights: Vec<f64>| {
        let weighting = Weighting {
            weights,
            observed: 0.0,
        };
        let found = chord.decompose(SmoothMeasure::Kl, &[weighting], points, &|_, _| Ok(()));
        let shares = found.unwrap().changes.remove(0).shares;
        shares.iter().map(|share| share.value).collect::<Vec<f64>>()
    };
    let together = shares(vec![1.0; 9]);
    let mut sums = vec![0.0; together.len()];
    for one in 0..9 {
        let alone = shares(
            (0..9)
                .map(|prompt| f64::from(u8::from(prompt == one)))
                .collect(),
        );
        for (sum, share) in sums.iter_mut().zip(alone) {
            *sum += share;
        }
    }
    let largest = together
        .iter()
        .fold(0.0f64, |largest, one| largest.max(one.abs()));
    for (found, expected) in together.iter().zip(&sums) {
        close(*found, *expected, 1e-5, largest, "a share");
    }
    let many = shares((0..9).map(f64::from).collect());
    assert!(
        many.iter()
            .zip(&together)
            .any(|(one, other)| (one - other).abs() > 1e-3 * largest)
    );
}

#[test]
fn states_of_two_networks_and_prompts_that_do_not_fit_are_refused() {
    let load = |role: Role| Network::load(&fixture(role.as_str()), &Device::flex()).unwrap();
    let pair = |main, assistant| Pair::new(load(main), load(assistant)).unwrap();
    let from = pair(Role::Main, Role::Assistant);
    let swapped = pair(Role::Assistant, Role::Main);
    let error = Chord::new(&from, &swapped, &[]).err().unwrap().to_string();
    assert!(error.contains("not of one network"), "{error}");
    let to = {
        let mut to = from.clone();
        to.main = changed(&to.main, |_, _, weight| 1.01 * weight);
        to
    };
    let decompose = |prompts: &[Vec<u32>], weights: usize| {
        let weighting = Weighting {
            weights: vec![1.0; weights],
            observed: 0.0,
        };
        let points = Points { first: 1, most: 1 };
        let chord = Chord::new(&from, &to, prompts).unwrap();
        let found = chord.decompose(SmoothMeasure::Kl, &[weighting], points, &|_, _| Ok(()));
        found
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    assert!(decompose(&[vec![1]], 2).contains("2 weights for 1 texts"));
    assert!(decompose(&[vec![]], 1).contains("has no tokens"));
    assert!(decompose(&[vec![97]], 1).contains("a vocabulary of 97 tokens"));
    assert!(decompose(&[vec![1; 49]], 1).contains("positions for 48"));
    let along = |positions: usize| {
        let weighting = Weighting {
            weights: vec![1.0],
            observed: 0.0,
        };
        let measure = SmoothMeasure::Matches {
            agreement: Agreement::Cosine,
            positions,
        };
        let texts = [vec![1, 2]];
        let chord = Chord::new(&from, &to, &texts).unwrap();
        let points = Points { first: 1, most: 1 };
        let found = chord.decompose(measure, &[weighting], points, &|_, _| Ok(()));
        found
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    assert!(along(0).contains("of no position"));
    assert_eq!(along(2), "");
    assert!(along(3).contains("text 0 has 2 tokens; the measure is of the last 3"));
    assert_eq!(decompose(&[vec![1]], 1), "");
}

#[test]
fn in_a_run_the_shares_add_up_to_the_change() {
    let project = Project::new();
    let more = "[hooks.weight-attribution]\nat = ['start', 'every 3 steps', 'end']\nmost_points = 5\nmeasures = ['kl', 'acceptance']\n[hooks.fine]\nkind = 'weight-attribution'\nat = 'end'\npoints = 20\nmeasures = ['kl', 'acceptance']\n";
    project.write("small.toml", project.read("small.toml") + more);
    let run = project.run("one", &[]);
    let lines = milestones(&run);
    let at = |source: &str, step: u64| {
        let mut lines = lines.iter();
        let line = lines.find(|line| line["source"] == source && line["step"] == step);
        line.unwrap()["scalars"].as_object().unwrap().clone()
    };
    let mut page_says = false;
    let kl = |step: u64| at("template-kl", step)["kl/mean_nats"].as_f64().unwrap();
    for (source, prefix, tolerance) in [("weight-attribution", "", 0.02), ("fine", "fine/", 0.001)]
    {
        let scalars = at(source, 6);
        for measure in ["kl", "acceptance"] {
            let mut rough = 0.0;
            for mean in ["mean", "disparity"] {
                let tag = format!("{prefix}weight_attribution/{measure}/{mean}");
                let value = |part: &str| scalars[&format!("{tag}/{part}")].as_f64().unwrap();
                let cells = scalars.iter().filter(|(name, _)| {
                    let cell = name.strip_prefix(&format!("{tag}/"));
                    cell.is_some_and(|cell| cell.split('/').count() == 3)
                });
                let shares: Vec<f64> = cells.map(|(_, value)| value.as_f64().unwrap()).collect();
                assert!(shares.len() > 20, "{}", shares.len());
                let sum: f64 = shares.iter().sum();
                println!(
                    "{tag}: observed {}, residual {}",
                    value("observed"),
                    value("residual")
                );
                assert!(
                    (value("observed") - sum - value("residual")).abs() < 1e-9,
                    "{tag}"
                );
                // Expected acceptance of eight prompts has too few corners for their errors to cancel: what it says of itself is checked.
                if measure == "kl" {
                    close(sum, value("observed"), tolerance, 0.0, &tag);
                }
                rough += f64::from(u8::from(value("residual").abs() > value("tolerance")));
            }
            let said = &scalars[&format!("{prefix}weight_attribution/{measure}/unexplained")];
            assert_eq!(said.as_f64(), Some(rough), "{measure}");
            page_says |= rough > 0.0;
        }
        let observed = &scalars[&format!("{prefix}weight_attribution/kl/mean/observed")];
        assert!((observed.as_f64().unwrap() - (kl(6) - kl(0))).abs() < 1e-12);
    }
    // Each cell of the report's table of shares is a share of the run's last milestone.
    let page = project.read("runs/small/one/report.html");
    let scalars = at("weight-attribution", 6);
    let mut cells = 0;
    for (tag, value) in scalars
        .iter()
        .filter(|(tag, _)| tag.starts_with("weight_attribution/kl/mean/main/"))
    {
        let cell = format!("<td data-tag=\"{tag}\" data-step=\"6\" data-value=\"{value}\" class=");
        assert_eq!(page.matches(&cell).count(), 1, "{cell}");
        cells += 1;
    }
    assert!(cells > 10, "{cells}");
    assert_eq!(page.contains("do not add up"), page_says);
}
