//! `[contrasts]`: which groups of prompts are compared, and the files that they come from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Experiment, Written};
use crate::data::templates::{ContrastNames, ContrastSpec, Pairing, TemplateSet};
use crate::diagnostic::Diagnostic;

/// The contrasts of an experiment, by name.
pub type Contrasts = BTreeMap<String, ContrastSection>;

/// `[contrasts.<name>]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContrastSection {
    /// Two categories of the template file; `queer*` means all that begin with `queer`. The gap is the first group's mean minus the
    /// second's.
    pub groups: [String; 2],
    /// The contrast's template file. If absent, the one of `[templates]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub templates: Option<String>,
    /// Which rows are used. If absent, the set of `[templates]`, or `unique` without pairing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<TemplateSet>,
    /// Whether prompts are compared in matched pairs or as two samples.
    #[serde(default)]
    pub pairing: Pairing,
}

/// The default contrasts, for an experiment that names none.
pub(super) fn usual() -> Contrasts {
    let specs = ContrastSpec::usual(TemplateSet::default()).into_iter();
    let sections = specs.map(|spec| {
        let section = ContrastSection {
            groups: spec.categories,
            templates: None,
            set: None,
            pairing: spec.pairing,
        };
        (spec.name, section)
    });
    sections.collect()
}

/// The contrasts' names in a resolved experiment, in the order of its run.
pub fn contrast_names(experiment: &toml::Table) -> Vec<ContrastNames> {
    let written = experiment.get("contrasts").cloned();
    let written = written.and_then(|contrasts| contrasts.try_into().ok());
    let specs = specs(&written.unwrap_or_else(usual), TemplateSet::default());
    specs.iter().map(ContrastSpec::names).collect()
}

/// The specifications of contrasts in the order of their names, with groups whose names can be told apart. `usual` is the set of the
/// experiment's [templates].
fn specs(contrasts: &Contrasts, usual: TemplateSet) -> Vec<ContrastSpec> {
    let specs = contrasts.iter();
    let mut specs: Vec<ContrastSpec> = specs
        .map(|(name, section)| section.spec(name, usual))
        .collect();
    ContrastSpec::tell_apart(&mut specs);
    specs
}

impl ContrastSection {
    /// The specification of this contrast. `usual` is the set of the experiment's [templates].
    fn spec(&self, name: &str, usual: TemplateSet) -> ContrastSpec {
        let set = match (self.set, self.pairing) {
            (Some(set), _) => set,
            (None, Pairing::None) => TemplateSet::Unique,
            (None, Pairing::Counterpart) => usual,
        };
        let categories = self.groups.each_ref().map(String::as_str);
        ContrastSpec {
            pairing: self.pairing,
            ..ContrastSpec::new(name, categories, set)
        }
    }
}

/// The first parts of the loop's own tags, which no contrast can have as its name.
const RESERVED: [&str; 4] = ["train", "eval", "hook", "run"];

/// The names in tags for the prompts of all groups together.
const POOLED: [&str; 2] = ["mean", "all"];

/// The longest allowed name, in bytes.
const LONGEST_NAME: usize = 60;

impl Written {
    /// The contrasts with their template files, in the order of the contrasts' names.
    ///
    /// # Errors
    /// A diagnostic at the first value that cannot be used.
    pub(super) fn contrasts(&self) -> Result<Vec<(ContrastSpec, String)>, Diagnostic> {
        let Experiment {
            templates,
            contrasts,
            ..
        } = &self.experiment;
        if contrasts.is_empty() {
            let message = "names no contrast; leave `contrasts` out to compare the usual groups";
            return Err(self.wrong(&["contrasts"], message));
        }
        for (name, section) in contrasts {
            self.check_contrast(name, section)?;
        }
        let files = contrasts.values();
        let files = files.map(|section| section.templates.as_ref().unwrap_or(&templates.file));
        let specs = specs(contrasts, templates.set).into_iter();
        Ok(specs.zip(files.cloned()).collect())
    }

    fn check_contrast(&self, name: &str, section: &ContrastSection) -> Result<(), Diagnostic> {
        let wrong = |key: &str, message: &str| {
            let path = ["contrasts", name, key];
            Err(self.wrong(if key.is_empty() { &path[..2] } else { &path }, message))
        };
        let letter = |c: char| c.is_alphanumeric() || "-_".contains(c);
        let sound = name.starts_with(char::is_alphanumeric) && name.chars().all(letter);
        if !sound || name.len() > LONGEST_NAME {
            return wrong(
                "",
                "not a contrast's name: tags begin with it, so it must begin with a letter or digit, go on with letters, digits, `-` and `_`, and have at most 60 bytes",
            );
        }
        if RESERVED.contains(&name) {
            return wrong(
                "",
                "not a contrast's name: the loop's own tags begin with it",
            );
        }
        let spec = section.spec(name, TemplateSet::default());
        if let Some(group) = spec.groups.iter().find(|group| POOLED.contains(&&***group)) {
            let message = format!(
                "no group can be called `{group}`: tags use that name for all prompts together"
            );
            return wrong("groups", &message);
        }
        if spec.groups[0] == spec.groups[1] && section.groups[0] != section.groups[1] {
            return wrong("groups", "both groups would have the same name in tags");
        }
        let [first, second] = &section.groups;
        if [first, second]
            .iter()
            .any(|group| group.trim_matches('*').trim().is_empty())
        {
            return wrong("groups", "a group names no category of the template file");
        }
        if first == second {
            return wrong("groups", "both groups are the same");
        }
        if section.set == Some(TemplateSet::Paired) && section.pairing == Pairing::None {
            return wrong(
                "set",
                "`paired` has matched pairs, and `pairing = \"none\"` wants none; take `unique` or `all`",
            );
        }
        if section
            .templates
            .as_ref()
            .is_some_and(|file| file.trim().is_empty())
        {
            return wrong("templates", "names nothing");
        }
        Ok(())
    }
}
