//! `milepost export --merged`: the whole models of a run whose adapters were trained.

use std::path::{Path, PathBuf};

use super::terminal::say;
use super::{Where, plan, progress};
use crate::diagnostic::Diagnostic;
use crate::experiment::merged_model;
use crate::model::{Role, is_adapter};
use crate::record::RecordError;
use crate::record::checkpoint::model_folder;
use crate::record::layout::MODELS;

/// Writes each model of a run that has an adapter, merged into its base, or the model of an adapter's directory, into a folder that transformers
/// reads: by default `merged` in the given one.
pub(super) fn export(given: &Path, out: Option<&Path>, selection: &Where) -> anyhow::Result<u8> {
    let out = out.map_or_else(|| given.join("merged"), Path::to_owned);
    let models = given.join(MODELS);
    let of_run = Role::BOTH.map(model_folder);
    let adapters: Vec<(PathBuf, PathBuf)> = if is_adapter(given) {
        vec![(given.to_owned(), out)]
    } else {
        let folders = of_run.into_iter();
        let adapted = folders.filter(|folder| is_adapter(&models.join(folder)));
        adapted
            .map(|folder| (models.join(folder), out.join(folder)))
            .collect()
    };
    if adapters.is_empty() {
        let message = "no adapter: neither adapter_config.json nor a run with one in models/";
        return Err(Diagnostic::file(given.display().to_string(), message).into());
    }
    let places = plan::places(selection, Path::new(""), given);
    let mut downloads = progress::Downloads::default();
    for (adapter, folder) in adapters {
        let (model, tokenizer) = merged_model(&adapter, &places, &mut |name, done, total| {
            downloads.report(name, done, total);
        })?;
        std::fs::create_dir_all(&folder).map_err(|source| RecordError::Io {
            path: folder.clone(),
            source,
        })?;
        model.save(&folder)?;
        tokenizer.save(&folder)?;
        say!("{}", folder.display());
    }
    Ok(0)
}
