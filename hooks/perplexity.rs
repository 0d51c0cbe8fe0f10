//! The hook `perplexity`: the perplexity of both models on the held-out split, exp of the mean next-token loss.

use milepost::prelude::*;

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Options {}

struct Perplexity;

/// The kind `perplexity`.
pub fn kind() -> Kind {
    Kind::new(
        "perplexity",
        "perplexity of main model and assistant on the held-out split",
        |_: Options| Perplexity,
    )
    .row("held-out perplexity, main", "eval/main/perplexity")
    .row(
        "held-out perplexity, assistant",
        "eval/assistant/perplexity",
    )
    .lines(
        "Main model and assistant",
        "held-out perplexity",
        &["eval/main/perplexity", "eval/assistant/perplexity"],
    )
    .metric("eval/main/perplexity")
}

impl Hook for Perplexity {
    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let evaluation = context.evaluation()?;
        for role in Role::BOTH {
            if let Some(perplexity) = evaluation.perplexity(role) {
                context.scalar(format!("eval/{role}/perplexity"), perplexity);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::{At, Bench, probabilities};

    use super::*;

    #[test]
    fn it_is_exp_of_a_slow_mean() -> Result<()> {
        let bench = Bench::new()?;
        let reported = bench.run(&kind(), "", [0, 3])?;
        let (pair, blocks) = (bench.pair_at(3), &bench.scene().held_out);
        for role in Role::BOTH {
            let (mut sum, mut count) = (0.0, 0.0);
            for block in (0..blocks.len()).map(|index| blocks.get(index)) {
                let rows = probabilities(pair.get(role), block);
                for (row, &next) in rows.iter().zip(&block[1..]) {
                    sum -= row[next as usize].ln();
                    count += 1.0;
                }
            }
            let found = reported.scalar(&format!("eval/{role}/perplexity"), 3)?;
            let expected = f64::exp(sum / count);
            assert!(
                (found / expected - 1.0).abs() < 1e-5,
                "{role}: {found}, {expected}"
            );
        }
        Ok(())
    }

    #[test]
    fn what_the_loop_has_evaluated_is_not_computed_again() -> Result<()> {
        let at = At::step(3)
            .evaluated(Role::Main, 2.0)
            .evaluated(Role::Assistant, 0.0);
        let reported = Bench::new()?.run(&kind(), "", [at])?;
        assert_eq!(reported.scalar("eval/main/perplexity", 3)?, f64::exp(2.0));
        assert_eq!(reported.scalar("eval/assistant/perplexity", 3)?, 1.0);
        Ok(())
    }
}
