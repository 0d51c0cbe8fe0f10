//! The tags that the loop itself records.

use crate::model::Role;

/// The tags that conditions may use of the loop: the training loss of each of the `trained` models, the learning rate, and loss and
/// perplexity of both models on the held-out split.
pub fn loop_tags(trained: &[Role]) -> Vec<String> {
    let losses = trained.iter().map(|role| format!("train/{role}/loss"));
    let evaluated = Role::BOTH.map(|role| [format!("eval/{role}/loss"), perplexity(role.as_str())]);
    losses
        .chain(["train/lr".to_owned()])
        .chain(evaluated.into_iter().flatten())
        .collect()
}

/// What the loop has recorded, with the perplexity of each loss on the held-out split behind it: exp of the mean loss in nats.
pub(super) fn with_perplexities(scalars: &[(String, f64)]) -> Vec<(String, f64)> {
    let both = scalars.iter().flat_map(|(tag, value)| {
        let role = tag.strip_prefix("eval/");
        let role = role.and_then(|rest| rest.strip_suffix("/loss"));
        let perplexity = role.map(|role| (perplexity(role), value.exp()));
        std::iter::once((tag.clone(), *value)).chain(perplexity)
    });
    both.collect()
}

fn perplexity(role: &str) -> String {
    format!("eval/{role}/perplexity")
}
