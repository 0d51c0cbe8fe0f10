//! The lexicon against a slow reference, and the hook that counts its hits.

use std::collections::BTreeSet;

use milepost::measure::lexicon::Lexicon;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::harness::{Project, milestones, timeless};

const LEXICON: &str = "id\tpos\tcategory\tstereotype\tlemma\tlevel
1\tn\tcds\tno\tidiot\tconservative
2\tn\tcds\tno\tlazy dog\tconservative
3\tn\tan\tno\tdog\tconservative
4\tn\tan\tno\tfox\tinclusive
5\ta\tqas\tno\tCr\u{e9}tin\tconservative
6\tn\tqas\tno\tson-in-law\tconservative
";

/// Letter by letter what the rules say, and every lemma looked for in the whole text.
fn slow(text: &str, all: bool) -> BTreeSet<String> {
    let plain = |text: &str| -> String {
        let mut out = String::from(" ");
        for letter in text.chars() {
            let letter = match letter {
                '\u{e9}' | '\u{c9}' => 'e',
                '\u{fc}' => 'u',
                // A combining acute accent.
                '\u{301}' => continue,
                other => other.to_ascii_lowercase(),
            };
            match letter.is_ascii_alphanumeric() {
                true => out.push(letter),
                false if out.ends_with(' ') => {}
                false => out.push(' '),
            }
        }
        out + " "
    };
    let text = plain(text);
    let rows = LEXICON.lines().skip(1);
    let rows = rows.map(|row| row.split('\t').collect::<Vec<_>>());
    let wanted = rows.filter(|row| all || row[5] == "conservative");
    let found = wanted.filter(|row| text.contains(&format!(" {} ", plain(row[4]).trim())));
    found.map(|row| row[2].to_owned()).collect()
}

#[test]
fn hits_agree_with_a_slow_reference_on_a_thousand_sentences() {
    const PARTS: [&str; 22] = [
        "idiot",
        "Idiot",
        "idiots",
        "lazy",
        "dog",
        "dogs",
        "fox",
        "cretin",
        "cre\u{301}tin",
        "CR\u{c9}TIN",
        "son",
        "in",
        "law",
        "son-in-law",
        "the",
        ",",
        ". ",
        "!",
        "-",
        "'",
        "\u{fc}ber",
        "  ",
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut seen = [0; 2];
    for _ in 0..1_000 {
        let mut sentence = String::new();
        for _ in 0..rng.random_range(0..14) {
            sentence += PARTS[rng.random_range(0..PARTS.len())];
            if rng.random() {
                sentence.push(' ');
            }
        }
        for (level, all) in [("conservative", false), ("all", true)] {
            let lexicon = Lexicon::parse("test", LEXICON, level).unwrap();
            let hits = lexicon.hits(&sentence).into_iter();
            let found: BTreeSet<String> =
                hits.map(|one| lexicon.categories()[one].clone()).collect();
            assert_eq!(found, slow(&sentence, all), "{sentence:?}");
            seen[usize::from(found.is_empty())] += 1;
        }
    }
    assert!(seen.iter().all(|&count| count > 200), "{seen:?}");
}

#[test]
fn a_lexicon_that_is_none_is_refused_with_its_place() {
    for (text, part) in [
        ("", ":1: the header"),
        ("word\tkind\n", ":1: the header"),
        ("lemma\tcategory\n", "no lemma is left"),
        (
            "lemma\tcategory\tlevel\nfool\tx\tinclusive\n",
            "no lemma is left",
        ),
        ("lemma\tcategory\nfool\n", ":2: a column is missing"),
    ] {
        let error = Lexicon::parse("words.tsv", text, "conservative");
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("words.tsv:") && error.contains(part),
            "{error}"
        );
    }
}

const EXPERIMENT: &str = r#"
[data]
builtin_sample = true
train_articles = 60
test_articles = 20
[train]
max_steps = 2
batch = 2
block = 32
[templates]
file = "templates.tsv"
[hooks.honest]
at = ["start", "end"]
continuations = 3
"#;

#[test]
fn the_hook_counts_what_the_samples_say() {
    let project = Project::new();
    project.write("small.toml", format!("{EXPERIMENT}lexicon = 'words.tsv'\n"));
    let words = "lemma\tcategory\nthe\tarticle\na\tarticle\nher\tpronoun\nhis\tpronoun\n";
    project.write("words.tsv", words);
    let run = project.run("a", &[]);
    let lines = milestones(&run);
    let line = lines.iter().find(|line| line["source"] == "honest");
    let scalars = &line.unwrap()["scalars"];
    let value = |tag: &str| scalars[tag].as_f64().unwrap();
    for group in ["female", "male", "mean"] {
        let share = value(&format!("honest/{group}"));
        let [article, pronoun] =
            ["article", "pronoun"].map(|category| value(&format!("honest/{group}_{category}")));
        // One hit a continuation: at least as many as of either category, at most as many as of both.
        assert!((article.max(pronoun)..=1.0).contains(&share), "{scalars}");
        assert!(share <= article + pronoun + 1e-12, "{scalars}");
    }
    assert!(value("honest/mean") > 0.5, "{scalars}");
    assert!(value("honest/female_pronoun") > 0.0, "{scalars}");
    // Both groups have a prompt in every pair: the gap is the difference of their means.
    let gap = value("honest/female") - value("honest/male");
    assert!((value("honest/disparity") - gap).abs() < 1e-12);
    let table = std::fs::read_to_string(run.join("templates/step-00000000-honest.tsv")).unwrap();
    let rows = table.lines().skip(1);
    let shares: Vec<f64> = rows
        .map(|row| row.rsplit('\t').next().unwrap().parse().unwrap())
        .collect();
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    assert!((mean - value("honest/mean")).abs() < 1e-12);
    let thirds = |share: &f64| (share * 3.0 - (share * 3.0).round()).abs() < 1e-9;
    assert!(shares.iter().all(thirds), "{shares:?}");
    // The samples of a prompt are not one and the same.
    assert!(
        shares.iter().any(|share| *share > 0.0 && *share < 1.0),
        "{shares:?}"
    );
    assert_eq!(timeless(&run), timeless(&project.run("b", &[])));
}

#[test]
fn a_lexicon_that_is_not_there_ends_the_run_before_it_begins() {
    let project = Project::new();
    project.write(
        "small.toml",
        format!("{EXPERIMENT}lexicon = 'nowhere.tsv'\n"),
    );
    let message = project.fails(&["finetune", "small.toml"], 3);
    assert!(
        message.contains("hook `honest`") && message.contains("nowhere.tsv"),
        "{message}"
    );
    project.write("words.tsv", "lemma\tcategory\none\ta-b\ntwo\ta_b\n");
    project.write("small.toml", format!("{EXPERIMENT}lexicon = 'words.tsv'\n"));
    let message = project.fails(&["finetune", "small.toml"], 3);
    assert!(
        message.contains("words.tsv") && message.contains("`a-b` and `a_b`"),
        "{message}"
    );
    assert!(!project.path().join("runs/small").exists());
}
