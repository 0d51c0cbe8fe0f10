//! `milepost fetch`: downloads everything that an experiment needs.

use clap::Args;

use super::plan::read;
use super::terminal::{remark, say};
use super::{Selection, progress};
use crate::experiment::{Fetched, fetch};
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: Selection,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> anyhow::Result<u8> {
    let (written, places) = read(&arguments.selection, std::path::Path::new(""))?;
    let mut downloads = progress::Downloads::default();
    let all = fetch(&written, registry, &places, &mut |name, done, total| {
        downloads.report(name, done, total);
    });
    drop(downloads);
    let mut missing = None;
    for Fetched { what, result } in all {
        match result {
            Ok(place) => say!("{what:<12} {place}"),
            Err(error) => {
                remark!("{what:<12} not there: {}", super::failure::message(&error));
                missing.get_or_insert(super::failure::exit_code(&error));
            }
        }
    }
    if missing.is_none() {
        say!(
            "all there: the experiment needs no network now (HF_HUB_OFFLINE=1 MILEPOST_OFFLINE=1)"
        );
    }
    Ok(missing.unwrap_or(0))
}
