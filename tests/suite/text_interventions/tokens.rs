//! Tokens that are drawn from frequencies, and sampled from a model.

use std::collections::BTreeMap;

use milepost::decode::{Request as Sampled, Sampling, Settings, assisted};
use milepost::model::{Pair, Role};
use milepost::random::{Purpose, stream};
use milepost::treatment::Treatment;
use rand::RngCore;

use super::{Bench, PAIR, articles, ids};

#[test]
fn tokens_are_drawn_from_the_frequencies_of_the_text() {
    let mut bench = Bench::of(articles(1500));
    let eos = bench.tokenizer.end_of_text();
    for ends in [false, true] {
        bench.ends = ends;
        let end = eos.filter(|_| ends);
        let plain = bench.treat(Vec::new()).passages;
        let (drawn, account) = bench.one(Treatment::Random);
        assert_eq!(account.before, account.after);
        assert_eq!(drawn.len(), plain.len());
        let mut counts: BTreeMap<u32, [f64; 2]> = BTreeMap::new();
        for (before, after) in plain.iter().zip(&drawn) {
            assert_eq!(before.ids.len(), after.ids.len());
            assert_eq!(after.topic, None);
            if end.is_some() {
                assert_eq!(after.ids.last().copied(), end);
            }
            for (index, passage) in [before, after].into_iter().enumerate() {
                let ids = passage.ids.iter().filter(|id| Some(**id) != end);
                for id in ids {
                    counts.entry(*id).or_default()[index] += 1.0;
                }
            }
        }
        let total: f64 = counts.values().map(|[before, _]| before).sum();
        assert_eq!(total, counts.values().map(|[_, after]| after).sum::<f64>());
        // A count is binomial around the count of the text.
        let mut squares = 0.0;
        for [before, after] in counts.values() {
            assert!(*before > 0.0, "a token that the text does not have");
            squares += (after - before).powi(2) / (before * (1.0 - before / total));
        }
        let mean = squares / counts.len() as f64;
        assert!(
            (0.7..1.3).contains(&mean),
            "{mean} over {} tokens",
            counts.len()
        );
        assert_eq!(bench.one(Treatment::Random).0, drawn);
        assert_ne!(ids(&plain), ids(&drawn));
    }
    let (first, _) = bench.one(Treatment::Random);
    bench.seed = 2;
    assert_ne!(bench.one(Treatment::Random).0, first);
}

/// Sampled documents are the texts of the model one after the other, each by a draw of its own, cut off at the length of the document.
#[test]
fn documents_are_sampled_from_the_model_with_as_many_tokens() {
    let mut bench = Bench::of(articles(8));
    let usual = bench.tokenizer.end_of_text().unwrap();
    // A token that the model never writes: its texts go on to its last position.
    let never = bench.tokenizer.id("~").unwrap();
    // One that is longer than the model's positions.
    bench.documents[3].text = bench.documents[..8]
        .iter()
        .map(|one| one.text.clone())
        .collect();
    let positions = PAIR.main.config().n_positions;
    let pair = Pair::new(PAIR.main.clone(), PAIR.main.clone()).unwrap();
    for (ends, eos) in [(false, usual), (true, usual), (false, never)] {
        (bench.ends, bench.eos) = (ends, Some(eos));
        let plain = bench.treat(Vec::new()).passages;
        assert!(plain[3].ids.len() > positions);
        let (passages, account) = bench.one(Treatment::Sampled(Role::Main));
        assert_eq!(account.before, account.after);
        assert_eq!(bench.one(Treatment::Sampled(Role::Main)).0, passages);
        let mut begun_anew = 0;
        for (before, after) in plain.iter().zip(&passages) {
            let length = before.ids.len();
            let mut seeds = stream(1, Purpose::Text, 0, after.place as u64);
            let mut expected = Vec::new();
            while expected.len() < length {
                let request = Sampled {
                    prompt: &[eos],
                    seed: seeds.next_u64(),
                };
                let settings = Settings {
                    max_new_tokens: positions,
                    draft_length: 0,
                    sampling: Some(Sampling::default()),
                    ..Settings::default()
                };
                let text = assisted(&pair, &[request], Some(eos), &settings, &|_| Ok(())).unwrap();
                let tokens = text[0].tokens.iter().copied();
                expected.extend(tokens.filter(|token| ends || *token != eos));
                begun_anew += usize::from(expected.len() < length);
                assert!(eos != never || text[0].tokens.len() == positions);
            }
            expected.truncate(length);
            if ends {
                expected[length - 1] = eos;
            }
            assert_eq!(after.ids, expected, "document {}", after.place);
            assert_eq!(after.topic, None);
        }
        assert!(begun_anew >= 2, "{begun_anew}");
    }
    let (first, _) = bench.one(Treatment::Sampled(Role::Main));
    assert_ne!(bench.one(Treatment::Sampled(Role::Assistant)).0, first);
    bench.seed = 2;
    assert_ne!(bench.one(Treatment::Sampled(Role::Main)).0, first);
}
