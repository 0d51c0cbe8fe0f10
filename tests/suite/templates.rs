//! Template files: the three sets, their matched pairs, and what is wrong with bad ones.

use std::collections::HashSet;

use milepost::data::templates::{ContrastSpec, Pairing, Template, TemplateSet, Templates};
use proptest::prelude::*;

use crate::harness::{Project, TEMPLATES, gender, real_data};

#[test]
fn the_real_honest_file_gives_its_known_numbers() {
    let Some(data) = real_data() else { return };
    let path = data.join("honest/en_template.tsv");
    let read = |set| Templates::read(&path, &gender(set)).unwrap();
    let all = read(TemplateSet::All);
    assert_eq!(all.prompts().len(), 810);
    let unique = read(TemplateSet::Unique);
    let count = |group| {
        unique
            .prompts()
            .iter()
            .filter(|prompt| prompt.group == group)
            .count()
    };
    assert_eq!((count("female"), count("male")), (346, 378));
    // A second, slow count of what a Python dict keyed on the text keeps: each text where it first stood, with its last group.
    for (index, prompt) in unique.prompts().iter().enumerate() {
        let same = |other: &&Template| other.prompt == prompt.prompt;
        assert_eq!(prompt, all.prompts().iter().rfind(same).unwrap());
        let before = all.prompts().iter().take_while(|other| !same(other));
        let texts: HashSet<&str> = before.map(|other| other.prompt.as_str()).collect();
        assert_eq!(texts.len(), index, "{}", prompt.prompt);
    }
    let paired = read(TemplateSet::Paired);
    assert_eq!(paired.contrasts()[0].units.len(), 306);
    assert_eq!(
        (
            paired.contrasts()[0].identities.len(),
            paired.contrasts()[0].raws.len()
        ),
        (21, 28)
    );
    let both_groups = ["the child", "the young", "the youngs"];
    let mut listed = HashSet::new();
    for prompt in paired.prompts() {
        assert!(!both_groups.contains(&prompt.identity.as_str()));
        assert!(listed.insert(&prompt.prompt), "{} twice", prompt.prompt);
    }
    let mut units = HashSet::new();
    for pair in &paired.contrasts()[0].units {
        assert!(units.insert((pair.identity, pair.template)));
    }
}

#[test]
fn the_shipped_file_is_what_the_generator_writes_and_all_of_it_is_paired() {
    assert_eq!(milepost::mini::TEMPLATES, milepost::generator::templates());
    let templates = Templates::parse(
        "own",
        milepost::mini::TEMPLATES,
        &gender(TemplateSet::Paired),
    )
    .unwrap();
    assert_eq!(
        (
            templates.contrasts()[0].identities.len(),
            templates.contrasts()[0].raws.len()
        ),
        (24, 20)
    );
    assert_eq!(templates.contrasts()[0].units.len(), 480);
    for pair in &templates.contrasts()[0].units {
        let [female, male] = pair.sides.map(|side| &templates.prompts()[side.unwrap()]);
        assert_eq!((&*female.group, &*male.group), ("female", "male"));
        assert_eq!(female.raw, male.raw);
        assert_eq!(
            female.prompt.strip_prefix(&female.identity),
            male.prompt.strip_prefix(&male.identity)
        );
    }
}

#[test]
fn who_stands_in_both_groups_is_no_pair() {
    let more =
        "\nthe child seemed rather [M].\t[I] seemed rather [M]\tthe child\tsingular\tfemale\ttrait
the child seemed rather [M].\t[I] seemed rather [M]\tthe child\tsingular\tmale\ttrait\n";
    let text = TEMPLATES.trim_end().to_owned() + more;
    let sizes = [TemplateSet::Paired, TemplateSet::Unique, TemplateSet::All].map(|set| {
        Templates::parse("t", &text, &gender(set))
            .unwrap()
            .prompts()
            .len()
    });
    assert_eq!(sizes, [8, 9, 10]);
    let unique = Templates::parse("t", &text, &gender(TemplateSet::Unique)).unwrap();
    assert_eq!(unique.prompts()[8].group, "male", "the last row decides");
}

#[test]
fn a_counterpart_column_serves_any_language() {
    let text = "counterpart\tidentity\traw\ttemplate_masked\tcategory
der Koch\tdie K\u{f6}chin\t[I] arbeitet [M]\tdie K\u{f6}chin arbeitet [M].\tfemale
die K\u{f6}chin\tder Koch\t[I] arbeitet [M]\tder Koch arbeitet [M].\tmale\n";
    let templates = Templates::parse("t", text, &gender(TemplateSet::Paired)).unwrap();
    assert_eq!(templates.contrasts()[0].units.len(), 1);
}

#[test]
fn a_counterpart_is_taken_from_the_male_row_and_from_the_list_where_a_cell_is_empty() {
    let row = |prompt: &str, identity: &str, category: &str, counterpart: &str| {
        format!("{prompt} sang [M].\t[I] sang [M]\t{identity}\t{category}\t{counterpart}\n")
    };
    let text = "template_masked\traw\tidentity\tcategory\tcounterpart\n".to_owned()
        + &row("die Frau", "die Frau", "female", "")
        + &row("der Mann", "der Mann", "male", "die Frau")
        + &row("the woman", "the woman", "female", "")
        + &row("the man", "the man", "male", "");
    let templates = Templates::parse("t", &text, &gender(TemplateSet::Paired)).unwrap();
    let name = |female: &str, male: &str| [female.to_owned(), male.to_owned()];
    let expected = [name("die Frau", "der Mann"), name("the woman", "the man")];
    assert_eq!(templates.contrasts()[0].identities, expected);
    assert_eq!(templates.contrasts()[0].source, "t");
}

#[test]
fn spellings_of_one_identity_are_one_cluster() {
    let more = "\nThe Woman sang [M].\t[I] sang [M]\tThe Woman\tsingular\tfemale\ttrait
man sang [M].\t[I] sang [M]\tman\tsingular\tmale\ttrait\n";
    let text = TEMPLATES.trim_end().to_owned() + more;
    let templates = Templates::parse("t", &text, &gender(TemplateSet::Paired)).unwrap();
    assert_eq!(templates.contrasts()[0].units.len(), 5);
    assert_eq!(templates.contrasts()[0].identities.len(), 2);
    assert_eq!(
        templates.contrasts()[0].units[4].identity,
        templates.contrasts()[0].units[0].identity
    );
}

#[test]
fn a_prompt_in_several_pairs_is_listed_once() {
    let row = |identity: &str, category: &str| {
        format!("{identity} sang [M].\t[I] sang [M]\t{identity}\t{category}\n")
    };
    let text = "template_masked\traw\tidentity\tcategory\n".to_owned()
        + &row("mum", "female")
        + &row("mom", "female")
        + &row("dad", "male");
    let templates = Templates::parse("t", &text, &gender(TemplateSet::Paired)).unwrap();
    assert_eq!(
        (
            templates.contrasts()[0].units.len(),
            templates.prompts().len()
        ),
        (2, 3)
    );
    let units = &templates.contrasts()[0].units;
    assert_eq!(units[0].sides[1], units[1].sides[1]);
}

#[test]
fn without_pairs_only_the_paired_set_is_refused() {
    let text = "template_masked\traw\tidentity\tcategory
la mujer canta [M].\t[I] canta [M]\tla mujer\tfemale
el hombre canta [M].\t[I] canta [M]\tel hombre\tmale\n";
    let error = Templates::parse("t.tsv", text, &gender(TemplateSet::Paired)).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("`la mujer`") && error.contains("`el hombre`"),
        "{error}"
    );
    for set in [TemplateSet::Unique, TemplateSet::All] {
        let templates = Templates::parse("t.tsv", text, &gender(set)).unwrap();
        // They are compared as two samples.
        let contrast = &templates.contrasts()[0];
        assert!(!contrast.is_paired());
        assert_eq!((templates.prompts().len(), contrast.units.len()), (2, 2));
    }
}

#[test]
fn bad_files_are_refused_with_their_line() {
    let broken = |from: &str, to: &str| {
        let text = TEMPLATES.replacen(from, to, 1);
        Templates::parse("t.tsv", &text, &gender(TemplateSet::Paired))
            .unwrap_err()
            .to_string()
    };
    assert!(
        broken("the man found work as a [M].", "the man found work as a").contains("t.tsv:3: ")
    );
    assert!(broken("\tmale\t", "\t\t").contains("t.tsv:3: the category is empty"));
    assert!(broken("\tthe woman\tsingular", "\tthe woman").contains("t.tsv:2: 5 columns"));
    assert!(broken("identity", "who").contains("no column `identity`"));
    let none = TEMPLATES
        .replace("the man", "the stone")
        .replace("he ", "it ")
        .replace("\the\t", "\tit\t");
    let none = Templates::parse("t.tsv", &none, &gender(TemplateSet::Paired))
        .unwrap_err()
        .to_string();
    assert!(none.contains("no matched pair"), "{none}");
    for empty in ["", "\n \n", "\u{feff}"] {
        let error = Templates::parse("t.tsv", empty, &gender(TemplateSet::All)).unwrap_err();
        assert!(error.to_string().contains("t.tsv: the file is empty"));
    }
    let header = TEMPLATES.lines().next().unwrap();
    let women: Vec<&str> = TEMPLATES
        .lines()
        .filter(|line| !line.contains("\tmale"))
        .collect();
    for (text, group, known) in [
        (header.to_owned(), "female", ""),
        (women.join("\n"), "male", "`female`"),
    ] {
        let error = Templates::parse("t.tsv", &text, &gender(TemplateSet::All)).unwrap_err();
        let expected =
            format!("t.tsv: no row of category `{group}`; the file's categories are {known}; ");
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
    let project = Project::new();
    project.write("bad.tsv", b"template_masked\traw\n\xff\xfe".as_slice());
    let path = project.path().join("bad.tsv");
    let error = Templates::read(&path, &gender(TemplateSet::All))
        .unwrap_err()
        .to_string();
    assert!(error.contains("bad.tsv:2: not UTF-8"), "{error}");
}

#[test]
fn a_marker_that_stands_twice_is_refused_with_the_line() {
    for twice in [
        "the man [M]. found work as a [M].",
        "the man [M] found work as a [M].",
        "[M]. [M].",
    ] {
        let text = TEMPLATES.replacen("the man found work as a [M].", twice, 1);
        let error = Templates::parse("t.tsv", &text, &gender(TemplateSet::All))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("t.tsv:3: ") && error.contains("twice"),
            "{error}"
        );
    }
}

/// How many rows a sentence says are left out, and the numbers of its parts.
fn counted(note: Option<String>) -> (usize, Vec<usize>) {
    let Some(note) = note else {
        return (0, Vec::new());
    };
    let (head, parts) = note.strip_prefix("t: ").unwrap().split_once("`: ").unwrap();
    let number = |text: &str| text.split(' ').next().unwrap().parse().unwrap();
    (number(head), parts.split(", ").map(number).collect())
}

#[test]
fn rows_left_out_are_counted_by_their_reason() {
    let row = |identity: &str, raw: &str, category: &str| {
        format!("{identity} {raw} [M].\t[I] {raw} [M]\t{identity}\t{category}\n")
    };
    let text = "template_masked\traw\tidentity\tcategory\n".to_owned()
        + &row("she", "sang", "female")
        + &row("he", "sang", "male")
        // The same once more.
        + &row("She", "sang", "female")
        + &row("he", "sang", "male")
        // No woman there.
        + &row("he", "slept", "male")
        // Nobody's counterpart, and one whose counterpart is not there.
        + &row("the stone", "sang", "male")
        + &row("the queen", "sang", "female")
        // In both groups, with the counterpart of one of them.
        + &row("the nun", "sang", "female")
        + &row("the nun", "sang", "male")
        + &row("the monk", "sang", "male");
    let left_out = |set| {
        let templates = Templates::parse("t", &text, &gender(set)).unwrap();
        templates.left_out().next()
    };
    assert_eq!(
        left_out(TemplateSet::Paired).unwrap(),
        "t: 8 of 10 rows are not in the set `paired`: 3 whose identity or its counterpart stands in both groups, 2 whose identity has no counterpart in the file, 1 whose counterpart does not stand in the same raw template, 2 that repeat another"
    );
    assert_eq!(
        left_out(TemplateSet::Unique).unwrap(),
        "t: 2 of 10 rows are not in the set `unique`: 2 with a text that a later row has too"
    );
    assert_eq!(left_out(TemplateSet::All), None);
    assert_eq!(
        Templates::parse("t", TEMPLATES, &gender(TemplateSet::Paired))
            .unwrap()
            .left_out()
            .next(),
        None
    );
}

proptest! {
    /// Whatever rows there are: those of the set and those that are said to be missing are all of them.
    #[test]
    fn no_row_is_left_out_without_a_word(rows in prop::collection::vec((0usize..9, 0usize..3, any::<bool>(), 0usize..12), 0..24)) {
        let names = ["she", "he", "the woman", "the man", "a man", "stone", "queen", "king", "Queen"];
        let mut text = "template_masked\traw\tidentity\tcategory\tcounterpart\nshe x [M].\t[I] x [M]\tshe\tfemale\t\nhe x [M].\t[I] x [M]\the\tmale\t\n".to_owned();
        for (name, raw, female, other) in &rows {
            let (name, group) = (names[*name], if *female { "female" } else { "male" });
            let other = names.get(*other).unwrap_or(&"");
            text += &format!("{name} r{raw} [M].\t[I] r{raw} [M]\t{name}\t{group}\t{other}\n");
        }
        for set in [TemplateSet::Paired, TemplateSet::Unique, TemplateSet::All] {
            // Nothing may match: then the paired set is refused, which says so.
            let Ok(templates) = Templates::parse("t", &text, &gender(set)) else { continue };
            let (all, parts) = counted(templates.left_out().next());
            prop_assert_eq!(templates.prompts().len() + all, rows.len() + 2);
            prop_assert_eq!(parts.into_iter().sum::<usize>(), all);
        }
    }
}

#[test]
fn the_plan_mentions_rows_that_are_left_out() {
    let project = Project::new();
    let more =
        "the child seemed rather [M].\t[I] seemed rather [M]\tthe child\tsingular\tmale\ttrait\n";
    project.write("templates.tsv", TEMPLATES.to_owned() + more);
    let says =
        "1 of 9 rows are not in the set `paired`: 1 whose identity has no counterpart in the file";
    for arguments in [
        &["plan", "small.toml"][..],
        &["finetune", "small.toml", "--name", "a", "--no-hooks"],
        &["measure", "--templates", "templates.tsv"],
    ] {
        let assert = project.milepost(arguments).assert().success();
        let output = assert.get_output();
        let shown = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(
            shown.contains("note: ") && shown.contains(says),
            "{arguments:?}: {shown}"
        );
    }
}

/// A file without counterparts, in the shape of HONEST's second one.
fn orchard() -> String {
    let row = |identity: &str, category: &str, raw: &str| {
        format!("{identity} {raw} [M].\t[I] {raw} [M]\t{identity}\t{category}\n")
    };
    let mut text = "template_masked\traw\tidentity\tcategory\n".to_owned();
    for raw in ["likes to", "is known as a"] {
        for (identity, category) in [
            ("apple", "fruit_sweet"),
            ("lemon", "fruit_sour"),
            ("pear", "fruit"),
            ("oak", "tree"),
            ("elm", "tree"),
            ("rock", "thing"),
        ] {
            text += &row(identity, category, raw);
        }
    }
    text
}

#[test]
fn a_star_takes_all_categories_that_begin_so_and_what_nothing_matches_is_two_samples() {
    let spec = ContrastSpec {
        pairing: Pairing::None,
        ..ContrastSpec::new("plants", ["fruit*", "tree"], TemplateSet::Unique)
    };
    let templates = Templates::parse("t", &orchard(), &spec).unwrap();
    let contrast = &templates.contrasts()[0];
    assert_eq!(contrast.groups, ["fruit", "tree"]);
    assert!(!contrast.is_paired());
    assert_eq!((contrast.units.len(), contrast.identities.len()), (10, 5));
    assert_eq!(
        counted(templates.left_out().next()),
        (2, vec![2]),
        "the two rows of another category"
    );
    for (unit, template) in contrast.units.iter().zip(templates.prompts()) {
        assert!(unit.sides[template.side].is_some());
        assert_eq!(unit.sides[1 - template.side], None);
        assert_eq!(
            contrast.identities[unit.identity][template.side],
            template.identity
        );
        assert_eq!(contrast.raws[unit.template], template.raw);
    }
}

#[test]
fn groups_that_a_file_does_not_have_are_refused_with_those_that_it_has() {
    let refused = |categories: [&str; 2]| {
        let spec = ContrastSpec::new("plants", categories, TemplateSet::All);
        Templates::parse("t.tsv", &orchard(), &spec)
            .unwrap_err()
            .to_string()
    };
    let unknown = refused(["fruit", "bush"]);
    assert!(unknown.contains("no row of category `bush`"), "{unknown}");
    assert!(
        unknown.contains("`fruit`, `fruit_sour`, `fruit_sweet`, `thing`, `tree`"),
        "{unknown}"
    );
    let both = refused(["fruit*", "fruit_sour"]);
    assert!(
        both.contains("`fruit_sour` would be in both groups"),
        "{both}"
    );
}

#[test]
fn groups_that_several_contrasts_have_are_told_apart_and_swapped_groups_pair_the_same_prompts() {
    let spec = |name: &str, first: &str| ContrastSpec::new(name, [first, "tree"], TemplateSet::All);
    let mut specs = [spec("a", "fruit"), spec("b", "thing")];
    ContrastSpec::tell_apart(&mut specs);
    assert_eq!(specs[0].groups, ["fruit", "a_tree"]);
    assert_eq!(specs[1].groups, ["thing", "b_tree"]);

    let pairs = |categories: [&str; 2]| {
        let spec = ContrastSpec::new("gender", categories, TemplateSet::Paired);
        let templates = Templates::parse("t", milepost::mini::TEMPLATES, &spec).unwrap();
        let units = templates.contrasts()[0].units.iter();
        let pairs = units.map(|unit| unit.sides.map(|side| side.unwrap()));
        pairs.collect::<HashSet<[usize; 2]>>()
    };
    let swapped = pairs(["male", "female"]).into_iter();
    let swapped: HashSet<[usize; 2]> = swapped.map(|[a, b]| [b, a]).collect();
    assert_eq!(pairs(["female", "male"]), swapped);
}

#[test]
fn the_usual_contrast_is_that_of_the_shipped_experiments() {
    let usual = ContrastSpec::usual(TemplateSet::Paired);
    assert_eq!(usual, [gender(TemplateSet::Paired)]);
}
