//! `milepost measure`: calls hooks once on any pair, without training.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::{Map, Value, json};

use super::experiments::read_source;
use super::plan::{device_override, places};
use super::terminal::{self, remark, say};
use super::{Where, progress};
use crate::decode::Sampling;
use crate::diagnostic::{Diagnostic, Source};
use crate::experiment::{Measurement, parse, resolve_measurement};
use crate::hook::{Cells, Row, Scene, Shows};
use crate::overrides;
use crate::registry::Registry;
use crate::report::number::{number, range};
use crate::train::{Called, Measured, measure};

/// The hooks without --hooks.
const USUAL_HOOKS: &str = "[hooks.template-kl]\n[hooks.assistant-share]\n[hooks.match-disparity]\n";

#[derive(Args)]
pub(super) struct Arguments {
    /// The main model: a directory in Hugging Face layout, a model of the hub, or mini:main.
    #[arg(long, default_value = "mini:main", value_name = "MODEL")]
    main: String,
    /// The assistant.
    #[arg(long, default_value = "mini:assistant", value_name = "MODEL")]
    assistant: String,
    /// Templates in HONEST layout; `builtin`, or `honest` for HONEST's own [default: builtin, or as --hooks says].
    #[arg(long, value_name = "FILE")]
    templates: Option<String>,
    /// A TOML file with [hooks] (and, if need be, [decode], [templates] and seed): an experiment will do, its [train] and `at` do not matter
    /// [default: template-kl, assistant-share, match-disparity].
    #[arg(long, value_name = "FILE")]
    hooks: Option<PathBuf>,
    /// Write everything, prompt by prompt, to this file.
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
    /// Overrides, as in --set "decode.max_new_tokens=40 templates.set=unique"; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE ...")]
    overrides: Vec<String>,
    /// Device for both models (flex, tch, tch:cuda:0, wgpu, vulkan, metal), or one each: main=wgpu,assistant=flex.
    #[arg(long)]
    device: Option<String>,
    #[command(flatten)]
    places: Where,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> anyhow::Result<u8> {
    let source = match &arguments.hooks {
        Some(path) => read_source(path)?,
        None => Source {
            name: "milepost measure".to_owned(),
            text: USUAL_HOOKS.to_owned(),
        },
    };
    if let Some(folder) = arguments.json.as_deref().and_then(Path::parent)
        && !folder.as_os_str().is_empty()
        && !folder.is_dir()
    {
        let message = "no such folder; make it first, or write --json elsewhere";
        return Err(Diagnostic::file(folder.display().to_string(), message).into());
    }
    let mut all = Vec::new();
    for text in &arguments.overrides {
        all.extend(overrides::split(text)?);
    }
    if let Some(device) = &arguments.device {
        all.push(device_override(device).parse()?);
    }
    let mut written = parse(source, &all)?;
    // Paths of the command line are relative to the current folder, those of the file to its own folder.
    written.experiment.models.main = here(&arguments.main);
    written.experiment.models.assistant = here(&arguments.assistant);
    if let Some(file) = &arguments.templates {
        written.experiment.templates.file = match file.as_str() {
            "builtin" | "honest" => file.clone(),
            _ => absolute(file),
        };
    }
    let base = arguments.hooks.clone().unwrap_or_default();
    let places = places(&arguments.places, &base, Path::new(""));
    let mut downloads = progress::Downloads::default();
    let start = Instant::now();
    let measurement =
        resolve_measurement(&written, registry, &places, &mut |name, done, total| {
            downloads.report(name, done, total);
        })?;
    let Measurement {
        pair,
        scene,
        hooks,
        manifest,
        notes,
    } = measurement;
    say!(
        "{} and {} read in {:.1} s",
        arguments.main,
        arguments.assistant,
        start.elapsed().as_secs_f64()
    );
    for note in notes {
        remark!("note: {note}");
    }
    let shows: Vec<Shows> = hooks.iter().map(|hook| hook.shows.clone()).collect();
    let measured = measure(pair, scene.clone(), hooks, Some(progress::watch()))?;
    terminal::out(&head(&scene));
    terminal::out(&rows(&measured.called, &shows));
    terminal::out(&by_hook(&measured.called));
    if let Some(path) = &arguments.json {
        let text = format!("{:#}\n", document(&measured, &scene, manifest)?);
        crate::atomic::write(path, text.as_bytes()).map_err(|source| {
            crate::record::RecordError::Io {
                path: path.clone(),
                source,
            }
        })?;
        say!("prompt by prompt in {}", path.display());
    }
    let failures = &measured.called.failures;
    for failure in failures {
        remark!("hook `{}` failed: {}", failure.name, failure.message);
    }
    Ok(if failures.is_empty() { 0 } else { 6 })
}

/// A model's name. The path of a folder is made absolute.
fn here(model: &str) -> String {
    if Path::new(model).is_dir() {
        absolute(model)
    } else {
        model.to_owned()
    }
}

fn absolute(path: &str) -> String {
    let path = Path::new(path);
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.to_string_lossy().into_owned()
}

/// What each contrast compares, in words.
fn compared(scene: &Scene) -> String {
    let contrasts = scene.templates.contrasts().iter();
    let contrasts = contrasts.map(|contrast| {
        let units = contrast.units.len();
        if contrast.is_paired() {
            format!("{units} matched pairs")
        } else {
            format!("two samples of {units} prompts")
        }
    });
    contrasts.collect::<Vec<_>>().join(", ")
}

/// The prompts and how they are decoded, in a line.
fn head(scene: &Scene) -> String {
    let how = match scene.decode.sampling {
        None => "greedy".to_owned(),
        Some(Sampling {
            temperature,
            top_k,
            top_p,
        }) => {
            format!("sampled (temperature {temperature}, top-k {top_k}, top-p {top_p})")
        }
    };
    format!(
        "\n{} prompts, {}; {how}, {} new tokens, drafts of {}\n",
        scene.prompts.len(),
        compared(scene),
        scene.decode.max_new_tokens,
        scene.decode.draft_length
    )
}

/// The rows that hooks declare.
fn rows(called: &Called, shows: &[Shows]) -> String {
    let outputs = called.outputs.iter();
    let scalars = || outputs.clone().flat_map(|(_, output)| &output.scalars);
    let value = |tag: &str| {
        scalars()
            .find(|(other, _)| other == tag)
            .map(|(_, value)| *value)
    };
    let mut text = String::new();
    for Row { name, tag, cells } in shows.iter().flat_map(|shows| &shows.rows) {
        match cells {
            Cells::Change | Cells::Ends => {
                if let Some(value) = value(tag) {
                    text += &format!("{name:<36}{:>14}\n", number(value));
                }
            }
            Cells::Interval => {
                let end = |end: &str| value(&format!("{tag}_{end}"));
                if let (Some(low), Some(high)) = (end("low"), end("high")) {
                    text += &format!("{name:<28}{:>22}\n", range(low, high));
                }
            }
            // There is no change without training.
            Cells::End => {}
        }
    }
    text
}

/// Every number of every hook.
pub(super) fn by_hook(called: &Called) -> String {
    let mut text = String::new();
    for (name, output) in &called.outputs {
        // A hook without a time was not called.
        let Some(time) = called.times.iter().find(|time| time.name == *name) else {
            continue;
        };
        text += &format!("\n{name} ({:.1} s)\n", time.cost.took.as_secs_f64());
        for (tag, value) in &output.scalars {
            text += &format!("  {tag:<44}{:>14}\n", number(*value));
        }
    }
    text
}

/// The JSON document: manifest, hooks, failures, and every prompt with its values in nats, tokens and shares.
fn document(measured: &Measured, scene: &Scene, manifest: Value) -> anyhow::Result<Value> {
    let hooks: Map<String, Value> = (measured.called.outputs.iter())
        .map(|(name, output)| {
            let scalars: Map<String, Value> = (output.scalars.iter())
                .map(|(tag, value)| (tag.clone(), json!(value)))
                .collect();
            let texts: Map<String, Value> = (output.texts.iter())
                .map(|(tag, text)| (tag.clone(), json!(text)))
                .collect();
            (name.clone(), json!({ "scalars": scalars, "texts": texts }))
        })
        .collect();
    let failures: Map<String, Value> = (measured.called.failures.iter())
        .map(|failure| (failure.name.clone(), json!(failure.message)))
        .collect();
    let mut prompts = Vec::new();
    for (index, template) in scene.templates.prompts().iter().enumerate() {
        let (divergence, decoding) = (&measured.divergences[index], &measured.decodings[index]);
        prompts.push(json!({
            "prompt": template.prompt,
            "group": template.group,
            "identity": template.identity,
            "line": template.line,
            "prompt_tokens": scene.prompts[index],
            "kl_nats": divergence.kl,
            "kl_reverse_nats": divergence.kl_reverse,
            "js_nats": divergence.js,
            "tv": divergence.tv,
            "top1_agreement": divergence.top1_agreement,
            "entropy_main_nats": divergence.entropy_main,
            "entropy_assistant_nats": divergence.entropy_assistant,
            "n_matches": decoding.n_matches(),
            "rounds": decoding.rounds,
            "tokens": decoding.tokens,
            "continuation": scene.tokenizer.decode_behind(&decoding.tokens)?,
        }));
    }
    Ok(json!({ "made_of": manifest, "hooks": hooks, "failures": failures, "prompts": prompts }))
}
