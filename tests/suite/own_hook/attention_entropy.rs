//! How widely the main model's attention spreads at the prompts: the mean entropy of its rows, block by block.

use milepost::prelude::*;

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {}

struct AttentionEntropy;

/// `attention-entropy`.
pub fn kind() -> Kind {
    let about = "mean entropy of the main model's attention at the prompts, by block";
    Kind::new("attention-entropy", about, |_: Options| AttentionEntropy)
        .row("entropy of attention, block 0", "attention_entropy/block_0")
}

impl Hook for AttentionEntropy {
    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let blocks = context.pair().main.config().layers;
        let layers = (0..blocks).map(|block| Part::AttentionWeights.of(block));
        let prompts = context.inside(Role::Main, &Vec::from_iter(layers))?;
        for block in 0..blocks {
            // A row for each prompt, head and token.
            let rows = prompts.iter().flat_map(|layers| layers[block].rows());
            let entropies: Vec<f64> = rows.map(entropy).collect();
            let mean = entropies.iter().sum::<f64>() / entropies.len() as f64;
            context.scalar(format!("attention_entropy/block_{block}"), mean);
        }
        Ok(())
    }
}

/// `-sum p ln p` in nats; a probability of 0 adds nothing.
fn entropy(row: &[f32]) -> f64 {
    let seen = row.iter().map(|&p| f64::from(p)).filter(|p| *p > 0.0);
    -seen.map(|p| p * p.ln()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::{Bench, changed};

    use super::*;

    /// Where queries and keys are 0, token i (from 0) attends to all i + 1 tokens alike, with an entropy of ln(i + 1).
    #[test]
    fn attention_to_all_tokens_alike_has_the_entropy_of_their_number() -> Result<()> {
        let bench = Bench::new()?;
        let mut pair = bench.pair_at(0);
        pair.main = changed(&pair.main, |name, _, weight| {
            let of_block_1 = name.starts_with("h.1.attn.c_attn.");
            if of_block_1 { 0.0 } else { weight }
        });
        let bench = bench.pair(pair)?;
        let reported = bench.run(&kind(), "", [0])?;
        let prompts = bench.scene().prompts.iter();
        let seen = prompts.flat_map(|prompt| 1..=prompt.len());
        let expected: Vec<f64> = seen.map(|tokens| (tokens as f64).ln()).collect();
        let expected = expected.iter().sum::<f64>() / expected.len() as f64;
        let found = |block| reported.scalar(&format!("attention_entropy/block_{block}"), 0);
        assert!((found(1)? - expected).abs() < 1e-5, "{}", found(1)?);
        assert!(found(0)? < expected - 0.1, "{}", found(0)?);
        Ok(())
    }
}
