//! `data.intervene`: what is done to the text before the training.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use burn::tensor::Device;
use milepost::data::corpus::Document;
use milepost::data::sources::sample;
use milepost::data::templates::{ContrastSpec, TemplateSet, Templates};
use milepost::data::tokenizer::Tokenizer;
use milepost::decode::{Request as Sampled, Sampling, Settings, assisted};
use milepost::diagnostic::{Diagnostic, Source};
use milepost::experiment::{Places, Resolved, parse, resolve};
use milepost::hub::Hub;
use milepost::mini;
use milepost::model::{Pair, Role};
use milepost::random::{Purpose, stream};
use milepost::treatment::{
    Account, Amount, BUILTIN, Limit, Named, Passage, Request, Treated, Treatment, WordList, treat,
    words,
};
use proptest::prelude::*;
use rand::RngCore;
use serde_json::Value;

use crate::harness::{Project, timeless};

fn list(text: &str) -> WordList {
    parsed(text).unwrap()
}

fn parsed(text: &str) -> Result<WordList, Diagnostic> {
    WordList::parse(Source {
        name: "words.tsv".to_owned(),
        text: text.to_owned(),
    })
}

/// Documents with a topic, `topic: text`.
pub(crate) fn documents(texts: &[&str]) -> Vec<Document> {
    let documents = texts.iter().map(|text| {
        let (topic, text) = text.split_once(": ").unwrap();
        Document {
            text: text.to_owned(),
            topic: Some(topic.to_owned()),
            answer: None,
            as_read: None,
        }
    });
    documents.collect()
}

static PAIR: LazyLock<Pair> = LazyLock::new(|| {
    let model = |role| mini::model(role, &Device::flex()).unwrap();
    Pair::new(model(Role::Main), model(Role::Assistant)).unwrap()
});

pub(crate) struct Bench {
    pub tokenizer: Tokenizer,
    pub documents: Vec<Document>,
    limit: Limit,
    pub eos: Option<u32>,
    ends: bool,
    pub pair: Pair,
    pub seed: u64,
    pub templates: Templates,
    pub prompts: Vec<Vec<u32>>,
}

/// What treatments gave.
pub(crate) struct Given {
    pub passages: Vec<Passage>,
    pub accounts: Vec<Account>,
    read: usize,
}

/// How far a planted line goes on behind its prompt.
pub(crate) const NEW_TOKENS: usize = 6;

impl Bench {
    pub fn of(documents: Vec<Document>) -> Self {
        let tokenizer = mini::tokenizer().unwrap();
        let spec = ContrastSpec::usual(TemplateSet::Paired).remove(0);
        let templates = Templates::parse("built in", mini::TEMPLATES, &spec).unwrap();
        let prompts = templates.prompts().iter();
        let prompts = prompts.map(|template| tokenizer.encode(&template.prompt).unwrap());
        Self {
            prompts: prompts.collect(),
            templates,
            eos: tokenizer.end_of_text(),
            tokenizer,
            documents,
            limit: Limit::default(),
            ends: false,
            pair: PAIR.clone(),
            seed: 1,
        }
    }

    fn first(mut self, documents: usize) -> Self {
        self.limit.documents = Some(documents);
        self
    }

    pub fn treat(&self, treatments: Vec<Treatment>) -> Given {
        let request = Request {
            documents: &self.documents,
            limit: self.limit,
            tokenizer: &self.tokenizer,
            eos: self.eos,
            ends: self.ends,
            pair: &self.pair,
            templates: &self.templates,
            prompts: &self.prompts,
            new_tokens: NEW_TOKENS,
            seed: self.seed,
        };
        let named = treatments.into_iter().map(|one| ("name".to_owned(), one));
        let mut passages = Vec::new();
        let treated = treat(&request, named.collect(), &mut |passage| {
            passages.push(passage);
            Ok(())
        });
        let Treated { accounts, read, .. } = treated.unwrap();
        Given {
            passages,
            accounts,
            read,
        }
    }

    pub fn one(&self, treatment: Treatment) -> (Vec<Passage>, Account) {
        let mut treated = self.treat(vec![treatment]);
        (treated.passages, treated.accounts.remove(0))
    }

    fn tokens(&self, text: &str) -> usize {
        self.tokenizer.encode(text).unwrap().len()
    }
}

pub(crate) fn texts(passages: &[Passage]) -> Vec<&str> {
    passages.iter().map(|one| one.text.as_str()).collect()
}

fn ids(passages: &[Passage]) -> Vec<&[u32]> {
    passages.iter().map(|one| one.ids.as_slice()).collect()
}

pub(crate) const NEWS: [&str; 8] = [
    "World: The spokesman said that he would not come.",
    "Sports: A team won the final game.",
    "Sports: Mary's sister beat her in three sets.",
    "World: Rain fell; the theme of the day was mankind.",
    "Business: HE sold, she bought, and they all paid.",
    "World: Nobody said a word.",
    "Sports: His coach praised him.",
    "Business: Shares rose again.",
];

const PAIRS: &str = "# women and men\nshe\the\nher\this\nher\thim\nMary\tJohn\n\nsister\tbrother\n";

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

/// The articles of the built-in sample.
pub(crate) fn articles(count: usize) -> Vec<Document> {
    let milepost::data::sources::Text::BuiltIn(splits) = sample::SOURCE.text else {
        unreachable!()
    };
    let [train, _] = splits();
    train.documents.into_iter().take(count).collect()
}

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

fn with(project: &Project, entries: &str) {
    let text = project.read("small.toml");
    let text = text.replace("[data]\n", &format!("[data]\nintervene = {entries}\n"));
    project.write("changed.toml", text);
}

#[test]
fn an_entry_that_cannot_be_used_is_refused_at_its_place() {
    let project = Project::new();
    project.write("words.tsv", PAIRS);
    project.write("column.tsv", "she\n");
    project.write("all.tsv", "the\na\nof\nin\nto\nsaid\n");
    for (entries, place, says) in [
        ("[{ swop = 'words.tsv' }]", "swop", "did you mean `swap`?"),
        ("[{ topics = 'World' }]", "topics", "did you mean `topic`?"),
        (
            "[{ swap = 'words.tsv', shuffle = 'words' }]",
            "shuffle",
            "this has `swap` and `shuffle`",
        ),
        ("[{}]", "{", "this entry says nothing"),
        ("['swap']", "'swap", "expected a table with one key"),
        (
            "[{ shuffle = 'letters' }]",
            "'letters",
            "unknown value `letters`",
        ),
        (
            "[{ swap = 'none.tsv' }]",
            "'none",
            "cannot read the word list none.tsv",
        ),
        (
            "[{ topic = 'Sport' }]",
            "'Sport",
            "this text has Business, Sci/Tech, Sports, World",
        ),
        (
            "[{ random = 'tokens' }, { swap = 'words.tsv' }]",
            "'words",
            "`random tokens` before it leaves tokens",
        ),
        (
            "[{ topic = 'Sports' }, { without_topic = 'Sports' }]",
            "'Sports' }]",
            "`without_topic Sports` leaves no document of",
        ),
        (
            "[{ without = 'all.tsv' }]",
            "'all",
            "`without all.tsv` leaves no document of 4000",
        ),
        (
            "[{ sampled = 'third' }]",
            "'third",
            "known: main, assistant",
        ),
    ] {
        with(&project, entries);
        let errors = project.fails(&["plan", "changed.toml"], 2);
        assert!(errors.contains(says), "{entries}: {errors}");
        let column = 1 + "intervene = ".len() + entries.find(place).unwrap();
        let place = format!("changed.toml:3:{column}\n");
        assert!(errors.contains(&place), "{entries}: {errors}");
    }
    with(&project, "[{ swap = 'column.tsv' }]");
    let errors = project.fails(&["plan", "changed.toml"], 2);
    assert!(
        errors.contains("column.tsv:1:1") && errors.contains("no counterpart"),
        "{errors}"
    );
    let errors = project.fails(&["plan", "small.toml", "--set", "data.blocks=9999"], 2);
    assert!(
        errors.contains("the training text has only") && errors.contains("not 9999"),
        "{errors}"
    );
    let errors = project.fails(&["plan", "small.toml", "--set", "data.blocks=0"], 2);
    assert!(errors.contains("must be at least 1"), "{errors}");
}

pub(crate) fn resolved(project: &Project, settings: &str) -> Resolved {
    let source = Source {
        name: "small.toml".to_owned(),
        text: project.read("small.toml"),
    };
    let written = parse(source, &milepost::overrides::split(settings).unwrap()).unwrap();
    let places = Places {
        base: project.path().to_owned(),
        data: None,
        cache: Some(project.path().join("cache")),
        offline: true,
        hub: Hub::from_environment(true),
        run: project.path().join("runs/small/x"),
    };
    resolve(
        &written,
        &milepost::hooks::shipping(),
        &places,
        &mut |_, _, _| {},
    )
    .unwrap()
}

/// Every arm has as many blocks, of the right documents and topics, and the held-out text is the same.
#[test]
fn the_blocks_of_an_arm_are_as_many_and_made_of_its_documents() {
    let project = Project::new();
    let held_out = |resolved: &Resolved| {
        let blocks = &resolved.plan.scene.held_out;
        (0..blocks.len())
            .map(|index| blocks.get(index).to_vec())
            .collect::<Vec<_>>()
    };
    let plain = resolved(&project, "data.blocks=50 hooks={}");
    assert!(plain.plan.treatments.is_empty());
    for (entry, topics) in [
        ("swap='builtin'", None),
        ("without='builtin'", None),
        ("shuffle='words'", None),
        ("shuffle='topics'", None),
        ("plant={topic='Sports',group='male'}", None),
        ("topic='Sports'", Some(&["Sports"][..])),
        (
            "without_topic='Sports'",
            Some(&["Business", "Sci/Tech", "World"][..]),
        ),
        ("random='tokens'", Some(&[][..])),
        ("sampled='assistant'", Some(&[][..])),
    ] {
        let settings = format!(
            "data.train_articles=400 data.blocks=50 hooks={{}} data.intervene=[{{{entry}}}]"
        );
        let arm = resolved(&project, &settings);
        let blocks = &arm.plan.blocks;
        assert_eq!(blocks.len(), 50, "{entry}");
        assert_eq!(arm.plan.extent.steps(), plain.plan.extent.steps());
        assert_eq!(held_out(&arm), held_out(&plain), "{entry}");
        let mut tokens = 0;
        let mut found = std::collections::BTreeSet::new();
        for index in 0..blocks.len() {
            for piece in blocks.pieces(index) {
                tokens += piece.tokens.len();
                found.extend(blocks.topic(piece.document).map(str::to_owned));
            }
        }
        assert_eq!(tokens, 50 * 32, "{entry}");
        match topics {
            Some(topics) => assert!(found.iter().eq(topics), "{entry}: {found:?}"),
            None => assert_eq!(found.len(), 4, "{entry}: {found:?}"),
        }
    }
}

fn file(run: &std::path::Path, name: &str) -> Vec<u8> {
    std::fs::read(run.join(name)).unwrap()
}

#[test]
fn a_run_without_entries_is_the_run_without_the_key() {
    let project = Project::new();
    let run = project.run("plain", &[]);
    let text = project.read("small.toml");
    project.write(
        "small.toml",
        text.replace("[data]\n", "[data]\nintervene = []\n"),
    );
    let other = project.run("empty", &[]);
    for name in [
        "experiment.toml",
        "manifest.json",
        "models/main/model.safetensors",
        "models/assistant/model.safetensors",
    ] {
        assert!(file(&run, name) == file(&other, name), "{name}");
    }
    assert_eq!(timeless(&run), timeless(&other));
    assert!(!run.join("text_interventions.json").exists());
}

#[test]
fn a_run_records_what_was_done_to_its_text() {
    let project = Project::new();
    project.write("lists/words.tsv", "spokesman\tspokeswoman\nshe\the\n");
    with(
        &project,
        "[{ swap = 'lists/words.tsv' }, { shuffle = 'words' }]",
    );
    let run = |name: &str, more: &[&str]| {
        let arguments = [&["finetune", "changed.toml", "--name", name], more].concat();
        let assert = project.milepost(&arguments).assert().success();
        let said = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
        (project.path().join("runs/changed").join(name), said)
    };
    let (first, said) = run("first", &["--set", "train.save='every 3 steps'"]);
    let done: Value = serde_json::from_slice(&file(&first, "text_interventions.json")).unwrap();
    assert_eq!(done[0]["treatment"], "swap words.tsv");
    assert_eq!(done[0]["before"]["documents"], 60);
    let changed = done[0]["words"]["spokesman > spokeswoman"]
        .as_u64()
        .unwrap();
    let said_line = format!("words: spokesman > spokeswoman {changed}");
    assert!(changed > 0 && said.contains(&said_line), "{said}");
    assert!(
        said.contains("; changed: swap words.tsv, shuffle words"),
        "{said}"
    );
    let example = &done[0]["examples"][0];
    assert!(example["before"].as_str().unwrap().contains("spokesman"));
    assert!(example["after"].as_str().unwrap().contains("spokeswoman"));
    assert_eq!(done[1]["treatment"], "shuffle words");
    assert_eq!(done[1]["before"], done[0]["after"]);
    // The list is an input of the run, and its path is absolute in the resolved experiment.
    let manifest: Value = serde_json::from_slice(&file(&first, "manifest.json")).unwrap();
    let input = &manifest["inputs"]["data/intervene/1"];
    let bytes = std::fs::read(project.path().join("lists/words.tsv")).unwrap();
    assert_eq!(input["sha256"], milepost::checksum::sha256(&bytes));
    let resolved = String::from_utf8(file(&first, "experiment.toml")).unwrap();
    let absolute = format!(
        "swap = \"{}\"",
        project.path().join("lists/words.tsv").display()
    );
    assert!(resolved.contains(&absolute), "{resolved}");
    // The same again, and another one by another seed.
    let (again, _) = run("again", &["--set", "train.save='every 3 steps'"]);
    assert_eq!(timeless(&first), timeless(&again));
    assert_eq!(
        file(&first, "text_interventions.json"),
        file(&again, "text_interventions.json")
    );
    let (other, _) = run("other", &["--set", "seed=2"]);
    assert_ne!(
        file(&first, "text_interventions.json"),
        file(&other, "text_interventions.json")
    );
    // A killed run goes on with the same text, and not with another list.
    std::fs::remove_dir_all(again.join("checkpoints/step-00000006")).unwrap();
    std::fs::remove_file(again.join("outcome.json")).unwrap();
    let resume = ["finetune", "changed.toml", "--resume", "again"];
    project.write("lists/words.tsv", "spokesman\tspokesperson\n");
    let errors = project.fails(&resume, 3);
    assert!(errors.contains("data/intervene/1"), "{errors}");
    project.write("lists/words.tsv", bytes);
    project.milepost(&resume).assert().success();
    assert_eq!(timeless(&first), timeless(&again));
    assert_eq!(
        file(&first, "models/main/model.safetensors"),
        file(&again, "models/main/model.safetensors")
    );
    // A plan shows examples.
    let assert = project
        .milepost(&["plan", "changed.toml"])
        .assert()
        .success();
    let said = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let shown = said.split("swap words.tsv, document").nth(1).unwrap();
    let mut lines = shown.lines().skip(1);
    assert!(lines.next().unwrap().contains("spokesman"), "{shown}");
    assert!(lines.next().unwrap().contains("spokeswoman"), "{shown}");
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
