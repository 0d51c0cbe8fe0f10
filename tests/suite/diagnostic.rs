//! Messages about text files: the right line, the right column, the right suggestion. And overrides.

use milepost::diagnostic::{Diagnostic, Source};
use milepost::overrides::{apply, split};
use proptest::prelude::*;

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
    ] {
        assert!(split(bad).unwrap_err().to_string().contains(says), "{bad}");
    }
    let through = apply(text, &split("seed.x=1").unwrap())
        .unwrap_err()
        .to_string();
    assert!(through.contains("`seed` is a value"), "{through}");
}

proptest! {
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
