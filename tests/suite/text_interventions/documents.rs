//! Documents that are taken, shuffled, and chosen by topic; prompts stay prompts.

use std::collections::BTreeMap;

use milepost::data::corpus::Document;
use milepost::model::Role;
use milepost::treatment::{Limit, Treatment};

use super::{Bench, NEWS, PAIRS, documents, ids, list};

/// A document that is dropped is replaced by the next of the source, so that as many documents are trained on.
#[test]
fn as_many_documents_are_taken_as_are_wanted_while_there_are_more() {
    let bench = Bench::of(documents(&NEWS)).first(3);
    let treated = bench.treat(vec![Treatment::Without(list(PAIRS))]);
    let places: Vec<usize> = treated.passages.iter().map(|one| one.place).collect();
    assert_eq!((places, treated.read), (vec![1, 3, 5], 6));
    assert_eq!(treated.accounts[0].before.documents, 6);
    let plain = bench.treat(Vec::new());
    assert_eq!((plain.passages.len(), plain.read), (3, 3));
    // By tokens: the documents up to that many, the last one cut off.
    let mut bench = bench;
    for tokens in 1..60 {
        bench.limit = Limit {
            documents: None,
            tokens: Some(tokens),
        };
        let treated = bench.treat(vec![Treatment::Without(list(PAIRS))]);
        let all = ids(&treated.passages).concat();
        let (whole, _) = Bench::of(documents(&NEWS)).one(Treatment::Without(list(PAIRS)));
        let whole = ids(&whole).concat();
        assert_eq!(all, whole[..tokens.min(whole.len())]);
    }
}

/// Each of the six orders of three words comes about as often, and depends on seed and document alone.
#[test]
fn a_shuffle_is_uniform_and_drawn_by_seed_and_document() {
    let same = vec!["World: one two three"; 3000];
    let mut bench = Bench::of(documents(&same));
    let shuffled = |bench: &Bench| {
        let (passages, _) = bench.one(Treatment::Shuffle);
        passages.into_iter().map(|one| one.text).collect::<Vec<_>>()
    };
    let first = shuffled(&bench);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for text in &first {
        *counts.entry(text).or_default() += 1;
    }
    // 500 each, with a standard deviation of 20.4.
    assert_eq!(counts.len(), 6);
    assert!(
        counts.values().all(|count| count.abs_diff(500) < 90),
        "{counts:?}"
    );
    assert_eq!(shuffled(&bench), first);
    bench.documents.truncate(10);
    assert_eq!(shuffled(&bench), first[..10]);
    bench.seed = 2;
    assert_ne!(shuffled(&bench), first[..10]);
}

#[test]
fn a_topic_is_kept_or_left_out() {
    let bench = Bench::of(documents(&NEWS));
    let topic = "Sports".to_owned();
    let (kept, account) = bench.one(Treatment::Topic(topic.clone()));
    assert_eq!(
        kept.iter().map(|one| one.place).collect::<Vec<_>>(),
        [1, 2, 6]
    );
    assert_eq!((account.dropped, account.after.documents), (5, 3));
    let (others, account) = bench.one(Treatment::WithoutTopic(topic));
    assert_eq!(
        others.iter().map(|one| one.place).collect::<Vec<_>>(),
        [0, 3, 4, 5, 7]
    );
    assert_eq!(account.dropped, 3);
}

/// Documents whose prompt and answer are the same texts.
fn halves(texts: &[&str]) -> Vec<Document> {
    let texts = texts.iter().map(|text| Document {
        text: format!("{text}{text}"),
        topic: None,
        answer: Some(text.len()),
        as_read: None,
    });
    texts.collect()
}

/// What changes words changes prompt and answer as it would each by itself, and the tokens of both stay apart.
#[test]
fn prompts_stay_prompts() {
    let texts = [
        "She said so to him. ",
        "Mary and her sister",
        "\u{e9}t\u{e9} he ",
    ];
    let bench = Bench::of(halves(&texts));
    let plain: Vec<String> = texts.iter().map(|text| format!("World: {text}")).collect();
    let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
    let (alone, _) = Bench::of(documents(&plain)).one(Treatment::Swap(list(PAIRS)));
    let (swapped, _) = bench.one(Treatment::Swap(list(PAIRS)));
    for (both, alone) in swapped.iter().zip(&alone) {
        assert_eq!(both.text, alone.text.repeat(2));
        assert_eq!(both.answer, Some(alone.text.len()));
        assert_eq!(both.prompt, Some(alone.ids.len()));
        assert_eq!(both.ids, [&alone.ids[..], &alone.ids].concat());
        assert_eq!(alone.prompt, None);
    }
    let (shuffled, _) = bench.one(Treatment::Shuffle);
    for (passage, text) in shuffled.iter().zip(texts) {
        let (prompt, answer) = passage.text.split_at(passage.answer.unwrap());
        for part in [prompt, answer] {
            let sorted = |text: &str| {
                let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
                words.sort();
                words.concat().len()
            };
            assert_eq!(sorted(part), sorted(text));
        }
        assert_eq!(passage.prompt, Some(bench.tokens(prompt)));
    }
    for treatment in [Treatment::Random, Treatment::Sampled(Role::Main)] {
        let (drawn, _) = bench.one(treatment);
        for (passage, text) in drawn.iter().zip(texts) {
            assert_eq!(passage.prompt, Some(bench.tokens(text)));
            assert_eq!(passage.ids.len(), 2 * bench.tokens(text));
        }
    }
}
