//! The hook `attribution`: which of the two models changed the numbers. It measures the 2 x 2 of main model {at the start, now} and
//! assistant {at the start, now} with one decoding setting.
//!
//! The effect of a model is the change when only this model moves from start to now, averaged over the two states of the other. The two
//! effects add up to the whole change. The interaction is how much the effect of one depends on the state of the other.

use milepost::prelude::*;

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Options {
    #[serde(skip_serializing_if = "Option::is_none")]
    decode: Option<Settings>,
}

struct Attribution {
    decode: Option<Settings>,
    /// The cell with both models at the start, which is the same at every milestone.
    start: Option<Cell>,
}

/// The values measured in one of the four cells.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Cell {
    kl: f64,
    n_matches: f64,
    assistant_share: f64,
    /// The gap of n_matches in each contrast, in the order of the contrasts.
    disparities: Vec<f64>,
    /// The n_matches of every prompt.
    matches: Vec<f64>,
}

/// A measure: its tag, its name in the table, and its value in each cell.
type Measure = (String, String, [f64; 4]);

/// All measures of the four cells.
fn measures(cells: &[Cell; 4], templates: &Templates) -> Vec<Measure> {
    let of = |tag: &str, name: &str, value: fn(&Cell) -> f64| {
        let values = cells.each_ref().map(value);
        (format!("attribution/{tag}"), name.to_owned(), values)
    };
    let mut found = vec![
        of("kl_nats", "KL(main, assistant), nats", |cell| cell.kl),
        of("n_matches", "n_matches a prompt", |cell| cell.n_matches),
        of("assistant_share", "assistant's share of tokens", |cell| {
            cell.assistant_share
        }),
    ];
    for (index, contrast) in templates.contrasts().iter().enumerate() {
        let [first, second] = &contrast.groups;
        found.push((
            templates.gap_tag("attribution", contrast),
            format!("n_matches, {first} - {second}"),
            cells.each_ref().map(|cell| cell.disparities[index]),
        ));
    }
    found
}

/// The heading of the charts.
const CATEGORY: &str = "Which of the two models";

/// The kind `attribution`.
pub fn kind() -> Kind {
    Kind::new(
        "attribution",
        "2 x 2 of main model and assistant, each at the start or now: which of them moved the KL, the n_matches and the disparity",
        |options: Options| Attribution {
            decode: options.decode,
            start: None,
        },
    )
    .compares_with_start()
    .decoding("decode", "decoding settings of this hook's own; default: the run's [decode]")
    .two_by_two("KL at the templates, nats", "attribution/kl_nats")
    .two_by_two("n_matches a prompt", "attribution/n_matches")
    .two_by_two("assistant's share of tokens", "attribution/assistant_share")
    .two_by_two("disparity, {first} - {second}", "attribution/{gap}")
    .section(
        "Which of the two models",
        "Each model at the start or fine-tuned, with the other in both states, by one decoding setting. A model's change is the mean over the two states of the other.",
    )
    .lines(
        CATEGORY,
        "change of n_matches a prompt",
        &["attribution/n_matches/by_main", "attribution/n_matches/by_assistant"],
    )
    .lines(
        CATEGORY,
        "change of the disparity",
        &["attribution/{gap}/by_main", "attribution/{gap}/by_assistant"],
    )
    .lines(
        CATEGORY,
        "change of KL, nats",
        &["attribution/kl_nats/by_main", "attribution/kl_nats/by_assistant"],
    )
}

impl Hook for Attribution {
    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let cell = |main, assistant| measure(context, main, assistant, self.decode);
        let start = match &self.start {
            Some(start) => start.clone(),
            None => cell(When::Start, When::Start)?,
        };
        // In the order of the table, main model before assistant.
        let cells = match context.milestone().step {
            // All four cells are the same at the start.
            0 => std::array::from_fn(|_| start.clone()),
            _ => [
                start.clone(),
                cell(When::Start, When::Now)?,
                cell(When::Now, When::Start)?,
                cell(When::Now, When::Now)?,
            ],
        };
        self.start = Some(start);
        let measures = measures(&cells, &context.scene().templates);
        let names: Vec<&str> = measures.iter().map(|(_, name, _)| name.as_str()).collect();
        let line = "|---".repeat(1 + names.len());
        let mut table = format!("| | {} |\n{line}|\n", names.join(" | "));
        let mut rows = TWO_BY_TWO.map(|(_, name)| format!("| {name} |"));
        for (tag, _, [ss, sn, ns, nn]) in measures {
            let [by_main, by_assistant, interaction] = effects([ss, sn, ns, nn]);
            let values = [ss, sn, ns, nn, by_main, by_assistant, interaction];
            for (((cell, _), row), value) in TWO_BY_TWO.iter().zip(&mut rows).zip(values) {
                context.scalar(format!("{tag}/{cell}"), value);
                *row += &format!(" {value:.4} |");
            }
        }
        for row in rows {
            table += &row;
            table.push('\n');
        }
        context.text("attribution/table", table);
        // The report computes intervals from these columns for each model's effect on the gap.
        let prompts = 0..cells[0].matches.len();
        let each = prompts.map(|prompt| effects(cells.each_ref().map(|cell| cell.matches[prompt])));
        let each: Vec<[f64; 3]> = each.collect();
        let names = [
            "n_matches_by_main",
            "n_matches_by_assistant",
            "n_matches_interaction",
        ];
        for (index, name) in names.into_iter().enumerate() {
            context.per_template(name, each.iter().map(|effects| effects[index]).collect());
        }
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

/// The effect of the main model, that of the assistant, and their interaction, from the four cells: both at the start, only the assistant
/// now, only the main model now, both now.
fn effects([ss, sn, ns, nn]: [f64; 4]) -> [f64; 3] {
    let by_main = ((ns - ss) + (nn - sn)) / 2.0;
    let by_assistant = ((sn - ss) + (nn - ns)) / 2.0;
    [by_main, by_assistant, nn - ns - sn + ss]
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
    let matches: Vec<f64> = decodings.iter().map(|one| one.n_matches() as f64).collect();
    let contrasts = context.scene().templates.contrasts().iter();
    let gap = |contrast: &Contrast| Contributions::of(&contrast.observations(&matches)).gap();
    Ok(Cell {
        kl: Divergence::mean(divergences.iter()).unwrap_or_default().kl,
        n_matches: totals.n_matches_per_prompt().unwrap_or_default(),
        assistant_share: totals.assistant_share().unwrap_or_default(),
        disparities: contrasts.map(gap).collect(),
        matches,
    })
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::{Bench, decoded, probabilities};

    use super::*;

    /// The KL, the n_matches per prompt, and the gap: n_matches of the first prompt of each pair minus that of the second.
    fn slow_cell(bench: &Bench, main: u64, assistant: u64) -> Result<[f64; 3]> {
        let pair = Pair::new(bench.pair_at(main).main, bench.pair_at(assistant).assistant)?;
        let (mut kl, mut matches) = (0.0, Vec::new());
        for decoding in decoded(&pair, bench.scene(), &bench.scene().decode) {
            let rounds = decoding.rounds.iter();
            matches.push(rounds.map(|round| round.matched as f64).sum::<f64>());
        }
        for prompt in &bench.scene().prompts {
            let [p, q] = Role::BOTH.map(|role| probabilities(pair.get(role), prompt));
            let last = prompt.len() - 1;
            kl += (p[last].iter().zip(&q[last]))
                .map(|(p, q)| p * (p / q).ln())
                .sum::<f64>();
        }
        let gaps = matches.chunks(2).map(|both| both[0] - both[1]);
        Ok([
            kl / 8.0,
            matches.iter().sum::<f64>() / 8.0,
            gaps.sum::<f64>() / 4.0,
        ])
    }

    #[test]
    fn cells_and_effects_are_those_of_slow_passes() -> Result<()> {
        let bench = Bench::new()?;
        let reported = bench.killed_and_resumed(&kind(), "", [0, 6])?;
        let cells = [(0, 0), (0, 6), (6, 0), (6, 6)];
        let mut slow = Vec::new();
        for (main, assistant) in cells {
            slow.push(slow_cell(&bench, main, assistant)?);
        }
        assert_ne!(slow[0], slow[3], "nothing moved");
        for (measure, tag) in ["kl_nats", "n_matches", "disparity"].iter().enumerate() {
            let value = |name: &str| reported.scalar(&format!("attribution/{tag}/{name}"), 6);
            let [ss, sn, ns, nn] = [0, 1, 2, 3].map(|cell| slow[cell][measure]);
            for (name, expected) in [
                ("main_start_assistant_start", ss),
                ("main_start_assistant_now", sn),
                ("main_now_assistant_start", ns),
                ("main_now_assistant_now", nn),
                ("by_main", (ns - ss + nn - sn) / 2.0),
                ("interaction", nn - ns - sn + ss),
            ] {
                let found = value(name)?;
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{tag}/{name}: {found}, {expected}"
                );
            }
            let both = value("by_main")? + value("by_assistant")?;
            assert!((both - (nn - ss)).abs() < 1e-4, "{tag}: {both}");
        }
        Ok(())
    }
}
