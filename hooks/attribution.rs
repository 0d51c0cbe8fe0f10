//! Which of the two models moved the numbers: the 2 x 2 of main model {at the start, now} and assistant {at the start, now}, measured with
//! one decoding setting.
//!
//! The effect of a model is the change when it alone moves from start to now, averaged over the two states of the other; the two effects
//! add up to the whole change. The interaction is how much the effect of one depends on the state of the other.

use milepost::prelude::*;

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Options {
    #[serde(skip_serializing_if = "Option::is_none")]
    decode: Option<Settings>,
}

struct Attribution {
    decode: Option<Settings>,
    /// The cell of the start, which is the same at every milestone.
    start: Option<Cell>,
}

/// What is measured in a cell.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Cell {
    kl: f64,
    n_matches: f64,
    assistant_share: f64,
    /// Female minus male n_matches a prompt, on matched pairs.
    disparity: f64,
}

/// A measure of a cell: its tag, its name in the table, its value.
type Measure = (&'static str, &'static str, fn(&Cell) -> f64);

const MEASURES: [Measure; 4] = [
    ("kl_nats", "KL(main, assistant), nats", |cell| cell.kl),
    ("n_matches", "n_matches a prompt", |cell| cell.n_matches),
    ("assistant_share", "assistant's share of tokens", |cell| {
        cell.assistant_share
    }),
    ("disparity", "n_matches, female - male", |cell| {
        cell.disparity
    }),
];

/// `attribution`.
pub fn kind() -> Kind {
    Kind::new(
        "attribution",
        "2 x 2 of main model and assistant, each at the start or now: which of them moved the KL, the n_matches and the disparity",
        |options: Options| Attribution {
            decode: options.decode,
            start: None,
        },
    )
    .option("decode", "decoding settings of this hook's own; default: the run's [decode]")
}

impl Hook for Attribution {
    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let cell = |main, assistant| measure(context, main, assistant, self.decode);
        let start = match self.start {
            Some(start) => start,
            None => cell(When::Start, When::Start)?,
        };
        // In the order of the table: main model, then assistant.
        let cells = match context.milestone().step {
            // Nothing has moved yet.
            0 => [start; 4],
            _ => [
                start,
                cell(When::Start, When::Now)?,
                cell(When::Now, When::Start)?,
                cell(When::Now, When::Now)?,
            ],
        };
        self.start = Some(start);
        let mut table = String::from(
            "| measure | both at start | assistant now | main now | both now | change | by main | by assistant | interaction |\n|---|---|---|---|---|---|---|---|---|\n",
        );
        for (tag, name, value) in MEASURES {
            let [ss, sn, ns, nn] = cells.map(|cell| value(&cell));
            let by_main = ((ns - ss) + (nn - sn)) / 2.0;
            let by_assistant = ((sn - ss) + (nn - ns)) / 2.0;
            let interaction = nn - ns - sn + ss;
            for (cell, value) in [
                ("main_start_assistant_start", ss),
                ("main_start_assistant_now", sn),
                ("main_now_assistant_start", ns),
                ("main_now_assistant_now", nn),
                ("by_main", by_main),
                ("by_assistant", by_assistant),
                ("interaction", interaction),
            ] {
                context.scalar(format!("attribution/{tag}/{cell}"), value);
            }
            table += &format!(
                "| {name} | {ss:.4} | {sn:.4} | {ns:.4} | {nn:.4} | {:+.4} | {by_main:+.4} | {by_assistant:+.4} | {interaction:+.4} |\n",
                nn - ss
            );
        }
        context.text("attribution/table", table);
        Ok(())
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!(self.start)
    }

    fn restore(&mut self, state: serde_json::Value) -> Result<()> {
        self.start = serde_json::from_value(state)?;
        Ok(())
    }
}

fn measure(
    context: &Context,
    main: When,
    assistant: When,
    settings: Option<Settings>,
) -> Result<Cell> {
    let divergences = context.divergences_of(main, assistant)?;
    let decodings = context.decodings_of(main, assistant, settings)?;
    let totals = DecodingTotals::of(&decodings);
    let matches = |prompt: usize| -> f64 {
        let rounds = decodings[prompt].rounds.iter();
        rounds.map(|round| round.matched as f64).sum()
    };
    let pairs = context.scene().templates.pairs();
    let differences = pairs
        .iter()
        .map(|pair| matches(pair.female) - matches(pair.male));
    Ok(Cell {
        kl: Divergence::mean(divergences.iter()).unwrap_or_default().kl,
        n_matches: totals.n_matches_per_prompt().unwrap_or_default(),
        assistant_share: totals.assistant_share().unwrap_or_default(),
        disparity: differences.sum::<f64>() / pairs.len().max(1) as f64,
    })
}
