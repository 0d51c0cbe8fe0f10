//! A cause is planted in the text, and must be found; where there is none, none may be. `make prove-why` does it at length; without
//! MILEPOST_PLACEBO_STUDIES it is a short form.

use std::path::Path;

use serde_json::Value;
use statrs::distribution::{Binomial, DiscreteCDF};

use crate::harness::{Project, milestones};

/// Runs at a time.
const JOBS: &str = "2";

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("experiments")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

/// What a study finds, of its only contrast.
fn found(project: &Project, study: &str) -> Value {
    let arguments = ["study", study, "--jobs", JOBS];
    project.milepost(&arguments).assert().success();
    let json = project.read(&format!("runs/ag_news/{study}/study.json"));
    let study: Value = serde_json::from_str(&json).unwrap();
    study["contrasts"][0].clone()
}

/// An arm of what a study finds.
fn arm<'a>(found: &'a Value, name: &str) -> &'a Value {
    let arms = found["arms"].as_array().unwrap();
    let arm = arms.iter().find(|arm| arm["arm"] == name);
    arm.unwrap_or_else(|| panic!("no arm {name}"))
}

/// An arm's change less the baseline's, and what is said of it.
fn beyond(found: &Value, name: &str) -> (f64, String) {
    let beyond = &arm(found, name)["beyond_baseline"];
    let value = beyond["over_seeds_identities_templates"]["value"].as_f64();
    let finding = beyond["finding"].as_str().unwrap().to_owned();
    println!("{name:>20} {:+.3} {finding}", value.unwrap());
    (value.unwrap(), finding)
}

/// How the mean of n_matches over the prompts of a group moved in a run.
fn moved(project: &Project, run: &str, group: &str) -> f64 {
    let path = project.path().join("runs/ag_news/planted").join(run);
    let lines = milestones(&path);
    let tag = format!("n_matches_{group}");
    let values = lines
        .iter()
        .filter(|line| line["source"] == "match-disparity");
    let values = values.filter_map(|line| {
        let scalars = line["scalars"].as_object()?.iter();
        let mut own = scalars.filter(|(name, _)| name.ends_with(&tag));
        own.next()?.1.as_f64()
    });
    let values: Vec<f64> = values.collect();
    values.last().unwrap() - values[0]
}

/// Without the lines, and without the topic that has them, the gap moves otherwise; without another topic it does not. The prompts of the
/// planted group carry it.
#[test]
#[ignore = "trains twelve runs"]
fn a_planted_cause_is_found() {
    let project = Project::new();
    project.write("experiments/ag_news.toml", shipped("ag_news.toml"));
    project.write("experiments/planted.toml", shipped("planted.toml"));
    let found = found(&project, "planted");
    let unplanted = beyond(&found, "unplanted");
    let topic = beyond(&found, "without-sports");
    assert_eq!((unplanted.1.as_str(), topic.1.as_str()), ("shown", "shown"));
    let (other, _) = beyond(&found, "without-world");
    assert!(
        other.abs() < topic.0.abs() / 2.0,
        "another topic {other}, the planted one {}",
        topic.0
    );
    for seed in 1..4 {
        let [by_line, other] = ["female", "male"].map(|group| {
            let [with, without] = ["planted", "unplanted"]
                .map(|arm| moved(&project, &format!("{arm},seed={seed}"), group));
            with - without
        });
        println!(
            "seed {seed}: the lines move n_matches by {by_line:+.3} of female prompts, by {other:+.3} of male ones"
        );
        assert!(by_line > 0.5 && by_line > 1.5 * other, "{by_line}, {other}");
    }
}

/// The topics say nothing of the documents, so that an arm without one of them is the baseline on other documents.
fn placebo(number: u64) -> String {
    let seeds: Vec<String> = (0..3)
        .map(|seed| (100 + 3 * number + seed).to_string())
        .collect();
    let set = shipped("planted.toml");
    let set = set.split_once("[set]").unwrap().1;
    let set = set.split_once("[[arms]]").unwrap().0;
    let arm = |name: &str, entries: &str| {
        format!(
            "[[arms]]\nname = \"{name}\"\ndata.intervene = [{{ shuffle = \"topics\" }}{entries}]\n\n"
        )
    };
    format!(
        "experiment = \"ag_news\"\nseeds = [{}]\nbaseline = \"baseline\"\n\n[set]{set}{}{}{}",
        seeds.join(", "),
        arm("baseline", ""),
        arm("without-sports", ", { without_topic = \"Sports\" }"),
        arm("without-world", ", { without_topic = \"World\" }"),
    )
}

/// Studies of nothing find something no more often than their level, 5%, allows: as many or more would be found in less than one of a hundred cases.
#[test]
#[ignore = "trains nine runs a study"]
fn nothing_is_found_where_nothing_is() {
    let studies =
        std::env::var("MILEPOST_PLACEBO_STUDIES").map_or(2, |count| count.parse().unwrap());
    let project = Project::new();
    project.write("experiments/ag_news.toml", shipped("ag_news.toml"));
    let mut wrong = 0u64;
    for number in 0..studies {
        let name = format!("placebo-{number}");
        project.write(&format!("experiments/{name}.toml"), placebo(number));
        let found = found(&project, &name);
        let findings = ["without-sports", "without-world"].map(|arm| beyond(&found, arm).1);
        wrong += u64::from(findings.iter().any(|finding| finding.starts_with("shown")));
        println!("{wrong} of {} placebo studies find something", number + 1);
    }
    let level = Binomial::new(0.05, studies).unwrap();
    let allowed = level.inverse_cdf(0.99);
    assert!(
        wrong <= allowed,
        "{wrong} of {studies} placebo studies, {allowed} are allowed"
    );
}
