//! `milepost device`: what the devices of this machine are, how fast they are, and whether they compute what flex computes.

mod advice;
mod findings;
mod gpt2;
mod parity;
mod speed;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Map, Value, json};

use self::findings::{Findings, Found};
use super::terminal::say;
use crate::device;
use crate::record::RecordError;

#[derive(Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Look at this device and at flex, which it is compared with; several with commas between [default: all of this build].
    #[arg(long, value_name = "DEVICE", value_delimiter = ',')]
    device: Vec<String>,
    /// Leave out the steps of a network of gpt2's size: half a minute a device on two cores, less on a card.
    #[arg(long)]
    quick: bool,
    /// Write everything to this file.
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
    /// Look at this one device in this process, and write what is found to this file. Each device has a process of its own: a driver that
    /// ends the process then ends one device's part.
    #[arg(long, hide = true, value_name = "OUT")]
    alone: Option<PathBuf>,
}

const HELP: &str = "\
What the lines say:
  product    speed of a product of two square matrices: what no step can exceed. Of f32, and of bf16 and f16 where the device has them
  copied     how fast 64 MiB go to the device and come back
  a number   how long the program waits for one number that the device has computed
  logits     the largest difference between the built-in pair's logits on the device and on flex, relative to the larger of 1 and the logit
  losses     the same of three training steps
  texts      how many of 24 prompts the built-in pair continues with the same tokens as on flex, greedily and drawn
  training   tokens a second of a step of gpt2's size (random weights, blocks of 128), by the rows of a batch
  decoding   new tokens a second of 32 prompts, main model of gpt2's size and assistant of distilgpt2's (random weights: few drafts match)
Times are medians after a call that is not counted. A part that fails is a line with the reason.

Exit codes:
  0  everything that was looked at works
  1  a part failed, or a device does not agree with flex
  2  a device that --device names is unknown, is not in this build, or does not open";

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    if let (Some(path), [name]) = (&arguments.alone, &arguments.device[..]) {
        return alone(name, arguments.quick, path);
    }
    let named = !arguments.device.is_empty();
    let mut names = arguments.device.clone();
    for name in &names {
        device::is_in_build(name)?;
    }
    if !named {
        names = device::names();
    }
    if !names.iter().any(|name| name == "flex") {
        names.insert(0, "flex".to_owned());
    }
    let mut code = 0;
    let mut devices = Map::new();
    for name in names {
        let (found, its_code) = match device::is_in_build(&name) {
            Ok(()) => {
                say!("{name}");
                in_a_process(&name, arguments.quick)?
            }
            Err(error) => {
                say!("{name}\n  {error}");
                (json!({ "opens": false, "why": error.to_string() }), 2)
            }
        };
        // What was not asked for need not be there.
        if its_code != 2 || named {
            code = code.max(its_code);
        }
        devices.insert(name, found);
    }
    let advice = advice::advice(&devices);
    say!("\n{}", advice.words);
    if let Some(path) = &arguments.json {
        let document = json!({
            "milepost": env!("CARGO_PKG_VERSION"),
            "quick": arguments.quick,
            "devices": devices,
            "advice": advice.value,
        });
        write(path, &document)?;
        say!("all numbers in {}", path.display());
    }
    Ok(code)
}

fn write(path: &Path, document: &Value) -> Result<(), RecordError> {
    let written = crate::atomic::write(path, format!("{document:#}\n").as_bytes());
    written.map_err(|source| RecordError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Looks at a device in a process of its own, which prints as it goes. Returns what it found, and its exit code.
fn in_a_process(name: &str, quick: bool) -> anyhow::Result<(Value, u8)> {
    let folder = tempfile::tempdir().context("no folder for temporary files")?;
    let path = folder.path().join("found.json");
    let program = std::env::current_exe().context("this program does not find itself")?;
    let ended = Command::new(program)
        .args(["device", "--device", name, "--alone"])
        .arg(&path)
        .args(quick.then_some("--quick"))
        .stdin(Stdio::null())
        .status()
        .context("cannot start a process for the device")?;
    let found = std::fs::read(&path).ok();
    let found = found.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(found) = found {
        let code = ended.code().and_then(|code| u8::try_from(code).ok());
        return Ok((found, code.unwrap_or(1)));
    }
    let why = format!("its library ended the process ({ended})");
    say!("  {why}");
    Ok((json!({ "opens": false, "why": why }), 1))
}

/// Looks at a device in this process.
fn alone(name: &str, quick: bool, path: &Path) -> anyhow::Result<u8> {
    let opened = match device::open(name) {
        Ok(opened) => opened,
        Err(error) => {
            say!("  {error}");
            write(path, &json!({ "opens": false, "why": error.to_string() }))?;
            return Ok(2);
        }
    };
    let mut findings = Findings::default();
    facts(&opened, &mut findings);
    speed::look(&opened, &mut findings);
    if name != "flex" {
        parity::look(&opened, &mut findings);
    }
    if !quick {
        gpt2::look(&opened, &mut findings);
    }
    write(path, &findings.document())?;
    Ok(u8::from(findings.failed))
}

/// What the device is.
fn facts(opened: &burn::tensor::Device, findings: &mut Findings) {
    let facts = device::facts(opened);
    findings.part("is", "is", || {
        Ok(Found::new(facts.what.clone(), json!(facts.what)))
    });
    if !facts.limits.is_empty() {
        let limits = &facts.limits;
        findings.part("limits", "limits", || {
            Ok(Found::new(limits.clone(), json!(limits)))
        });
    }
    findings.part("memory", "memory", || {
        let Some(memory) = facts.memory else {
            return Ok(Found::new("not known", Value::Null));
        };
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let words = format!("{:.1} GiB, {:.1} free", gib(memory.total), gib(memory.free));
        let value = json!({ "total_bytes": memory.total, "free_bytes": memory.free });
        Ok(Found::new(words, value))
    });
}
