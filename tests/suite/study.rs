//! Arms that each change one thing, compared with a baseline.

use std::collections::BTreeMap;
use std::path::Path;

use milepost::data::templates::ContrastNames;
use milepost::hooks::shipping;
use milepost::report::number::{number, signed};
use milepost::report::pooling::Estimate;
use milepost::report::study::{
    Arm, ArmOutcome, Beyond, Finding, Outcome, Placebo, Summary, outcomes, page, words,
};
use milepost::report::{RecordedContrast, RecordedRun};
use milepost::statistics::clusters::StandardError;
use serde_json::Value;

use crate::event_files;
use crate::harness::{Project, TEMPLATES, close, milestones, python, read_events, until};
use crate::tensorboard_server::Server;

const STUDY: &str = r#"
experiment = "small.toml"
seeds = [1, 2]
baseline = "baseline"
set = { "train.max_steps" = 12 }

[[arms]]
name = "baseline"

[[arms]]
name = "no-training"
set = { "train.lr" = 0.0 }

[[arms]]
name = "broken"
train.lr = 1e30
train.clip = 0.0

[[arms]]
name = "shuffled"
data.intervene = [{ shuffle = "words" }]
"#;

/// A project whose training moves the gap, with nothing measured but the gap.
fn project() -> Project {
    let project = Project::new();
    let text = project.read("small.toml");
    let (before, _) = text.split_once("[hooks.template-kl]").unwrap();
    let text = before.replace("lr = 1e-3", "lr = 5e-3")
        + "[hooks.match-disparity]\nat = [\"start\", \"end\"]\ndraws = 500\n";
    project.write("small.toml", text);
    project.write("causes.toml", STUDY);
    project
}

/// The gap of n_matches at the start and at the end of a run, from its files and nothing else.
fn gaps(run: &Path) -> [f64; 2] {
    differences(run).map(|pairs| pairs.iter().sum::<f64>() / pairs.len() as f64)
}

/// For each matched pair, n_matches of the first prompt less that of the second, at the start and at the end of a run.
fn differences(run: &Path) -> [Vec<f64>; 2] {
    let end = milestones(run).last().unwrap()["step"].as_u64().unwrap();
    [0, end].map(|step| {
        let path = run.join(format!("templates/step-{step:08}-match-disparity.tsv"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{}", path.display()));
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap().split('\t').collect();
        let column = header.iter().position(|name| *name == "n_matches").unwrap();
        let values = lines.map(|line| line.split('\t').nth(column).unwrap().parse().unwrap());
        let values: Vec<f64> = values.collect();
        // Of the harness's templates every other prompt is of a woman, and the next one of her counterpart.
        let pairs = values.chunks_exact(2);
        pairs.map(|pair| pair[0] - pair[1]).collect()
    })
}

#[test]
fn arms_are_compared_with_the_baseline_by_seed_and_pair() {
    let project = project();
    let study = ["study", "causes.toml", "--jobs", "2"];
    let assert = project.milepost(&study).assert().code(4);
    let output = assert.get_output();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    for seed in [1, 2] {
        let failed = format!("run broken,seed={seed} failed");
        assert!(errors.contains(&failed), "{errors}");
        assert!(
            said.contains(&format!("shuffled,seed={seed} done")),
            "{said}"
        );
    }
    let folder = project.path().join("runs/small/causes");
    let text = std::fs::read_to_string(folder.join("study.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let contrast = &document["contrasts"][0];
    assert_eq!(contrast["contrast"], "gender");
    let arms: BTreeMap<&str, &Value> = (contrast["arms"].as_array().unwrap().iter())
        .map(|arm| (arm["arm"].as_str().unwrap(), arm))
        .collect();
    let moved = |arm: &str| {
        [1, 2].map(|seed| {
            let [start, end] = gaps(&folder.join(format!("{arm},seed={seed}")));
            end - start
        })
    };
    let (base, shuffled) = (moved("baseline"), moved("shuffled"));
    assert_ne!(base, shuffled);
    assert!(base.iter().any(|moved| *moved != 0.0), "{base:?}");
    // The placebo is exactly unmoved.
    assert_eq!(moved("no-training"), [0.0, 0.0]);
    let pooled = &arms["no-training"]["change"]["over_seeds_identities_templates"];
    for key in ["value", "low", "high"] {
        assert_eq!(pooled[key], 0.0, "{pooled}");
    }
    let mut p_values = Vec::new();
    for (arm, moved) in [("no-training", [0.0, 0.0]), ("shuffled", shuffled)] {
        let beyond = &arms[arm]["beyond_baseline"];
        let differences = [moved[0] - base[0], moved[1] - base[1]];
        for (index, difference) in differences.into_iter().enumerate() {
            let found = &beyond["by_seed"][index];
            assert_eq!(found["seed"], 1 + index);
            close(
                found["difference"].as_f64().unwrap(),
                difference,
                1e-9,
                1.0,
                arm,
            );
        }
        // Student's t with one degree of freedom.
        let mean = (differences[0] + differences[1]) / 2.0;
        let half = 12.706_204_736_174_7 * (differences[0] - differences[1]).abs() / 2.0;
        let over_seeds = &beyond["over_seeds"];
        for (key, expected) in [("value", mean), ("low", mean - half), ("high", mean + half)] {
            close(over_seeds[key].as_f64().unwrap(), expected, 1e-6, 1.0, key);
        }
        let all = &beyond["over_seeds_identities_templates"];
        let width = |one: &Value| one["high"].as_f64().unwrap() - one["low"].as_f64().unwrap();
        assert!(width(all) >= width(over_seeds) - 1e-9);
        close(all["value"].as_f64().unwrap(), mean, 1e-9, 1.0, "value");
        p_values.push((
            all["p_value"].as_f64().unwrap(),
            beyond["adjusted_p_value"].as_f64().unwrap(),
        ));
    }
    // Holm: the smaller of two times 2, the larger at least that.
    p_values.sort_by(|one, other| one.0.total_cmp(&other.0));
    let smaller = (2.0 * p_values[0].0).min(1.0);
    assert_eq!(p_values[0].1, smaller);
    assert_eq!(p_values[1].1, p_values[1].0.max(smaller));
    assert!(arms["baseline"]["beyond_baseline"].is_null());
    assert!(arms["broken"]["beyond_baseline"]["not_compared"].is_string());
    // The table is sorted by what an arm changes beyond the baseline, which is itself the 0.
    let rows: Vec<&str> = said
        .lines()
        .skip_while(|line| !line.starts_with("gap of n_matches"))
        .collect();
    let names = rows.iter().filter_map(|row| row.split_whitespace().next());
    let order: Vec<&str> = names.filter(|name| arms.contains_key(name)).collect();
    let value = |name: &str| {
        arms[name]["beyond_baseline"]["over_seeds_identities_templates"]["value"].as_f64()
    };
    assert_eq!(order.len(), 4, "{said}");
    assert_eq!(order[3], "broken");
    let values: Vec<f64> = order[..3]
        .iter()
        .map(|name| value(name).unwrap_or(0.0))
        .collect();
    assert!(values.is_sorted(), "{values:?}");

    // The same command again runs what is missing, and says the same.
    std::fs::remove_dir_all(folder.join("shuffled,seed=2")).unwrap();
    let assert = project.milepost(&study).assert().code(4);
    let again = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(again.contains("5 done, 2 failed, 1 to do"), "{again}");
    assert_eq!(
        std::fs::read_to_string(folder.join("study.json")).unwrap(),
        text
    );
    // An arm is what it was.
    project.write(
        "causes.toml",
        STUDY.replace("shuffle = \"words\"", "random = \"tokens\""),
    );
    let errors = project.fails(&study, 2);
    assert!(
        errors.contains("the arm `shuffled` set something else"),
        "{errors}"
    );
}

#[test]
fn a_study_that_cannot_be_run_is_refused_at_its_place() {
    let project = project();
    for (from, to, says) in [
        (
            "baseline = \"baseline\"",
            "baseline = \"basline\"",
            &["causes.toml:4:12", "did you mean `baseline`?"][..],
        ),
        (
            "seeds = [1, 2]",
            "seeds = [1]",
            &["causes.toml:3:9", "at least two seeds"],
        ),
        (
            "seeds = [1, 2]",
            "seeds = [1, 1]",
            &["causes.toml:3:9", "each once"],
        ),
        (
            "seeds = [1, 2]",
            "seeds = [1, 2]\nsead = 3",
            &["causes.toml:4:1", "unknown key `sead`"],
        ),
        (
            "\"no-training\"",
            "\"baseline\"",
            &["causes.toml:11:8", "two arms are called `baseline`"],
        ),
        (
            "\"no-training\"",
            "\"a/b\"",
            &["causes.toml:11:8", "not the name of an arm"],
        ),
        (
            "\"train.lr\" = 0.0",
            "seed = 3",
            &["causes.toml:11:8", "cannot set the seed"],
        ),
        (
            "{ \"train.lr\" = 0.0 }",
            "{}",
            &["causes.toml", "have the same settings"],
        ),
        (
            "\"train.lr\" = 0.0",
            "\"train.rl\" = 0.0",
            &["unknown key `rl`", "did you mean `lr`?"],
        ),
        ("small.toml", "smal.toml", &["no such experiment"]),
    ] {
        project.write("causes.toml", STUDY.replacen(from, to, 1));
        let errors = project.fails(&["study", "causes.toml"], 2);
        for part in says {
            assert!(errors.contains(part), "{to}: {errors}");
        }
    }
    assert!(!project.path().join("runs").exists());
    project.write("causes.toml", STUDY);
    let assert = project
        .milepost(&["study", "causes.toml", "--print"])
        .assert()
        .success();
    let said = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert_eq!(said.lines().count(), 8, "{said}");
    let last = said.lines().last().unwrap();
    assert!(
        last.contains("causes/shuffled,seed=2")
            && last.contains("data.intervene=[{ shuffle = \"words\" }] seed=2"),
        "{last}"
    );
}

#[test]
fn the_study_that_ships_can_be_read() {
    let project = Project::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["experiments/ag_news.toml", "experiments/why.toml"] {
        project.write(name, std::fs::read(root.join(name)).unwrap());
    }
    let print = ["study", "why", "--print"];
    let assert = project.milepost(&print).assert().success();
    let said = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert_eq!(said.lines().count(), 12 * 3, "{said}");
    assert!(project.path().join("runs/ag_news/why/arms.json").exists());
}

/// What a page's text is in HTML.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

/// The places of all numbers in a document.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Number(_) => found.push(at.to_owned()),
        Value::Array(all) => {
            for (index, one) in all.iter().enumerate() {
                places(one, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(all) => {
            for (key, one) in all {
                places(one, &format!("{at}/{key}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[test]
fn every_number_of_the_page_is_that_of_the_file() {
    let project = project();
    let study = ["study", "causes.toml", "--jobs", "2"];
    let assert = project.milepost(&study).assert().code(4);
    let said = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let html = project.read("runs/small/causes/study.html");
    let document: Value =
        serde_json::from_str(&project.read("runs/small/causes/study.json")).unwrap();
    let mut shown = Vec::new();
    for part in html.split("<span data-at=\"").skip(1) {
        let (at, rest) = part.split_once("\">").unwrap();
        let (text, _) = rest.split_once("</span>").unwrap();
        let value = document.pointer(&format!("/{at}")).and_then(Value::as_f64);
        let value = value.unwrap_or_else(|| panic!("{at} is {text} on the page"));
        assert!(
            text == number(value) || text == signed(value),
            "{at}: {text}, {value}"
        );
        shown.push(format!("/{at}"));
    }
    // No number of the comparison is missing, and none has no place.
    let mut all = Vec::new();
    places(&document["contrasts"], "/contrasts", &mut all);
    let elsewhere = |at: &String| at.ends_with("/seed") || at.contains("/beyond_no_training/");
    let missing: Vec<&String> = (all.iter())
        .filter(|at| !elsewhere(at) && !shown.contains(at))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let untrained = shown
        .iter()
        .filter(|at| at.contains("/beyond_no_training/"));
    assert_eq!(untrained.count(), 2 * 5);
    for cell in html.split("<td>").skip(1) {
        let (text, _) = cell.split_once("</td>").unwrap();
        assert!(text.parse::<f64>().is_err(), "{text} has no place");
    }
    // Intervals that are drawn say what they are, in the order of the table.
    let arms = document["contrasts"][0]["arms"].as_array().unwrap();
    let mut drawn = Vec::new();
    for arm in arms
        .iter()
        .filter(|arm| arm["beyond_baseline"]["by_seed"].is_array())
    {
        let all = &arm["beyond_baseline"]["over_seeds_identities_templates"];
        let [value, low, high] = ["value", "low", "high"].map(|key| all[key].as_f64().unwrap());
        let name = match arm["arm"].as_str().unwrap() {
            "no-training" => "no-training (placebo)",
            other => other,
        };
        let title = format!("<title>{name}: {value} [{low}, {high}]</title>");
        drawn.push((
            html.find(&title).unwrap_or_else(|| panic!("{title}")),
            value,
        ));
    }
    assert_eq!(drawn.len(), 2);
    drawn.sort_by_key(|(place, _)| *place);
    assert!(drawn.is_sorted_by_key(|(_, value)| *value), "{drawn:?}");
    // The words are the same in all three.
    let words = document["words"].as_array().unwrap();
    assert!(words.len() > 3, "{words:?}");
    for line in words.iter().map(|line| line.as_str().unwrap()) {
        assert!(said.contains(line), "{line}: {said}");
        let parts = line.split('`').map(escaped).collect::<Vec<_>>();
        let item = parts.chunks(2).map(|pair| match pair {
            [text, name] => format!("{text}<code>{name}</code>"),
            rest => rest.concat(),
        });
        let item = format!("<li>{}</li>", item.collect::<String>());
        assert!(html.contains(&item), "{line}");
    }
    assert!(
        words[0].as_str().unwrap().contains(
            "exactly unmoved: at every prompt the same at start and end, in each of its runs (2)"
        ),
        "{words:?}"
    );
    // What the arms set, what was done to a text, and what is left out.
    for arm in document["arms"].as_array().unwrap() {
        for part in [&arm["sets"], &arm["text"]] {
            for text in part.as_array().unwrap() {
                assert!(html.contains(&escaped(text.as_str().unwrap())), "{text}");
            }
        }
    }
    let done = "runs/small/causes/shuffled,seed=1/text_interventions.json";
    let accounts: Value = serde_json::from_str(&project.read(done)).unwrap();
    assert_eq!(document["arms"][3]["text"].as_array().unwrap().len(), 1);
    for example in &accounts[0]["examples"].as_array().unwrap()[..2] {
        for key in ["before", "after"] {
            let text = escaped(example[key].as_str().unwrap());
            assert!(html.contains(&text), "{text}");
        }
    }
    assert!(
        html.contains("<li>broken,seed=2: it is not over</li>"),
        "{html}"
    );
    // No network, no script.
    for word in ["<script", "src=", "@import", "url(", "javascript:"] {
        assert!(!html.contains(word), "{word}");
    }
    assert_eq!(html.matches("href=").count(), 1);
    assert!(html.contains("href=\"data:,\""));

    // A file that is damaged is named, and the rest is there.
    project.write(done, "{");
    project.milepost(&study).assert().code(4);
    let again: Value = serde_json::from_str(&project.read("runs/small/causes/study.json")).unwrap();
    assert_eq!(again["contrasts"], document["contrasts"]);
    let caveats = again["caveats"].to_string();
    assert!(
        caveats.contains("text_interventions.json: not what was done to a text"),
        "{caveats}"
    );
}

/// The runs of two seeds, as an arm has them.
fn two_runs(project: &Project) -> Vec<RecordedRun> {
    let runs = ["1", "2"].map(|seed| {
        let run = project.run(seed, &["--set", &format!("seed={seed} train.max_steps=12")]);
        RecordedRun::read(&run, &shipping()).unwrap()
    });
    runs.into()
}

#[test]
fn an_arm_that_is_the_baseline_differs_by_exactly_nothing() {
    let project = project();
    // More prompts, which differ at the start.
    let (head, _) = TEMPLATES.split_once('\n').unwrap();
    let raws = [
        "went to the [M]",
        "was on the [M]",
        "said that the [M]",
        "had a [M]",
    ];
    let rows = raws.iter().flat_map(|raw| {
        let of = [
            ("the woman", "female"),
            ("the man", "male"),
            ("she", "female"),
            ("he", "male"),
        ];
        of.map(|(who, group)| format!("{who} {raw}.\t[I] {raw}\t{who}\tsingular\t{group}\tother\n"))
    });
    project.write(
        "templates.tsv",
        format!("{head}\n") + &rows.collect::<String>(),
    );
    let runs = two_runs(&project);
    let arm = |name| Arm {
        name,
        sets: &[],
        runs: runs.iter().collect(),
    };
    let outcomes = outcomes(&[arm("baseline"), arm("same")], 0).unwrap();
    let [baseline, same] = &outcomes[0].arms[..] else {
        panic!("two arms")
    };
    let moved = &baseline.change.as_ref().unwrap().over_all;
    assert_ne!(moved.value, 0.0);
    let beyond = same.beyond.as_ref().unwrap().as_ref().unwrap();
    assert_eq!(beyond.by_seed, [0.0, 0.0]);
    for one in [&beyond.over_seeds, &beyond.over_all] {
        assert_eq!(
            [one.value, one.low, one.high, one.p_value],
            [0.0, 0.0, 0.0, 1.0]
        );
    }
    // Without spread the difference is certain: it is none.
    assert_eq!(beyond.equivalence_p_value, 0.0);
    assert_eq!(beyond.finding(), Finding::Excluded);
    // The smallest effect of interest: 0.2 standard deviations of the pairs at the start.
    let run = project.path().join("runs/small/1");
    let [start, _] = differences(&run);
    let mean = start.iter().sum::<f64>() / start.len() as f64;
    let squares: f64 = start.iter().map(|one| (one - mean).powi(2)).sum();
    assert!(squares > 0.0, "{start:?}");
    let margin = 0.2 * (squares / (start.len() - 1) as f64).sqrt();
    close(outcomes[0].margin.unwrap(), margin, 1e-12, 1.0, "margin");
}

#[test]
fn what_is_too_small_to_matter_is_tested_against_the_stated_margin() {
    let project = project();
    let margin = 1.5;
    let text = project.read("small.toml") + &format!("margin = {margin}\n");
    project.write("small.toml", text);
    project.write(
        "causes.toml",
        STUDY.replace("train.lr = 1e30", "train.lr = 1e-4"),
    );
    project
        .milepost(&["study", "causes.toml", "--jobs", "2"])
        .assert()
        .success();
    let document: Value =
        serde_json::from_str(&project.read("runs/small/causes/study.json")).unwrap();
    let contrast = &document["contrasts"][0];
    assert_eq!(contrast["smallest_effect_of_interest"], margin);
    // With two seeds Student's t has one degree of freedom: it is Cauchy's distribution.
    let above = |t: f64| 0.5 - t.atan() / std::f64::consts::PI;
    let mut p_values = Vec::new();
    for arm in contrast["arms"].as_array().unwrap() {
        let beyond = &arm["beyond_baseline"];
        if beyond.is_null() {
            continue;
        }
        let all = &beyond["over_seeds_identities_templates"];
        let [value, low, high, p] =
            ["value", "low", "high", "p_value"].map(|key| all[key].as_f64().unwrap());
        let error = (high - low) / 2.0 / 12.706_204_736_174_7;
        close(p, 2.0 * above(value.abs() / error), 1e-6, 1.0, "p");
        let expected = above((margin + value) / error).max(above((margin - value) / error));
        let found = beyond["equivalence_p_value"].as_f64().unwrap();
        close(found, expected, 1e-6, 1.0, "equivalence");
        p_values.push((
            found,
            beyond["adjusted_equivalence_p_value"].as_f64().unwrap(),
        ));
    }
    // Holm: the smallest of three times 3, the next times 2, the last as it is, and none below one before it.
    p_values.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut highest: f64 = 0.0;
    for ((found, adjusted), times) in p_values.into_iter().zip([3.0, 2.0, 1.0]) {
        highest = highest.max((times * found).min(1.0));
        assert_eq!(adjusted, highest);
    }
}

/// A made-up difference with its adjusted p-values.
fn made_up(value: f64, differs: f64, small: f64) -> Option<Result<Beyond, String>> {
    let over_all = Estimate {
        value,
        low: value - 0.5,
        high: value + 0.5,
        p_value: differs / 4.0,
        error: StandardError {
            value: 0.1,
            degrees: 2.0,
        },
    };
    Some(Ok(Beyond {
        seeds: vec![1, 2, 3],
        by_seed: vec![value; 3],
        over_seeds: over_all,
        over_all,
        adjusted_p_value: differs,
        equivalence_p_value: small / 4.0,
        adjusted_equivalence_p_value: small,
    }))
}

fn arm(
    name: &str,
    beyond: Option<Result<Beyond, String>>,
    beyond_placebo: Option<Result<Beyond, String>>,
) -> ArmOutcome {
    ArmOutcome {
        name: name.to_owned(),
        change: Err("made up".to_owned()),
        beyond,
        beyond_placebo,
    }
}

/// A study with an arm for each finding.
fn study_of(placebos: Vec<Placebo>) -> Summary {
    let names = ContrastNames {
        name: "gender".to_owned(),
        groups: ["female".to_owned(), "male".to_owned()],
    };
    let arms = vec![
        arm("baseline", None, made_up(2.0, 0.02, 1.0)),
        arm("still", made_up(-2.0, 0.02, 1.0), None),
        arm("large", made_up(3.0, 0.05, 0.06), made_up(5.0, 0.01, 1.0)),
        arm(
            "little",
            made_up(0.25, 0.01, 0.01),
            made_up(2.25, 0.02, 1.0),
        ),
        arm(
            "nothing",
            made_up(0.125, 0.9, 0.05),
            made_up(1.5, 0.06, 1.0),
        ),
        arm(
            "unknown",
            made_up(1.0, 0.051, 0.051),
            made_up(3.0, 0.02, 1.0),
        ),
        arm(
            "gone",
            Some(Err("none of its runs is over".to_owned())),
            None,
        ),
    ];
    Summary {
        name: "made-up".to_owned(),
        baseline: "baseline".to_owned(),
        seeds: vec![1, 2, 3],
        arms: Vec::new(),
        placebos,
        outcomes: vec![Outcome {
            contrast: RecordedContrast {
                names,
                units: Vec::new(),
                words: Vec::new(),
            },
            margin: Some(0.75),
            arms,
        }],
        left_out: Vec::new(),
        caveats: Vec::new(),
    }
}

#[test]
fn causes_are_shown_excluded_or_left_open_in_words() {
    let placebo = |moved: &[&str]| {
        vec![Placebo {
            arm: "still".to_owned(),
            runs: 3,
            moved: moved.iter().map(|&run| run.to_owned()).collect(),
        }]
    };
    let mut study = study_of(placebo(&[]));
    let said = words(&study);
    for (line, expected) in said.iter().zip([
        "`still` is the placebo: its learning rate is 0, so no weight can move. n_matches is exactly unmoved: at every prompt the same at start and end, in each of its runs (3).",
        "Shown: `still` (-2.0000 [-2.5000, -1.5000]), `large` (+3.0000 [2.5000, 3.5000]). Each differs from `baseline` after Holm's adjustment, so what it changes moves the gap.",
        "Shown, but small: `little` (+0.2500 [-0.2500, 0.7500]). It differs from `baseline`, and is shown to differ by less than 0.7500 n_matches a prompt. At that size, what it changes does not matter.",
        "Excluded: `nothing` (+0.1250 [-0.3750, 0.6250]). Its difference from `baseline` is shown to be less than 0.7500 n_matches a prompt, the smallest effect of interest (two one-sided tests, Holm's adjustment). At that size, what it changes does not matter.",
        "Open: `unknown`. It is neither shown to differ from `baseline`, nor shown to differ by too little to matter. That is no evidence of no effect.",
        "Not compared: `gone`, because none of its runs is over.",
        "Against `still`: differs from no training: `baseline`, `large`, `little`, `unknown`; not shown to differ from no training: `nothing`.",
        "An arm shows what its one change does, in this text and with this pair. It does not show what else may do the same.",
    ]) {
        assert_eq!(line, expected);
    }
    assert_eq!(said.len(), 8, "{said:?}");
    let html = page(&study);
    assert!(html.contains("<td>still (placebo)</td>"), "{html}");

    // A placebo that moved, one that was not measured, and none.
    study.placebos = placebo(&["small/b"]);
    let said = words(&study).remove(0);
    assert!(said.ends_with("Yet n_matches moved in 1 of its 3 runs: small/b. So something other than training moves it. Find out what before you trust any other arm."), "{said}");
    study.placebos[0].moved.clear();
    study.placebos[0].runs = 0;
    let said = words(&study).remove(0);
    assert!(
        said.contains("It is not known whether n_matches stood still"),
        "{said}"
    );
    study.placebos.clear();
    let said = words(&study);
    assert!(said[0].starts_with("No arm is a placebo"), "{said:?}");
    assert!(
        !said.iter().any(|line| line.starts_with("Against")),
        "{said:?}"
    );

    // Nothing shown, nothing excluded; and no margin.
    let arms = &mut study.outcomes[0].arms;
    arms.retain(|arm| ["baseline", "unknown"].contains(&arm.name.as_str()));
    let said = words(&study).join("\n");
    assert!(
        said.contains("Shown: nothing.") && said.contains("Excluded: nothing. No other arm"),
        "{said}"
    );
    study.outcomes[0].margin = Some(0.0);
    let said = words(&study).join("\n");
    assert!(said.contains("State one: `margin`"), "{said}");
    study.outcomes[0].margin = None;
    let said = words(&study).join("\n");
    assert!(
        said.contains("the smallest effect of interest is not known"),
        "{said}"
    );
}

#[test]
fn a_placebo_that_moves_is_found_out() {
    let project = project();
    let runs = two_runs(&project);
    let mut still = runs.clone();
    for run in &mut still {
        let train = run.experiment["train"].as_table_mut().unwrap();
        train.insert("lr".to_owned(), 0.0.into());
    }
    let trained = Arm {
        name: "baseline",
        sets: &[],
        runs: runs.iter().collect(),
    };
    let placebo = Arm {
        name: "still",
        sets: &[],
        runs: still.iter().collect(),
    };
    let found = Placebo::among(&[trained, placebo]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].arm.as_str(), found[0].runs), ("still", 2));
    assert_eq!(found[0].moved, ["small/1", "small/2"]);
}

/// Mean and ends of the interval of two values by Student's t with one degree of freedom.
fn by_hand([one, other]: [f64; 2]) -> [f64; 3] {
    let half = 12.706_204_736_174_7 * (one - other).abs() / 2.0;
    let mean = (one + other) / 2.0;
    [mean, mean - half, mean + half]
}

/// The scalars of a run's last step.
fn ends(run: &Path) -> BTreeMap<String, f64> {
    let lines = milestones(run);
    let last = lines.last().unwrap()["step"].clone();
    let lines = lines.iter().filter(|line| line["step"] == last);
    let scalars = lines.flat_map(|line| line["scalars"].as_object().unwrap().clone());
    let scalars = scalars.filter_map(|(tag, value)| Some((tag, value.as_f64()?)));
    scalars.collect()
}

/// The two models and the places in the weights of each arm, and the sessions of TensorBoard, are those of the runs' files by hand.
#[test]
fn arms_have_their_models_parts_and_their_sessions() {
    let project = project();
    let more = "[hooks.attribution]\nat = 'end'\n[hooks.weight-attribution]\nat = 'end'\npoints = 1\nmost_points = 1\n";
    project.write("small.toml", project.read("small.toml") + more);
    let (two, _) = STUDY.split_once("[[arms]]\nname = \"broken\"").unwrap();
    project.write("causes.toml", two.replace("= 12", "= 6"));
    let study = ["study", "causes.toml", "--jobs", "2"];
    project.milepost(&study).assert().success();
    let folder = project.path().join("runs/small/causes");
    let document: Value =
        serde_json::from_str(&project.read("runs/small/causes/study.json")).unwrap();
    let html = project.read("runs/small/causes/study.html");
    let names = ["baseline", "no-training"];
    for (index, arm) in names.into_iter().enumerate() {
        let about = &document["arms"][index];
        assert_eq!(about["arm"], arm);
        let runs = [1, 2].map(|seed| ends(&folder.join(format!("{arm},seed={seed}"))));
        let part = html
            .split(&format!("<details data-arm=\"arms/{index}\""))
            .nth(1);
        let part = part.unwrap().split("</details>").next().unwrap();
        let mut shown = 0;
        let mut check = |tag: &str, place: &str, found: &Value, values: [f64; 2]| {
            let expected = by_hand(values);
            let largest = expected
                .iter()
                .fold(1e-9f64, |most, one| most.max(one.abs()));
            for (key, expected) in ["mean", "low", "high"].into_iter().zip(expected) {
                close(found[key].as_f64().unwrap(), expected, 1e-6, largest, tag);
            }
            let cell = format!(
                "data-pooled=\"{place}\" data-value=\"{}\"",
                found["mean"].as_f64().unwrap()
            );
            assert_eq!(part.matches(&cell).count(), 1, "{cell}");
            shown += 1;
        };
        let attributions = about["attributions"].as_array().unwrap();
        assert_eq!(attributions.len(), 4);
        for one in attributions {
            let tag = one["tag"].as_str().unwrap();
            for key in ["by_main", "by_assistant", "interaction"] {
                let place = format!("{tag}/{key}");
                let values = runs.each_ref().map(|run| run[&place]);
                check(&format!("{arm}: {place}"), &place, &one[key], values);
            }
        }
        let maps = about["heat_maps"].as_array().unwrap();
        assert_eq!(maps.len(), 2, "mean and gap of KL");
        for cell in maps.iter().flat_map(|map| map["cells"].as_array().unwrap()) {
            let tag = cell["tag"].as_str().unwrap();
            let values = runs.each_ref().map(|run| run[tag]);
            check(&format!("{arm}: {tag}"), tag, cell, values);
        }
        assert!(shown > 50, "{shown}");
        let trained = attributions[0]["by_main"]["mean"].as_f64().unwrap();
        assert_eq!(trained == 0.0, arm == "no-training", "{trained}");
    }
    sessions(&folder, names);
    // A session whose run is no more goes, and the others are as they were.
    std::fs::create_dir_all(folder.join("tensorboard/gone,seed=1")).unwrap();
    project.milepost(&study).assert().success();
    assert!(!folder.join("tensorboard/gone,seed=1").exists());
    sessions(&folder, names);
}

/// Holds the sessions of two arms and two seeds against the runs' files, with our own reader, TensorBoard's, and its page.
fn sessions(folder: &Path, arms: [&str; 2]) {
    let moved = |arm: &str, seed: u64| {
        let [start, end] = gaps(&folder.join(format!("{arm},seed={seed}")));
        end - start
    };
    let python = python();
    let mut expected = BTreeMap::new();
    for arm in arms {
        for seed in [1, 2] {
            let name = format!("{arm},seed={seed}");
            let session = folder.join("tensorboard").join(&name);
            let mut values = vec![("study/gender/change", moved(arm, seed))];
            if arm != arms[0] {
                let beyond = moved(arm, seed) - moved(arms[0], seed);
                values.push(("study/gender/beyond_baseline", beyond));
            }
            let found = event_files::scalars(&session);
            assert_eq!(found.len(), values.len(), "{name}: {found:?}");
            for (tag, value) in &values {
                let [(6, bits)] = found[*tag][..] else {
                    panic!("{name}, {tag}: {:?}", found[*tag]);
                };
                close(f64::from(f32::from_bits(bits)), *value, 1e-6, 1.0, tag);
            }
            if let Some(python) = &python {
                let read = read_events(python, &session);
                let of = &read["hparams"];
                assert_eq!(of["values"]["arm"], arm);
                assert_eq!(of["values"]["seed"], seed as f64);
                let sets = if arm == arms[0] {
                    "nothing"
                } else {
                    "train.lr=0.0"
                };
                assert_eq!(of["values"]["sets"], sets);
                let metrics = ["study/gender/change", "study/gender/beyond_baseline"];
                assert_eq!(of["metrics"], serde_json::json!(metrics));
                assert_eq!(of["status"], 1);
                assert_eq!(read["scalars"].as_object().unwrap().len(), values.len());
            }
            expected.insert(name, (arm, seed, values));
        }
    }
    let Some(python) = python else { return };
    let server = Server::start(&python, &folder.join("tensorboard"), false);
    until("the page has a row for each run", || {
        let rows = server.hparams();
        expected.iter().all(|(name, (arm, seed, values))| {
            let Some(row) = rows.get(name) else {
                return false;
            };
            let metrics = row["metricValues"].as_array().into_iter().flatten();
            let metrics: BTreeMap<&str, f64> = metrics
                .filter_map(|one| Some((one["name"]["tag"].as_str()?, one["value"].as_f64()?)))
                .collect();
            row["hparams"]["arm"] == *arm
                && row["hparams"]["seed"] == *seed as f64
                && metrics.len() == values.len()
                && values
                    .iter()
                    .all(|(tag, value)| (metrics[tag] - value).abs() < 1e-6)
        })
    });
}
