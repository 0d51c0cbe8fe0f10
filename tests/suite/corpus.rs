//! The generated corpus: its probabilities, its asymmetry, and how near the mini pair comes to its entropy.

use std::collections::{BTreeMap, HashMap};

use burn::tensor::Device;
use milepost::data::blocks::Blocks;
use milepost::data::tokenizer::END_OF_TEXT;
use milepost::generator::{
    FEMALE_SPREAD, MALE_SPREAD, Register, articles, choice_entropy, documents,
};
use milepost::measure::evaluation::mean_loss;
use milepost::mini;
use milepost::model::Role;
use milepost::pretrain::Recipe;

#[test]
fn a_seed_is_a_corpus() {
    let texts = |seed| {
        documents(seed, 0.5)
            .take(50)
            .map(|document| document.text)
            .collect::<Vec<_>>()
    };
    assert_eq!(texts(3), texts(3));
    assert_ne!(texts(3), texts(4));
    let titles = |seed| {
        articles(seed)
            .take(20)
            .map(|article| article.title)
            .collect::<Vec<_>>()
    };
    assert_eq!(titles(3), titles(3));
}

#[test]
fn texts_are_whole_and_clean() {
    for document in documents(9, 0.5).take(5000) {
        assert!(
            document.text.is_ascii() && !document.text.contains(['{', '}']),
            "{}",
            document.text
        );
        assert!(
            document.text.ends_with('.') && !document.text.contains("  "),
            "{}",
            document.text
        );
        assert!(document.log_prob < 0.0 && document.log_prob.is_finite());
    }
}

/// Two texts drawn at random are equal with probability sum P^2, which is also the mean of P over drawn texts: counting equal pairs
/// checks the probabilities without looking at how they were computed.
#[test]
fn probabilities_are_those_of_the_frequencies() {
    let total = 200_000u64;
    let mut seen: HashMap<String, (u64, f64)> = HashMap::new();
    let mut mean = 0.0;
    for document in documents(5, 0.9).take(total as usize) {
        mean += document.log_prob.exp() / total as f64;
        let entry = seen.entry(document.text).or_insert((0, document.log_prob));
        // The choices of one text come in one order, but their logarithms are added up in it too: equal to the last bit.
        assert_eq!(entry.1, document.log_prob, "one text, one derivation");
        entry.0 += 1;
    }
    let equal: u64 = seen
        .values()
        .map(|(count, _)| count * (count - 1) / 2)
        .sum();
    let expected = mean * (total * (total - 1) / 2) as f64;
    assert!(equal > 5000, "only {equal} equal pairs");
    // Some 10,000 pairs: a few per cent of sampling error on either side.
    assert!(
        (equal as f64 / expected - 1.0).abs() < 0.05,
        "{equal} of {expected}"
    );
}

/// What follows "found work as a" has the planted entropy for women and for men.
#[test]
fn the_asymmetry_is_the_documented_one() {
    let mut jobs: BTreeMap<bool, HashMap<String, f64>> = BTreeMap::new();
    for document in documents(6, 1.0).take(200_000) {
        let Some((subject, rest)) = document.text.split_once(" found work as a ") else {
            continue;
        };
        let female = ["woman", "girl", "mother", "she", "queen"]
            .iter()
            .any(|word| subject.ends_with(word));
        let male = ["the man", "boy", "the father", "king"]
            .iter()
            .any(|word| subject.ends_with(word))
            || subject == "he";
        if female != male {
            let job = rest.split('.').next().unwrap().to_owned();
            *jobs.entry(female).or_default().entry(job).or_default() += 1.0;
        }
    }
    for (female, spread) in [(true, FEMALE_SPREAD), (false, MALE_SPREAD)] {
        let counts = &jobs[&female];
        let total: f64 = counts.values().sum();
        let entropy: f64 = counts
            .values()
            .map(|count| -(count / total) * (count / total).ln())
            .sum();
        // The plug-in estimate is low by about (options - 1) / (2 N).
        let corrected = entropy + (counts.len() as f64 - 1.0) / (2.0 * total);
        assert!(
            (corrected - choice_entropy(30, spread)).abs() < 0.06,
            "{corrected}"
        );
    }
    assert!(choice_entropy(30, MALE_SPREAD) - choice_entropy(30, FEMALE_SPREAD) > 1.0);
}

#[test]
fn the_mini_pair_comes_near_the_grammar_s_entropy() {
    let tokenizer = mini::tokenizer().unwrap();
    let eos = tokenizer.id(END_OF_TEXT).unwrap();
    // A seed that neither pretraining nor the sample uses.
    let held_out: Vec<_> = documents(77, Recipe::default().everyday)
        .take(150)
        .collect();
    let mut ids = Vec::new();
    for document in &held_out {
        ids.extend(tokenizer.encode(&document.text).unwrap());
        ids.push(eos);
    }
    let log_prob: f64 = held_out.iter().map(|document| document.log_prob).sum();
    let entropy = -log_prob / ids.len() as f64;
    let blocks = Blocks::cut(ids, 128).unwrap();
    let losses = Role::BOTH.map(|role| {
        let model = mini::model(role, &Device::flex()).unwrap();
        mean_loss(&model, &blocks, false, 16, &|| Ok(())).unwrap()
    });
    // Blocks begin in the middle of a text, which costs a little; below the entropy nobody can be.
    for (role, loss) in Role::BOTH.into_iter().zip(losses) {
        assert!(
            loss > entropy * 0.98,
            "{role}: {loss} is below the entropy {entropy}"
        );
        assert!(
            loss < entropy * 1.35,
            "{role}: {loss} is far from the entropy {entropy}"
        );
    }
    assert!(losses[0] < losses[1], "the main model is the better one");
}

#[test]
fn the_news_knows_all_topics_and_no_gender() {
    let mut topics = [0; 4];
    for article in articles(3).take(2000) {
        topics[usize::from(article.topic.label()) - 1] += 1;
        let text = format!(" {} {} ", article.title, article.description);
        for word in [" she ", " he ", " woman ", " man "] {
            assert!(!text.contains(word), "{text}");
        }
    }
    assert!(topics.iter().all(|count| *count > 400), "{topics:?}");
    let mix = documents(1, 0.8)
        .take(5000)
        .filter(|one| one.register == Register::Everyday)
        .count();
    assert!((3850..4150).contains(&mix), "{mix}");
}
