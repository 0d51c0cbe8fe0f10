//! The hook `assistant-share`: how much of the main model's text the assistant writes in assisted decoding of the prompts.

use milepost::prelude::*;

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Options {
    #[serde(skip_serializing_if = "Option::is_none")]
    decode: Option<Settings>,
}

struct AssistantShare {
    decode: Option<Settings>,
}

/// The kind `assistant-share`.
pub fn kind() -> Kind {
    Kind::new(
        "assistant-share",
        "share of new tokens that the assistant wrote, acceptance of its drafts, tokens a pass of the main model",
        |options: Options| AssistantShare {
            decode: options.decode,
        },
    )
    .decoding("decode", "decoding settings of this hook's own; default: the run's [decode]")
    .row("assistant's share of tokens", "decode/assistant_share")
    .row("acceptance of drafts", "decode/acceptance")
    .lines(
        "Main model and assistant",
        "assisted decoding",
        &["decode/assistant_share", "decode/acceptance"],
    )
    .metric("decode/assistant_share")
    .named("acceptance of checked tokens", "decode/token_acceptance")
    .named("tokens a pass of the main model", "decode/tokens_per_main_pass")
    .named("n_matches a round with a draft", "decode/n_matches_per_round")
    .named("n_matches a prompt", "decode/n_matches_per_prompt")
    .section(
        "The assistant's share of tokens",
        "How much of what assisted decoding writes the assistant has drafted.",
    )
    .shares(
        "Before and after",
        &[
            ("new tokens that the assistant wrote", "decode/assistant_share"),
            ("drafted tokens that were accepted", "decode/acceptance"),
        ],
    )
}

impl Hook for AssistantShare {
    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let decodings = context.decodings(self.decode)?;
        let totals = DecodingTotals::of(&decodings);
        let settings = self.decode.unwrap_or(context.scene().decode);
        let acceptance = match settings.drafting {
            Drafting::Whole => totals.acceptance(),
            Drafting::Lazy => None,
        };
        for (tag, value) in [
            ("decode/assistant_share", totals.assistant_share()),
            ("decode/acceptance", acceptance),
            ("decode/token_acceptance", totals.token_acceptance()),
            ("decode/tokens_per_main_pass", totals.tokens_per_main_pass()),
            ("decode/n_matches_per_round", totals.n_matches_per_round()),
            ("decode/n_matches_per_prompt", totals.n_matches_per_prompt()),
        ] {
            // None when there was nothing to divide by, for example no round with a draft, or when it is not known.
            if let Some(value) = value {
                context.scalar(tag, value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::{Bench, decoded};

    use super::*;

    #[test]
    fn the_shares_are_those_of_slow_decoding() -> Result<()> {
        // The hook uses its own settings, not the run's.
        let settings = Bench::new()?.scene().decode;
        let bench = Bench::new()?.decode(Settings {
            max_new_tokens: 2,
            ..settings
        });
        let options = "decode = { draft_length = 3, max_new_tokens = 8 }";
        let reported = bench.run(&kind(), options, [0, 6])?;
        let (mut new, mut drafted, mut matched, mut passes) = (0.0, 0.0, 0.0, 0.0);
        let mut rejected = 0.0;
        for decoding in decoded(&bench.pair_at(6), bench.scene(), &settings) {
            new += decoding.tokens.len() as f64;
            for round in decoding.rounds {
                passes += 1.0;
                drafted += round.drafted as f64;
                matched += round.matched as f64;
                rejected += f64::from(u8::from(round.matched < round.drafted));
            }
        }
        assert!(0.0 < matched && matched < drafted);
        for (tag, expected) in [
            ("assistant_share", matched / new),
            ("acceptance", matched / drafted),
            ("token_acceptance", matched / (matched + rejected)),
            ("tokens_per_main_pass", new / passes),
            ("n_matches_per_prompt", matched / 8.0),
        ] {
            let found = reported.scalar(&format!("decode/{tag}"), 6)?;
            assert!(
                (found - expected).abs() < 1e-12,
                "{tag}: {found}, {expected}"
            );
        }
        let lazy = options.replace("draft_length", "drafting = 'lazy', draft_length");
        let lazy = bench.part(&kind(), &lazy, [0, 6])?;
        for tag in [
            "token_acceptance",
            "n_matches_per_prompt",
            "tokens_per_main_pass",
        ] {
            let tag = format!("decode/{tag}");
            assert_eq!(lazy.scalars(&tag), reported.scalars(&tag));
        }
        // The length of whole drafts is not known.
        assert!(lazy.scalars("decode/acceptance").is_empty());
        Ok(())
    }

    #[test]
    fn an_assistant_equal_to_the_main_model_is_always_right() -> Result<()> {
        let main = Bench::new()?.pair_at(0).main;
        let bench = Bench::new()?.pair(Pair::new(main.clone(), main)?)?;
        let reported = bench.run(&kind(), "", [0, 3])?;
        let acceptance = reported.scalars("decode/acceptance");
        assert_eq!(acceptance, [(0, 1.0), (3, 1.0)]);
        Ok(())
    }
}
