//! Finds the files that an experiment names: one by one, by patterns, or as folders.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern, glob_with};

/// The endings of compressed files.
const COMPRESSED: [&str; 2] = [".gz", ".zst"];
/// The letters that make a pattern of a name.
const OF_PATTERNS: [char; 3] = ['*', '?', '['];

/// The files that `names` name, relative to `base`, each name's in the order of their paths. A name is that of a file, of a folder with all files
/// of these endings in it and below it, or a pattern such as `data/*.jsonl` or `data/**/*.jsonl`.
///
/// # Errors
/// When a name names nothing, or a file is named twice.
pub fn find(base: &Path, names: &[String], endings: &[&str]) -> Result<Vec<PathBuf>, String> {
    let mut all: Vec<PathBuf> = Vec::new();
    for name in names {
        if name.trim().is_empty() {
            return Err("names nothing".to_owned());
        }
        let path = base.join(name);
        let found = if path.is_file() {
            vec![path]
        } else if path.is_dir() {
            in_folder(&path, endings)?
        } else if is_pattern(name) {
            let pattern = escaped(base)?.join(name);
            let found = matches(&pattern)?;
            if found.is_empty() {
                return Err(format!("no file is like {}", pattern.display()));
            }
            found
        } else {
            return Err(format!("there is no file {}", path.display()));
        };
        all.extend(found);
    }
    let mut sorted: Vec<&PathBuf> = all.iter().collect();
    sorted.sort();
    match sorted.windows(2).find(|two| two[0] == two[1]) {
        Some(two) => Err(format!("{} is named twice", two[0].display())),
        None if all.is_empty() => Err("names nothing".to_owned()),
        None => Ok(all),
    }
}

/// A name that means the same from anywhere.
pub fn absolute(base: &Path, name: &str) -> String {
    let path = base.join(name);
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let made = match escaped(&whole(base)) {
        Ok(escaped) if is_pattern(name) && !path.exists() => escaped.join(name),
        _ => whole(&path),
    };
    made.display().to_string()
}

fn is_pattern(name: &str) -> bool {
    name.contains(OF_PATTERNS)
}

/// A folder as a pattern that only it is like.
fn escaped(folder: &Path) -> Result<PathBuf, String> {
    let text = folder.to_str();
    let text = text.ok_or_else(|| format!("{} is not UTF-8", folder.display()))?;
    Ok(PathBuf::from(Pattern::escape(text)))
}

/// The files that are like a pattern, in the order of their paths.
fn matches(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let text = pattern.to_string_lossy();
    let options = MatchOptions {
        require_literal_separator: true,
        require_literal_leading_dot: true,
        ..MatchOptions::new()
    };
    let paths = glob_with(&text, options).map_err(|error| format!("`{text}`: {error}"))?;
    let paths: Vec<PathBuf> = paths
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let mut files: Vec<PathBuf> = paths.into_iter().filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}

/// The files in a folder and below it that have one of the endings, behind which a compression's may stand.
fn in_folder(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>, String> {
    let mut files = matches(&escaped(folder)?.join("**/*"))?;
    files.retain(|path| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let plain = COMPRESSED
            .iter()
            .find_map(|ending| name.strip_suffix(ending));
        let (_, ending) = plain.unwrap_or(&name).rsplit_once('.').unwrap_or_default();
        endings.contains(&ending)
    });
    if files.is_empty() {
        return Err(format!(
            "the folder {} has no file that ends in .{}",
            folder.display(),
            endings.join(" or .")
        ));
    }
    Ok(files)
}
