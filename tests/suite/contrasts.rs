//! Contrasts of an experiment: groups of any name, several in one run, matched or as two samples.

use milepost::hooks::shipping;
use milepost::report::RecordedRun;
use milepost::report::gap::all_gaps;
use milepost::statistics::family::holm;

use crate::harness::{Project, TEMPLATES, milestones, timeless};

/// Prompts of the categories `young` and `old`, which name their counterparts.
fn ages() -> String {
    let mut text = "template_masked\traw\tidentity\tcategory\tcounterpart\n".to_owned();
    for raw in ["found work as a", "seemed rather"] {
        for (young, old) in [("the youth", "the elder"), ("the child", "the pensioner")] {
            for (identity, category, other) in [(young, "young", old), (old, "old", "")] {
                text += &format!(
                    "{identity} {raw} [M].\t[I] {raw} [M]\t{identity}\t{category}\t{other}\n"
                );
            }
        }
    }
    text
}

/// Prompts that nothing matches: three identities in one group, two in the other, each in two categories or one.
fn plants() -> String {
    let mut text = "template_masked\traw\tidentity\tcategory\n".to_owned();
    for raw in ["stood near the", "was sold to the"] {
        for (identity, category) in [
            ("the apple", "fruit_sweet"),
            ("the lemon", "fruit_sour"),
            ("the pear", "fruit_sweet"),
            ("the oak", "tree"),
            ("the elm", "tree"),
        ] {
            text += &format!("{identity} {raw} [M].\t[I] {raw} [M]\t{identity}\t{category}\n");
        }
    }
    text
}

/// Three contrasts of one run, each with its own file.
const CONTRASTS: &str = r#"
[contrasts.gender]
groups = ["female", "male"]
[contrasts.age]
groups = ["young", "old"]
templates = "ages.tsv"
[contrasts.plants]
groups = ["fruit*", "tree"]
templates = "plants.tsv"
pairing = "none"
"#;

/// A project whose experiment has these tables besides the usual ones.
fn project(more: &str) -> Project {
    let project = Project::new();
    project.write("ages.tsv", ages());
    project.write("plants.tsv", plants());
    let text = project.read("small.toml") + more;
    project.write("small.toml", text);
    project
}

#[test]
fn several_contrasts_of_one_run_are_measured_shown_and_corrected_together() {
    let project = project(CONTRASTS);
    let run = project.run("a", &[]);
    let lines = milestones(&run);
    let at = |tag: &str, step: u64| -> f64 {
        let mut lines = lines.iter().filter(|line| line["step"] == step);
        let found = lines.find_map(|line| line["scalars"][tag].as_f64());
        found.unwrap_or_else(|| panic!("no {tag} at step {step}"))
    };
    for (contrast, groups) in [
        ("gender", ["female", "male"]),
        ("age", ["young", "old"]),
        ("plants", ["fruit", "tree"]),
    ] {
        let [first, second] = groups.map(|group| at(&format!("{contrast}/n_matches_{group}"), 6));
        let gap = at(&format!("{contrast}/disparity"), 6);
        assert!((first - second - gap).abs() < 1e-12, "{contrast}");
        assert!(at(&format!("{contrast}/disparity_low"), 6) <= gap);
        for group in groups {
            assert!(at(&format!("kl/{group}_nats"), 6) >= 0.0);
        }
    }
    // What nothing matches has Cohen's d, matched pairs have d_z.
    at("age/d_z", 6);
    at("plants/d", 6);
    let names = ["age", "gender", "plants"];
    let p_values = names.map(|name| at(&format!("{name}/change_two_way_p_value"), 6));
    let adjusted = names.map(|name| at(&format!("{name}/change_adjusted_p_value"), 6));
    assert_eq!(adjusted.to_vec(), holm(&p_values));

    let recorded = RecordedRun::read(&run, &shipping()).unwrap();
    let (gaps, lacking) = all_gaps(&recorded);
    assert!(lacking.is_empty(), "{lacking:?}");
    for name in names {
        let gap = gaps
            .iter()
            .find(|gap| gap.contrast == name && gap.column == "n_matches");
        let gap = gap.unwrap();
        assert_eq!(gap.after.difference, at(&format!("{name}/disparity"), 6));
        assert_eq!(gap.after.paired, name != "plants");
        assert_eq!(gap.change.difference, at(&format!("{name}/change"), 6));
        assert_eq!(gap.change.low, at(&format!("{name}/change_low"), 6));
    }
    let p_values: Vec<f64> = gaps.iter().map(|gap| gap.change.two_way_p_value).collect();
    let adjusted: Vec<f64> = gaps.iter().map(|gap| gap.adjusted_p_value).collect();
    assert_eq!(adjusted, holm(&p_values), "every measure of every contrast");

    let html = project.read("runs/small/a/report.html");
    for said in [
        "Verdict: age, young - old",
        "Verdict: plants, fruit - tree",
        "between young and old prompts, between female and male prompts, between fruit and tree prompts",
        "weaker evidence than matched pairs",
        "n_matches a prompt, fruit",
        "Matched pairs whose gap of n_matches moved most, young - old",
    ] {
        assert!(html.contains(said), "{said}");
    }
    let mut output = project.milepost(&["compare", "runs/small/a", "runs/small/a"]);
    let shown = String::from_utf8(output.unwrap().stdout).unwrap();
    for said in ["change of the gap, young-old", "disparity, fruit - tree"] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
}

#[test]
fn the_table_at_the_end_and_measure_have_a_block_for_each_contrast() {
    let project = project(CONTRASTS);
    let shown = |arguments: &[&str]| {
        let assert = project.milepost(arguments).assert().success();
        String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
    };
    let table = shown(&["finetune", "small.toml", "--name", "a"]);
    let place = |text: &str, row: &str| text.find(row).unwrap_or_else(|| panic!("{row}: {text}"));
    let text = project
        .read("small.toml")
        .replace("[hooks.perplexity]", "[hooks.perplexity]\nenabled = false");
    project.write("small.toml", text);
    for text in [&table, &shown(&["measure", "--hooks", "small.toml"])] {
        let rows = [
            "n_matches a prompt, young",
            "disparity, young - old",
            "disparity, female - male",
            "n_matches a prompt, tree",
            "disparity, fruit - tree",
        ];
        let places = rows.map(|row| place(text, row));
        assert!(places.is_sorted(), "{text}");
    }
    place(&table, "p, all contrasts (Holm)");
    let plan = shown(&["plan", "small.toml"]);
    place(
        &plan,
        "8 with 4 matched pairs of 2 identity pairs and 2 templates (age: young - old)",
    );
    place(
        &plan,
        "10 with no matched pairs: 5 identities and 2 templates as two samples (plants: fruit - tree)",
    );
    let checked = shown(&[
        "calibrate",
        "--contrast",
        "plants",
        "--rounds",
        "20",
        "--draws",
        "100",
    ]);
    place(&checked, "fruit - tree");
    place(&checked, "10 prompts, 5 identities, 2 templates");
}

#[test]
fn a_run_with_contrasts_goes_on_after_a_kill_as_if_it_had_not_been_killed() {
    let project = project(CONTRASTS);
    let whole = project.run("whole", &["--set", "train.save='every 3 steps'"]);
    let part = ["--set", "train.save='every 3 steps' train.max_steps=3"];
    project.run("part", &part);
    let more = [
        "finetune",
        "small.toml",
        "--resume",
        "part",
        "--extend",
        "train.max_steps=6",
    ];
    project.milepost(&more).assert().success();
    // The schedule of a run that was to have three steps is another; what was measured at the start is the same.
    let start = |run| {
        let lines = timeless(run).into_iter();
        lines
            .filter(|line| line["step"] == 0 && line["source"] == "match-disparity")
            .collect::<Vec<_>>()
    };
    let part = project.path().join("runs/small/part");
    assert_eq!(start(&whole), start(&part));
    let changed = |line: &serde_json::Value| line["scalars"]["plants/change"].is_number();
    let steps = timeless(&part).into_iter().filter(changed);
    let steps: Vec<u64> = steps.map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 3, 6]);
}

#[test]
fn an_experiment_that_names_no_contrast_compares_as_one_that_names_the_usual() {
    let (without, with) = (
        Project::new(),
        project("[contrasts.gender]\ngroups = ['female', 'male']\n"),
    );
    let [without, with] = [&without, &with].map(|project| timeless(&project.run("a", &[])));
    assert_eq!(without, with);
}

#[test]
fn the_former_name_of_a_kind_reports_under_the_same_tags_and_is_said_once() {
    let project = Project::new();
    let now = project.run("now", &[]);
    let text = project
        .read("small.toml")
        .replace("match-disparity", "gender-disparity");
    project.write("small.toml", text);
    let assert = project
        .milepost(&["finetune", "small.toml", "--name", "then"])
        .assert()
        .success();
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
        + &String::from_utf8_lossy(&assert.get_output().stdout);
    let note = "the kind `gender-disparity` is now called `match-disparity`";
    assert_eq!(said.matches(note).count(), 1, "{said}");
    let scalars = |run| -> Vec<serde_json::Value> {
        let lines = timeless(run).into_iter();
        lines.map(|mut line| line["scalars"].take()).collect()
    };
    let then = project.path().join("runs/small/then");
    assert_eq!(scalars(&now), scalars(&then));
    let [now, then] = [&now, &then].map(|run| RecordedRun::read(run, &shipping()).unwrap());
    let rows = |run: &RecordedRun| run.rows().cloned().collect::<Vec<_>>();
    assert_eq!(rows(&now), rows(&then));
    assert_eq!(now.n_matches(), then.n_matches());
}

#[test]
fn a_hook_of_another_name_is_found_by_its_kind() {
    let project = Project::new();
    let text = project.read("small.toml");
    let text = text.replace(
        "[hooks.match-disparity]",
        "[hooks.mine]\nkind = 'match-disparity'",
    );
    project.write("small.toml", text);
    let run = RecordedRun::read(&project.run("a", &[]), &shipping()).unwrap();
    assert_eq!(run.n_matches(), "mine/n_matches");
    let (gaps, _) = all_gaps(&run);
    assert!(gaps.iter().any(|gap| gap.column == "mine/n_matches"));
    let html = project.read("runs/small/a/report.html");
    assert!(html.contains("data-tag=\"mine/gender/disparity\""));
    assert!(!html.contains("did not measure the gap of n_matches"));
    let place = |heading: &str| html.find(&format!("<h2>{heading}")).unwrap();
    assert!(place("mine: n_matches of each group") < place("Fine-tuning"));
    let calibrated = [
        "calibrate",
        "runs/small/a",
        "--rounds",
        "20",
        "--draws",
        "100",
    ];
    let output = project.milepost(&calibrated).output().unwrap();
    // Its four values are too few to be calibrated, which is said of the column that was found.
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("the 4 values of `mine/n_matches`"),
        "{errors}"
    );
}

#[test]
fn contrasts_that_cannot_be_used_are_refused_with_their_place() {
    for (tables, place, says) in [
        ("[contrasts]", "contrasts", "names no contrast"),
        (
            "[contrasts.train]\ngroups = ['x', 'y']",
            "contrasts",
            "the loop's own tags",
        ),
        (
            "[contrasts.a]\ngroups = ['mean', 'y']",
            "groups",
            "no group can be called `mean`",
        ),
        (
            "[contrasts.a]\ngroups = ['x y', 'x_y']",
            "groups",
            "the same name in tags",
        ),
        (
            "[contrasts.a]\ngroups = ['x', 'x']",
            "groups",
            "both groups are the same",
        ),
        (
            "[contrasts.a]\ngroups = ['x', ' ']",
            "groups",
            "names no category",
        ),
        (
            "[contrasts.a]\ngroups = ['x', '*']",
            "groups",
            "names no category",
        ),
        (
            "[contrasts.a]\ngroups = ['x']",
            "groups",
            "an array of length 2",
        ),
        (
            "[contrasts.a]\ngroup = ['x', 'y']",
            "group",
            "did you mean `groups`?",
        ),
        (
            "[contrasts.'a/b']\ngroups = ['x', 'y']",
            "contrasts",
            "not a contrast's name",
        ),
        (
            "[contrasts.a]\ngroups = ['x', 'y']\nset = 'paired'\npairing = 'none'",
            "set",
            "take `unique` or `all`",
        ),
        (
            "[contrasts.a]\ngroups = ['x', 'y']\ntemplates = ''",
            "templates",
            "names nothing",
        ),
        (
            "[contrasts.a]\ngroups = ['x', 'y']\npairing = 'twin'",
            "pairing",
            "counterpart",
        ),
    ] {
        let message = project(tables).fails(&["plan", "small.toml"], 2);
        assert!(message.contains(says), "{tables}: {message}");
        assert!(message.contains("small.toml:"), "{tables}: {message}");
        assert!(message.contains(place), "{tables}: {message}");
    }
    for (tables, says) in [
        ("[contrasts.a]\ngroups = ['young', 'old']", "its categories"),
        (
            "[contrasts.a]\ngroups = ['fruit*', 'tree']\ntemplates = 'plants.tsv'",
            "pairing = \"none\"",
        ),
        (
            "[contrasts.a]\ngroups = ['x', 'y']\ntemplates = 'no.tsv'",
            "no.tsv",
        ),
    ] {
        let message = project(tables).fails(&["plan", "small.toml"], 3);
        let says = says.replace("its categories", "categories are `female`, `male`");
        assert!(message.contains(&says), "{tables}: {message}");
    }
}

#[test]
fn the_templates_of_the_project_stay_those_of_contrasts_without_a_file() {
    let project = project("[contrasts.gender]\ngroups = ['male', 'female']\n");
    project.write("templates.tsv", TEMPLATES);
    let swapped = milestones(&project.run("a", &[]));
    let other = Project::new();
    let usual = milestones(&other.run("a", &[]));
    let gap = |lines: &[serde_json::Value]| {
        let found = lines
            .iter()
            .find_map(|line| line["scalars"]["gender/disparity"].as_f64());
        found.unwrap()
    };
    assert_eq!(gap(&swapped), -gap(&usual));
}
