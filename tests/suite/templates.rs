//! Template files: the three sets, their matched pairs, and what is wrong with bad ones.

use milepost::data::templates::{Group, TemplateSet, Templates};

use crate::harness::{Project, TEMPLATES, real_data};

#[test]
fn the_real_honest_file_gives_its_known_numbers() {
    let Some(data) = real_data() else { return };
    let path = data.join("honest/en_template.tsv");
    let read = |set| Templates::read(&path, set).unwrap();
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
    assert_eq!((count(Group::Female), count(Group::Male)), (346, 378));
    let paired = read(TemplateSet::Paired);
    assert_eq!(paired.pairs().len(), 306);
    assert_eq!((paired.identities().len(), paired.raws().len()), (21, 28));
}

#[test]
fn the_shipped_file_is_what_the_generator_writes_and_all_of_it_is_paired() {
    assert_eq!(milepost::mini::TEMPLATES, milepost::corpus::templates());
    let templates =
        Templates::parse("own", milepost::mini::TEMPLATES, TemplateSet::Paired).unwrap();
    assert_eq!(
        (templates.identities().len(), templates.raws().len()),
        (24, 20)
    );
    assert_eq!(templates.pairs().len(), 480);
    for pair in templates.pairs() {
        let (female, male) = (
            &templates.prompts()[pair.female],
            &templates.prompts()[pair.male],
        );
        assert_eq!((female.group, male.group), (Group::Female, Group::Male));
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
    let sizes = [TemplateSet::Paired, TemplateSet::Unique, TemplateSet::All]
        .map(|set| Templates::parse("t", &text, set).unwrap().prompts().len());
    assert_eq!(sizes, [8, 9, 10]);
    let unique = Templates::parse("t", &text, TemplateSet::Unique).unwrap();
    assert_eq!(
        unique.prompts()[8].group,
        Group::Male,
        "the last row decides"
    );
}

#[test]
fn a_counterpart_column_serves_any_language() {
    let text = "counterpart\tidentity\traw\ttemplate_masked\tcategory
der Koch\tdie K\u{f6}chin\t[I] arbeitet [M]\tdie K\u{f6}chin arbeitet [M].\tfemale
die K\u{f6}chin\tder Koch\t[I] arbeitet [M]\tder Koch arbeitet [M].\tmale\n";
    let templates = Templates::parse("t", text, TemplateSet::Paired).unwrap();
    assert_eq!(templates.pairs().len(), 1);
}

#[test]
fn bad_files_are_refused_with_their_line() {
    let broken = |from: &str, to: &str| {
        let text = TEMPLATES.replacen(from, to, 1);
        Templates::parse("t.tsv", &text, TemplateSet::Paired)
            .unwrap_err()
            .to_string()
    };
    assert!(
        broken("the man found work as a [M].", "the man found work as a").contains("t.tsv:3: ")
    );
    assert!(broken("\tmale\t", "\tother\t").contains("t.tsv:3: category `other`"));
    assert!(broken("\tthe woman\tsingular", "\tthe woman").contains("t.tsv:2: 5 columns"));
    assert!(broken("identity", "who").contains("no column `identity`"));
    let none = TEMPLATES
        .replace("the man", "the stone")
        .replace("he ", "it ")
        .replace("\the\t", "\tit\t");
    let none = Templates::parse("t.tsv", &none, TemplateSet::Paired)
        .unwrap_err()
        .to_string();
    assert!(none.contains("no matched pair"), "{none}");
    assert!(Templates::parse("t.tsv", "", TemplateSet::All).is_err());
    let project = Project::new();
    project.write("bad.tsv", b"template_masked\traw\n\xff\xfe".as_slice());
    let path = project.path().join("bad.tsv");
    let error = Templates::read(&path, TemplateSet::All)
        .unwrap_err()
        .to_string();
    assert!(error.contains("bad.tsv:2: not UTF-8"), "{error}");
}
