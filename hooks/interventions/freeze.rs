//! The intervention `freeze`: freezes a part of a model, or lets it learn again.

use std::collections::BTreeSet;

use milepost::prelude::*;

#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields, default)]
struct Options {
    model: Role,
    parameters: Vec<String>,
    thaw: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            model: Role::Main,
            parameters: vec!["*".to_owned()],
            thaw: false,
        }
    }
}

struct Freeze {
    options: Options,
    /// The names that the options mean.
    names: BTreeSet<String>,
}

/// The kind `freeze`.
pub fn kind() -> InterventionKind {
    InterventionKind::new(
        "freeze",
        "freezes parameters of a model, which then keep their values and moments, or thaws them",
        |options: Options| Freeze {
            options,
            names: BTreeSet::new(),
        },
    )
    .option("model", "`main` or `assistant`")
    .option(
        "parameters",
        "their names in the checkpoint, or the beginnings of names up to a dot (`h.0`); `*` stands for any text",
    )
    .option("thaw", "whether they are thawed instead")
    .at(Some("start"))
}

impl Intervention for Freeze {
    fn prepare(&mut self, facts: &RunFacts) -> Result<()> {
        let Options {
            model, parameters, ..
        } = &self.options;
        OptionError::unless(
            facts.trained.contains(model),
            "model",
            format!("the {model} model is not trained: `train.models`"),
        )?;
        let known = &facts.parameters[*model as usize];
        for pattern in parameters {
            let meant = known.iter().filter(|name| is_meant(pattern, name));
            let before = self.names.len();
            self.names.extend(meant.cloned());
            OptionError::unless(
                self.names.len() > before || known.iter().any(|name| is_meant(pattern, name)),
                "parameters",
                format!(
                    "`{pattern}` is no parameter of the {model} model: its parameters are {}",
                    known.join(", ")
                ),
            )?;
        }
        OptionError::unless(!self.names.is_empty(), "parameters", "names no parameter")?;
        Ok(())
    }

    fn intervene(&mut self, control: &mut Control) -> Result<()> {
        let role = self.options.model;
        let reason = format!("parameters = {:?}", self.options.parameters);
        let frozen = control.in_force().frozen.get(&role);
        let is_frozen = |name: &String| frozen.is_some_and(|frozen| frozen.contains(name));
        // Those that are as they should be already are left out.
        let names = self.names.iter();
        let names = names.filter(|name| is_frozen(name) == self.options.thaw);
        let names: BTreeSet<String> = names.cloned().collect();
        match (names.is_empty(), self.options.thaw) {
            (true, _) => {}
            (false, false) => control.freeze(role, names, reason),
            (false, true) => control.thaw(role, names, reason),
        }
        Ok(())
    }
}

/// Whether a pattern means a parameter: it is the whole name or its beginning up to a dot, where `*` stands for any text.
fn is_meant(pattern: &str, name: &str) -> bool {
    let beginnings = name.match_indices('.').map(|(dot, _)| &name[..dot]);
    beginnings.chain([name]).any(|part| matches(pattern, part))
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let mut places = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            places.any(|at| matches(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::is_meant;

    #[test]
    fn patterns_mean_whole_names_and_their_beginnings_up_to_a_dot() {
        for (pattern, name, expected) in [
            ("h.0", "h.0.attn.c_attn.weight", true),
            ("h.1", "h.11.attn.c_attn.weight", false),
            ("h.1*", "h.11.attn.c_attn.weight", true),
            ("*.attn", "h.11.attn.c_attn.weight", true),
            ("*bias", "h.11.attn.c_attn.bias", true),
            ("*bias", "h.11.attn.c_attn.weight", false),
            ("*", "wte.weight", true),
            ("wte.weight", "wte.weight", true),
            ("wt", "wte.weight", false),
            ("h.*.ln_*.weight", "h.3.ln_2.weight", true),
            ("h.*.ln_*.weight", "h.3.ln_2.bias", false),
        ] {
            assert_eq!(is_meant(pattern, name), expected, "{pattern} {name}");
        }
    }
}
