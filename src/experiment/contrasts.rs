//! `[contrasts]`: which groups of prompts are compared, and from which files they come.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Experiment, Written};
use crate::data::templates::{ContrastNames, ContrastSpec, Pairing, TemplateSet};
use crate::diagnostic::Diagnostic;

/// The contrasts of an experiment by their names.
pub type Contrasts = BTreeMap<String, ContrastSection>;

/// `[contrasts.<name>]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContrastSection {
    /// Two categories of the template file; `queer*` is all that begin so. The gap is the first less the second.
    pub groups: [String; 2],
    /// Its template file; absent: that of `[templates]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub templates: Option<String>,
    /// Its rows; absent: those of `[templates]`, or `unique` where nothing is paired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<TemplateSet>,
    /// What is compared with what.
    #[serde(default)]
    pub pairing: Pairing,
}

/// The contrasts of an experiment that names none.
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

/// The names of the contrasts of a resolved experiment, in the order in which its run has them.
pub fn contrast_names(experiment: &toml::Table) -> Vec<ContrastNames> {
    let written = experiment.get("contrasts").cloned();
    let written = written.and_then(|contrasts| contrasts.try_into().ok());
    let specs = specs(&written.unwrap_or_else(usual), TemplateSet::default());
    specs.iter().map(ContrastSpec::names).collect()
}

/// Contrasts in the order of their names, their groups told apart; `usual` is the set of an experiment's [templates].
fn specs(contrasts: &Contrasts, usual: TemplateSet) -> Vec<ContrastSpec> {
    let specs = contrasts.iter();
    let mut specs: Vec<ContrastSpec> = specs
        .map(|(name, section)| section.spec(name, usual))
        .collect();
    ContrastSpec::tell_apart(&mut specs);
    specs
}

impl ContrastSection {
    /// The contrast of that name; `usual` is the set of an experiment's [templates].
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

/// What the loop's own tags begin with.
const RESERVED: [&str; 4] = ["train", "eval", "hook", "run"];

/// What tags call the prompts of all groups together.
const POOLED: [&str; 2] = ["mean", "all"];

/// The longest name, in bytes.
const LONGEST_NAME: usize = 60;

impl Written {
    /// The contrasts with the names of their template files, in the order of the contrasts' names.
    ///
    /// # Errors
    /// A diagnostic at what cannot be used.
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
                "not a contrast's name, which tags begin with: it must begin with a letter or digit, go on with letters, digits, `-` and `_`, and have at most 60 bytes",
            );
        }
        if RESERVED.contains(&name) {
            return wrong("", "not a contrast's name: the loop's own tags begin so");
        }
        let spec = section.spec(name, TemplateSet::default());
        if let Some(group) = spec.groups.iter().find(|group| POOLED.contains(&&***group)) {
            let message = format!(
                "no group can be called `{group}`, as what is measured over all prompts is"
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
