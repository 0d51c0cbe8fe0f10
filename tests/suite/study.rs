//! Arms that each change one thing, compared with a baseline.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Project, close, milestones};

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
        let count = pairs.len() as f64;
        pairs.map(|pair| pair[0] - pair[1]).sum::<f64>() / count
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
