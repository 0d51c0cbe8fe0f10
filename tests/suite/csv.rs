//! CSV against a second reader: RFC 4180 as a table of states, letter by letter. Every text is either read as that reader reads it, or refused
//! with the line that it names.

use std::path::Path;

use milepost::data::csv_rows::{CsvRow, CsvRows};
use milepost::data::sources::ag_news;
use proptest::prelude::*;

use crate::harness::{Project, real_data};

/// Where the second reader stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    RowStart,
    FieldStart,
    Plain,
    Quoted,
    /// Behind a quote in a quoted field: the end of the field, or the first half of a doubled quote.
    Quote,
    /// Behind a carriage return that should end a row.
    Return,
    /// Behind one on an otherwise empty line.
    EmptyReturn,
}

/// Rows with the lines they begin on, or the line that is at fault.
fn slow(text: &str) -> Result<Vec<(usize, Vec<String>)>, usize> {
    use State::*;
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut state, mut line, mut begun, mut opened) = (RowStart, 1, 1, 1);
    for letter in text.chars() {
        if state == RowStart {
            begun = line;
        }
        if letter == '"' && state != Quoted && state != Quote {
            opened = line;
        }
        state = match (state, letter) {
            (RowStart | EmptyReturn, '\n') => RowStart,
            (RowStart, '\r') => EmptyReturn,
            (RowStart | FieldStart, '"') => Quoted,
            (Quoted, '"') => Quote,
            (Quoted, _) | (Quote, '"') => {
                field.push(letter);
                Quoted
            }
            (Plain, '"') | (Return | EmptyReturn, _) if letter != '\n' => return Err(line),
            (FieldStart | Plain | Quote, '\r') => Return,
            (_, ',') => {
                row.push(std::mem::take(&mut field));
                FieldStart
            }
            (_, '\n') => {
                row.push(std::mem::take(&mut field));
                rows.push((begun, std::mem::take(&mut row)));
                RowStart
            }
            (Quote, _) => return Err(opened),
            _ => {
                field.push(letter);
                Plain
            }
        };
        line += usize::from(letter == '\n');
    }
    match state {
        Quoted => Err(opened),
        Return | EmptyReturn => Err(line),
        RowStart => Ok(rows),
        FieldStart | Plain | Quote => {
            row.push(field);
            rows.push((begun, row));
            Ok(rows)
        }
    }
}

fn found(text: &str) -> Result<Vec<(usize, Vec<String>)>, usize> {
    let rows = CsvRows::of(text.as_bytes());
    rows.map(|row| match row {
        Ok(CsvRow { line, fields }) => Ok((line, fields)),
        Err(error) => Err(error.line),
    })
    .collect()
}

/// What a file may be made of, what AG News has (backslashes, doubled quotes) included.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => Just("\""),
        2 => Just("\"\""),
        4 => Just(","),
        3 => Just("\n"),
        1 => Just("\r\n"),
        1 => Just("\r"),
        1 => Just("\\"),
        1 => Just("\\\""),
        3 => Just("a b"),
        1 => Just("\u{e9}"),
        2 => Just("\"1\",\"t\",\"d\"\n"),
        2 => Just("2,t,d\n"),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Rows of articles as AG News has them, every field in quotes.
fn articles() -> impl Strategy<Value = Vec<(u8, String, String)>> {
    let text = "[a-z ,.;\\\\\"\n#39]{0,12}";
    prop::collection::vec((1u8..=4, text, text), 1..8)
}

fn written(articles: &[(u8, String, String)], end: &str) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let rows = articles.iter().map(|(class, title, description)| {
        let fields = [
            quoted(&class.to_string()),
            quoted(title),
            quoted(description),
        ];
        fields.join(",") + end
    });
    rows.collect()
}

proptest! {
    #[test]
    fn any_text_is_read_as_the_table_of_states_does(text in pieces()) {
        prop_assert_eq!(found(&text), slow(&text), "{:?}", text);
    }

    #[test]
    fn what_is_written_is_read(articles in articles(), end in prop_oneof![Just("\n"), Just("\r\n")]) {
        let text = written(&articles, end);
        let read = ag_news::parse(Path::new("a.csv"), text.as_bytes()).unwrap();
        let read: Vec<(u8, String, String)> = read.into_iter().map(|one| (one.topic, one.title, one.description)).collect();
        prop_assert_eq!(read, articles);
    }

    /// One letter too much or too few somewhere: as many articles as the table of states finds, or the line that it names.
    #[test]
    fn a_damaged_file_swallows_nothing(articles in articles(), place in any::<prop::sample::Index>(), what in prop_oneof![Just(""), Just("\""), Just(","), Just("\n"), Just("\"\"")]) {
        let mut letters: Vec<char> = written(&articles, "\n").chars().collect();
        let place = place.index(letters.len());
        letters.splice(place..place + usize::from(what.is_empty()), what.chars());
        let text: String = letters.into_iter().collect();
        let read = ag_news::parse(Path::new("a.csv"), text.as_bytes());
        match (slow(&text), read) {
            (Ok(rows), Ok(read)) => {
                prop_assert_eq!(rows.len(), read.len());
                for ((_, row), article) in rows.into_iter().zip(read) {
                    prop_assert_eq!(row, [article.topic.to_string(), article.title, article.description]);
                }
            }
            (Ok(rows), Err(error)) => {
                let bad = rows.iter().find(|(_, row)| row.len() != 3 || !["1", "2", "3", "4"].contains(&&*row[0]));
                let (line, _) = bad.expect("refused without a reason");
                let start = format!("a.csv:{line}: ");
                prop_assert!(error.to_string().starts_with(&start), "{}", error);
            }
            (Err(line), Err(error)) => {
                // A row before the damage may be at fault by itself.
                let named: usize = error.to_string().split(':').nth(1).unwrap().parse().unwrap();
                prop_assert!(named <= line, "{}", error);
            }
            (Err(line), Ok(_)) => prop_assert!(false, "line {} was let through", line),
        }
    }
}

#[test]
fn what_is_wrong_is_said_in_words() {
    for (text, line, says) in [
        ("1,a,b\n2,\"c,d\n3,e,f\n", 2, "opened here and never closed"),
        (
            "1,a,b\n2,\"c,d\n3,e,f\n4,\"g\",h\n",
            2,
            "behind the quote that closes it in line 4",
        ),
        ("1,a \"b\",c\n", 1, "double the quotes"),
        ("1,a,b\r2,c,d\n", 1, "carriage return"),
        ("1,a,b\n2,\"c\nd\",e f \"g\"\n", 3, "double the quotes"),
    ] {
        let error = ag_news::parse(Path::new("a.csv"), text.as_bytes());
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("a.csv:{line}: ")) && error.contains(says),
            "{text:?}: {error}"
        );
    }
}

/// 200 rows without quotes but for one that is never closed: no row may be read into an article.
#[test]
fn a_run_does_not_begin_on_a_file_with_an_open_quote() {
    let project = Project::new();
    let row = |index: usize| {
        format!(
            "{},Team wins match {index},The coach said so.\n",
            index % 4 + 1
        )
    };
    let mut rows: Vec<String> = (0..200).map(row).collect();
    project.write("news/test.csv", rows.concat());
    rows[50] = "3,Council votes,\"Unfinished the coach said so.\n".to_owned();
    project.write("news/train.csv", rows.concat());
    let errors = project.fails(&["finetune", "small.toml", "--set", "data.folder=news"], 3);
    assert!(
        errors.contains("news/train.csv:51: a quote is opened here"),
        "{errors}"
    );
    assert!(!project.path().join("runs").exists());
}

/// AG News itself is read as by the crate csv.
#[test]
fn the_real_articles_are_read_as_before() {
    let Some(data) = real_data() else { return };
    for name in ["train.csv", "test.csv"] {
        let path = data.join("ag_news").join(name);
        let mut reader = csv::ReaderBuilder::new();
        let mut reader = reader.has_headers(false).from_path(&path).unwrap();
        let expected: Vec<(u8, String, String)> =
            reader.deserialize().collect::<Result<_, _>>().unwrap();
        let found = ag_news::parse(&path, &std::fs::read(&path).unwrap()).unwrap();
        let found: Vec<(u8, String, String)> = found
            .into_iter()
            .map(|one| (one.topic, one.title, one.description))
            .collect();
        assert!(found == expected, "{name}");
    }
}
