//! Messages about text files: the right line, the right column, the right suggestion. And overrides.

use milepost::diagnostic::{Diagnostic, Source};
use milepost::overrides::{Override, apply, split};
use proptest::prelude::*;
use serde::Deserialize;

fn source(text: &str) -> Source {
    Source {
        name: "x.toml".to_owned(),
        text: text.to_owned(),
    }
}

#[test]
fn points_under_the_right_characters() {
    let text = "a = 1\r\n\tschl\u{fc}ssel = \"\u{1F600} wert\" # c\r\n";
    let start = text.find("\"\u{1F600}").unwrap();
    let span = start..start + "\"\u{1F600} wert\"".len();
    let shown = Diagnostic::at(&source(text), span, "wrong").with_help("right");
    let expected = "wrong\n --> x.toml:2:14\n  |\n2 | \tschl\u{fc}ssel = \"\u{1F600} wert\" # c\n  | \t            ^^^^^^^^ right";
    assert_eq!(shown.to_string(), expected);
}

#[test]
fn spans_over_lines_and_at_the_end_are_shown() {
    let text = "a = [\n 1,\n]";
    assert!(
        Diagnostic::at(&source(text), 4..text.len(), "m")
            .to_string()
            .ends_with("1 | a = [\n  |     ^")
    );
    assert_eq!(Diagnostic::at(&source(text), 99..200, "m").line(), Some(3));
    assert!(
        Diagnostic::at(&source(""), 0..0, "m")
            .to_string()
            .contains(":1:1")
    );
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its errors are looked at")]
struct Settings {
    max_steps: u64,
    #[serde(default)]
    small: u8,
    #[serde(default)]
    lr: f64,
    #[serde(default)]
    on: bool,
    #[serde(default)]
    folder: String,
    #[serde(default)]
    names: Vec<String>,
    decay: Option<Decay>,
    inner: Option<Inner>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Decay {
    Linear,
    Cosine,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its errors are looked at")]
struct Inner {
    width: i16,
}

/// What is said of a text that is not such settings: message, line, help.
fn complaint(text: &str) -> (String, Option<usize>, String) {
    let error = toml::from_str::<Settings>(text).unwrap_err();
    let diagnostic = Diagnostic::from_toml(&source(text), &error);
    let help = diagnostic.help().unwrap_or_default().to_owned();
    (diagnostic.message().to_owned(), diagnostic.line(), help)
}

#[test]
fn tomls_errors_are_said_in_its_users_words() {
    let all = "known: max_steps, small, lr, on, folder, names, decay, inner";
    for (text, message, line, help) in [
        (
            "\nmax_step = 1",
            "unknown key `max_step`",
            Some(2),
            "did you mean `max_steps`?",
        ),
        ("zebra = 1", "unknown key `zebra`", Some(1), all),
        (
            "decay = \"linaer\"",
            "unknown value `linaer`",
            Some(1),
            "did you mean `linear`?",
        ),
        (
            "decay = \"steep\"",
            "unknown value `steep`",
            Some(1),
            "known: linear, cosine",
        ),
        ("decay = 3", "expected a string", Some(1), ""),
        (
            "# nothing\nlr = 1.0\n",
            "key `max_steps` is missing",
            None,
            "",
        ),
        (
            "max_steps = 1\n[inner]\n",
            "key `width` is missing",
            Some(2),
            "",
        ),
        (
            "max_steps = -5",
            "expected a whole number, 0 or more, found -5",
            Some(1),
            "",
        ),
        (
            "max_steps = 1.5",
            "expected a whole number, found 1.5",
            Some(1),
            "",
        ),
        (
            "small = 300",
            "this whole number is out of range: 300",
            Some(1),
            "",
        ),
        (
            "max_steps = \"a, expected b\"",
            "expected a whole number, found string \"a, expected b\"",
            Some(1),
            "",
        ),
        ("lr = true", "expected a number, found true", Some(1), ""),
        ("on = 1", "expected true or false, found 1", Some(1), ""),
        (
            "folder = []",
            "expected a string, found an array",
            Some(1),
            "",
        ),
        (
            "names = {}",
            "expected an array, found a table",
            Some(1),
            "",
        ),
        (
            "names = [\n\"a\",\n2]",
            "expected a string, found 2",
            Some(3),
            "",
        ),
        ("inner = 3", "expected a table, found 3", Some(1), ""),
        (
            "inner = { width = \"x\" }",
            "expected a whole number, found string \"x\"",
            Some(1),
            "",
        ),
        ("lr = 1.0\nlr = 2.0", "key `lr` is given twice", Some(2), ""),
    ] {
        let expected = (message.to_owned(), line, help.to_owned());
        assert_eq!(complaint(text), expected, "{text}");
    }
}

#[test]
fn overrides_are_split_and_applied_in_place() {
    let text = "# note\nseed = 1 # why\n[train]\nlr = 0.1\n[hooks.a]\nat = \"end\"\n";
    let all = split("seed=7 train.models=['main', \"assistant\"] hooks.a.at='every 5 steps' hooks.new={} data.folder=some/where").unwrap();
    let merged = apply(text, &all).unwrap();
    let table: toml::Table = toml::from_str(&merged).unwrap();
    assert_eq!(table["seed"].as_integer(), Some(7));
    assert_eq!(table["train"]["lr"].as_float(), Some(0.1));
    assert_eq!(table["train"]["models"].as_array().unwrap().len(), 2);
    assert_eq!(table["hooks"]["a"]["at"].as_str(), Some("every 5 steps"));
    assert!(table["hooks"]["new"].as_table().unwrap().is_empty());
    assert_eq!(table["data"]["folder"].as_str(), Some("some/where"));
    assert!(merged.starts_with("# note\n"));
    for (bad, says) in [
        ("seed", "not an override"),
        ("a..b=1", "not an override"),
        ("a='x", "not closed"),
        ("a=[1, 2", "not closed"),
        ("a==", "not TOML"),
        ("a=", "not TOML"),
        ("a=] b=[", "without being open"),
        ("a.'b=1", "not closed"),
        ("a b=1", "`a` is not an override"),
    ] {
        assert!(split(bad).unwrap_err().to_string().contains(says), "{bad}");
    }
    let through = apply(text, &split("seed.x=1").unwrap())
        .unwrap_err()
        .to_string();
    assert!(through.contains("`seed` is a value"), "{through}");
}

/// Text, override, and all of the text after it: places and comments are kept.
#[test]
fn overrides_keep_the_text_around_them() {
    for (text, set, expected) in [
        (
            "# head\na = 1 # c\n\n[t]\nb = 2\n",
            "a=3",
            "# head\na = 3 # c\n\n[t]\nb = 2\n",
        ),
        (
            "a = 1\n\n[t]\nb = 2\n",
            "t.c='x y'",
            "a = 1\n\n[t]\nb = 2\nc = 'x y'\n",
        ),
        ("[t]\nb = 2\n", "u.v.w=1", "[t]\nb = 2\n\n[u.v]\nw = 1\n"),
        (
            "[h.a]\nx = 1\n\n[t]\nb = 2\n",
            "h.c.x=1",
            "[h.a]\nx = 1\n\n[h.c]\nx = 1\n\n[t]\nb = 2\n",
        ),
        ("t.b = 2\n", "t.c=3", "t.b = 2\nt.c = 3\n"),
        ("t = { b = 2 } # c\n", "t.b=3", "t = { b = 3 } # c\n"),
        ("t = {}\n", "t.b.c=end", "t = { b = { c = \"end\" } }\n"),
        ("", r#"a="x \" y" b=~/c"#, "a = \"x \\\" y\"\nb = \"~/c\"\n"),
        ("", "h.'a.b'.c=1", "[h.\"a.b\"]\nc = 1\n"),
        (
            "",
            "a=['''it's'''', 1] b=2",
            "a = ['''it's'''', 1]\nb = 2\n",
        ),
    ] {
        let merged = apply(text, &split(set).unwrap()).unwrap();
        assert_eq!(merged, expected, "{text:?} with {set:?}");
    }
    let error = apply("a = ", &split("a=1").unwrap())
        .unwrap_err()
        .to_string();
    assert!(error.contains("a text that is not TOML"), "{error}");
    let error = apply("[[t]]\na = 1", &split("t.a=1").unwrap())
        .unwrap_err()
        .to_string();
    assert!(error.contains("override `t.a=1`: `t`"), "{error}");
    for several_lines in ["a=1\nb=2", "a=1 # c", "a=1\n[t]"] {
        assert!(
            several_lines.parse::<Override>().is_err(),
            "{several_lines}"
        );
    }
}

fn value() -> impl Strategy<Value = toml::Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(toml::Value::Integer),
        any::<bool>().prop_map(toml::Value::Boolean),
        (-1e9..1e9).prop_map(toml::Value::Float),
        "\\PC{0,12}".prop_map(toml::Value::String),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(toml::Value::Array),
            prop::collection::btree_map("[a-z]{1,3}|[a-z. =']{1,4}", inner, 0..3)
                .prop_map(|entries| toml::Value::Table(entries.into_iter().collect())),
        ]
    })
}

/// Tables in tables, so that paths of up to three keys meet what is there.
fn document() -> impl Strategy<Value = toml::Table> {
    let table = prop::collection::btree_map("[abc]", value(), 0..3)
        .prop_map(|entries| toml::Value::Table(entries.into_iter().collect()));
    let entries = prop::collection::btree_map("[abc]", prop_oneof![value(), table], 0..4);
    entries.prop_map(|entries| entries.into_iter().collect())
}

/// Sets the value of a path in a table; `None` when the path goes through something else.
fn insert(table: &mut toml::Table, path: &[String], value: &toml::Value) -> Option<()> {
    match path {
        [] => None,
        [last] => {
            table.insert(last.clone(), value.clone());
            Some(())
        }
        [first, rest @ ..] => {
            let empty = toml::Value::Table(toml::Table::new());
            let next = table.entry(first.clone()).or_insert(empty);
            insert(next.as_table_mut()?, rest, value)
        }
    }
}

proptest! {
    /// Any value at any path of any document, against the same thing done to the parsed table; all of several at once as one by one.
    #[test]
    fn overrides_do_what_they_say(document in document(), sets in prop::collection::vec((prop::collection::vec("[abcd]", 1..4), value()), 1..4)) {
        let text = document.to_string();
        let written: Vec<String> = sets.iter().map(|(path, value)| format!("{}={value}", path.join("."))).collect();
        let overrides = split(&written.join(" \n")).unwrap();
        prop_assert_eq!(overrides.len(), sets.len());
        let mut expected = document;
        let possible = sets.iter().all(|(path, value)| insert(&mut expected, path, value).is_some());
        match apply(&text, &overrides) {
            Ok(merged) => {
                prop_assert!(possible, "{}", merged);
                prop_assert_eq!(merged.parse::<toml::Table>().unwrap(), expected);
            }
            Err(error) => prop_assert!(!possible, "{}", error),
        }
    }

    #[test]
    fn no_override_breaks_the_splitter(text in "([a-z]{0,2}|[.='\"\\[\\]{}\\\\ ,#]|\\PC){0,12}") {
        if let Ok(overrides) = split(&text) {
            prop_assert!(apply("x = 1\n", &overrides).map_or(true, |merged| merged.parse::<toml::Table>().is_ok()));
        }
    }

    /// Any span of any text: the line is the one it begins on, the carets stay on it and begin under its first character.
    #[test]
    fn every_span_can_be_shown(text in "([a-c\u{e9}\u{1F600}\t ]|\n|\r\n){0,20}", start in 0usize..60, width in 0usize..20) {
        let diagnostic = Diagnostic::at(&source(&text), start..start + width, "m");
        let shown = diagnostic.to_string();
        let mut start = start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let before: Vec<&str> = text[..start].split('\n').collect();
        prop_assert_eq!(diagnostic.line(), Some(before.len()));
        let rows: Vec<&str> = shown.split('\n').collect();
        prop_assert_eq!(rows.len(), 5);
        let margin = rows[2].len() + 1;
        prop_assert_eq!(&rows[3][margin..], text.split('\n').nth(before.len() - 1).unwrap().trim_end_matches('\r'));
        let (line, carets) = (&rows[3][margin..], &rows[4][margin..]);
        prop_assert_eq!(carets.find('^').unwrap(), before[before.len() - 1].chars().count());
        prop_assert!(carets.chars().count() <= (line.chars().count() + 1).max(carets.find('^').unwrap() + 1));
        let tabs_agree = line.chars().zip(carets.chars()).all(|(over, under)| under == '^' || (over == '\t') == (under == '\t'));
        prop_assert!(tabs_agree);
    }

    #[test]
    fn an_override_changes_its_key_and_nothing_else(key in "[a-z]{1,6}", value in any::<i32>()) {
        let text = "one = 1\n[train]\ntwo = 2\nthree = \"x\"\n";
        let merged = apply(text, &split(&format!("train.{key}={value}")).unwrap()).unwrap();
        let mut table: toml::Table = toml::from_str(&merged).unwrap();
        let mut expected: toml::Table = toml::from_str(text).unwrap();
        prop_assert_eq!(table["train"][&key].as_integer(), Some(i64::from(value)));
        table["train"].as_table_mut().unwrap().remove(&key);
        expected["train"].as_table_mut().unwrap().remove(&key);
        prop_assert_eq!(table, expected);
    }
}
