//! Writes a new hook: its file, its line in `hooks/mod.rs`, and its table in an experiment. Every check comes before the first write.

use std::path::Path;

use super::rust_name::is_module;
use crate::diagnostic::Diagnostic;
use crate::record::RecordError;
use crate::registry::Registry;

/// Writes the hook `name` into the project, and returns what was done, for the terminal.
pub(super) fn write(
    project: &Path,
    name: &str,
    experiment: &str,
    registry: &Registry,
) -> anyhow::Result<String> {
    let wrong = |message: &str| Diagnostic::file(name, message);
    let module = name.replace('-', "_");
    let kind = name.replace('_', "-");
    if !is_module(&module) {
        let message = "not a hook's name: use small letters, digits and _, such as my_hook, and no word of Rust's own";
        return Err(wrong(message).into());
    }
    let file = project.join("hooks").join(format!("{module}.rs"));
    if file.exists() || registry.get(&kind).is_some() {
        return Err(wrong("there is a hook of that name already; choose another").into());
    }
    let list = project.join("hooks/mod.rs");
    let listed = list_hook(&read(&list)?, &module).ok_or_else(|| {
        let message = "no `Registry::default()` to add the hook to";
        Diagnostic::file(list.display().to_string(), message)
    })?;
    let experiment = experiment.strip_suffix(".toml").unwrap_or(experiment);
    let experiment = experiment
        .strip_prefix("experiments/")
        .unwrap_or(experiment);
    let toml = project
        .join("experiments")
        .join(format!("{experiment}.toml"));
    let text = read(&toml)?;
    let added = format!(
        "{}\n[hooks.{kind}]\nat = [\"start\", \"every 10%\", \"end\"]\n",
        text.trim_end_matches('\n').to_owned() + "\n"
    );
    if let Err(error) = added.parse::<toml_edit::DocumentMut>() {
        let message = format!(
            "[hooks.{kind}] cannot be added at its end ({}); write its hooks as [hooks.NAME]",
            error.message().trim()
        );
        return Err(Diagnostic::file(toml.display().to_string(), message).into());
    }
    let put = |path: &Path, text: &str| {
        crate::atomic::write(path, text.as_bytes()).map_err(|source| RecordError::Io {
            path: path.to_owned(),
            source,
        })
    };
    put(&file, &source(&module, &kind))?;
    put(&list, &listed)?;
    put(&toml, &added)?;
    Ok(format!(
        "wrote   {}\nlisted  in {}\nadded   [hooks.{kind}] to {}\n\nrun it: make finetune EXP={experiment}    test it: cargo test --release --lib hooks::{module}    how: docs/hooks.md\n",
        file.display(),
        list.display(),
        toml.display()
    ))
}

fn read(path: &Path) -> Result<String, Diagnostic> {
    std::fs::read_to_string(path).map_err(|error| {
        let message = format!("{error}; run this in the project's folder");
        Diagnostic::file(path.display().to_string(), message)
    })
}

/// Adds a hook to the text of `hooks/mod.rs`, its `mod` line in alphabetical order. None when the text has no list of hooks.
fn list_hook(text: &str, module: &str) -> Option<String> {
    let line = format!("mod {module};");
    let mut lines: Vec<&str> = text.lines().collect();
    let is_mod = |line: &str| line.starts_with("mod ") && line.ends_with(';');
    let last = lines.iter().rposition(|line| is_mod(line))?;
    let place = lines
        .iter()
        .position(|other| is_mod(other) && *other > line.as_str());
    lines.insert(place.unwrap_or(last + 1), &line);
    let call = format!("        .with({module}::kind())");
    let last = lines
        .iter()
        .rposition(|line| line.trim_start().starts_with(".with("))?;
    lines.insert(last + 1, &call);
    Some(lines.join("\n") + "\n")
}

fn source(module: &str, kind: &str) -> String {
    let name: String = module
        .split('_')
        .map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            first.to_uppercase() + rest
        })
        .collect();
    include_str!("new_hook.txt")
        .replace("HOOK_NAME", kind)
        .replace("HookName", &name)
        .replace("hook_tag", module)
}
