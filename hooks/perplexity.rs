//! Perplexity of both models on the held-out split, `exp` of the mean next-token loss.

use milepost::prelude::*;

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Options {}

struct Perplexity;

/// `perplexity`.
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
