//! Downloads what an experiment needs, part by part, without loading any of it.

use std::collections::BTreeSet;

use super::hooks;
use super::load::{source_request, store};
use super::model_source::{ModelSource, find_model};
use super::{Places, Written};
use crate::data::{honest, sources};
use crate::download::Progress;
use crate::hub::{HubError, ModelId, Snapshot};
use crate::model::Role;
use crate::registry::Registry;

/// One part that an experiment needs.
pub struct Fetched {
    /// What the part is.
    pub what: String,
    /// Where it is, or why it is not available.
    pub result: anyhow::Result<String>,
}

/// Fetches models, text and templates. A part that fails does not stop the others. Branches on the hub are looked up again.
pub fn fetch(
    written: &Written,
    registry: &Registry,
    places: &Places,
    progress: &mut Progress,
) -> Vec<Fetched> {
    let mut all = Vec::new();
    for (role, what) in [(Role::Main, "main"), (Role::Assistant, "assistant")] {
        let source = find_model(written, places, role, &mut |id| {
            from_hub(places, id, progress)
        });
        let result = source.map(|source| match source {
            ModelSource::Mini(role) => format!("mini:{role}, built into the program"),
            ModelSource::Directory(directory) => directory.display().to_string(),
            ModelSource::Hub(id, snapshot) => described(&id, &snapshot),
            ModelSource::Adapter(directory, base) => format!(
                "{}, an adapter of {}",
                directory.display(),
                base.base().name
            ),
        });
        all.push(Fetched {
            what: what.to_owned(),
            result,
        });
    }
    all.push(Fetched {
        what: "text".to_owned(),
        result: text(written, places, progress),
    });
    all.extend(templates(written, places, progress));
    for (hook, model) in hooks::models(written, registry) {
        let directory = places.base.join(&model);
        let result = match (directory.is_dir(), ModelId::parse(&model)) {
            (true, _) => Ok(directory.display().to_string()),
            (false, Some(id)) => from_hub(places, &id, progress)
                .map(|snapshot| described(&id, &snapshot))
                .map_err(anyhow::Error::from),
            (false, None) => Err(anyhow::Error::from(written.wrong(
                &["hooks", &hook],
                format!("no model directory {}", directory.display()),
            ))),
        };
        all.push(Fetched {
            what: format!("hook {hook}"),
            result,
        });
    }
    all
}

/// Fetches the text. Returns its description, with the reasons why places were passed over.
fn text(written: &Written, places: &Places, progress: &mut Progress) -> anyhow::Result<String> {
    let corpus = sources::resolve(&source_request(written, places)?, progress)?;
    let notes = corpus.notes.iter().map(|note| format!(" ({note})"));
    Ok(notes.fold(corpus.description, |text, note| text + &note))
}

/// Fetches the template files of the contrasts, each once.
fn templates(written: &Written, places: &Places, progress: &mut Progress) -> Vec<Fetched> {
    let mut find = |file: &str| -> anyhow::Result<String> {
        match file {
            "builtin" => Ok("built into the program".to_owned()),
            "honest" => Ok(honest::find(&store(places), progress)?
                .display()
                .to_string()),
            file => match places.base.join(file) {
                path if path.is_file() => Ok(path.display().to_string()),
                path => {
                    let message = format!("no file {}", path.display());
                    Err(written.wrong(&["templates", "file"], message).into())
                }
            },
        }
    };
    let fetched = |result| Fetched {
        what: "templates".to_owned(),
        result,
    };
    match written.contrasts() {
        Ok(contrasts) => {
            let files: BTreeSet<String> = contrasts.into_iter().map(|(_, file)| file).collect();
            files.iter().map(|file| fetched(find(file))).collect()
        }
        Err(error) => vec![fetched(Err(error.into()))],
    }
}

/// Fetches a model of the hub: the current version if the hub may be asked, else the one in the cache.
fn from_hub(places: &Places, id: &ModelId, progress: &mut Progress) -> Result<Snapshot, HubError> {
    if places.hub.offline {
        places.hub.get(id, progress)
    } else {
        places.hub.refresh(id, progress)
    }
}

fn described(id: &ModelId, snapshot: &Snapshot) -> String {
    let directory = snapshot.directory.display();
    format!("{id}, commit {}, in {directory}", snapshot.commit)
}
