//! At which position of the drafts matches are gained or lost: what the report says, against plain sums of the files.

use std::collections::BTreeMap;
use std::path::Path;

use milepost::hooks::shipping;
use milepost::report::gap::{all_gaps, gap_of};
use milepost::report::number::{number, range, signed};
use milepost::report::{RecordedRun, page, positions_in_draft};

use crate::harness::{Project, close, milestones};

/// The harness's project with a learning rate that moves the matches.
fn project(more: &str) -> Project {
    let project = Project::new();
    let text = project.read("small.toml").replace("lr = 1e-3", "lr = 5e-3");
    project.write("small.toml", text + more);
    project
}

/// The columns of the file that match-disparity wrote at a step.
fn columns(run: &Path, step: u64) -> BTreeMap<String, Vec<f64>> {
    let path = run.join(format!("templates/step-{step:08}-match-disparity.tsv"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let mut found: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in lines {
        for (name, cell) in names.iter().zip(line.split('\t')).skip(3) {
            found
                .entry((*name).to_owned())
                .or_default()
                .push(cell.parse().unwrap());
        }
    }
    found
}

/// The mean of every other prompt: of the harness's templates those of women, or those of men.
fn mean(values: &[f64], side: usize) -> f64 {
    let own = values.iter().skip(side).step_by(2);
    own.sum::<f64>() / (values.len() / 2) as f64
}

/// Holds a run's table against its files. Returns how many positions it has, and how many of them moved.
fn check(run: &Path) -> (usize, usize) {
    let end = milestones(run).last().unwrap()["step"].as_u64().unwrap();
    let moments = [0, end].map(|step| columns(run, step));
    let read = RecordedRun::read(run, &shipping()).unwrap();
    let contrast = &read.contrasts[0];
    let found = positions_in_draft(&read, contrast).unwrap();
    let html = std::fs::read_to_string(run.join("report.html")).unwrap();
    let zeros = vec![0.0; moments[0]["n_matches"].len()];
    let (mut sums, mut moved) = ([0.0; 3], 0);
    for (index, one) in found.iter().enumerate() {
        assert_eq!(one.position, index + 1);
        let of = |column: &str, moment: usize, side: usize| {
            let name = format!("{column}_{}", one.position);
            mean(moments[moment].get(&name).unwrap_or(&zeros), side)
        };
        for (side, group) in ["female", "male"].into_iter().enumerate() {
            let row = format!(
                "<tr data-position=\"{}\" data-of=\"{group}\">",
                one.position
            );
            let from = html.find(&row).unwrap_or_else(|| panic!("no {row}"));
            let row = &html[from..from + html[from..].find("</tr>").unwrap()];
            let mut cells = String::new();
            for column in ["checked", "matched"] {
                for moment in [0, 1] {
                    cells += &format!("<td>{}</td>", number(of(column, moment, side)));
                }
            }
            for moment in [0, 1] {
                let share = of("matched", moment, side) / of("checked", moment, side);
                cells += &if share.is_nan() {
                    "<td></td>".to_owned()
                } else {
                    format!("<td>{}</td>", number(share))
                };
            }
            let change = of("matched", 1, side) - of("matched", 0, side);
            cells += &format!("<td>{}</td>", signed(change));
            assert!(row.contains(&cells), "{row}\n{cells}");
            close(one.change.means[side], change, 1e-12, 1.0, group);
            sums[side] += one.change.means[side];
            moved += usize::from(change != 0.0);
        }
        sums[2] += one.change.difference;
        // Where it has a column at both moments, its interval is that of any other column's gap.
        let name = format!("matched_{}", one.position);
        if moments.iter().all(|moment| moment.contains_key(&name)) {
            let gap = gap_of(&read, contrast, &name).unwrap();
            assert_eq!(gap.change, one.change);
        }
        let row = format!("<tr data-position=\"{}\" data-of=\"gap\">", one.position);
        let (_, row) = html.split_once(&row).unwrap();
        let cells = format!(
            "<td>{}</td> <td>{}</td></tr>",
            signed(one.change.difference),
            range(one.change.low, one.change.high)
        );
        let row = row[..row.find("</tr>").unwrap() + 5].replace("</td><td>", "</td> <td>");
        assert!(row.ends_with(&cells), "{row}\n{cells}");
    }
    // The positions add up to n_matches.
    let n_matches =
        |side: usize| mean(&moments[1]["n_matches"], side) - mean(&moments[0]["n_matches"], side);
    let changes = [n_matches(0), n_matches(1), n_matches(0) - n_matches(1)];
    for (sum, change) in sums.into_iter().zip(changes) {
        close(sum, change, 1e-12, 1.0, "all positions");
    }
    let (_, all) = html
        .split_once("<tr data-position=\"all\" data-of=\"gap\">")
        .unwrap();
    assert!(
        all[..all.find("</tr>").unwrap()].contains(&signed(changes[2])),
        "{changes:?}"
    );
    // They are parts of n_matches, and no measures that are tested beside it.
    let (gaps, lacking) = all_gaps(&read);
    let names = gaps
        .iter()
        .map(|gap| &gap.column)
        .chain(lacking.iter().map(|one| &one.column));
    let names: Vec<&String> = names.collect();
    assert!(
        names
            .iter()
            .all(|name| !name.contains("matched_") && !name.contains("checked_")),
        "{names:?}"
    );
    (found.len(), moved)
}

#[test]
fn the_table_by_position_is_that_of_plain_sums() {
    let plain = project("");
    let (positions, moved) = check(&plain.run("a", &["--set", "train.max_steps=12"]));
    assert_eq!(positions, 5);
    assert!(moved > 0, "nothing to compare");
    let drawn = project(
        "[decode]\ndraft_length = 2\nschedule = 'heuristic'\nsampling = { temperature = 0.7 }\n",
    );
    let (positions, moved) = check(&drawn.run("a", &[]));
    assert!(positions > 2, "{positions}");
    assert!(moved > 0, "nothing to compare");
}

#[test]
fn a_run_that_did_not_record_positions_says_so() {
    let project = project("");
    let run = project.run("a", &[]);
    let mut read = RecordedRun::read(&run, &shipping()).unwrap();
    let with = page(std::slice::from_ref(&read));
    assert!(!with.contains("It is not known: this run did not record it"));
    let of_position = |name: &String| name.contains("matched_") || name.contains("checked_");
    read.columns.retain(|name, _| !of_position(name));
    let without = page(std::slice::from_ref(&read));
    assert!(without.contains("It is not known: this run did not record it"));
    assert!(!without.contains("data-position"));
    assert!(without.contains("without one identity or template"));
}
