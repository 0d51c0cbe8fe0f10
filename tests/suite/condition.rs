//! The language of conditions: what each form means, mistakes with their places, and properties against a slow second telling.

use milepost::condition::{Condition, Memory, Watched};
use proptest::prelude::*;

fn parse(text: &str) -> Condition {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Whether a condition is true after each step, if its one tag `a` has these values at the steps 1, 2, ...
fn truths(text: &str, values: &[f64]) -> Vec<bool> {
    let mut watched = Watched::new(parse(text));
    let steps = values.iter().zip(1..);
    let each = steps.map(|(&value, step)| {
        watched.see(step, "a", value);
        watched.holds(step)
    });
    each.collect()
}

fn marks(truths: &[bool]) -> String {
    let mark = |truth: &bool| if *truth { 'x' } else { '-' };
    truths.iter().map(mark).collect()
}

#[test]
fn each_form_means_what_is_documented() {
    let values = [3.0, 2.0, 1.0, 1.0, 1.5, 2.5, f64::NAN, 1.0, 0.5, 0.25];
    for (text, expected) in [
        ("a < 2", "--xxx--xxx"),
        ("a <= 2", "-xxxx--xxx"),
        ("a > 2", "x----x----"),
        ("a >= 2", "xx---x----"),
        ("a rises", "----xx----"),
        ("a falls", "-xx-----xx"),
        ("a falls for 2 values", "--x------x"),
        ("a < 2 for 3 values", "----x----x"),
        ("a < 2 for 3 steps", "----x----x"),
        ("a < 5 for 1 step", "xxxxxx-xxx"),
        ("a < 5 for 3 steps", "--xxxx---x"),
        ("a < 5 for 8 steps", "----------"),
        ("a falls for 2 steps", "--x------x"),
        ("not a < 2", "xx---xx---"),
        ("not a >= 2", "--xxx-xxxx"),
        ("a < 2 and a falls", "--x-----xx"),
        ("a > 2 or a falls", "xxx--x--xx"),
        ("a > 2 or a falls and a < 2", "x-x--x--xx"),
        ("(a > 2 or a falls) and a < 2", "--x-----xx"),
        ("not not a < 2", "--xxx--xxx"),
        ("b < 2", "----------"),
        ("not b < 2", "xxxxxxxxxx"),
        ("a rises or a rises", "----xx----"),
    ] {
        assert_eq!(marks(&truths(text, &values)), expected, "{text}");
    }
}

#[test]
fn steps_in_which_nothing_was_recorded_count() {
    let mut watched = Watched::new(parse("a < 2 for 3 steps"));
    watched.see(0, "a", 1.0);
    assert!(!watched.holds(0) && !watched.holds(2), "too few steps");
    assert!(!watched.holds(3), "nothing was recorded in the last three");
    watched.see(4, "a", 1.0);
    assert!(watched.holds(4) && watched.holds(6) && !watched.holds(7));
    // In the middle of step 7, six are done.
    watched.see(7, "a", 3.0);
    assert!(!watched.holds(6));
}

#[test]
fn tags_and_numbers_of_every_form_are_read() {
    for (text, canonical) in [
        ("train/main/loss<2", "train/main/loss < 2.0"),
        (
            "gradient_norm_main/h.0.attn-c.weight>=-1e-3",
            "gradient_norm_main/h.0.attn-c.weight >= -0.001",
        ),
        ("  a  >\t1_000.5 ", "a > 1000.5"),
        ("2nd/kl <= +.5E+1", "2nd/kl <= 5.0"),
        ("a < 1e-300", "a < 1e-300"),
        ("a rises for 1 value", "a rises"),
        ("a rises for 1_0 value", "a rises for 10 values"),
        ("a falls for 1 steps", "a falls for 1 step"),
        ("`and` < 1 and `a b<` rises", "`and` < 1.0 and `a b<` rises"),
        ("`plain` rises", "plain rises"),
        ("`1e3` < 1", "`1e3` < 1.0"),
        ("((a rises))", "a rises"),
        (
            "a rises and (b rises and c rises)",
            "a rises and (b rises and c rises)",
        ),
        ("not (a rises or b rises)", "not (a rises or b rises)"),
        (
            "(a rises and b rises) or c rises",
            "a rises and b rises or c rises",
        ),
        ("größe/müller rises", "größe/müller rises"),
    ] {
        assert_eq!(parse(text).to_string(), canonical);
    }
    let tags = parse("a rises or (`a b` < 1 and not a < 2)");
    assert_eq!(tags.tags().collect::<Vec<_>>(), ["a", "a b", "a"]);
}

#[test]
fn mistakes_are_named_with_their_place() {
    let deep = format!("{}a rises{}", "(".repeat(99), ")".repeat(99));
    for (text, place, help) in [
        ("", "", ""),
        ("a", "", ""),
        ("a <", "", ""),
        ("a < b", "b", "1e-3"),
        ("a < inf", "inf", "1e-3"),
        ("a < nan", "nan", "1e-3"),
        ("a < 1__0", "1__0", "1e-3"),
        ("a < 1_", "1_", "1e-3"),
        ("a < 1e999", "1e999", ""),
        ("2 < a", "2", "the tag comes first"),
        ("a == 2", "==", "<, <=, > or >="),
        ("a != 2", "!=", "<, <=, > or >="),
        ("a = 2", "=", "<, <=, > or >="),
        ("a =< 2", "=", "<, <=, > or >="),
        ("a rise", "rise", "did you mean `rises`?"),
        ("a Falls", "Falls", "did you mean `falls`?"),
        ("a < 2 an b rises", "an", "did you mean `and`?"),
        ("a < 2 OR b rises", "OR", "did you mean `or`?"),
        ("a < 2 fr 3 steps", "fr", "did you mean `for`?"),
        ("a < 2 < 3", "<", "a condition is made of"),
        ("a < 2 for", "", ""),
        ("a < 2 for 3", "", ""),
        ("a < 2 for 0 steps", "0", "for 20 steps"),
        ("a < 2 for -1 steps", "-1", "for 20 steps"),
        ("a < 2 for 1.5 steps", "1.5", "for 20 steps"),
        (
            "a < 2 for 99999999999999999999 steps",
            "99999999999999999999",
            "",
        ),
        ("a < 2 for 3 stepps", "stepps", "did you mean `steps`?"),
        ("a < 2 for 3 epochs", "epochs", "for 20 steps"),
        ("(a < 2", "(", ""),
        ("a < 2)", ")", "no parenthesis is open"),
        ("(a < 2 b", "b", ""),
        ("not", "", ""),
        ("and a < 2", "and", ""),
        ("`a < 2", "`a < 2", ""),
        ("`` < 2", "``", ""),
        (&deep, "(", ""),
        (&"not ".repeat(99), "not", ""),
    ] {
        let error = text.parse::<Condition>().unwrap_err();
        assert_eq!(&text[error.span.clone()], place, "{text}: {error}");
        let found = error.help.clone().unwrap_or_default();
        assert!(found.contains(help), "{text}: {error} {found}");
    }
}

/// A condition, told a second time.
#[derive(Debug, Clone)]
enum Told {
    Test(usize, &'static str, i8, Option<(u64, bool)>),
    Not(Box<Told>),
    Both(Box<Told>, Box<Told>),
    Either(Box<Told>, Box<Told>),
}

const TAGS: [&str; 3] = ["train/main/loss", "a_b-c.0/d", "`or`"];

impl Told {
    /// With all parentheses.
    fn text(&self) -> String {
        match self {
            Self::Test(tag, check, bound, lasting) => {
                let tag = TAGS[*tag];
                let bound = if check.ends_with('s') {
                    String::new()
                } else {
                    bound.to_string()
                };
                let lasting = lasting.map_or(String::new(), |(count, steps)| {
                    format!(" for {count} {}", if steps { "steps" } else { "values" })
                });
                format!("{tag} {check} {bound}{lasting}")
            }
            Self::Not(of) => format!("not ({})", of.text()),
            Self::Both(a, b) => format!("({}) and ({})", a.text(), b.text()),
            Self::Either(a, b) => format!("({}) or ({})", a.text(), b.text()),
        }
    }

    /// By the whole history: tag, step and value of everything that was recorded.
    fn holds(&self, history: &[(usize, u64, f64)], done: u64) -> bool {
        match self {
            Self::Not(of) => !of.holds(history, done),
            Self::Both(a, b) => a.holds(history, done) && b.holds(history, done),
            Self::Either(a, b) => a.holds(history, done) || b.holds(history, done),
            Self::Test(tag, check, bound, lasting) => {
                let own: Vec<(u64, f64)> = history
                    .iter()
                    .filter(|one| one.0 == *tag)
                    .map(|one| (one.1, one.2))
                    .collect();
                let bound = f64::from(*bound);
                let passes = |index: usize| {
                    let value = own[index].1;
                    match *check {
                        "<" => value < bound,
                        "<=" => value <= bound,
                        ">" => value > bound,
                        ">=" => value >= bound,
                        "rises" => index > 0 && value > own[index - 1].1,
                        _ => index > 0 && value < own[index - 1].1,
                    }
                };
                match lasting.unwrap_or((1, false)) {
                    (count, false) => {
                        let count = count as usize;
                        own.len() >= count && (own.len() - count..own.len()).all(passes)
                    }
                    (count, true) if done < count => false,
                    (count, true) => {
                        let window = (0..own.len()).filter(|&index| own[index].0 > done - count);
                        let window: Vec<usize> = window.collect();
                        !window.is_empty() && window.into_iter().all(passes)
                    }
                }
            }
        }
    }
}

fn told() -> impl Strategy<Value = Told> {
    let check = prop::sample::select(vec!["<", "<=", ">", ">=", "rises", "falls"]);
    let lasting = prop::option::of((1u64..5, any::<bool>()));
    let test = (0..TAGS.len(), check, -2i8..3, lasting)
        .prop_map(|(tag, check, bound, lasting)| Told::Test(tag, check, bound, lasting));
    test.prop_recursive(4, 12, 2, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            inner.prop_map(|of| Told::Not(Box::new(of))),
            two.clone()
                .prop_map(|(a, b)| Told::Both(Box::new(a), Box::new(b))),
            two.prop_map(|(a, b)| Told::Either(Box::new(a), Box::new(b))),
        ]
    })
}

/// What happens in a run.
#[derive(Debug, Clone)]
enum Happens {
    StepDone,
    /// A value of a tag; whether it belongs to the step in progress.
    Recorded(usize, f64, bool),
    /// A checkpoint, a kill and a resume.
    Killed,
}

fn happens() -> impl Strategy<Value = Happens> {
    let value = prop::sample::select(vec![
        -2.0,
        -1.0,
        -0.0,
        0.0,
        1.0,
        0.1 + 0.2,
        2.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ]);
    prop_oneof![
        3 => Just(Happens::StepDone),
        6 => (0..TAGS.len(), value, any::<bool>()).prop_map(|(tag, value, inside)| Happens::Recorded(tag, value, inside)),
        1 => Just(Happens::Killed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn a_condition_is_true_when_a_slow_telling_says_so(
        told in told(),
        story in prop::collection::vec(happens(), 0..60),
    ) {
        let condition = parse(&told.text());
        let mut watched = Watched::new(condition.clone());
        let (mut history, mut done, mut in_step) = (Vec::new(), 0, false);
        for event in story {
            match event {
                Happens::StepDone => {
                    done += 1;
                    in_step = false;
                }
                Happens::Recorded(tag, value, inside) => {
                    // What is recorded once a step has begun belongs to it.
                    in_step |= inside;
                    let step = done + u64::from(in_step);
                    history.push((tag, step, value));
                    watched.see(step, TAGS[tag].trim_matches('`'), value);
                }
                Happens::Killed => {
                    let saved = serde_json::to_string(watched.memory()).unwrap();
                    let memory: Memory = serde_json::from_str(&saved).unwrap();
                    prop_assert_eq!(&memory, watched.memory());
                    watched = Watched::new(condition.clone());
                    watched.restore(memory);
                }
            }
            prop_assert_eq!(watched.holds(done), told.holds(&history, done), "{:?} after {}", history, done);
        }
    }

    #[test]
    fn what_is_printed_and_parsed_again_is_the_same(told in told()) {
        let condition = parse(&told.text());
        let printed = condition.to_string();
        prop_assert_eq!(&parse(&printed), &condition, "{}", printed);
        prop_assert_eq!(parse(&printed).to_string(), printed);
    }

    #[test]
    fn no_text_panics(text in "[a-c/<>=()! `_.0-9e+-]{0,40}|(not|and|or|\\(|\\)|a|<|2|rises|for|3|steps| ){0,30}|\\PC{0,20}") {
        match text.parse::<Condition>() {
            Ok(condition) => prop_assert_eq!(parse(&condition.to_string()), condition),
            Err(error) => prop_assert!(text.get(error.span.clone()).is_some(), "{:?}", error),
        }
    }
}
