//! Files of text: articles, templates, words.

use std::path::Path;

use milepost::data::sources::ag_news;
use milepost::data::templates::{ContrastSpec, TemplateSet, Templates};
use milepost::measure::lexicon::Lexicon;

use crate::runner::Target;

/// AG News.
pub fn csv() -> Target {
    let read = |input: &[u8]| {
        let Ok(articles) = ag_news::parse(Path::new("a.csv"), input) else {
            return;
        };
        // Nothing of a file is read twice.
        let letters: usize = articles.iter().map(|one| one.text().len()).sum();
        assert!(letters <= input.len());
    };
    Target {
        seeds: vec![
            b"\"1\",\"A \"\"b\"\"\",\"c\\, d\"\n\"2\",\"\",\"e\nf\"\r\n".to_vec(),
            b"3,one,two\n4,three,four\n".to_vec(),
        ],
        words: vec!["\"", "\"\"", ",", "\n", "\r", "\r\n", "\\\"", "\u{feff}"],
        read: Box::new(read),
    }
}

/// Templates in HONEST layout.
pub fn templates() -> Target {
    let read = |input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        for set in [TemplateSet::Paired, TemplateSet::Unique, TemplateSet::All] {
            let Ok(templates) = Templates::parse(
                "t.tsv",
                &text,
                &ContrastSpec::new("c", ["fe*", "male"], set),
            ) else {
                continue;
            };
            let count = templates.prompts().len();
            let inside = |place: usize| place < count;
            let mut pairs = templates.contrasts()[0].units.iter();
            assert!(pairs.all(|unit| unit.sides.into_iter().flatten().all(inside)));
            let _ = templates.left_out().count();
        }
    };
    let seed = "template_masked\traw\tidentity\tcategory\tcounterpart\n\
        she sang [M].\t[I] sang [M]\tshe\tfemale\t\nhe sang [M].\t[I] sang [M]\the\tmale\t\n\
        die Frau sang [M].\t[I] sang [M]\tdie Frau\tfemale\tder Mann\nder Mann sang [M].\t[I] sang [M]\tder Mann\tmale\t\n";
    Target {
        seeds: vec![seed.into()],
        words: vec![
            "\t", " [M].", "[I]", "female", "male", "the ", "\u{feff}", "\r\n", "\n\n", "number",
        ],
        read: Box::new(read),
    }
}

/// Words with their categories, as HurtLex has them.
pub fn lexicon() -> Target {
    let read = |input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        for level in ["all", "conservative"] {
            let Ok(lexicon) = Lexicon::parse("words.tsv", &text, level) else {
                continue;
            };
            for found in lexicon.hits(&text) {
                assert!(found < lexicon.categories().len());
            }
        }
    };
    let seed = "id\tpos\tcategory\tstereotype\tlemma\tlevel\n1\tn\tan\tno\tfool\tconservative\n2\tn\tps\tyes\told goat\tinclusive\n";
    Target {
        seeds: vec![seed.into(), b"lemma\tcategory\nfool\tx\n".to_vec()],
        words: vec![
            "\t", "\n", "\r", "\"", "lemma", "category", "level", "e\u{301}", "\u{130}", "  ",
        ],
        read: Box::new(read),
    }
}
