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

/// What a study finds.
fn found(project: &Project, study: &str) -> Value {
    let arguments = ["study", study, "--jobs", JOBS];
    project.milepost(&arguments).assert().success();
    let json = project.read(&format!("runs/ag_news/{study}/study.json"));
    serde_json::from_str(&json).unwrap()
}

/// The one of these that has this value.
fn with<'a>(all: &'a Value, key: &str, value: &str) -> &'a Value {
    let all = all.as_array().unwrap();
    let found = all.iter().find(|one| one[key] == value);
    found.unwrap_or_else(|| panic!("no {key} {value}"))
}

/// An arm's change less the baseline's, and what is said of it.
fn beyond(found: &Value, name: &str) -> (f64, String) {
    let beyond = &with(&found["contrasts"][0]["arms"], "arm", name)["beyond_baseline"];
    let value = beyond["over_seeds_identities_templates"]["value"].as_f64();
    let finding = beyond["finding"].as_str().unwrap().to_owned();
    println!("{name:>20} {:+.3} {finding}", value.unwrap());
    (value.unwrap(), finding)
}

/// Each model's share of the change of KL in an arm, by its weights: the mean over the seeds and its interval, for main model and assistant. And the
/// name of the assistant's largest part.
fn by_weights(found: &Value, name: &str) -> ([[f64; 3]; 2], String) {
    let maps = &with(&found["arms"], "arm", name)["heat_maps"];
    let map = with(maps, "tag", "weight_attribution/kl/mean");
    let number = |one: &Value, key: &str| one[key].as_f64().unwrap();
    let shares = ["main", "assistant"].map(|model| {
        let sum = with(&map["sums"], "name", model);
        ["mean", "low", "high"].map(|key| number(sum, key))
    });
    let cells = map["cells"].as_array().unwrap().iter();
    let own = cells.filter(|cell| cell["tag"].as_str().unwrap().contains("/assistant/"));
    let size = |cell: &Value| number(cell, "mean").abs();
    let largest = own.max_by(|a, b| size(a).total_cmp(&size(b))).unwrap();
    println!("{name:>20} main, assistant {shares:?}");
    (shares, largest["tag"].as_str().unwrap().to_owned())
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
    // With the lines, the main model moves away from the assistant of the start, and the assistant follows it: by its head. Without them, or without
    // the topic that has them, the assistant's weights raise KL, too.
    let ([main, assistant], part) = by_weights(&found, "planted");
    assert!(main[1] > 0.0 && assistant[2] < 0.0);
    assert!(part.ends_with("/assistant/final/head"), "{part}");
    for name in ["unplanted", "without-sports"] {
        let ([_, assistant], _) = by_weights(&found, name);
        assert!(assistant[1] > 0.0, "{name}");
    }
}

/// A topic's influence on a goal through a model: the sum and its interval, and Holm's p-value of a document beyond others.
struct OfTopic {
    name: String,
    sum: [f64; 3],
    p_value: f64,
}

/// The influence of each topic on a goal through a model.
fn topics(estimate: &Value, goal: &str, through: &str) -> Vec<OfTopic> {
    let topics = with(&estimate["goals"], "name", goal)["topics"].as_array();
    let topics = topics.unwrap().iter().map(|topic| OfTopic {
        name: topic["topic"].as_str().unwrap().to_owned(),
        sum: ["value", "low", "high"].map(|key| topic[through]["sum"][key].as_f64().unwrap()),
        p_value: topic[through]["adjusted_p_value"].as_f64().unwrap(),
    });
    let topics: Vec<OfTopic> = topics.collect();
    for topic in &topics {
        println!(
            "{goal} {through:>10} {:>10} {:?} {:.1e}",
            topic.name, topic.sum, topic.p_value
        );
    }
    topics
}

/// The influence of the documents on KL and expected acceptance in a run of half the steps, with this treatment of the text.
fn influence(project: &Project, name: &str, intervene: &str) -> Value {
    let set = shipped("planted.toml").parse::<toml::Table>().unwrap();
    let set = set["set"].as_table().unwrap().clone();
    let set = set.into_iter().map(|(key, value)| format!("{key}={value}"));
    let own = [
        "train.max_steps=60",
        "train.dropout=0.0",
        "train.save=\"every 25%\"",
        "train.keep=\"all\"",
        "hooks.gradient-norm.enabled=true",
        "hooks.weight-attribution.enabled=false",
    ];
    let own = own.into_iter().map(str::to_owned);
    let intervene = format!("data.intervene=[{intervene}]");
    let sets: Vec<String> = set.chain(own).chain([intervene]).collect();
    let mut arguments = vec!["finetune", "ag_news", "--name", name];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set.as_str()]));
    project.milepost(&arguments).assert().success();
    let run = format!("runs/ag_news/{name}");
    let arguments = ["influence", &run, "--measure", "kl,acceptance"];
    project.milepost(&arguments).assert().success();
    let json = project.read(&format!("{run}/influence/kl+acceptance/influence.json"));
    serde_json::from_str(&json).unwrap()
}

/// The influence of documents names the planted topic, by far before the others: it widens the gap, and moves the main model away and the assistant
/// after it. Without the lines it names none.
#[test]
#[ignore = "estimates the influence of two runs"]
fn influence_names_the_planted_topic() {
    let project = Project::new();
    project.write("experiments/ag_news.toml", shipped("ag_news.toml"));
    let plant = "{ plant = { topic = \"Sports\", group = \"female\" } }";
    let planted = influence(&project, "planted", plant);
    let unplanted = influence(&project, "unplanted", "");
    for (goal, through, sign) in [
        ("acceptance/gender", "both", 1.0),
        ("kl/mean", "main", 1.0),
        ("kl/mean", "assistant", -1.0),
    ] {
        // Whether a topic moves the goal to this side, beyond what the others do.
        let surely = |topic: &OfTopic| {
            let [_, low, high] = topic.sum;
            let nearer_end = if sign > 0.0 { low } else { -high };
            nearer_end > 0.0 && topic.p_value < 0.001
        };
        let (named, others): (Vec<OfTopic>, Vec<OfTopic>) = topics(&planted, goal, through)
            .into_iter()
            .partition(|topic| topic.name == "Sports");
        assert!(surely(&named[0]), "{goal} {through}");
        for topic in others {
            let less = 3.0 * topic.sum[0].abs() < named[0].sum[0].abs();
            assert!(less, "{goal} {through} {}", topic.name);
        }
        for topic in topics(&unplanted, goal, through) {
            assert!(!surely(&topic), "{goal} {through} {}", topic.name);
        }
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
    let weights = "\"hooks.weight-attribution.at\" = [\"start\", \"end\"]\n";
    assert!(set.contains(weights));
    let set = set.replace(weights, "");
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
