//! The hook `gradient-norm`: the L2 norm of the gradients before clipping, of each trained model and, if asked, of every parameter.

use milepost::prelude::*;

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Options {
    per_parameter: bool,
}

struct GradientNorm {
    per_parameter: bool,
}

/// The kind `gradient-norm`.
pub fn kind() -> Kind {
    Kind::new(
        "gradient-norm",
        "L2 norm of each trained model's gradients before clipping",
        |options: Options| GradientNorm {
            per_parameter: options.per_parameter,
        },
    )
    .option("per_parameter", "also one scalar for every parameter")
    .named("gradient norm, main", "train/main/gradient_norm")
    .named("gradient norm, assistant", "train/assistant/gradient_norm")
    .reports(&["gradient_norm_main/*", "gradient_norm_assistant/*"])
    .inline()
    .on(Event::GradientsReady)
}

impl Hook for GradientNorm {
    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        for (role, gradients) in context.gradients() {
            let norms = gradients.norms();
            let squares = norms.iter().map(|(_, norm)| norm * norm);
            context.scalar(
                format!("train/{role}/gradient_norm"),
                squares.sum::<f64>().sqrt(),
            );
            if self.per_parameter {
                for (name, norm) in norms {
                    context.scalar(format!("gradient_norm_{role}/{name}"), norm);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::{Bench, changed, probabilities};

    use super::*;

    /// The mean next-token loss over the bench's held-out text, by slow sums, with `change` added to the weights of the assistant's
    /// `ln_f.bias`.
    fn loss(bench: &Bench, change: &dyn Fn(usize) -> f32) -> f64 {
        let model = changed(
            &bench.pair_at(0).assistant,
            |name, index, weight| match name {
                "ln_f.bias" => weight + change(index),
                _ => weight,
            },
        );
        let (blocks, mut sum, mut count) = (&bench.scene().held_out, 0.0, 0.0);
        for block in (0..blocks.len()).map(|index| blocks.get(index)) {
            let rows = probabilities(&model, block);
            for (row, &next) in rows.iter().zip(&block[1..]) {
                sum -= row[next as usize].ln();
                count += 1.0;
            }
        }
        sum / count
    }

    #[test]
    fn the_norm_is_that_of_differences_of_the_loss() -> Result<()> {
        let bench = Bench::new()?;
        let reported = bench.run(&kind(), "per_parameter = true", [1])?;
        let mut square = 0.0;
        for place in 0..bench.pair_at(0).assistant.config().width {
            let moved = |by: f32| loss(&bench, &|index| if index == place { by } else { 0.0 });
            let slope = (moved(0.02) - moved(-0.02)) / 0.04;
            square += slope * slope;
        }
        let found = reported.scalar("gradient_norm_assistant/ln_f.bias", 1)?;
        let expected = square.sqrt();
        assert!((found / expected - 1.0).abs() < 0.01, "{found}, {expected}");
        Ok(())
    }

    #[test]
    fn the_whole_is_the_root_of_the_sum_of_squares() -> Result<()> {
        let reported = Bench::new()?.run(&kind(), "per_parameter = true", [1, 2])?;
        for role in Role::BOTH {
            let prefix = format!("gradient_norm_{role}/");
            let scalars = reported.output(2)?.scalars.iter();
            let parts = scalars.filter(|(tag, _)| tag.starts_with(&prefix));
            let square: f64 = parts.map(|(_, norm)| norm * norm).sum();
            let whole = reported.scalar(&format!("train/{role}/gradient_norm"), 2)?;
            assert!(whole > 0.0 && (whole * whole / square - 1.0).abs() < 1e-9);
        }
        Ok(())
    }
}
