//! A new hook: its file, its line in `hooks/mod.rs`, its place in an experiment. All or nothing is written.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use crate::hook::Registry;

/// Writes hook `name` into the project and says what was done.
pub(super) fn write(
    project: &Path,
    name: &str,
    experiment: &str,
    registry: &Registry,
) -> anyhow::Result<String> {
    let module = name.replace('-', "_");
    let kind = name.replace('_', "-");
    let mut letters = module.chars();
    ensure!(
        letters
            .next()
            .is_some_and(|first| first.is_ascii_lowercase())
            && letters.all(|letter| letter.is_ascii_lowercase()
                || letter.is_ascii_digit()
                || letter == '_')
            && !["mod", "self", "super", "crate"].contains(&module.as_str()),
        "`{name}` cannot be a hook's name; use small letters, digits and `_`, such as my_hook"
    );
    let file = project.join("hooks").join(format!("{module}.rs"));
    if file.exists() || registry.get(&kind).is_some() {
        bail!("there is a hook `{kind}` already; choose another name");
    }
    let list = project.join("hooks/mod.rs");
    let listed = list_hook(&read(&list)?, &module).with_context(|| {
        format!(
            "{}: no `Registry::default()` to add the hook to",
            list.display()
        )
    })?;
    let toml = project
        .join("experiments")
        .join(format!("{experiment}.toml"));
    let text = read(&toml)?;
    let added = format!(
        "{}\n[hooks.{kind}]\nat = [\"start\", \"every 10%\", \"end\"]\n",
        text.trim_end_matches('\n').to_owned() + "\n"
    );
    let put = |path: &Path, text: &str| {
        crate::atomic::write(path, text.as_bytes()).with_context(|| path.display().to_string())
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

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("{}: run this in the project's folder", path.display()))
}

/// `hooks/mod.rs` with one more hook, its `mod` line in alphabetical place.
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
