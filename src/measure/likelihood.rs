//! How likely both models find given texts, token by token.

use super::positions::{Text, each_batch};
use crate::model::Pair;

/// Natural logarithms of the probabilities of the tokens behind `from` of each text, given all before them: main model, assistant.
pub type LogProbabilities = [Vec<Vec<f64>>; 2];

/// Log-probabilities of every token behind position `from` of each text, `ln p(token i | tokens before i)` for i from `from` + 1 to the end, in
/// double precision. Common beginnings are read once.
///
/// # Errors
/// Those of `go_on`, which is asked before each batch; when a text does not fit the models or logits are not finite.
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
    let vocab = pair.main.config().vocab_size;
    let room = |text: &Text| vec![0.0; (text.tokens.len() - text.from).saturating_sub(1)];
    let mut found: LogProbabilities = [(); 2].map(|()| texts.iter().map(room).collect());
    each_batch(pair, texts, go_on, &mut |places, main, assistant| {
        for (logits, found) in [main, assistant].into_iter().zip(&mut found) {
            for (places, row) in places.iter().zip(logits.chunks_exact(vocab)) {
                let normaliser = log_sum_exp(row);
                anyhow::ensure!(normaliser.is_finite(), "the logits are not finite");
                for &(text, position) in places {
                    // Nothing stands behind a text's last token.
                    if let Some(&next) = texts[text].tokens.get(position + 1) {
                        found[text][position - texts[text].from] =
                            f64::from(row[next as usize]) - normaliser;
                    }
                }
            }
        }
        Ok(())
    })?;
    Ok(found)
}

fn log_sum_exp(row: &[f32]) -> f64 {
    let highest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let exps = row.iter().map(|&logit| (f64::from(logit) - highest).exp());
    highest + exps.sum::<f64>().ln()
}

/// Share of differences that are above 0; of those that are 0, half.
pub fn share_above_zero(differences: &[f64]) -> f64 {
    let points = differences.iter().map(|&one| match one {
        _ if one > 0.0 => 1.0,
        0.0 => 0.5,
        _ => 0.0,
    });
    points.sum::<f64>() / differences.len() as f64
}

/// Wilson's interval (1927) of a share of `count` independent cases: unlike share -+ z s, it stays within 0 and 1.
pub fn wilson_interval(share: f64, count: usize, z: f64) -> (f64, f64) {
    let (n, z2) = (count as f64, z * z);
    let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}
