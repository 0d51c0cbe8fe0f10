//! `docs/features.md` names tests. Each of them exists.

use std::path::Path;

#[test]
fn every_test_that_the_table_of_features_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("docs/features.md")).unwrap();
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .collect();
    assert_eq!(rows.len(), 1 + 55);
    let mut named = 0;
    for row in &rows[1..] {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, feature, _, here, shown, _] = cells[..] else {
            panic!("not five cells: {row}");
        };
        // What is there is shown by something.
        assert!(!shown.is_empty() || !here.starts_with("yes"), "{feature}");
        for name in shown.split('`').skip(1).step_by(2) {
            let Some((file, test)) = name.split_once("::") else {
                continue;
            };
            let text = std::fs::read_to_string(root.join(format!("tests/suite/{file}.rs")));
            let text = text.unwrap_or_else(|error| panic!("{feature}: {file}: {error}"));
            assert!(text.contains(&format!("fn {test}(")), "{feature}: {name}");
            named += 1;
        }
    }
    assert!(named > 30, "{named}");
}
