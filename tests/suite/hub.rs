//! Models of the hub, from a server on the loopback that does everything right and everything wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use milepost::hub::{Hub, ModelId, Snapshot};
use milepost::model::Network;

use crate::harness::Project;
use crate::loopback_hub::{COMMIT, Fault, LoopbackHub};

const MINI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/datasets/mini/assistant");

pub fn files() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let folder = Path::new(MINI);
        let folder = if folder.join(name).exists() {
            folder.to_owned()
        } else {
            folder.with_file_name("main")
        };
        files.insert(name.to_owned(), std::fs::read(folder.join(name)).unwrap());
    }
    files.insert("README.md".to_owned(), b"not needed".to_vec());
    files
}

fn id() -> ModelId {
    ModelId::parse("org/tiny").unwrap()
}

fn refresh(hub: &Hub) -> Result<Snapshot, String> {
    hub.refresh(&id(), &mut |_, _, _| {})
        .map_err(|error| error.to_string())
}

#[test]
fn a_model_is_fetched_checked_and_found_again_without_a_network() {
    let (server, folder) = (LoopbackHub::serve(files()), tempfile::tempdir().unwrap());
    let hub = server.client(folder.path());
    let mut seen = Vec::new();
    let snapshot = hub
        .get(&id(), &mut |name, done, total| {
            seen.push((name.to_owned(), done, total))
        })
        .unwrap();
    assert_eq!(snapshot.commit, COMMIT);
    let size = files()["model.safetensors"].len() as u64;
    assert!(seen.contains(&("model.safetensors".to_owned(), size, Some(size))));
    Network::load(&snapshot.directory, &burn::tensor::Device::flex()).unwrap();
    let questions = server.questions();
    assert!(
        questions.iter().all(|line| !line.contains("README")),
        "{questions:?}"
    );
    assert!(
        questions[0].contains("/revision/main +token"),
        "{questions:?}"
    );
    // The layout is that of huggingface_hub.
    let repository = folder.path().join("models--org--tiny");
    assert_eq!(
        std::fs::read_to_string(repository.join("refs/main")).unwrap(),
        COMMIT
    );
    let link = std::fs::read_link(snapshot.directory.join("config.json")).unwrap();
    assert!(link.starts_with("../../blobs"), "{link:?}");
    assert_eq!(
        std::fs::read_dir(repository.join("blobs")).unwrap().count(),
        3
    );
    // Once it is there, nobody is asked; neither by branch nor by commit.
    let offline = Hub {
        offline: true,
        ..hub.clone()
    };
    let by_commit = ModelId::parse(&format!("org/tiny@{COMMIT}")).unwrap();
    for id in [id(), by_commit] {
        assert_eq!(offline.get(&id, &mut |_, _, _| {}).unwrap(), snapshot);
        assert_eq!(hub.get(&id, &mut |_, _, _| {}).unwrap(), snapshot);
    }
    assert!(server.questions().is_empty());
    // Asked anew, only the branch is looked up.
    refresh(&hub).unwrap();
    assert_eq!(server.questions().len(), 1);
}

#[test]
fn bad_answers_leave_no_model_and_say_what_to_do() {
    for (fault, says) in [
        (Fault::Corrupt, "a damaged body"),
        (Fault::Torn, "the body broke off after"),
        (Fault::Silent, "no answer within 1 s"),
        (Fault::Status(404), "no such model or revision"),
        (Fault::Status(401), "set HF_TOKEN"),
        (Fault::Status(503), "the server answered 503"),
    ] {
        let (server, folder) = (LoopbackHub::serve(files()), tempfile::tempdir().unwrap());
        let hub = server.client(folder.path());
        *server.fault.lock().unwrap() = fault;
        let mut asking = hub.clone();
        if matches!(fault, Fault::Silent) {
            asking.patience.start = Duration::from_secs(1);
        }
        let error = refresh(&asking).unwrap_err();
        assert!(
            error.contains(says) && error.contains("By hand: "),
            "{fault:?}: {error}"
        );
        assert!(hub.cached(&id()).is_none(), "{fault:?}");
        // As soon as the server is well again, so is everything.
        *server.fault.lock().unwrap() = Fault::None;
        refresh(&hub).unwrap();
        assert!(hub.cached(&id()).is_some(), "{fault:?}");
    }
}

#[test]
fn a_torn_download_goes_on_where_it_was() {
    let (server, folder) = (LoopbackHub::serve(files()), tempfile::tempdir().unwrap());
    let hub = server.client(folder.path());
    *server.fault.lock().unwrap() = Fault::Torn;
    // Small files come without the store; the weights tear.
    let error = refresh(&hub).unwrap_err();
    assert!(error.contains("model.safetensors"), "{error}");
    *server.fault.lock().unwrap() = Fault::None;
    server.questions();
    let snapshot = refresh(&hub).unwrap();
    let half = files()["model.safetensors"].len() / 2;
    let questions = server.questions();
    let resumed = format!("GET /store/model.safetensors +bytes={half}-");
    assert!(questions.contains(&resumed), "{questions:?}");
    let bytes = std::fs::read(snapshot.directory.join("model.safetensors")).unwrap();
    assert_eq!(bytes, files()["model.safetensors"]);
}

#[test]
fn a_file_that_another_program_is_writing_is_waited_for_and_then_named() {
    let (server, folder) = (LoopbackHub::serve(files()), tempfile::tempdir().unwrap());
    let hub = server.client(folder.path());
    refresh(&hub).unwrap();
    let repository = folder.path().join("models--org--tiny");
    std::fs::remove_dir_all(&repository).unwrap();
    let locks = folder.path().join(".locks/models--org--tiny");
    let lock = std::fs::read_dir(&locks)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let held = std::fs::File::open(&lock).unwrap();
    held.lock().unwrap();
    let error = refresh(&hub).unwrap_err();
    assert!(
        error.contains("another program has been writing it"),
        "{error}"
    );
    let waiting = std::thread::spawn({
        let hub = Hub {
            lock: Duration::from_secs(10),
            ..hub
        };
        move || refresh(&hub)
    });
    std::thread::sleep(Duration::from_millis(300));
    drop(held);
    waiting.join().unwrap().unwrap();
}

#[test]
fn names_are_those_of_the_hub() {
    for good in [
        "org/tiny",
        "openai-community/gpt2@607a30d",
        "a.b/c_d-e@refs/pr/1",
    ] {
        assert_eq!(ModelId::parse(good).unwrap().to_string(), good);
    }
    for bad in [
        "gpt2",
        "a/b/c",
        "../b",
        "a/..",
        "/a/b",
        "a/b@",
        "a/b@../x",
        "a b/c",
        "mini:main",
        "",
    ] {
        assert!(ModelId::parse(bad).is_none(), "{bad}");
    }
}

/// The program with this hub.
fn command(project: &Project, server: &str, arguments: &[&str]) -> assert_cmd::Command {
    let mut command = project.milepost(arguments);
    command
        .env_remove("HF_HUB_OFFLINE")
        .env_remove("HF_HUB_CACHE")
        .env("MILEPOST_OFFLINE", "0")
        .env("HF_HOME", project.path().join("hf"))
        .env("HF_ENDPOINT", server);
    command
}

#[test]
fn an_experiment_is_fetched_and_then_runs_cut_off() {
    let server = LoopbackHub::serve(files());
    let project = Project::new();
    let set = "models.main=org/tiny models.assistant=org/tiny data.train_articles=40";
    let news = project.path().join("data/ag_news");
    for name in ["train.csv", "test.csv"] {
        let row = "\"1\",\"A long enough title for a block\",\"and a description that is long enough too\"\n";
        project.write(&format!("data/ag_news/{name}"), row.repeat(20));
    }
    let data = news.parent().unwrap().to_str().unwrap();
    let arguments = ["fetch", "small.toml", "--set", set, "--data", data];
    let output = command(&project, &server.address, &arguments)
        .assert()
        .success();
    let said = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    assert!(
        said.contains(COMMIT) && said.contains("all there"),
        "{said}"
    );
    // Cut off, with an address where nobody answers.
    let arguments = [
        "finetune",
        "small.toml",
        "--set",
        set,
        "--data",
        data,
        "--name",
        "a",
    ];
    command(&project, "http://127.0.0.1:1", &arguments)
        .env("HF_HUB_OFFLINE", "1")
        .assert()
        .success();
    let run = project.path().join("runs/small/a");
    let manifest = std::fs::read_to_string(run.join("manifest.json")).unwrap();
    assert!(
        manifest.contains(&format!("\"commit\": \"{COMMIT}\"")),
        "{manifest}"
    );
    let resolved = std::fs::read_to_string(run.join("experiment.toml")).unwrap();
    assert!(
        resolved.contains(&format!("main = \"org/tiny@{COMMIT}\"")),
        "{resolved}"
    );
    // HF_HUB_CACHE names the cache itself, and wins over HF_HOME.
    let measure = ["measure", "--main", "org/tiny", "--assistant", "org/tiny"];
    let templates = ["--templates", "templates.tsv"];
    let elsewhere = || {
        let mut command = command(&project, "http://127.0.0.1:1", &measure);
        command
            .args(templates)
            .env("HF_HOME", project.path().join("empty"))
            .env("HF_HUB_OFFLINE", "1");
        command
    };
    elsewhere()
        .env("HF_HUB_CACHE", project.path().join("hf/hub"))
        .assert()
        .success();
    elsewhere().assert().code(3);
    // What is not in the cache is named, with a way out, and with the exit code of missing data.
    let arguments = ["plan", "small.toml", "--set", "models.main=org/other"];
    let output = command(&project, "http://127.0.0.1:1", &arguments)
        .assert()
        .code(3);
    let errors = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(
        errors.contains("org/other") && errors.contains("By hand"),
        "{errors}"
    );
}
