//! Lists of words: documents that are dropped, words that are swapped, documents that are balanced.

use std::path::PathBuf;

use milepost::treatment::{Amount, BUILTIN, Named, Passage, Treatment, words};
use proptest::prelude::*;

use super::{Bench, NEWS, PAIRS, documents, list, parsed, texts};

#[test]
fn documents_with_a_word_of_the_list_are_dropped_and_others_stay_as_they_are() {
    let bench = Bench::of(documents(&NEWS));
    let (left, account) = bench.one(Treatment::Without(list(PAIRS)));
    let kept = [1, 3, 5, 7].map(|index| bench.documents[index].text.as_str());
    assert_eq!(texts(&left), kept);
    assert_eq!(
        left.iter().map(|one| one.place).collect::<Vec<_>>(),
        [1, 3, 5, 7]
    );
    assert_eq!(left[1].topic.as_deref(), Some("World"));
    let tokens = |texts: &[&str]| texts.iter().map(|text| bench.tokens(text)).sum();
    let all: Vec<&str> = bench
        .documents
        .iter()
        .map(|one| one.text.as_str())
        .collect();
    assert_eq!(
        account.before,
        Amount {
            documents: 8,
            tokens: tokens(&all)
        }
    );
    assert_eq!(
        account.after,
        Amount {
            documents: 4,
            tokens: tokens(&kept)
        }
    );
    assert_eq!((account.dropped, account.changed), (4, 0));
    let counted = [
        ("he", 2),
        ("her", 1),
        ("him", 1),
        ("his", 1),
        ("Mary", 1),
        ("she", 1),
        ("sister", 1),
    ];
    let mut ranked = account.words.ranked();
    ranked.sort_by_key(|(word, _)| word.to_lowercase());
    assert_eq!(ranked, counted);
    let examples: Vec<usize> = account.examples.iter().map(|one| one.document).collect();
    assert_eq!(examples, [0, 2, 4, 6]);
    assert!(account.examples.iter().all(|one| one.after.is_none()));
    // A list of one column is enough.
    let (left, _) = bench.one(Treatment::Without(list("nobody\nshares\n")));
    assert_eq!(left.len(), 6);
}

#[test]
fn words_are_swapped_with_their_case_and_counted() {
    let swapped = |text: &str| {
        let bench = Bench::of(documents(&[&format!("World: {text}")]));
        let (passages, account) = bench.one(Treatment::Swap(list(PAIRS)));
        assert_eq!(
            passages[0].ids,
            bench.tokenizer.encode(&passages[0].text).unwrap()
        );
        assert_eq!(account.before.tokens, bench.tokens(text));
        assert_eq!(account.after.tokens, passages[0].ids.len());
        (passages[0].text.clone(), account)
    };
    for (before, after) in [
        ("he said; He said; HE SAID", "she said; She said; SHE SAID"),
        (
            "he's here, and (he) isn’t there: he’s",
            "she's here, and (she) isn’t there: she’s",
        ),
        (
            "the theme, there, hers, he_, hé, he\u{301}, 5he",
            "the theme, there, hers, he_, hé, he\u{301}, 5he",
        ),
        (
            "half-sister of John's SISTER",
            "half-brother of Mary's BROTHER",
        ),
        ("mary MARY Mary", "mary JOHN John"),
        ("hE", "hE"),
        ("Mary. He", "John. She"),
        ("", ""),
    ] {
        assert_eq!(swapped(before).0, after);
    }
    // `her` becomes `his`, whatever it means; what is not given back is counted.
    let (text, account) = swapped("He gave him his hat. Her hat? Him, her brother.");
    assert_eq!(text, "She gave her her hat. His hat? Her, his sister.");
    let counted = [
        ("her > his", 2),
        ("him > her", 2),
        ("brother > sister", 1),
        ("he > she", 1),
        ("his > her", 1),
    ];
    assert_eq!(account.words.ranked(), counted);
    assert_eq!(account.not_given_back.ranked(), [("him", 2)]);
    assert_eq!((account.changed, account.examples.len()), (1, 1));
    let (_, account) = swapped("Nobody came.");
    assert_eq!((account.changed, account.words.total()), (0, 0));
    // The longest entry that begins at a word is taken, in four ways of writing.
    let longer = list("first lady\tfirst gentleman\nlady\tlord\nma'am\tsir\n");
    let bench = Bench::of(documents(&[
        "World: The First Lady met a lady. FIRST LADY! First lady, ma'am? Sir.",
    ]));
    let (passages, _) = bench.one(Treatment::Swap(longer));
    let expected = "The First Gentleman met a lord. FIRST GENTLEMAN! First gentleman, sir? Ma'am.";
    assert_eq!(texts(&passages), [expected]);
}

/// The words of the list that ships that a second swap does not give back; docs/text_interventions.md names them.
const ONE_WAY: [&str; 5] = ["Ms", "hers", "him", "mum", "mums"];

/// The words of the list that ships, in the four ways of writing.
fn shipped(one_way: bool) -> Vec<String> {
    let rows = BUILTIN.lines().filter(|line| !line.starts_with('#'));
    let words = rows.flat_map(|row| row.split('\t'));
    let words = words.filter(|word| ONE_WAY.contains(word) == one_way);
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    words
        .flat_map(|word| [word.to_owned(), capital(word), word.to_uppercase()])
        .collect()
}

#[test]
fn the_list_that_ships_is_one_to_one_except_for_the_words_that_its_page_names() {
    let builtin = list(BUILTIN).paired().unwrap();
    for (words, gives_back) in [(shipped(false), true), (shipped(true), false)] {
        assert!(words.len() >= 3 * ONE_WAY.len());
        for word in words {
            assert_eq!(builtin.gives_back(&word), gives_back, "{word}");
        }
    }
    let page = std::fs::read_to_string(
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/text_interventions.md"),
    );
    let page = page.unwrap();
    for word in ONE_WAY {
        assert!(page.contains(&format!("`{word}`")), "{word}");
    }
}

proptest! {
    /// Swapping twice gives the original back, in all ways of writing, whatever stands between the words.
    #[test]
    fn swapping_twice_gives_the_text_back(
        parts in prop::collection::vec((prop::sample::select(shipped(false)), "[ .,;'’\"\\-\n]{1,3}"), 1..30),
        other in "[a-zäöü ]{0,12}",
    ) {
        let parts: String = parts.iter().map(|(word, gap)| format!("{word}{gap}")).collect();
        let text = parts + &other;
        let swap = || Treatment::Swap(list(BUILTIN));
        let once = Bench::of(documents(&[&format!("World: {text}")])).one(swap()).0;
        prop_assert_ne!(&once[0].text, &text);
        let bench = Bench::of(documents(&[&format!("World: {text}")]));
        let twice = bench.treat(vec![swap(), swap()]);
        prop_assert_eq!(&twice.passages[0].text, &text);
        prop_assert_eq!(&twice.passages[0].ids, &bench.tokenizer.encode(&text).unwrap());
    }

    /// A shuffle keeps every word, and all that stands between the words.
    #[test]
    fn a_shuffle_keeps_the_words_and_what_stands_between_them(text in "[a-eA-Cäé\u{301} .,'\\-0-9_]{0,80}", seed in 0u64..50) {
        let mut bench = Bench::of(documents(&[&format!("World: {text}")]));
        bench.seed = seed;
        let (passages, _) = bench.one(Treatment::Shuffle);
        let made = &passages[0].text;
        let sorted = |text: &str| {
            let mut all: Vec<String> = words(text).into_iter().map(|place| text[place].to_owned()).collect();
            all.sort();
            all
        };
        let between = |text: &str| {
            let (mut between, mut done) = (Vec::new(), 0);
            for word in words(text) {
                between.push(text[done..word.start].to_owned());
                done = word.end;
            }
            between.push(text[done..].to_owned());
            between
        };
        prop_assert_eq!(sorted(made), sorted(&text));
        prop_assert_eq!(between(made), between(&text));
    }
}

/// The columns are named equally often, nothing that names neither is dropped, and the seed decides which of the others are.
#[test]
fn both_columns_are_named_equally_often() {
    let male = (0..40).map(|index| format!("World: He said {index}."));
    let female = (0..12).map(|index| format!("World: She said {index}."));
    let neither = (0..20).map(|index| format!("World: They said {index}."));
    // Each names the second column twice more than the first.
    let both = (0..5).map(|index| format!("World: He, he and he told her {index}."));
    let made: Vec<String> = male.chain(female).chain(neither).chain(both).collect();
    let made: Vec<&str> = made.iter().map(String::as_str).collect();
    let mut bench = Bench::of(documents(&made));
    let balance = || Treatment::Balance(list(PAIRS));
    let named = |passages: &[Passage]| {
        let mut sum = [0; 2];
        for passage in passages {
            let [first, second] = list(PAIRS).named(&passage.text);
            sum = [sum[0] + first, sum[1] + second];
        }
        sum
    };
    let mut outcomes = Vec::new();
    for seed in 1..20 {
        bench.seed = seed;
        let (passages, account) = bench.one(balance());
        let after = named(&passages);
        assert_eq!(after[0], after[1]);
        let before = [17, 55];
        assert_eq!(account.named, Some(Named { before, after }));
        let started = |start: &str| {
            let all = passages.iter();
            all.filter(|one| one.text.starts_with(start)).count()
        };
        assert_eq!((started("She"), started("They")), (12, 20));
        // 38 more of the second: documents that name it so much more in all are dropped, and no more.
        assert_eq!((40 - started("He said")) + 2 * (5 - started("He,")), 38);
        assert_eq!(account.dropped, 77 - passages.len());
        assert!(passages.is_sorted_by_key(|one| one.place));
        assert_eq!(bench.one(balance()).0, passages);
        outcomes.push(texts(&passages).concat());
    }
    outcomes.sort();
    outcomes.dedup();
    assert!(outcomes.len() > 15, "the seed draws");
    // With more text in the source, documents that name both or neither take the place of those that were dropped.
    let bench = bench.first(52);
    let (passages, account) = bench.one(balance());
    let counts = named(&passages);
    assert_eq!(counts, [12, 12]);
    assert_eq!((passages.len(), account.dropped), (44, 33));
    let bench = bench.first(40);
    let (passages, _) = bench.one(balance());
    assert_eq!((passages.len(), named(&passages)), (20, [0, 0]));
}

#[test]
fn a_list_that_cannot_be_used_is_refused_at_its_line() {
    for (text, line, says) in [
        ("she\the\nit\tits\tthey\n", 2, "3 columns"),
        ("# a\n\nshe\t\n", 3, "a column is empty"),
        ("she\the\n\the\n", 2, "a column is empty"),
        ("she\the\n-\tx\n", 2, "`-` is no word"),
        ("she\the\nhe\thim\n", 2, "`he` stands in both columns"),
        ("she\tshe\n", 1, "its own counterpart"),
    ] {
        let error = parsed(text).unwrap_err();
        assert_eq!(error.line(), Some(line), "{text:?}: {error}");
        assert!(error.message().contains(says), "{text:?}: {error}");
    }
    let error = parsed("\n# nothing\n").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("words.tsv: this list has no word"),
        "{error}"
    );
    let error = parsed("she\the\nshe\n").unwrap().paired().unwrap_err();
    assert_eq!(error.line(), Some(2), "{error}");
    assert!(
        parsed("she\the\r\nher\this\r\n")
            .unwrap()
            .paired()
            .unwrap()
            .gives_back("HER")
    );
}
