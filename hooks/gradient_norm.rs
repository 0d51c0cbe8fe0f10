//! L2 norm of the gradients before clipping: of the whole model and, if asked, of every parameter.

use milepost::prelude::*;

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Options {
    per_parameter: bool,
}

struct GradientNorm {
    per_parameter: bool,
}

/// `gradient-norm`.
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
