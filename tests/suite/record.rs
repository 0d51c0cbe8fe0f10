//! What a run writes into its files is what is read from them.

use milepost::clock::{Epoch, Samples, Tokens};
use milepost::data::templates::{TemplateSet, Templates};
use milepost::record::milestones::{Line, Lines, is_torn, lines};
use milepost::record::{Changed, Named, RunDirectory, columns, pairs};
use proptest::prelude::*;

use crate::harness::{TEMPLATES, gender};

fn named<T>(pairs: &[(&str, T)]) -> Named<T>
where
    T: Clone,
{
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

fn line() -> Line {
    Line {
        step: 4,
        event: "step-end".to_owned(),
        source: "gap".to_owned(),
        epoch: Epoch(1),
        samples: Samples(16),
        tokens: Tokens(512),
        scalars: named(&[("b", 0.1), ("a", f64::NAN), ("c", 1e300), ("b", -0.0)]),
        texts: named(&[("t", "\"x\"\n".to_owned())]),
        emitted: Vec::new(),
        files: Some(named(&[("templates/x.tsv", "ab".to_owned())])),
        times: named(&[("wall", 1.5), ("elapsed", f64::INFINITY)]),
    }
}

const LINE: &str = r#"{"step":4,"event":"step-end","source":"gap","epoch":1,"samples":16,"tokens":512,"scalars":{"b":-0.0,"a":null,"c":1e+300},"texts":{"t":"\"x\"\n"},"files":{"templates/x.tsv":"ab"},"times":{"wall":1.5,"elapsed":null}}"#;

/// Names keep the order in which they were reported, what is not finite is null, and a name stands once.
#[test]
fn a_line_has_its_keys_in_order_and_null_for_what_is_not_finite() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = Lines::open(folder.path(), 0).unwrap();
    let short = Line {
        texts: Named::default(),
        files: None,
        ..line()
    };
    file.append(&line()).unwrap();
    file.append(&short).unwrap();
    let end = file.sync().unwrap();
    let bytes = std::fs::read(folder.path().join("milestones.jsonl")).unwrap();
    let without = LINE.replace(
        r#""texts":{"t":"\"x\"\n"},"files":{"templates/x.tsv":"ab"},"#,
        "",
    );
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert_eq!(text, format!("{LINE}\n{without}\n"));
    assert_eq!(Changed::check_end(&bytes, &end), Ok(()));
    let read: Vec<Line> = lines(&bytes).collect::<Result<_, _>>().unwrap();
    assert!(read[0].scalars.get("a").unwrap().is_nan());
    assert!(read[1].texts.is_empty() && read[1].files.is_none());
    assert_eq!(
        serde_json::to_string(&read[0]).unwrap(),
        LINE,
        "read and written again"
    );
}

/// A file that is opened behind some of its bytes loses the rest, and its checksum goes on from there.
#[test]
fn lines_go_on_behind_those_that_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = Lines::open(folder.path(), 0).unwrap();
    file.append(&line()).unwrap();
    let kept = file.sync().unwrap();
    file.append(&line()).unwrap();
    file.sync().unwrap();
    drop(file);
    let mut file = Lines::open(folder.path(), kept.bytes).unwrap();
    assert_eq!(file.end(), kept);
    file.append(&line()).unwrap();
    let end = file.sync().unwrap();
    let bytes = std::fs::read(folder.path().join("milestones.jsonl")).unwrap();
    assert_eq!(Changed::check_end(&bytes, &end), Ok(()));
    let longer = [&bytes[..], b"x"].concat();
    assert!(matches!(
        Changed::check_end(&longer, &end),
        Err(Changed::Length { .. })
    ));
    let mut other = bytes;
    other[0] = b' ';
    assert!(matches!(
        Changed::check_end(&other, &end),
        Err(Changed::Content { .. })
    ));
}

/// Lines of older versions lack event, clock, files and times.
#[test]
fn an_older_line_is_read_and_a_torn_one_named() {
    let bytes = b"{\"step\":3,\"scalars\":{\"x\":1}}\n{\"step\":4,\"sca";
    let read: Vec<_> = lines(bytes).collect();
    let old = read[0].as_ref().unwrap();
    assert_eq!((old.step, old.scalars.get("x")), (3, Some(&1.0)));
    assert!(old.files.is_none());
    assert_eq!(read[1].as_ref().unwrap_err().line, 2);
    assert!(is_torn(bytes));
}

#[test]
fn only_names_below_templates_are_files_of_a_line() {
    for (name, stray) in [
        ("templates/x.tsv", false),
        ("../templates/x.tsv", true),
        ("templates/../x.tsv", true),
        ("templates/", true),
        ("templatesx.tsv", true),
        ("templates\\x.tsv", true),
    ] {
        let line = Line {
            files: Some(named(&[(name, String::new())])),
            ..line()
        };
        assert_eq!(line.stray_file(), stray.then_some(name));
    }
}

#[test]
fn pairs_are_read_as_they_were_written() {
    let templates = Templates::parse("t", TEMPLATES, &gender(TemplateSet::Paired)).unwrap();
    let read = pairs::parse(&pairs::text(&templates)).unwrap();
    let contrast = &templates.contrasts()[0];
    assert_eq!(read.len(), contrast.units.len());
    for (read, unit) in read.iter().zip(&contrast.units) {
        assert_eq!(read.contrast, "gender");
        assert_eq!([read.first, read.second], unit.sides);
        assert_eq!(
            (read.identity, read.template),
            (unit.identity, unit.template)
        );
        let words = [read.first_identity.clone(), read.second_identity.clone()];
        assert_eq!(words, contrast.identities[unit.identity]);
        assert_eq!(read.raw, contrast.raws[unit.template]);
    }
    let broken = pairs::text(&templates).replacen("gender\t0\t", "gender\tx\t", 1);
    assert_eq!(pairs::parse(&broken).unwrap_err().line, 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A file of values per template has them bit for bit, under a name from which step and hook are known: what is later is cut off.
    #[test]
    fn columns_are_read_as_they_were_written(
        seeds in prop::collection::vec(any::<f64>(), 1..4),
        step in 0..200_000_000u64,
        hook in "[a-z]([a-z0-9-]{0,8}[a-z0-9])?",
    ) {
        let folder = tempfile::tempdir().unwrap();
        let directory = RunDirectory::create(folder.path()).unwrap();
        let templates = Templates::parse("t", TEMPLATES, &gender(TemplateSet::Paired)).unwrap();
        let rows = templates.prompts().len();
        let columns: Vec<(String, Vec<f64>)> = seeds
            .iter()
            .enumerate()
            .map(|(index, &value)| (format!("c{index}"), vec![value; rows]))
            .collect();
        let file = columns::write(&directory, step, &hook, &templates, &columns).unwrap();
        prop_assert_eq!(&file.name, &columns::name(step, &hook));
        let path = folder.path().join(&file.name);
        let bytes = std::fs::read(&path).unwrap();
        prop_assert_eq!(Changed::check(&bytes, &file.sha256), Ok(()));
        let table = columns::Table::parse(std::str::from_utf8(&bytes).unwrap()).unwrap();
        let prompts: Vec<&str> = templates.prompts().iter().map(|one| &*one.prompt).collect();
        prop_assert_eq!(&table.prompts, &prompts);
        for ((name, values), (read_name, read)) in columns.iter().zip(&table.columns) {
            prop_assert_eq!(name, read_name);
            for (value, read) in values.iter().zip(read) {
                prop_assert!(value.to_bits() == read.to_bits() || value.is_nan() && read.is_nan());
            }
        }
        columns::cut(&directory, &[(hook.clone(), step)].into()).unwrap();
        prop_assert!(path.is_file());
        columns::cut(&directory, &Default::default()).unwrap();
        prop_assert!(!path.exists());
    }
}
