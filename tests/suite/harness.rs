//! What several tests need: the reference values, a scratch project, the program.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use assert_cmd::Command;
use burn::tensor::Device;
use milepost::data::templates::{ContrastSpec, TemplateSet};
use milepost::device::open;
use milepost::model::{Network, Pair};
use serde_json::Value;
use tempfile::TempDir;

/// The values made by `tests/fixtures/gpt2/make_fixtures.py`.
pub static REFERENCE: LazyLock<Value> = LazyLock::new(|| {
    let text = std::fs::read_to_string(fixture("reference.json")).unwrap();
    serde_json::from_str(&text).unwrap()
});

/// Waits until something has come to be, for two minutes at most.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed().as_secs() < 120, "not within 120 s: {what}");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// The contrast of the shipped experiments.
pub fn gender(set: TemplateSet) -> ContrastSpec {
    ContrastSpec::new("gender", ["female", "male"], set)
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/gpt2")
        .join(name)
}

/// The pair of the fixtures, on a device.
pub fn fixture_pair(device: &Device) -> Pair {
    let load = |name| Network::load(&fixture(name), device).unwrap();
    Pair::new(load("main"), load("assistant")).unwrap()
}

/// The devices that MILEPOST_TEST_DEVICES names.
pub fn other_devices() -> Vec<(String, Device)> {
    let names = std::env::var("MILEPOST_TEST_DEVICES").unwrap_or_default();
    let names = names.split(',').filter(|name| !name.is_empty());
    let devices: Vec<_> = names
        .map(|name| (name.to_owned(), open(name).unwrap()))
        .collect();
    if devices.is_empty() {
        println!("skipped: MILEPOST_TEST_DEVICES does not name devices such as tch,wgpu");
    }
    devices
}

pub fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap().iter();
    values.map(|value| value.as_f64().unwrap()).collect()
}

pub fn ids(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|id| id as u32).collect()
}

pub fn rows(value: &Value) -> Vec<Vec<u32>> {
    value.as_array().unwrap().iter().map(ids).collect()
}

/// Asserts that `found` is within `relative` of `expected`, measured against the larger of its size and `floor`.
#[track_caller]
pub fn close(found: f64, expected: f64, relative: f64, floor: f64, what: &str) {
    let error = (found - expected).abs() / expected.abs().max(floor);
    assert!(
        error <= relative,
        "{what}: {found} is not {expected} (off by {error:e})"
    );
}

/// The folder of real data, or None with a word that the test skips.
pub fn real_data() -> Option<PathBuf> {
    let folder = std::env::var_os("MILEPOST_DATA").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: MILEPOST_DATA is not set");
    }
    folder
}

/// A Python with TensorBoard, or None with a word that the test skips.
pub fn python() -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let python = std::env::var_os("MILEPOST_PYTHON").map(PathBuf::from);
    let python = python.or_else(|| venv.exists().then_some(venv));
    if python.is_none() {
        println!("skipped: no Python with TensorBoard (make .venv/ready, or set MILEPOST_PYTHON)");
    }
    python
}

/// What TensorBoard itself reads in a run's directory.
pub fn read_events(python: &Path, run: &Path) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/read_events.py");
    let output = std::process::Command::new(python)
        .arg(script)
        .arg(run)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A folder with small templates and an experiment that takes a second or two.
pub struct Project {
    folder: TempDir,
}

/// Two identity pairs in two templates.
pub const TEMPLATES: &str = "template_masked\traw\tidentity\tnumber\tcategory\ttype
the woman found work as a [M].\t[I] found work as a [M]\tthe woman\tsingular\tfemale\toccupation
the man found work as a [M].\t[I] found work as a [M]\tthe man\tsingular\tmale\toccupation
the woman seemed rather [M].\t[I] seemed rather [M]\tthe woman\tsingular\tfemale\ttrait
the man seemed rather [M].\t[I] seemed rather [M]\tthe man\tsingular\tmale\ttrait
she found work as a [M].\t[I] found work as a [M]\tshe\tsingular\tfemale\toccupation
he found work as a [M].\t[I] found work as a [M]\the\tsingular\tmale\toccupation
she seemed rather [M].\t[I] seemed rather [M]\tshe\tsingular\tfemale\ttrait
he seemed rather [M].\t[I] seemed rather [M]\the\tsingular\tmale\ttrait
";

const EXPERIMENT: &str = r#"
[data]
builtin_sample = true
train_articles = 60
test_articles = 20
[train]
max_steps = 6
batch = 2
block = 32
lr = 1e-3
evaluate = ["start", "every 3 steps"]
[templates]
file = "templates.tsv"
[hooks.template-kl]
at = ["start", "every 2 steps", "end"]
[hooks.assistant-share]
at = ["start", "end"]
[hooks.match-disparity]
at = ["start", "every 3 steps", "end"]
[hooks.perplexity]
at = ["start", "every 3 steps"]
[hooks.sample-text]
at = "end"
prompts = 1
[hooks.gradient-norm]
at = "every step"
"#;

impl Project {
    pub fn new() -> Self {
        let project = Self {
            folder: TempDir::new().unwrap(),
        };
        project.write("templates.tsv", TEMPLATES);
        project.write("small.toml", EXPERIMENT);
        project
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// The program in this folder, cut off from the network and from this machine's data.
    pub fn milepost(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_milepost"));
        command
            .current_dir(self.path())
            .env_remove("MILEPOST_DATA")
            .env("MILEPOST_OFFLINE", "1")
            .env("MILEPOST_CACHE", self.path().join("cache"))
            .args(arguments);
        command
    }

    /// The same, started and left to itself, with its output kept.
    pub fn spawn(&self, arguments: &[&str]) -> std::process::Child {
        std::process::Command::new(env!("CARGO_BIN_EXE_milepost"))
            .args(arguments)
            .current_dir(self.path())
            .env_remove("MILEPOST_DATA")
            .env("MILEPOST_OFFLINE", "1")
            .env("MILEPOST_CACHE", self.path().join("cache"))
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs small.toml as run `name` and asserts that it ends well.
    pub fn run(&self, name: &str, more: &[&str]) -> PathBuf {
        let arguments = [&["finetune", "small.toml", "--name", name], more].concat();
        self.milepost(&arguments).assert().success();
        self.path().join("runs/small").join(name)
    }

    /// Runs the program, which must fail with this code, and gives what it says.
    pub fn fails(&self, arguments: &[&str], code: i32) -> String {
        let assert = self.milepost(arguments).assert().code(code);
        let errors = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(!errors.contains("panicked"), "{errors}");
        errors
    }
}

/// The lines of a run's milestones.jsonl.
pub fn milestones(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("milestones.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The same without what differs from run to run.
pub fn timeless(run: &Path) -> Vec<Value> {
    let mut lines = milestones(run);
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("times");
    }
    lines
}
