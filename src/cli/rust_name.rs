//! Names that a module or a crate can have.

/// Rust's keywords, and the name of this crate.
const WORDS: [&str; 52] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield", "milepost",
];

/// Names of crates that cargo refuses for a program or that would hide one it needs.
const CRATES: [&str; 11] = [
    "alloc",
    "build",
    "core",
    "deps",
    "examples",
    "incremental",
    "main",
    "proc_macro",
    "serde",
    "std",
    "test",
];

/// Names of devices on Windows, which no folder there can have.
const DEVICES: [&str; 4] = ["aux", "con", "nul", "prn"];

/// Whether a module can have this name: small letters, digits and `_` after a small letter, and no word of Rust's own.
pub(super) fn is_module(name: &str) -> bool {
    let first = name.starts_with(|letter: char| letter.is_ascii_lowercase());
    let rest = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '_');
    first && name.chars().all(rest) && !WORDS.contains(&name)
}

/// Whether a crate with a program can have this name: that of a module, with `-` for `_` if one likes.
pub(super) fn is_crate(name: &str) -> bool {
    let module = name.replace('-', "_");
    let taken = [&CRATES[..], &DEVICES].concat();
    is_module(&module) && name.len() <= LONGEST && !taken.contains(&module.as_str())
}

/// The longest name of a crate, in letters.
const LONGEST: usize = 64;
