//! What a TensorBoard that people look at shows of a run that was killed and resumed: asked over HTTP, with both of its loaders.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{Project, python, until};

/// Points of every run and tag: step and value.
type Shown = BTreeMap<String, BTreeMap<String, Vec<(u64, f64)>>>;

/// A TensorBoard of our own.
pub struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Starts one over `folder`, with the loader that is written in Python or with the fast one.
    pub fn start(python: &Path, folder: &Path, fast: bool) -> Self {
        let mut child = Command::new(python)
            .args([
                "-m",
                "tensorboard.main",
                "--host",
                "127.0.0.1",
                "--port",
                "0",
            ])
            .args([
                "--reload_interval",
                "1",
                "--samples_per_plugin",
                "scalars=100000",
            ])
            .arg(format!("--load_fast={fast}"))
            .arg("--logdir")
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            let line = line.unwrap();
            let start = line.find("http://")?;
            Some(
                line[start..]
                    .split_whitespace()
                    .next()?
                    .trim_end_matches('/')
                    .to_owned(),
            )
        });
        // Nobody reads what else it says, so it must not wait for that.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            address: address.expect("an address"),
        }
    }

    fn get(&self, path: &str) -> Option<Value> {
        let url = format!("{}/data/plugin/scalars/{path}", self.address);
        let mut response = ureq::get(&url).call().ok()?;
        serde_json::from_str(&response.body_mut().read_to_string().ok()?).ok()
    }

    /// The rows of its page *HParams*, by run: the hyperparameters and the values of the metrics.
    pub fn hparams(&self) -> BTreeMap<String, Value> {
        let url = format!("{}/data/plugin/hparams/session_groups", self.address);
        let statuses = [
            "STATUS_SUCCESS",
            "STATUS_FAILURE",
            "STATUS_RUNNING",
            "STATUS_UNKNOWN",
        ];
        let asked = serde_json::json!({
            "experimentName": "", "allowedStatuses": statuses, "colParams": [], "startIndex": 0, "sliceSize": 100,
        });
        let answer = ureq::post(&url).send(asked.to_string());
        let text = answer
            .ok()
            .and_then(|mut answer| answer.body_mut().read_to_string().ok());
        let answer: Value = serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
        let groups = answer["sessionGroups"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let named = groups.into_iter().filter_map(|group| {
            let session = group["sessions"][0]["name"].as_str()?.to_owned();
            Some((session, group))
        });
        named.collect()
    }

    /// All that it shows now, but for the times of hooks.
    pub fn shown(&self) -> Shown {
        let mut shown = Shown::new();
        let tags = self.get("tags").unwrap_or_default();
        for (run, tags) in tags.as_object().into_iter().flatten() {
            for tag in tags.as_object().into_iter().flatten().map(|(tag, _)| tag) {
                if tag.starts_with("hook/") {
                    continue;
                }
                let points = self.get(&format!("scalars?run={run}&tag={tag}"));
                let points = points.unwrap_or_default();
                let points = points.as_array().into_iter().flatten();
                let points =
                    points.map(|point| (point[1].as_u64().unwrap(), point[2].as_f64().unwrap()));
                let tags = shown.entry(run.clone()).or_default();
                tags.insert(tag.clone(), points.collect());
            }
        }
        shown
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The fast loader is a process of its own that ends when this one does.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last step of a tag in a run.
fn last_step(shown: &Shown, run: &str, tag: &str) -> Option<u64> {
    Some(shown.get(run)?.get(tag)?.last()?.0)
}

#[test]
#[cfg(unix)]
fn every_step_stands_once_whether_it_was_opened_before_or_after_the_resume() {
    let Some(python) = python() else { return };
    let project = Project::new();
    let set = "train.max_steps=40 train.save='every 4 steps' hooks.micro={kind='perplexity',on='micro-batch-end',at='every step',runs='inline'} train.accumulation=2 train.evaluate_blocks=2";
    let whole = project.run("whole", &["--set", set]);
    let folder = whole.parent().unwrap();
    let open = || [false, true].map(|fast| Server::start(&python, folder, fast));
    let before = open();
    let mut child = project.spawn(&["finetune", "small.toml", "--name", "killed", "--set", set]);
    let killed = folder.join("killed");
    // They have seen steps that the resume will write again.
    let ahead = || {
        let entries = std::fs::read_dir(killed.join("checkpoints"))
            .into_iter()
            .flatten();
        let saved = entries.filter_map(|entry| {
            let name = entry.ok()?.file_name();
            name.to_str()?.strip_prefix("step-")?.parse::<u64>().ok()
        });
        let saved = saved.max().unwrap_or(u64::MAX - 1);
        let lines = std::fs::read_to_string(killed.join("milestones.jsonl")).unwrap_or_default();
        lines.contains(&format!(
            "\"step\":{},\"event\":\"step-end\",\"source\":\"train\"",
            saved.saturating_add(2)
        ))
    };
    until("steps beyond a checkpoint", ahead);
    child.kill().unwrap();
    child.wait().unwrap();
    let lines = std::fs::read_to_string(killed.join("milestones.jsonl")).unwrap();
    let seen = lines.matches("\"source\":\"train\"").count() as u64;
    for server in &before {
        until("the killed run is shown", || {
            last_step(&server.shown(), "killed", "train/main/loss") >= Some(seen - 1)
        });
    }
    project
        .milepost(&["finetune", "small.toml", "--resume", "killed"])
        .assert()
        .success();
    let after = open();
    for (when, servers) in [("before", &before), ("after", &after)] {
        for (server, loader) in servers.iter().zip(["Python", "fast"]) {
            let equal = || {
                let shown = server.shown();
                last_step(&shown, "whole", "train/main/loss") == Some(40)
                    && shown.get("whole") == shown.get("killed")
            };
            until(&format!("opened {when} the resume, {loader} loader"), equal);
        }
    }
}
