//! `milepost new`: writes a crate of one's own: a hook with its tests, an experiment that calls it, and the program with that hook.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::rust_name::is_crate;
use super::terminal::say;
use crate::diagnostic::Diagnostic;
use crate::record::RecordError;

/// It writes Cargo.toml, src/main.rs, a hook with its tests, experiments/<name>.toml, a Makefile and a README.md, which build and run as they
/// are. The crate depends on the checkout that this program was built from, where that is still there, else on this version of milepost.
#[derive(Args)]
pub(super) struct Arguments {
    /// The new folder; its name is the crate's: small letters, digits, - and _.
    folder: PathBuf,
    /// Depend on the milepost in this folder.
    #[arg(long, value_name = "PATH")]
    milepost: Option<PathBuf>,
}

/// The name that stands in the files for that of the crate.
const NAME: &str = "my-study";

/// The files but `Cargo.toml`. `my-study` in a path is the crate's name.
const FILES: [(&str, &str); 6] = [
    (".gitignore", include_str!("files/gitignore")),
    ("Makefile", include_str!("files/Makefile")),
    ("README.md", include_str!("files/README.md")),
    (
        "experiments/my-study.toml",
        include_str!("files/experiment.toml"),
    ),
    ("src/draft_chance.rs", include_str!("files/draft_chance.rs")),
    ("src/main.rs", include_str!("files/main.rs")),
];

const MANIFEST: &str = "Cargo.toml";
/// What milepost was built and tested with. In a crate that depends on a checkout, it is the checkout's.
const LOCK: &str = "Cargo.lock";

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let folder = &arguments.folder;
    let name = checked_name(folder)?;
    let milepost = Milepost::find(arguments.milepost.as_deref())?;
    let mut files: Vec<(String, Vec<u8>)> = FILES
        .iter()
        .map(|(path, text)| (path.replace(NAME, name), text.replace(NAME, name).into()))
        .collect();
    let manifest = include_str!("files/Cargo.toml.txt");
    let manifest = manifest.replace(NAME, name);
    let manifest = manifest.replace("{ MILEPOST }", &milepost.dependency());
    files.push((MANIFEST.to_owned(), manifest.into()));
    if let Milepost::Checkout(checkout) = &milepost
        && let Ok(lock) = std::fs::read(checkout.join(LOCK))
    {
        files.push((LOCK.to_owned(), lock));
    }
    put(folder, &files).map_err(|source| RecordError::Io {
        path: folder.clone(),
        source,
    })?;
    say!("wrote {}, which depends on {milepost}", folder.display());
    for (path, _) in &files {
        say!("  {path}");
    }
    say!(
        "\nrun it: cd {} && make finetune    test it: make test    how: its README.md",
        folder.display()
    );
    Ok(0)
}

/// The name of the crate in a folder that is not there yet.
fn checked_name(folder: &Path) -> Result<&str, Diagnostic> {
    let wrong = |message: &str| Diagnostic::file(folder.display().to_string(), message);
    let name = folder.file_name().and_then(|name| name.to_str());
    let name = name.filter(|name| is_crate(name)).ok_or_else(|| {
        wrong("not a crate's name: use small letters, digits, - and _, such as my-study, and no word of Rust's or cargo's own")
    })?;
    // A link that leads nowhere is there, too.
    if folder.symlink_metadata().is_ok() {
        return Err(wrong(
            "there is something of that name already; choose another",
        ));
    }
    if !parent(folder).is_dir() {
        return Err(wrong(
            "the folder that it would be in is not there; make that first",
        ));
    }
    Ok(name)
}

/// The folder that a path is in.
fn parent(path: &Path) -> &Path {
    let parent = path.parent();
    let named = parent.filter(|parent| !parent.as_os_str().is_empty());
    named.unwrap_or(Path::new("."))
}

/// The milepost that a crate depends on.
enum Milepost {
    /// In a folder.
    Checkout(PathBuf),
    /// This version, from wherever cargo has it.
    Version,
}

impl Milepost {
    /// The one in the folder that is given; else the checkout that this program was built from, if it is there.
    fn find(given: Option<&Path>) -> Result<Self, Diagnostic> {
        let Some(folder) = given else {
            let built_from = Path::new(env!("CARGO_MANIFEST_DIR"));
            return Ok(match is_milepost(built_from) {
                Ok(()) => Self::Checkout(built_from.to_owned()),
                Err(_) => Self::Version,
            });
        };
        let wrong = |message: String| Diagnostic::file(folder.display().to_string(), message);
        is_milepost(folder).map_err(|why| wrong(format!("this is not milepost: {why}")))?;
        let whole = folder
            .canonicalize()
            .map_err(|error| wrong(error.to_string()))?;
        if whole.to_str().is_none() {
            return Err(wrong(
                "Cargo.toml cannot name this path, which is not UTF-8".to_owned(),
            ));
        }
        Ok(Self::Checkout(whole))
    }

    /// As `[dependencies]` has it.
    fn dependency(&self) -> String {
        match self {
            Self::Checkout(folder) => {
                let path = toml::Value::from(folder.display().to_string());
                format!("{{ path = {path} }}")
            }
            Self::Version => format!("\"{}\"", env!("CARGO_PKG_VERSION")),
        }
    }
}

impl std::fmt::Display for Milepost {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Checkout(folder) => write!(f, "milepost in {}", folder.display()),
            Self::Version => write!(f, "milepost {}", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// Whether milepost's own `Cargo.toml` is in a folder, or why not.
fn is_milepost(folder: &Path) -> Result<(), String> {
    let path = folder.join(MANIFEST);
    let text = std::fs::read_to_string(&path);
    let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
    let table: Option<toml::Table> = text.parse().ok();
    let name = table
        .as_ref()
        .and_then(|table| table.get("package")?.get("name"));
    match name.and_then(toml::Value::as_str) {
        Some("milepost") => Ok(()),
        _ => Err(format!("{} is of another crate", path.display())),
    }
}

/// Writes the files into a folder beside the one that they will be in, and renames it.
fn put(folder: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    let parent = parent(folder);
    let aside = tempfile::Builder::new()
        .prefix(".new-")
        .tempdir_in(parent)?;
    for (name, bytes) in files {
        let path = aside.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(aside.path()))?;
        crate::atomic::write(&path, bytes)?;
    }
    // Temporary folders are private by default.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(aside.path(), std::fs::Permissions::from_mode(0o755))?;
    }
    crate::atomic::sync_directory(aside.path())?;
    std::fs::rename(aside.path(), folder)?;
    // It is not under that name any more.
    let _ = aside.keep();
    crate::atomic::sync_directory(parent)
}
