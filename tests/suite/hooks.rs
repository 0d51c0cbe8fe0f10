//! The shipping hooks at work, their options as documented, and the scaffold of a new one.

use milepost::data::templates::TemplateSet;
use milepost::hooks::shipping;

use crate::harness::{Project, gender, milestones};

#[test]
fn every_documented_option_exists_and_the_reverse() {
    for kind in shipping().kinds() {
        let defaults: toml::Table = toml::from_str(&kind.defaults).unwrap();
        for key in defaults.keys() {
            assert!(
                kind.options.iter().any(|(name, _)| name == key),
                "{}: {key} is not documented",
                kind.name
            );
        }
        let build = |text: &str| kind.build(toml::de::ValueDeserializer::parse(text).unwrap());
        assert!(build("{}").is_ok(), "{} must do without options", kind.name);
        assert!(
            build("{ nonsense = 1 }").is_err(),
            "{} must refuse what it does not know",
            kind.name
        );
    }
}

#[test]
fn a_run_reports_every_tag_of_the_design() {
    let project = Project::new();
    let run = project.run("one", &[]);
    let lines = milestones(&run);
    let value = |tag: &str, step: u64| {
        let mut lines = lines.iter().filter(|line| line["step"] == step);
        lines.find_map(|line| {
            line["scalars"][tag]
                .as_f64()
                .or(line["times"][tag].as_f64())
        })
    };
    for tag in [
        "train/main/loss",
        "train/assistant/loss",
        "train/lr",
        "train/main/gradient_norm",
        "eval/main/loss",
        "eval/main/perplexity",
        "eval/assistant/perplexity",
        "kl/mean_nats",
        "kl/female_nats",
        "kl/male_nats",
        "kl/batchmean",
        "decode/assistant_share",
        "decode/acceptance",
        "gender/n_matches_female",
        "gender/n_matches_male",
        "gender/disparity",
        "gender/disparity_low",
        "gender/disparity_high",
        "hook/template-kl/seconds",
        "hook/template-kl/lag_steps",
    ] {
        assert!((0..=6).any(|step| value(tag, step).is_some()), "{tag}");
    }
    // What belongs together agrees.
    let at = |tag: &str| value(tag, 0).unwrap();
    assert!((at("eval/main/loss").exp() - at("eval/main/perplexity")).abs() < 1e-9);
    assert!((at("kl/mean_nats") / 2048.0 - at("kl/batchmean")).abs() < 1e-12);
    assert!(((at("kl/female_nats") + at("kl/male_nats")) / 2.0 - at("kl/mean_nats")).abs() < 1e-12);
    let difference = at("gender/n_matches_female") - at("gender/n_matches_male");
    assert!((difference - at("gender/disparity")).abs() < 1e-12);
    assert_eq!(at("gender/change"), 0.0);
    let table = project.read("runs/small/one/templates/step-00000000-match-disparity.tsv");
    assert_eq!(table.lines().count(), 9);
    assert!(
        table.starts_with("prompt\tgroup\tidentity\tn_matches\tchecked_1\tmatched_1\tchecked_2")
    );
    let mean: f64 = table
        .lines()
        .skip(1)
        .filter(|line| line.contains("\tfemale\t"))
        .map(|line| line.split('\t').nth(3).unwrap().parse::<f64>().unwrap())
        .sum::<f64>()
        / 4.0;
    assert_eq!(mean, at("gender/n_matches_female"));
}

/// Conditions may name what a kind declares, so it must declare all that it reports.
#[test]
fn shipped_hooks_report_what_they_declare() {
    let project = Project::new();
    let roberta =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/roberta/softmax");
    let pairs =
        "sent_more,sent_less,bias_type\nshe cries,he cries,gender\nhe cooks,she cooks,job\n";
    project.write("pairs.csv", pairs);
    let text = project.read("small.toml");
    let (settings, _) = text.split_once("[hooks.").unwrap();
    let mut experiment = settings.replace("max_steps = 6", "max_steps = 1");
    let registry = shipping();
    for kind in registry.kinds() {
        let options = match kind.name {
            "gradient-norm" => "per_parameter = true".to_owned(),
            "template-kl" => "positions = ['last', 'prompt', 'continuation']".to_owned(),
            "crows-pairs" => "file = 'pairs.csv'".to_owned(),
            "toxicity" => format!("classifier = '{}'\nsamples = 1", roberta.display()),
            "honest" => "continuations = 1".to_owned(),
            _ => String::new(),
        };
        experiment += &format!(
            "[hooks.{}]\nat = ['start', 'every step']\n{options}\n",
            kind.name
        );
    }
    experiment += "[hooks.mine]\nkind = 'template-kl'\n";
    project.write("small.toml", experiment);
    let run = project.run("one", &[]);
    let names = [gender(TemplateSet::Paired).names()];
    let mut reporting = 0;
    for line in milestones(&run) {
        let source = line["source"].as_str().unwrap();
        let name = if source == "mine" {
            "template-kl"
        } else {
            source
        };
        let Some(kind) = registry.get(name) else {
            assert!(source == "train" || source == "eval", "{source}");
            continue;
        };
        let shows = kind
            .shows
            .of_contrasts(&names)
            .below(&kind.tag_prefix(source));
        let declared = shows.declared();
        for tag in line["scalars"].as_object().unwrap().keys() {
            let is_declared = declared.iter().any(|one| match one.strip_suffix('*') {
                Some(begin) => tag.starts_with(begin),
                None => one == tag,
            });
            assert!(is_declared, "{source} does not declare {tag}");
            reporting += 1;
        }
    }
    assert!(reporting > 200, "{reporting}");
}

#[test]
fn two_hooks_of_one_kind_have_tags_of_their_own() {
    let project = Project::new();
    let set = "hooks.eager={kind='assistant-share', at='end', decode={draft_length=1}}";
    let run = project.run("one", &["--set", set]);
    let lines = milestones(&run);
    let eager = lines.iter().find(|line| line["source"] == "eager").unwrap();
    assert!(eager["scalars"]["eager/decode/acceptance"].is_f64());
}

#[test]
fn a_new_hook_is_written_listed_and_added() {
    let project = Project::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    project.write(
        "hooks/mod.rs",
        std::fs::read(root.join("hooks/mod.rs")).unwrap(),
    );
    project.write(
        "experiments/ag_news.toml",
        std::fs::read(root.join("experiments/ag_news.toml")).unwrap(),
    );
    project
        .milepost(&["hooks", "--new", "my_hook"])
        .assert()
        .success();
    let list = project.read("hooks/mod.rs");
    assert!(
        list.contains("mod match_disparity;\nmod my_hook;\nmod perplexity;"),
        "{list}"
    );
    assert!(list.contains(".with(my_hook::kind())\n}"), "{list}");
    let hook = project.read("hooks/my_hook.rs");
    assert!(
        hook.contains("struct MyHook")
            && hook.contains("\"my-hook\"")
            && hook.contains("my_hook/entropy_nats")
    );
    assert!(
        project
            .read("experiments/ag_news.toml")
            .ends_with("[hooks.my-hook]\nat = [\"start\", \"every 10%\", \"end\"]\n")
    );
    for (name, says) in [
        ("my_hook", "already"),
        ("template_kl", "already"),
        ("My Hook", "not a hook's name"),
        ("fn", "not a hook's name"),
        ("9x", "not a"),
        ("mod", "not a"),
    ] {
        let error = project.fails(&["hooks", "--new", name], 2);
        assert!(error.contains(says), "{error}");
    }
    project.write("experiments/inline.toml", "hooks = {}\n");
    let inline = ["hooks", "--new", "other", "--experiment", "inline"];
    let error = project.fails(&inline, 2);
    assert!(error.contains("experiments/inline.toml"), "{error}");
    assert!(!project.path().join("hooks/other.rs").exists());
}
