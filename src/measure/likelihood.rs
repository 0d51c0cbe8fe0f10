//! The likelihood of given texts under both models, token by token.

use super::positions::{Text, each_group};
use crate::model::Pair;

/// Natural logarithms of probabilities, for the main model and the assistant, each `[texts][tokens]`: for every token after position `from`
/// of a text, its probability given all tokens before it.
pub type LogProbabilities = [Vec<Vec<f64>>; 2];

/// The log-probabilities of every token after position `from` of each text, `ln p(token i | tokens before i)` for i from `from` + 1 to the
/// end, in nats and double precision. Common beginnings of texts are read once.
///
/// # Errors
/// Those of `go_on`, which is called before each batch, and when a text does not fit the models or logits are not finite.
pub fn log_probabilities(
    pair: &Pair,
    texts: &[Text],
    go_on: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<LogProbabilities> {
    let longest = texts.iter().map(|text| text.tokens.len()).max();
    anyhow::ensure!(
        longest.unwrap_or(0) <= pair.n_positions(),
        "a text of {} tokens is longer than the {} positions of the models",
        longest.unwrap_or(0),
        pair.n_positions()
    );
    let room = |text: &Text| vec![0.0; (text.tokens.len() - text.from).saturating_sub(1)];
    let mut found: LogProbabilities = [(); 2].map(|()| texts.iter().map(room).collect());
    each_group(pair, texts, go_on, &mut |group| {
        // No token follows the last one of a text.
        let (mut wanted, mut places) = (Vec::new(), Vec::new());
        for (row, own) in group.places.iter().enumerate() {
            for &(text, position) in own {
                if let Some(&next) = texts[text].tokens.get(position + 1) {
                    wanted.push((row, next));
                    places.push((text, position - texts[text].from));
                }
            }
        }
        let models = [
            (&pair.main, &group.main),
            (&pair.assistant, &group.assistant),
        ];
        for ((model, hidden), found) in models.into_iter().zip(&mut found) {
            go_on()?;
            let normalised = model.normalised(hidden.clone(), &wanted);
            for ([normaliser, logit], (text, place)) in normalised.into_iter().zip(&places) {
                anyhow::ensure!(normaliser.is_finite(), "the logits are not finite");
                found[*text][*place] = logit - normaliser;
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// The share of differences above 0, where a difference of 0 counts half.
pub fn share_above_zero(differences: &[f64]) -> f64 {
    let points = differences.iter().map(|&one| match one {
        _ if one > 0.0 => 1.0,
        0.0 => 0.5,
        _ => 0.0,
    });
    points.sum::<f64>() / differences.len() as f64
}

/// Wilson's score interval (1927) for a `share` of `count` independent cases, with the normal quantile `z`. It stays within 0 and 1, unlike
/// share +- z s.
pub fn wilson_interval(share: f64, count: usize, z: f64) -> (f64, f64) {
    let (n, z2) = (count as f64, z * z);
    let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}
