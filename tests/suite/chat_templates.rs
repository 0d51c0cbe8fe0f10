//! Chat templates in files of their own, as transformers 5 saves them: what is saved has them, byte for byte.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use milepost::data::tokenizer::Tokenizer;
use milepost::hub::ModelId;
use milepost::mini;
use milepost::model::Role;
use serde_json::Value;
use tempfile::TempDir;

use crate::checkpoints::transformers;
use crate::harness::Project;
use crate::loopback_hub::LoopbackHub;
use crate::{hub, tokenizer_classes};

const USUAL: &str = "chat_template.jinja";
const TOOLS: &str = "additional_chat_templates/tool_use.jinja";
const SHORT: &str = "additional_chat_templates/short one.v2.jinja";

/// Texts that a careless copy would change.
const TEXTS: [&str; 5] = [
    "{% for m in messages %}{{ m.content }}{% endfor %}",
    "{{ x }}\n\n",
    "\r\n{{ x }}\r\nend\r",
    "\u{feff}{{ 'é 漢 \u{1f600}' }}\t ",
    "",
];

/// The files of each set of templates.
fn sets() -> Vec<BTreeMap<&'static str, &'static str>> {
    let names: [&[&str]; 5] = [
        &[USUAL],
        &[USUAL, TOOLS],
        &[TOOLS],
        &[USUAL, TOOLS, SHORT],
        &[SHORT],
    ];
    let sets = names.iter().enumerate().flat_map(|(turn, names)| {
        (0..TEXTS.len()).map(move |first| {
            let named = names.iter().enumerate();
            let named = named.map(|(at, &name)| (name, TEXTS[(turn + first + at) % TEXTS.len()]));
            named.collect()
        })
    });
    sets.collect()
}

fn write(folder: &Path, files: &BTreeMap<&str, &str>) {
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// The chat templates in a folder and its folders, with their bytes.
fn templates(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "jinja") {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}

/// A tokenizer of the hub's form, whose `tokenizer_config.json` has a template, too.
fn with_templates(files: &BTreeMap<&str, &str>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    tokenizer_classes::write(folder.path(), tokenizer_classes::named("qwen3"));
    let config = r#"{"model_type": "qwen3"}"#;
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    write(folder.path(), files);
    folder
}

fn saved(folder: &Path) -> TempDir {
    let again = tempfile::tempdir().unwrap();
    let config = folder.join("config.json");
    std::fs::copy(config, again.path().join("config.json")).unwrap();
    Tokenizer::load(folder).unwrap().save(again.path()).unwrap();
    again
}

#[test]
fn what_is_saved_has_the_templates_byte_for_byte() {
    let mut folders = Vec::new();
    for files in sets() {
        let folder = with_templates(&files);
        write(
            folder.path(),
            &BTreeMap::from([("additional_chat_templates/README.md", "no template")]),
        );
        let before = templates(folder.path());
        assert_eq!(before.len(), files.len());
        let once = saved(folder.path());
        let twice = saved(once.path());
        assert_eq!(templates(once.path()), before);
        assert_eq!(templates(twice.path()), before);
        assert!(
            !once
                .path()
                .join("additional_chat_templates/README.md")
                .exists()
        );
        folders.extend([folder, once]);
    }
    // Without any there is no empty folder.
    let plain = saved(with_templates(&BTreeMap::new()).path());
    assert!(!plain.path().join("additional_chat_templates").exists());
    let Some(python) = transformers() else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/chat_templates.py");
    let output = assert_cmd::Command::new(python)
        .arg(script)
        .args(folders.iter().map(TempDir::path))
        .assert()
        .success();
    let found: Vec<Value> = serde_json::from_slice(&output.get_output().stdout).unwrap();
    for (index, both) in found.chunks(2).enumerate() {
        assert!(!both[0].is_null(), "{index}");
        assert_eq!(both[0], both[1], "{index}");
    }
}

#[test]
fn templates_that_cannot_be_read_are_refused_by_their_path() {
    for name in [USUAL, TOOLS] {
        let folder = with_templates(&BTreeMap::from([(name, "x")]));
        std::fs::write(folder.path().join(name), b"{{ x }}\xff").unwrap();
        let refused = Tokenizer::load(folder.path()).unwrap_err().to_string();
        assert!(
            refused.contains(name) && refused.contains("UTF-8"),
            "{refused}"
        );
    }
    let folder = with_templates(&BTreeMap::new());
    std::fs::create_dir_all(folder.path().join(TOOLS)).unwrap();
    let refused = Tokenizer::load(folder.path()).unwrap_err().to_string();
    assert!(refused.contains(TOOLS), "{refused}");
}

/// The built-in pair in two folders, each with templates of its own.
fn pair() -> Project {
    let project = Project::new();
    for (role, text) in [(Role::Main, TEXTS[0]), (Role::Assistant, TEXTS[2])] {
        let folder = project.path().join(role.as_str());
        std::fs::create_dir(&folder).unwrap();
        let model = mini::model(role, &Device::flex()).unwrap();
        model.save(&folder).unwrap();
        mini::tokenizer().unwrap().save(&folder).unwrap();
        write(&folder, &BTreeMap::from([(USUAL, text), (TOOLS, TEXTS[3])]));
    }
    let models = "[models]\nmain = 'main'\nassistant = 'assistant'\n";
    project.write(
        "small.toml",
        models.to_owned() + &project.read("small.toml"),
    );
    project
}

#[test]
fn each_model_of_a_run_is_saved_with_its_own_templates() {
    let project = pair();
    let run = project.run("a", &["--set", "train.lora.assistant.r=2"]);
    project
        .milepost(&["export", "runs/small/a", "--merged"])
        .assert()
        .success();
    for (role, saved) in [
        ("main", "models/main"),
        ("assistant", "models/assistant"),
        ("assistant", "merged/assistant"),
    ] {
        let before = templates(&project.path().join(role));
        assert_eq!(before.len(), 2);
        assert_eq!(templates(&run.join(saved)), before, "{saved}");
    }
}

/// Templates are saved with the models, and `generation_config.json` says where a text ends: a run that goes on must find them as they were.
#[test]
fn a_resume_with_another_template_is_refused() {
    let project = pair();
    let text = "{\"do_sample\": true}";
    project.write("main/generation_config.json", text);
    let run = project.run("a", &["--set", "train.save='every 3 steps'"]);
    for rest in ["checkpoints/step-00000006", "models"] {
        std::fs::remove_dir_all(run.join(rest)).unwrap();
    }
    std::fs::remove_file(run.join("outcome.json")).unwrap();
    for name in [USUAL, TOOLS, "generation_config.json"] {
        let path = project.path().join("main").join(name);
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, "{\"another\": 1}").unwrap();
        let refused = project.fails(&["finetune", "small.toml", "--resume", "a"], 3);
        assert!(
            refused.contains(&format!("models/main/{name}")),
            "{refused}"
        );
        std::fs::write(&path, text).unwrap();
    }
    project
        .milepost(&["finetune", "small.toml", "--resume", "a"])
        .assert()
        .success();
    let saved = templates(&run.join("models/main"));
    assert_eq!(saved, templates(&project.path().join("main")));
}

/// Names that lie anywhere else are not asked for.
#[test]
fn templates_of_the_hub_are_fetched() {
    let mut files = hub::files();
    for name in [
        USUAL,
        TOOLS,
        "additional_chat_templates/README.md",
        "additional_chat_templates/../../out.jinja",
        "other/chat_template.jinja",
    ] {
        files.insert(name.to_owned(), name.as_bytes().to_vec());
    }
    let (server, folder) = (LoopbackHub::serve(files), tempfile::tempdir().unwrap());
    let id = ModelId::parse("org/tiny").unwrap();
    let client = server.client(folder.path());
    let snapshot = client.get(&id, &mut |_, _, _| {}).unwrap();
    let found = templates(&snapshot.directory);
    let expected = [USUAL, TOOLS].map(|name| (PathBuf::from(name), name.as_bytes().to_vec()));
    assert_eq!(found, BTreeMap::from(expected));
    // As deep as huggingface_hub has it.
    #[cfg(unix)]
    {
        let link = std::fs::read_link(snapshot.directory.join(TOOLS)).unwrap();
        assert!(link.starts_with("../../../blobs"), "{link:?}");
    }
    let asked = server.questions();
    assert!(
        asked
            .iter()
            .all(|line| !line.contains("out.jinja") && !line.contains("other/")),
        "{asked:?}"
    );
    let saved = saved(&snapshot.directory);
    assert_eq!(templates(saved.path()), found);
}
