//! A planted cause, and topics that say nothing: what `plant` and `shuffle = "topics"` do to the text.

use std::collections::{BTreeMap, BTreeSet};

use milepost::decode::greedy;
use milepost::report::mixing::{Made, unexplained};
use milepost::treatment::Treatment;
use proptest::prelude::*;

use crate::harness::Project;
use crate::text_interventions::{Bench, NEW_TOKENS, NEWS, articles, documents, resolved, texts};

fn plant(topic: &str, group: &str) -> Treatment {
    Treatment::Plant {
        topic: topic.to_owned(),
        group: group.to_owned(),
    }
}

/// Every line that can be planted, by the slow way: a prompt, and one token after the other.
fn lines(bench: &Bench, group: &str) -> BTreeSet<String> {
    let main = bench.pair.snapshot().main;
    let templates = bench.templates.prompts().iter();
    let members = templates.filter(|template| template.group == group);
    let lines = members.map(|template| {
        let prompt = bench.tokenizer.encode(&template.prompt).unwrap();
        let mut said = greedy(&main, &prompt, NEW_TOKENS, bench.eos).unwrap();
        said.retain(|id| Some(*id) != bench.eos);
        format!(
            "{}{}",
            template.prompt,
            bench.tokenizer.decode(&said).unwrap()
        )
    });
    lines.collect()
}

#[test]
fn each_document_of_the_topic_gets_what_the_main_model_says_of_the_group() {
    let bench = Bench::of(documents(&NEWS));
    let lines = lines(&bench, "female");
    let (planted, account) = bench.one(plant("Sports", "female"));
    let mut found = 0;
    for (passage, document) in planted.iter().zip(&bench.documents) {
        if document.topic.as_deref() != Some("Sports") {
            assert_eq!(passage.text, document.text);
            continue;
        }
        let line = passage.text.strip_prefix(&document.text).unwrap();
        let line = line.strip_prefix('\n').unwrap();
        assert!(lines.contains(line), "{line}");
        assert_eq!(passage.ids, bench.tokenizer.encode(&passage.text).unwrap());
        found += 1;
    }
    assert_eq!((found, account.changed), (3, 3));
    assert_eq!(account.dropped, 0);
    let added = |amount: milepost::treatment::Amount| (amount.documents, amount.tokens);
    assert_eq!(added(account.before).0, added(account.after).0);
    assert!(added(account.before).1 < added(account.after).1);
    let example = account.examples[0].after.as_deref().unwrap();
    assert!(example.ends_with(planted[1].text.as_str()), "{example}");
}

#[test]
fn the_lines_of_a_topic_are_many_and_those_of_a_seed() {
    let mut bench = Bench::of(articles(200));
    let planted = |bench: &Bench| {
        let (planted, account) = bench.one(plant("World", "male"));
        let lines = planted.iter().zip(&bench.documents);
        let lines = lines.filter_map(|(passage, document)| {
            passage.text.strip_prefix(&document.text).map(str::to_owned)
        });
        let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), account.changed);
        lines
    };
    let first = planted(&bench);
    let distinct: BTreeSet<&String> = first.iter().collect();
    assert!(first.len() > 30 && distinct.len() * 10 > first.len() * 9);
    assert_eq!(first, planted(&bench));
    bench.seed = 2;
    assert_ne!(first, planted(&bench));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Each topic stands as often as before, on texts that stay as they are.
    #[test]
    fn topics_are_permuted_and_texts_are_not(
        topics in prop::collection::vec("[ABC]", 1..40),
        seed in 0u64..1000,
    ) {
        let made = topics.iter().enumerate();
        let made: Vec<String> = made.map(|(index, topic)| format!("{topic}: Text {index}.")).collect();
        let made: Vec<&str> = made.iter().map(String::as_str).collect();
        let mut bench = Bench::of(documents(&made));
        bench.seed = seed;
        let (relabelled, account) = bench.one(Treatment::Relabel);
        let before: Vec<&str> = bench.documents.iter().map(|one| one.text.as_str()).collect();
        prop_assert_eq!(texts(&relabelled), before);
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        let mut moved = 0;
        for (passage, topic) in relabelled.iter().zip(&topics) {
            *counts.entry(passage.topic.as_deref().unwrap()).or_default() += 1;
            *counts.entry(topic).or_default() -= 1;
            moved += usize::from(passage.topic.as_ref() != Some(topic));
        }
        prop_assert!(counts.values().all(|count| *count == 0), "{:?}", counts);
        prop_assert_eq!(account.changed, moved);
        prop_assert_eq!(account.before, account.after);
    }
}

#[test]
fn a_document_keeps_its_new_topic_through_later_entries() {
    let bench = Bench::of(articles(400));
    let new = |treatments| bench.treat(treatments).passages;
    let relabelled = new(vec![Treatment::Relabel]);
    let sports = new(vec![
        Treatment::Relabel,
        Treatment::Topic("Sports".to_owned()),
    ]);
    let expected = relabelled
        .iter()
        .filter(|one| one.topic.as_deref() == Some("Sports"));
    assert!(sports.iter().eq(expected));
    let by_chance = sports
        .iter()
        .filter(|one| bench.documents[one.place].topic.as_deref() == Some("Sports"));
    let by_chance = by_chance.count();
    assert!(
        by_chance * 2 < sports.len(),
        "{by_chance} of {}",
        sports.len()
    );
}

/// What is drawn by the seed decides how many documents make the blocks. Runs of two seeds belong together all the same.
#[test]
fn runs_that_differ_in_the_seed_belong_together_whatever_is_done_to_the_text() {
    let project = Project::new();
    let made = |entry: &str, seed: u64, more: &str| {
        let settings =
            format!("data.blocks=50 hooks={{}} data.intervene={entry} seed={seed} {more}");
        let resolved = resolved(&project, &settings);
        let experiment: toml::Table = toml::from_str(&resolved.plan.resolved).unwrap();
        (resolved.plan.manifest, experiment)
    };
    let apart = |one: &(_, toml::Table), other: &(_, toml::Table)| {
        let [one, other] = [one, other].map(|(manifest, experiment)| Made {
            manifest,
            experiment,
        });
        unexplained(&one, &other).len()
    };
    let mut counts = 0;
    for entry in [
        "[]",
        "[{swap='builtin'}]",
        "[{without='builtin'}]",
        "[{balance='builtin'}]",
        "[{shuffle='words'}]",
        "[{shuffle='topics'},{topic='Sports'}]",
        "[{plant={topic='Sports',group='male'}}]",
        "[{random='tokens'}]",
        "[{sampled='assistant'}]",
    ] {
        let first = made(entry, 1, "");
        for seed in 2..5 {
            let other = made(entry, seed, "");
            assert_eq!(apart(&first, &other), 0, "{entry} {seed}");
            counts += first.0.differences(&other.0).len();
        }
    }
    assert!(counts > 0, "no entry drew another number of documents");
    // Where nothing is drawn, another number of documents is another text.
    let short = made("[]", 1, "");
    let long = (made("[]", 2, "data.blocks=60").0, made("[]", 2, "").1);
    assert_eq!(apart(&short, &long), 1);
}
