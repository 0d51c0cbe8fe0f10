//! How alike what a model makes of the prompts is to what it made of them before fine-tuning: linear CKA of its hidden states, layer by layer.

use milepost::prelude::*;

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Options {}

struct Representation;

/// `representation`.
pub fn kind() -> Kind {
    Kind::new(
        "representation",
        "linear CKA of each model's hidden states at the prompts' last tokens, now against step 0, by layer",
        |_: Options| Representation,
    )
}

impl Hook for Representation {
    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let prompts = &context.scene().prompts;
        ensure!(prompts.len() > 1, "likeness needs at least two prompts");
        for role in Role::BOTH {
            context.check_deadline()?;
            let now = context.pair().get(role).hidden_states(prompts);
            context.check_deadline()?;
            let then = context.start().get(role).hidden_states(prompts);
            let mut sum = 0.0;
            for (layer, (now, then)) in now.iter().zip(&then).enumerate() {
                context.check_deadline()?;
                let likeness = linear_cka(now, then, prompts.len());
                ensure!(
                    likeness.is_finite(),
                    "layer {layer} of the {role} model is the same for all prompts"
                );
                sum += likeness;
                // 0 is what the embeddings give, the last what the final layer norm does.
                context.scalar(format!("representation/{role}/layer_{layer:02}"), likeness);
            }
            context.scalar(
                format!("representation/{role}/mean"),
                sum / now.len() as f64,
            );
        }
        Ok(())
    }
}
