//! Pages and tables on runs that are over: what they say is what the run recorded.

use std::collections::HashMap;
use std::path::Path;

use milepost::hooks::shipping;
use milepost::report::gap::{attributed, course, gaps};
use milepost::report::number::{number, signed};
use milepost::report::pooling::pool;
use milepost::report::{Moment, RecordedRun, page};

use crate::harness::{Project, close, milestones};

/// Every hook that the report has a part for, on a run of six steps.
fn project() -> Project {
    let project = Project::new();
    let more = "[hooks.attribution]\nat = ['start', 'end']\n[hooks.drift]\nat = 'end'\n[hooks.honest]\nat = ['start', 'end']\ncontinuations = 1\n[hooks.pronoun-gap]\nat = ['start', 'end']\n[hooks.representation]\nat = ['start', 'end']\n[hooks.weight-attribution]\nat = ['start', 'end']\n";
    project.write("small.toml", project.read("small.toml") + more);
    project
}

/// Step and value of every scalar of `milestones.jsonl`, by tag.
fn scalars(run: &Path) -> HashMap<String, Vec<(u64, f64)>> {
    let mut found: HashMap<String, Vec<(u64, f64)>> = HashMap::new();
    for line in milestones(run) {
        let step = line["step"].as_u64().unwrap();
        for (tag, value) in line["scalars"].as_object().unwrap() {
            let points = found.entry(tag.clone()).or_default();
            points.push((step, value.as_f64().unwrap()));
        }
    }
    found
}

/// An attribute of an HTML tag.
fn attribute<'a>(tag: &'a str, name: &str) -> &'a str {
    let from = tag.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
    &tag[from..from + tag[from..].find('"').unwrap()]
}

#[test]
fn every_number_of_a_report_is_what_the_run_recorded() {
    let project = project();
    let run = project.run("a", &[]);
    let html = project.read("runs/small/a/report.html");
    let recorded = scalars(&run);
    let mut seen = 0;
    for cell in html.split("<td data-tag=").skip(1) {
        let cell = format!("data-tag={cell}");
        let tag = attribute(&cell, "data-tag");
        let step: u64 = attribute(&cell, "data-step").parse().unwrap();
        let value: f64 = attribute(&cell, "data-value").parse().unwrap();
        assert!(
            recorded[tag].contains(&(step, value)),
            "{tag} at step {step}: {value}"
        );
        let text = &cell[cell.find('>').unwrap() + 1..cell.find("</td>").unwrap()];
        assert_eq!(text, number(value), "{tag}");
        seen += 1;
    }
    assert!(seen > 100, "{seen}");
    // Rows of two such cells are start and end.
    let mut both = 0;
    for row in html
        .split("<tr>")
        .filter(|row| row.matches("<td data-tag=").count() == 2)
    {
        let cells: Vec<&str> = row.split("<td data-tag=").skip(1).collect();
        let steps = cells
            .iter()
            .map(|cell| -> u64 { attribute(cell, "data-step").parse().unwrap() });
        assert_eq!(steps.collect::<Vec<_>>(), [0, 6], "{row}");
        both += 1;
    }
    assert!(both > 50, "{both}");
    // Intervals that are drawn say what they are.
    let read = RecordedRun::read(&run, &shipping()).unwrap();
    let parts = attributed(&read, &read.contrasts[0]).unwrap();
    let kl = gaps(&read)
        .into_iter()
        .find(|gap| gap.column == "kl_nats")
        .unwrap()
        .change;
    let of = |value: f64| value / kl.deviation;
    for (name, [value, low, high]) in [
        (
            "by the main model",
            [
                parts.by_main.difference,
                parts.by_main.low,
                parts.by_main.high,
            ],
        ),
        (
            "by the assistant",
            [
                parts.by_assistant.difference,
                parts.by_assistant.low,
                parts.by_assistant.high,
            ],
        ),
        ("kl nats", [of(kl.difference), of(kl.low), of(kl.high)]),
    ] {
        let title = format!("<title>{name}: {value} [{low}, {high}]</title>");
        assert!(html.contains(&title), "{title}");
    }
    // Every dot of a figure says its tag's value at its step.
    let points: Vec<(u64, f64)> = recorded.values().flatten().copied().collect();
    let mut dots = 0;
    for title in html.split("<title>").skip(2) {
        let title = &title[..title.find("</title>").unwrap()];
        let Some((step, value)) = title
            .rsplit_once(", step ")
            .and_then(|(_, rest)| rest.split_once(": "))
        else {
            continue;
        };
        // Means of one group with intervals come from the values per prompt, added up in another order.
        let (step, value): (u64, f64) = (step.parse().unwrap(), value.parse().unwrap());
        let same = |point: &&(u64, f64)| point.0 == step && (point.1 - value).abs() < 1e-12;
        assert!(points.iter().any(|point| same(&point)), "{title}");
        dots += 1;
    }
    assert!(dots > 30, "{dots}");
    for part in [
        "Verdict",
        "n_matches of each group",
        "Fine-tuning",
        "How far the models are apart",
        "The assistant's share of tokens",
        "Which of the two models",
        "The gap in every measure",
        "Prompts that stand out",
        "Parameters",
    ] {
        assert!(html.contains(&format!("<h2>{part}</h2>")), "{part}");
    }
}

#[test]
fn a_report_needs_no_network_and_no_script() {
    let project = project();
    project.run("a", &[]);
    let html = project.read("runs/small/a/report.html");
    for word in ["<script", "src=", "@import", "url(", "javascript:"] {
        assert!(!html.contains(word), "{word}");
    }
    let addresses = html
        .match_indices("href=")
        .map(|(at, _)| &html[at..at + 12]);
    assert_eq!(addresses.collect::<Vec<_>>(), ["href=\"data:,"]);
    assert!(html.contains("built-in sample, not AG News"));
    assert!(html.contains("One seed is no evidence"));
}

/// What the report works out anew from the values per prompt is what the hook said of the pair itself.
#[test]
fn the_gap_read_back_is_the_hooks_own() {
    let project = project();
    let run = project.run("a", &[]);
    let recorded = scalars(&run);
    let read = RecordedRun::read(&run, &shipping()).unwrap();
    let found = gaps(&read);
    let gap = &found[0];
    assert_eq!((gap.column.as_str(), gap.steps), ("n_matches", [0, 6]));
    for (tag, before, after) in [
        ("disparity", gap.before.difference, gap.after.difference),
        ("disparity_low", gap.before.low, gap.after.low),
        ("disparity_high", gap.before.high, gap.after.high),
        ("p_value", gap.before.p_value, gap.after.p_value),
        ("change", 0.0, gap.change.difference),
        ("change_low", 0.0, gap.change.low),
        ("change_high", 0.0, gap.change.high),
    ] {
        let points = &recorded[&format!("gender/{tag}")];
        assert_eq!(*points.first().unwrap(), (0, before), "{tag}");
        assert_eq!(*points.last().unwrap(), (6, after), "{tag}");
    }
    let parts = attributed(&read, &read.contrasts[0]).unwrap();
    let told = |cell: &str| {
        recorded[&format!("attribution/disparity/{cell}")]
            .last()
            .unwrap()
            .1
    };
    close(
        parts.by_main.difference,
        told("by_main"),
        1e-12,
        1.0,
        "by main",
    );
    close(
        parts.by_assistant.difference,
        told("by_assistant"),
        1e-12,
        1.0,
        "by assistant",
    );
    let course = course(&read, &read.contrasts[0]).unwrap();
    assert_eq!(course.steps, [0, 3, 6]);
    let gaps: Vec<(u64, f64)> = (course.steps.iter().copied())
        .zip(course.gaps.iter().map(|one| one.difference))
        .collect();
    assert_eq!(gaps, recorded["gender/disparity"]);
    for (groups, tag) in course.groups.iter().zip(["female", "male"]) {
        let means = &recorded[&format!("gender/n_matches_{tag}")];
        for (group, (_, mean)) in groups.iter().zip(means) {
            close(group.0, *mean, 1e-12, 1.0, tag);
        }
    }
}

#[test]
fn runs_of_several_seeds_are_pooled_and_others_kept_apart() {
    let project = Project::new();
    for (name, set) in [
        ("a", "seed=1"),
        ("b", "seed=2"),
        ("c", "seed=3 train.lr=2e-3"),
    ] {
        project.run(name, &["--set", set]);
    }
    let read = |name: &str| {
        RecordedRun::read(&project.path().join("runs/small").join(name), &shipping()).unwrap()
    };
    let runs = [read("a"), read("b"), read("c")];
    let pooled = pool(&[&runs[0], &runs[1]]).unwrap().remove(0);
    let changes: Vec<f64> = runs[..2]
        .iter()
        .map(|run| gaps(run)[0].change.difference)
        .collect();
    // Student's t with one degree of freedom: the half width is 12.7062 times the difference's half.
    let (mean, half) = (
        (changes[0] + changes[1]) / 2.0,
        12.706_204_736_432_1 * (changes[0] - changes[1]).abs() / 2.0,
    );
    close(pooled.over_seeds.value, mean, 1e-12, 1.0, "mean");
    close(pooled.over_all.value, mean, 1e-12, 1.0, "mean");
    close(pooled.over_seeds.high - mean, half, 1e-9, 1e-3, "half");
    let html = page(&runs);
    assert!(html.contains("Runs with train.lr = 0.001"));
    assert!(html.contains("A single run: nothing to pool."));
    assert!(html.contains("2 seeds are no evidence about fine-tuning"));
    // The one with other settings stands alone.
    assert!(html.contains("One seed is no evidence"));
    let arguments = ["report", "runs/small/a", "runs/small/c"];
    let assert = project.milepost(&arguments).assert().success();
    let notes = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(notes.contains("not pooled (train.lr = 0.001"), "{notes}");
    assert!(project.path().join("runs/small/pooled.html").is_file());
}

#[test]
fn two_runs_are_compared_on_the_terminal() {
    let project = Project::new();
    let a = project.run("a", &[]);
    let b = project.run("b", &["--set", "seed=2"]);
    let compared = |first: &str, second: &str| {
        let arguments = ["compare", first, second];
        let output = project.milepost(&arguments).assert().success();
        String::from_utf8(output.get_output().stdout.clone()).unwrap()
    };
    let text = compared("runs/small/a", "runs/small/b");
    assert!(text.contains("seed: 1 in A, 2 in B"), "{text}");
    let (a, b) = (scalars(&a), scalars(&b));
    for (name, tag) in [
        ("held-out perplexity, main", "eval/main/perplexity"),
        ("KL, batchmean convention", "kl/batchmean"),
        ("n_matches a prompt, female", "gender/n_matches_female"),
    ] {
        let ends = [&a, &b].map(|run| {
            let points = &run[tag];
            [points.first().unwrap().1, points.last().unwrap().1].map(number)
        });
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        let words: Vec<&str> = line[name.len()..].split_whitespace().collect();
        assert_eq!(words[..4], ends.concat(), "{line}");
    }
    let pairs = project.path().join("runs/small/b/templates/pairs.tsv");
    let others = std::fs::read_to_string(&pairs)
        .unwrap()
        .replace("the woman", "the nurse");
    std::fs::write(&pairs, others).unwrap();
    let message = project.fails(&["compare", "runs/small/a", "runs/small/b"], 3);
    assert!(
        message.contains("pairs.tsv: it was changed after it was written"),
        "{message}"
    );
    let forced = ["compare", "runs/small/a", "runs/small/b", "--force"];
    let output = project.milepost(&forced).assert().success();
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    assert!(text.contains("on other pairs of prompts"), "{text}");
    assert!(
        text.contains(
            "B: Read by --force although it is damaged: runs/small/b/templates/pairs.tsv"
        ),
        "{text}"
    );
    let same = compared("runs/small/a", "runs/small/a");
    assert!(same.contains("with the same settings"), "{same}");
    assert!(
        same.contains("changed by 0 [0, 0] more in B than in A, p = 1"),
        "{same}"
    );
}

#[test]
fn the_statistics_are_calibrated_on_a_runs_own_values() {
    let project = Project::new();
    project.run("a", &[]);
    let calibrated = |more: &[&str]| {
        let arguments = [&["calibrate", "--rounds", "20", "--draws", "200"], more].concat();
        project.milepost(&arguments).output().unwrap()
    };
    // The newest run, and the same by name.
    let newest = calibrated(&["--column", "kl_nats"]);
    let named = calibrated(&["runs/small/a", "--column", "kl_nats"]);
    assert_eq!(newest.stdout, named.stdout);
    let text = String::from_utf8(newest.stdout).unwrap();
    assert!(
        text.starts_with(
            "kl_nats of small/a, female - male, step 6: 4 pairs, 2 identities, 2 templates"
        ),
        "{text}"
    );
    // Two identities in two templates are too few for any interval, and it says so by its exit code too.
    let code = i32::from(text.contains("do NOT hold"));
    assert_eq!(newest.status.code(), Some(code), "{text}");
    let change = calibrated(&["runs/small/a", "--column", "kl_nats", "--change"]);
    let change = String::from_utf8(change.stdout).unwrap();
    assert!(
        change.starts_with("kl_nats of small/a, female - male, change up to step 6: 4 pairs"),
        "{change}"
    );
    // Every prompt of this project has the same n_matches.
    let message = project.fails(&["calibrate", "runs/small/a"], 3);
    assert!(message.contains("no spread"), "{message}");
    let message = project.fails(&["calibrate", "runs/small/a", "--column", "love"], 2);
    assert!(
        message.contains("no column `love`") && message.contains("n_matches"),
        "{message}"
    );
}

#[test]
fn what_is_no_run_or_damaged_is_named_with_file_and_line() {
    let project = Project::new();
    let run = project.run("a", &[]);
    let message = project.fails(&["report", "nowhere"], 3);
    assert!(
        message.contains("nowhere/milestones.jsonl")
            && message.contains("is that the directory of a run"),
        "{message}"
    );
    // The last line of a run that was killed while it wrote is left out.
    let path = run.join("milestones.jsonl");
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(run.join("outcome.json")).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    project
        .milepost(&["report", "runs/small/a"])
        .assert()
        .success();
    let mut lines: Vec<&str> = whole.lines().collect();
    lines[2] = "{";
    std::fs::write(&path, lines.join("\n")).unwrap();
    let message = project.fails(&["report", "runs/small/a"], 3);
    assert!(message.contains("milestones.jsonl:3:"), "{message}");
    std::fs::write(&path, whole).unwrap();
    let values = run.join("templates/step-00000006-match-disparity.tsv");
    let text = std::fs::read_to_string(&values).unwrap();
    let (head, last) = text.trim_end().rsplit_once('\t').unwrap();
    std::fs::write(&values, format!("{head}\tx{last}\n")).unwrap();
    let message = project.fails(&["report", "runs/small/a"], 3);
    assert!(
        message.contains("step-00000006-match-disparity.tsv:9:")
            && message.contains("is not a number"),
        "{message}"
    );
    let fewer: Vec<&str> = text.lines().take(5).collect();
    std::fs::write(&values, fewer.join("\n")).unwrap();
    let message = project.fails(&["report", "runs/small/a"], 3);
    assert!(
        message.contains("step-00000006-match-disparity.tsv: it was changed"),
        "{message}"
    );
    std::fs::write(&values, "").unwrap();
    let message = project.fails(&["report", "runs/small/a"], 3);
    assert!(message.contains("its columns are missing"), "{message}");
    std::fs::write(&values, &text).unwrap();
    let pairs = run.join("templates/pairs.tsv");
    let good = std::fs::read_to_string(&pairs).unwrap();
    std::fs::write(&pairs, good.replacen("gender\t0\t", "gender\t99\t", 1)).unwrap();
    let message = project.fails(&["report", "runs/small/a"], 3);
    assert!(message.contains("pairs.tsv: it was changed"), "{message}");
    let message = project.fails(&["report", "runs/small/a", "--force"], 3);
    assert!(
        message.contains("pairs.tsv:2:") && message.contains("beyond the 8 prompts"),
        "{message}"
    );
}

/// The slope of the gap's change against that of KL, and the change without each identity and template, by plain sums.
#[test]
fn the_prompts_that_carry_the_gap_are_those_of_plain_sums() {
    let project = project();
    let run = RecordedRun::read(&project.run("a", &[]), &shipping()).unwrap();
    let html = project.read("runs/small/a/report.html");
    let contrast = &run.contrasts[0];
    let change = |column: &str| -> Vec<f64> {
        let at = |moment| run.observed_at(contrast, column, moment).unwrap();
        let both = at(Moment::Start).into_iter().zip(at(Moment::End));
        both.map(|(before, after)| after.difference().unwrap() - before.difference().unwrap())
            .collect()
    };
    let (x, y) = (change("kl_nats"), change(&run.n_matches()));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let points = || x.iter().map(|one| one - mean(&x)).zip(&y);
    let slope =
        points().map(|(x, y)| x * y).sum::<f64>() / points().map(|(x, _)| x * x).sum::<f64>();
    let row = |begin: &str| {
        let from = html.find(begin).unwrap_or_else(|| panic!("no {begin}"));
        &html[from..from + html[from..].find("</tr>").unwrap()]
    };
    let found = row("<tr data-slope=\"KL, nats\">");
    assert!(
        found.contains(&format!("<td>{}</td>", signed(slope))),
        "{found}, {slope}"
    );
    let units = &contrast.units;
    for (kind, of) in [
        (
            "identity pair",
            units.iter().map(|unit| unit.identity).collect::<Vec<_>>(),
        ),
        ("template", units.iter().map(|unit| unit.template).collect()),
    ] {
        let rows: Vec<&str> = html
            .split(&format!("<tr data-left-out=\"{kind}\">"))
            .skip(1)
            .collect();
        assert_eq!(rows.len(), 2, "{kind}");
        for cluster in 0..2 {
            let kept = y.iter().zip(&of).filter(|(_, own)| **own != cluster);
            let kept: Vec<f64> = kept.map(|(value, _)| *value).collect();
            let cells = format!(
                "<td>{}</td><td>{}</td></tr>",
                signed(mean(&kept)),
                signed(mean(&kept) - mean(&y))
            );
            assert!(
                rows.iter().any(|row| row.contains(&cells)),
                "{kind} {cluster}: {cells} {rows:?}"
            );
        }
    }
}
