//! The hook `weight-attribution`: where in the weights a change comes from. It decomposes the change of a measure since the start along the
//! straight line between the weights at the start and now, so that the shares of all tensors of both models add up to it.

use std::collections::HashSet;

use milepost::prelude::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Measure {
    Kl,
    Acceptance,
    LogOddsMain,
    LogOddsAssistant,
    ExpectedMatches,
    SmoothMatches,
}

impl Measure {
    const ALL: [Self; 6] = [
        Self::Kl,
        Self::Acceptance,
        Self::LogOddsMain,
        Self::LogOddsAssistant,
        Self::ExpectedMatches,
        Self::SmoothMatches,
    ];

    /// As in tags.
    fn tag(self) -> &'static str {
        match self {
            Self::Kl => "kl",
            Self::Acceptance => "acceptance",
            Self::LogOddsMain => "log_odds_main",
            Self::LogOddsAssistant => "log_odds_assistant",
            Self::ExpectedMatches => "expected_matches",
            Self::SmoothMatches => "smooth_matches",
        }
    }

    /// As people read it, with its unit.
    fn title(self) -> &'static str {
        match self {
            Self::Kl => "KL, nats",
            Self::Acceptance => "expected acceptance",
            Self::LogOddsMain => "log-odds, main model, nats",
            Self::LogOddsAssistant => "log-odds, assistant, nats",
            Self::ExpectedMatches => "expected matches of the first round",
            Self::SmoothMatches => "smooth matches of the first round",
        }
    }

    /// Whether it stands in for n_matches, along a draft.
    fn is_along_drafts(self) -> bool {
        matches!(self, Self::ExpectedMatches | Self::SmoothMatches)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    measures: Vec<Measure>,
    tokens: [String; 2],
    points: usize,
    most_points: usize,
    per_tensor: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            measures: vec![Measure::Kl],
            tokens: [" she".to_owned(), " he".to_owned()],
            points: 5,
            most_points: 20,
            per_tensor: false,
        }
    }
}

struct WeightAttribution {
    options: Options,
    /// The ids of the two tokens of the log-odds.
    tokens: [u32; 2],
}

/// The most points that an integral may have.
const MOST_POINTS: usize = 256;
/// Rows of the heat maps.
const ROWS: [&str; 6] = [
    "main/embedding",
    "main/block_*",
    "main/final",
    "assistant/embedding",
    "assistant/block_*",
    "assistant/final",
];
/// Their columns, in the order of a pass.
const COLUMNS: [&str; 8] = [
    "tokens",
    "positions",
    "norms",
    "attention_qkv",
    "attention_output",
    "feed_forward_in",
    "feed_forward_out",
    "head",
];
/// Places that the text lists.
const LISTED: usize = 10;

/// The kind `weight-attribution`.
pub fn kind() -> Kind {
    let mut kind = Kind::new(
        "weight-attribution",
        "where in the weights a change since the start comes from: shares of layers and parts of both models that add up to the change of KL, expected acceptance, log-odds or expected matches",
        |options: Options| WeightAttribution {
            options,
            tokens: [0; 2],
        },
    )
    .compares_with_start()
    .option("measures", "a list of `kl` (the default), `acceptance`, `log-odds-main`, `log-odds-assistant`, at the prompts' last token, and `expected-matches`, `smooth-matches`, along the assistant's draft of the start")
    .option("tokens", "the two tokens of the log-odds: ln p(first) - ln p(second), each with the space before it")
    .option("points", "points of the integral along the line from the start to now; the time is proportional to it")
    .option("most_points", "the points are doubled up to this number while the shares do not add up to the change")
    .option("per_tensor", "also one scalar for every tensor")
    .section(
        "Where in the weights",
        "The change since the start as a sum of shares: what each part of each layer of both models added to it, along the straight line from the weights at the start to those now. The residual is what the shares lack of the change.",
    )
    .lines(
        "Where in the weights",
        "change of KL, nats",
        &["weight_attribution/kl/mean/observed", "weight_attribution/kl/mean/by_main", "weight_attribution/kl/mean/by_assistant"],
    )
    .section_with(unexplained);
    for measure in Measure::ALL {
        let (tag, title) = (measure.tag(), measure.title());
        let means = [
            ("mean", title.to_owned()),
            ("{gap}", format!("gap of {title}, {{first}} - {{second}}")),
        ];
        for (mean, title) in means {
            let tag = format!("weight_attribution/{tag}/{mean}");
            for (part, name) in PARTS {
                kind = kind.named(&format!("{title}: {name}"), &format!("{tag}/{part}"));
            }
            let heading = format!("Shares in the change since the start: {title}");
            kind = kind.heat_map(&heading, &tag, &ROWS, &COLUMNS);
        }
        for (part, name) in [
            ("points", "points of the integral"),
            (
                "unexplained",
                "changes whose residual is more than is tolerated",
            ),
        ] {
            kind = kind.named(
                &format!("{title}: {name}"),
                &format!("weight_attribution/{tag}/{part}"),
            );
        }
    }
    for measure in [Measure::ExpectedMatches, Measure::SmoothMatches] {
        for (part, name) in CORRELATIONS {
            kind = kind.named(
                &format!("{}: {name}", measure.title()),
                &format!("weight_attribution/{}/{part}", measure.tag()),
            );
        }
    }
    kind.reports(&["weight_attribution_tensors/*"])
}

/// How a stand-in for n_matches goes with it over the prompts, and the names.
const CORRELATIONS: [(&str, &str); 4] = [
    (
        "correlation_first_round",
        "correlation with n_matches of the first round",
    ),
    ("correlation_n_matches", "correlation with n_matches"),
    (
        "correlation_of_changes_first_round",
        "correlation of the changes, first round",
    ),
    (
        "correlation_of_changes_n_matches",
        "correlation of the changes, n_matches",
    ),
];

/// The numbers of a decomposition besides its shares, and their names.
const PARTS: [(&str, &str); 5] = [
    ("observed", "change since the start"),
    ("by_main", "by the main model"),
    ("by_assistant", "by the assistant"),
    ("residual", "residual"),
    ("tolerance", "residual that is tolerated"),
];

impl Hook for WeightAttribution {
    fn prepare(&mut self, preparation: &mut Preparation) -> Result<()> {
        let Options {
            measures,
            tokens,
            points,
            most_points,
            ..
        } = &self.options;
        let distinct: HashSet<Measure> = measures.iter().copied().collect();
        OptionError::unless(!distinct.is_empty(), "measures", "name at least one")?;
        let once = distinct.len() == measures.len();
        OptionError::unless(once, "measures", "name each once")?;
        let along_drafts = distinct.iter().any(|one| one.is_along_drafts());
        OptionError::unless(
            !along_drafts || draft_length(&preparation.scene().decode) > 0,
            "measures",
            "with `decode.max_new_tokens = 1` nothing is drafted, and no matches can be expected",
        )?;
        OptionError::unless_within(*points, MOST_POINTS, "points")?;
        OptionError::unless_within(*most_points, MOST_POINTS, "most_points")?;
        let message = format!("must be at least `points`, which is {points}");
        OptionError::unless(points <= most_points, "most_points", message)?;
        let asked = [Measure::LogOddsMain, Measure::LogOddsAssistant];
        if asked.iter().any(|one| distinct.contains(one)) {
            for (id, text) in self.tokens.iter_mut().zip(tokens) {
                *id = only_token(preparation, text)?;
            }
            let differ = self.tokens[0] != self.tokens[1];
            OptionError::unless(differ, "tokens", "name two different ones")?;
        }
        Ok(())
    }

    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let mut text = String::new();
        for &measure in &self.options.measures {
            text += &self.decompose(measure, context)?;
        }
        context.text("weight_attribution/shares", text);
        Ok(())
    }
}

/// The id of a text of one token, as it stands behind a prompt.
fn only_token(preparation: &Preparation, text: &str) -> Result<u32> {
    let encoded = preparation.scene().tokenizer.encode_behind(text)?;
    let message = format!(
        "`{text}` is {} tokens; the log-odds are of single tokens",
        encoded.len()
    );
    OptionError::unless(encoded.len() == 1, "tokens", message)?;
    Ok(encoded[0])
}

impl WeightAttribution {
    /// Reports the decomposition of the mean of a measure over all prompts, and of its gap in each contrast. Returns it as Markdown.
    fn decompose(&self, measure: Measure, context: &mut Context) -> Result<String> {
        let smooth = self.smooth(measure, &context.scene().decode);
        let scene = context.scene();
        let texts = texts(smooth, context)?;
        let (before, now) = (
            values(smooth, &texts, context, When::Start)?,
            values(smooth, &texts, context, When::Now)?,
        );
        let changes: Vec<f64> = before.iter().zip(&now).map(|(a, b)| b - a).collect();
        let count = changes.len();
        let all = format!("weight_attribution/{}", measure.tag());
        let mut tags = vec![format!("{all}/mean")];
        let mut weights = vec![vec![1.0 / count as f64; count]];
        for contrast in scene.templates.contrasts() {
            tags.push(scene.templates.gap_tag(&all, contrast));
            weights.push(weights_in_gap(&contrast.units, count));
        }
        let weightings = weights.into_iter().map(|weights| Weighting {
            observed: weights.iter().zip(&changes).map(|(w, d)| w * d).sum(),
            weights,
        });
        let weightings: Vec<Weighting> = weightings.collect();
        let chord = Chord::new(context.start()?, context.pair(), &texts)?;
        let points = Points {
            first: self.options.points,
            most: self.options.most_points,
        };
        let found = chord.decompose(smooth, &weightings, points, &|done, all| {
            context.progress("where in the weights", done, all);
            context.check_deadline()
        })?;
        let unexplained = (found.changes.iter()).filter(|change| !change.is_explained());
        context.scalar(format!("{all}/points"), found.points as f64);
        context.scalar(format!("{all}/unexplained"), unexplained.count() as f64);
        if measure.is_along_drafts() {
            report_correlations(&all, &now, &changes, context)?;
        }
        let mut text = String::new();
        for (tag, change) in tags.iter().zip(&found.changes) {
            self.report(tag, change, context);
            text += &listed(tag, change, found.points);
        }
        Ok(text)
    }

    fn smooth(&self, measure: Measure, decode: &Settings) -> SmoothMeasure {
        let along_drafts = |agreement| SmoothMeasure::Matches {
            agreement,
            positions: draft_length(decode),
        };
        match measure {
            Measure::Kl => SmoothMeasure::Kl,
            Measure::Acceptance => SmoothMeasure::Acceptance,
            Measure::LogOddsMain => self.log_odds(Role::Main),
            Measure::LogOddsAssistant => self.log_odds(Role::Assistant),
            Measure::ExpectedMatches => along_drafts(Agreement::Overlap),
            Measure::SmoothMatches => along_drafts(Agreement::Cosine),
        }
    }

    fn log_odds(&self, role: Role) -> SmoothMeasure {
        SmoothMeasure::LogOdds {
            role,
            tokens: self.tokens,
        }
    }

    fn report(&self, tag: &str, change: &Change, context: &mut Context) {
        let values = [
            change.observed,
            change.sum(Some(Role::Main)),
            change.sum(Some(Role::Assistant)),
            change.residual(),
            change.tolerance(),
        ];
        for ((part, _), value) in PARTS.iter().zip(values) {
            context.scalar(format!("{tag}/{part}"), value);
        }
        for ((role, place), share) in change.places() {
            context.scalar(format!("{tag}/{role}/{place}"), share);
        }
        if self.options.per_tensor {
            let tag = tag.replacen("weight_attribution", "weight_attribution_tensors", 1);
            for ((role, tensor), share) in change.tensors() {
                context.scalar(format!("{tag}/{role}/{tensor}"), share);
            }
        }
    }
}

/// The tokens of a first draft, which the main model's own last token limits.
fn draft_length(decode: &Settings) -> usize {
    decode
        .draft_length
        .min(decode.max_new_tokens.saturating_sub(1))
}

/// The texts whose last positions a measure looks at: the prompts, each with the assistant's greedy draft of the start behind it where the measure
/// looks at several. The last drafted token is read by neither model. The draft stays the same while the weights move, or the measure would jump.
fn texts(measure: SmoothMeasure, context: &Context) -> Result<Vec<Vec<u32>>> {
    let prompts = &context.scene().prompts;
    let positions = measure.positions();
    if positions == 1 {
        return Ok(prompts.clone());
    }
    let drafts = context.drafts(When::Start, positions)?;
    let texts = prompts.iter().zip(drafts.iter());
    Ok(texts
        .map(|(prompt, draft)| [&prompt[..], &draft[..positions - 1]].concat())
        .collect())
}

/// The measure at the last positions of every text, with both models as they were at the start or are now.
fn values(
    measure: SmoothMeasure,
    texts: &[Vec<u32>],
    context: &Context,
    when: When,
) -> Result<Vec<f64>> {
    let pair = context.pair_of(when, when)?;
    let go_on = || context.check_deadline();
    match measure {
        // Shared with other hooks.
        SmoothMeasure::Kl => {
            let all = context.divergences_of(when, when)?;
            Ok(all.iter().map(|one| one.kl).collect())
        }
        SmoothMeasure::Acceptance => {
            let all = context.divergences_of(when, when)?;
            Ok(all.iter().map(|one| one.acceptance_expected).collect())
        }
        SmoothMeasure::LogOdds { .. } => {
            let mut found = vec![0.0; texts.len()];
            each_prompt(&pair, texts, &go_on, &mut |index, main, assistant| {
                found[index] = measure.slope(main, assistant)?.value;
                Ok(())
            })?;
            Ok(found)
        }
        SmoothMeasure::Matches {
            agreement,
            positions,
        } => {
            let mut found = vec![vec![0.0; positions]; texts.len()];
            let drafts = texts.iter().map(|text| Text {
                tokens: text,
                from: text.len().saturating_sub(positions),
            });
            let drafts: Vec<Text> = drafts.collect();
            each_position(
                &pair,
                &drafts,
                &go_on,
                &mut |(text, place), main, assistant| {
                    found[text][place - drafts[text].from] = agreement.between(main, assistant)?;
                    Ok(())
                },
            )?;
            Ok(found.iter().map(|one| expected_matches(one)).collect())
        }
    }
}

/// How a stand-in for n_matches goes with it over the prompts: its values now, and how both changed since the start.
fn report_correlations(
    tag: &str,
    now: &[f64],
    changes: &[f64],
    context: &mut Context,
) -> Result<()> {
    let counts = |when| -> Result<[Vec<f64>; 2]> {
        let decodings = context.decodings_of(when, when, None)?;
        let first = decodings.iter().map(|one| one.rounds.first());
        let first = first.map(|round| round.map_or(0.0, |round| round.matched as f64));
        let all = decodings.iter().map(|one| one.n_matches() as f64);
        Ok([first.collect(), all.collect()])
    };
    let ([first_before, all_before], [first, all]) = (counts(When::Start)?, counts(When::Now)?);
    let moved = |before: &[f64], now: &[f64]| -> Vec<f64> {
        now.iter()
            .zip(before)
            .map(|(now, before)| now - before)
            .collect()
    };
    let found = [
        correlation(now, &first),
        correlation(now, &all),
        correlation(changes, &moved(&first_before, &first)),
        correlation(changes, &moved(&all_before, &all)),
    ];
    for ((part, _), value) in CORRELATIONS.iter().zip(found) {
        // None where one of the two is the same at all prompts.
        if let Some(value) = value {
            context.scalar(format!("{tag}/{part}"), value);
        }
    }
    Ok(())
}

/// The largest shares of a change as Markdown, and what they lack of it.
fn listed(tag: &str, change: &Change, points: usize) -> String {
    let places = change.places().into_iter();
    let mut places: Vec<(String, f64)> = places
        .map(|((role, place), share)| (format!("{role}/{place}"), share))
        .collect();
    places.sort_by(|(_, one), (_, other)| other.abs().total_cmp(&one.abs()));
    let mut text = format!("**{tag}**\n\n| place | share |\n|---|---|\n");
    for (place, share) in places.iter().take(LISTED) {
        text += &format!("| {place} | {share:+.3e} |\n");
    }
    text += &format!(
        "| all {} places | {:+.3e} |\n| observed | {:+.3e} |\n| residual | {:+.3e} |\n\n",
        places.len(),
        change.sum(None),
        change.observed,
        change.residual()
    );
    if !change.is_explained() {
        text += &format!(
            "The residual is more than the {:.3e} that is tolerated, with {points} points: raise `most_points`, or take the shares as rough.\n\n",
            change.tolerance()
        );
    }
    text
}

/// A sentence on each measure with a change at the end whose residual is more than is tolerated.
fn unexplained(recorded: &dyn Recorded) -> String {
    let rough = Measure::ALL.into_iter().filter(|measure| {
        let tag = format!("weight_attribution/{}/unexplained", measure.tag());
        let last = recorded.points(&tag).last();
        last.is_some_and(|(_, count)| *count > 0.0)
    });
    let rough: Vec<Measure> = rough.collect();
    let said = html! {
        @for measure in rough {
            p.caveats { "The shares in " (measure.title()) " do not add up to the change as nearly as is tolerated: see the residuals. Raise " code { "most_points" } ", or take the shares as rough." }
        }
    };
    said.into_string()
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::{Bench, changed, decoded, probabilities};

    use super::*;

    /// KL, expected acceptance, and the main model's log-odds of two tokens, at the last token of each prompt.
    fn slow(bench: &Bench, step: u64, tokens: [u32; 2]) -> [Vec<f64>; 3] {
        let pair = bench.pair_at(step);
        let mut found = [const { Vec::new() }; 3];
        for prompt in &bench.scene().prompts {
            let [p, q] = Role::BOTH.map(|role| {
                let mut rows = probabilities(pair.get(role), prompt);
                rows.swap_remove(prompt.len() - 1)
            });
            let both = || p.iter().zip(&q);
            found[0].push(both().map(|(p, q)| p * (p / q).ln()).sum());
            found[1].push(both().map(|(p, q)| p.min(*q)).sum());
            let [first, second] = tokens.map(|token| p[token as usize]);
            found[2].push((first / second).ln());
        }
        found
    }

    fn token(bench: &Bench, text: &str) -> Result<u32> {
        Ok(bench.scene().tokenizer.encode(text)?[0])
    }

    #[test]
    fn shares_add_up_to_the_changes_that_slow_sums_find() -> Result<()> {
        let bench = Bench::new()?;
        let options = "measures = ['kl', 'acceptance', 'log-odds-main']\nper_tensor = true";
        let reported = bench.killed_and_resumed(&kind(), options, [0, 4])?;
        let tokens = [token(&bench, " she")?, token(&bench, " he")?];
        let (before, after) = (slow(&bench, 0, tokens), slow(&bench, 4, tokens));
        for (index, measure) in ["kl", "acceptance", "log_odds_main"].iter().enumerate() {
            let each = before[index].iter().zip(&after[index]);
            let change: Vec<f64> = each.map(|(before, after)| after - before).collect();
            let gap = change.chunks(2).map(|both| both[0] - both[1]);
            for (mean, expected) in [
                ("mean", change.iter().sum::<f64>() / 8.0),
                ("disparity", gap.sum::<f64>() / 4.0),
            ] {
                let tag = format!("weight_attribution/{measure}/{mean}");
                let value = |part: &str| reported.scalar(&format!("{tag}/{part}"), 4);
                let observed = value("observed")?;
                assert!(
                    (observed - expected).abs() < 1e-4,
                    "{tag}: {observed}, {expected}"
                );
                let all = |begin: &str, parts: usize| -> Result<f64> {
                    let scalars = reported.output(4)?.scalars.iter();
                    let cells = scalars.filter(|(tag, _)| {
                        let cell = tag.strip_prefix(begin);
                        cell.is_some_and(|cell| cell.split('/').count() == parts)
                    });
                    Ok(cells.map(|(_, value)| value).sum())
                };
                let tensors = tag.replacen("weight_attribution", "weight_attribution_tensors", 1);
                for role in Role::BOTH {
                    let by = value(&format!("by_{role}"))?;
                    let places = all(&format!("{tag}/{role}/"), 2)?;
                    let tensors = all(&format!("{tensors}/{role}/"), 1)?;
                    assert!((by - places).abs() < 1e-9, "{tag}: {by}, {places}");
                    assert!((by - tensors).abs() < 1e-9, "{tag}: {by}, {tensors}");
                }
                let residual = observed - value("by_main")? - value("by_assistant")?;
                assert!((residual - value("residual")?).abs() < 1e-9, "{tag}");
                assert!(residual.abs() < value("tolerance")?, "{tag}: {residual}");
                assert!(
                    value("tolerance")? < 0.1 * observed.abs(),
                    "{tag}: a check that passes anything"
                );
                assert_eq!(reported.scalar(&format!("{tag}/observed"), 0)?, 0.0);
                assert_eq!(reported.scalar(&format!("{tag}/main/final/head"), 0)?, 0.0);
            }
        }
        assert_eq!(reported.scalar("weight_attribution/kl/points", 0)?, 0.0);
        assert_eq!(reported.scalar("weight_attribution/kl/points", 4)?, 5.0);
        // What the assistant says does not move the main model's log-odds.
        let tag = "weight_attribution/log_odds_main/mean/by_assistant";
        assert_eq!(reported.scalar(tag, 4)?, 0.0);
        Ok(())
    }

    /// Both stand-ins for n_matches of every prompt, by sums over the draft's lengths, after a draft of the assistant of the start.
    fn slow_matches(bench: &Bench, step: u64) -> [Vec<f64>; 2] {
        let drafter = bench.pair_at(0).assistant;
        let pair = bench.pair_at(step);
        let mut found = [const { Vec::new() }; 2];
        for prompt in &bench.scene().prompts {
            let mut text = prompt.clone();
            let (mut sums, mut terms) = ([0.0; 2], [1.0; 2]);
            for _ in 0..bench.scene().decode.draft_length {
                let [p, q, next] = [&pair.main, &pair.assistant, &drafter].map(|model| {
                    let mut rows = probabilities(model, &text);
                    rows.swap_remove(text.len() - 1)
                });
                let sum = |of: fn(f64, f64) -> f64| -> f64 {
                    p.iter().zip(&q).map(|(p, q)| of(*p, *q)).sum()
                };
                terms[0] *= sum(f64::min);
                terms[1] *= sum(|p, q| p * q) / (sum(|p, _| p * p) * sum(|_, q| q * q)).sqrt();
                for (sum, term) in sums.iter_mut().zip(terms) {
                    *sum += term;
                }
                let mut best = 0;
                for (token, probability) in next.iter().enumerate() {
                    if *probability > next[best] {
                        best = token;
                    }
                }
                text.push(best as u32);
            }
            for (all, sum) in found.iter_mut().zip(sums) {
                all.push(sum);
            }
        }
        found
    }

    #[test]
    fn the_stand_ins_for_n_matches_are_those_of_slow_sums_along_the_draft() -> Result<()> {
        let bench = Bench::new()?;
        let options = "measures = ['expected-matches', 'smooth-matches']\nmost_points = 5";
        let reported = bench.part(&kind(), options, [0, 4])?;
        let (before, after) = (slow_matches(&bench, 0), slow_matches(&bench, 4));
        let decode = bench.scene().decode;
        let counts = |step: u64| {
            let decodings = decoded(&bench.pair_at(step), bench.scene(), &decode);
            let first = decodings.iter().map(|one| one.rounds[0].matched as f64);
            let all = decodings.iter().map(|one| one.n_matches() as f64);
            [first.collect::<Vec<f64>>(), all.collect()]
        };
        let (counts_before, counts_after) = (counts(0), counts(4));
        let less = |after: &[f64], before: &[f64]| -> Vec<f64> {
            after
                .iter()
                .zip(before)
                .map(|(after, before)| after - before)
                .collect()
        };
        for (index, measure) in ["expected_matches", "smooth_matches"].iter().enumerate() {
            let tag = format!("weight_attribution/{measure}");
            let value = |part: &str| reported.scalar(&format!("{tag}/{part}"), 4);
            let change = less(&after[index], &before[index]);
            let gap = change.chunks(2).map(|both| both[0] - both[1]);
            for (mean, expected) in [
                ("mean", change.iter().sum::<f64>() / 8.0),
                ("disparity", gap.sum::<f64>() / 4.0),
            ] {
                let observed = value(&format!("{mean}/observed"))?;
                assert!(
                    (observed - expected).abs() < 1e-4,
                    "{tag}: {observed}, {expected}"
                );
                assert!(expected.abs() > 1e-3, "nothing to compare");
                // Eight prompts have too few corners for their errors to cancel. A smooth measure has none.
                let residual = value(&format!("{mean}/residual"))?.abs();
                let allowed = match index {
                    0 => 0.2 * observed.abs(),
                    _ => value(&format!("{mean}/tolerance"))?,
                };
                assert!(residual < allowed, "{tag}/{mean}: {residual} of {observed}");
                for role in Role::BOTH {
                    assert!(value(&format!("{mean}/by_{role}"))?.abs() > 1e-4);
                }
            }
            for (part, [x, y]) in [
                ("first_round", [&after[index], &counts_after[0]]),
                ("n_matches", [&after[index], &counts_after[1]]),
                (
                    "of_changes_first_round",
                    [&change, &less(&counts_after[0], &counts_before[0])],
                ),
                (
                    "of_changes_n_matches",
                    [&change, &less(&counts_after[1], &counts_before[1])],
                ),
            ] {
                let tag = format!("{tag}/correlation_{part}");
                match correlation(x, y) {
                    Some(expected) => {
                        let found = reported.scalar(&tag, 4)?;
                        assert!(
                            (found - expected).abs() < 1e-3,
                            "{tag}: {found}, {expected}"
                        );
                    }
                    None => assert!(reported.scalar(&tag, 4).is_err(), "{tag}"),
                }
            }
        }
        let tag = "weight_attribution/smooth_matches/correlation_of_changes_n_matches";
        assert!(reported.scalar(tag, 0).is_err(), "nothing has changed yet");
        Ok(())
    }

    #[test]
    fn a_model_that_stays_has_no_share() -> Result<()> {
        let bench = Bench::new()?.drift(Role::Main, 0.0);
        let reported = bench.part(&kind(), "measures = ['kl']", [3])?;
        let value = |part: &str| reported.scalar(&format!("weight_attribution/kl/{part}"), 3);
        assert_eq!(value("mean/by_main")?, 0.0);
        assert!(value("mean/by_assistant")?.abs() > 1e-3);
        assert_eq!(value("unexplained")?, 0.0);
        Ok(())
    }

    /// Where only the head's rows of two tokens and the bias below it move, log-odds are a product of two straight lines.
    #[test]
    fn shares_of_a_quadratic_are_those_of_its_closed_form() -> Result<()> {
        let bench = Bench::new()?;
        let tokens = [token(&bench, " she")?, token(&bench, " he")?];
        // No prompt has these, so that nothing but the head reads their rows.
        let prompts: HashSet<u32> = bench.scene().prompts.iter().flatten().copied().collect();
        let rows: Vec<u32> = (0..2048)
            .filter(|id| !prompts.contains(id))
            .take(2)
            .collect();
        assert!(rows.iter().all(|row| !tokens.contains(row)));
        let words = rows
            .iter()
            .map(|&row| bench.scene().tokenizer.decode_behind(&[row]));
        let words: Vec<String> = words.collect::<Result<_, _>>()?;
        let width = bench.pair_at(0).main.config().width;
        let step = |name: &str, index: usize| match name {
            "ln_f.bias" => 0.3 * (index as f64).cos(),
            "wte.weight" if index / width == rows[0] as usize => 0.2 * (index as f64).sin(),
            "wte.weight" if index / width == rows[1] as usize => 0.1 * (index as f64).cos(),
            _ => 0.0,
        };
        let first = bench.pair_at(0).main;
        let mut second = bench.pair_at(0);
        second.main = changed(&first, |name, index, weight| {
            (f64::from(weight) + step(name, index)) as f32
        });
        let tokens = [rows[0], rows[1]];
        let measure = SmoothMeasure::LogOdds {
            role: Role::Main,
            tokens,
        };
        let start = bench.pair_at(0);
        let prompts = &bench.scene().prompts[..1];
        let chord = Chord::new(&start, &second, prompts)?;
        let weighting = Weighting {
            weights: vec![1.0],
            observed: 0.0,
        };
        let points = Points { first: 1, most: 1 };
        let found = chord.decompose(measure, &[weighting], points, &|_, _| Ok(()))?;
        let places = found.changes[0].places();
        // h is the last hidden state, e the difference of the two rows; d and b are how much they and the bias change.
        let h = first
            .hidden_states(prompts, &|| Ok(()))?
            .pop()
            .unwrap_or_default();
        let named = named_parameters(&first);
        let table: Vec<f64> = named[0].1.iter::<f64>().collect();
        let (mut head, mut bias) = (0.0, 0.0);
        for (index, &h) in h.iter().enumerate() {
            let [one, other] = tokens.map(|token| token as usize * width + index);
            let e = table[one] - table[other];
            let d = step("wte.weight", one) - step("wte.weight", other);
            let b = step("ln_f.bias", index);
            head += d * f64::from(h) + d * b / 2.0;
            bias += e * b + d * b / 2.0;
        }
        for ((role, place), share) in places {
            let expected = match (role, place.to_string().as_str()) {
                (Role::Main, "final/head") => head,
                (Role::Main, "final/norms") => bias,
                _ => 0.0,
            };
            assert!(
                (share - expected).abs() < 1e-4,
                "{place}: {share}, {expected} {words:?}"
            );
        }
        assert!(head.abs() > 0.1 && bias.abs() > 0.1, "{head}, {bias}");
        Ok(())
    }

    #[test]
    fn points_are_doubled_until_the_shares_add_up_and_it_is_said_where_they_do_not() -> Result<()> {
        let bench = Bench::new()?;
        let run = |points: &str| bench.part(&kind(), &format!("measures = ['kl']\n{points}"), [6]);
        let few = run("points = 1\nmost_points = 1")?;
        let value = |part: &str| few.scalar(&format!("weight_attribution/kl/{part}"), 6);
        assert_eq!(value("points")?, 1.0);
        assert!(value("unexplained")? >= 1.0);
        assert!(value("mean/residual")?.abs() > value("mean/tolerance")?);
        assert!(
            few.text("weight_attribution/shares", 6)?
                .contains("raise `most_points`")
        );
        let more = run("points = 1\nmost_points = 64")?;
        let value = |part: &str| more.scalar(&format!("weight_attribution/kl/{part}"), 6);
        assert!(value("points")? > 1.0);
        assert_eq!(value("unexplained")?, 0.0);
        assert!(!more.text("weight_attribution/shares", 6)?.contains("raise"));
        Ok(())
    }

    #[test]
    fn options_that_say_nothing_sound_are_refused() -> Result<()> {
        let bench = Bench::new()?;
        let refused = |options: &str| match bench.build(&kind(), options) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        for (options, says) in [
            ("measures = []", "name at least one"),
            ("measures = ['kl', 'kl']", "name each once"),
            ("points = 0", "must be from 1 to 256"),
            ("most_points = 4", "must be at least `points`, which is 5"),
            (
                "measures = ['log-odds-main']\ntokens = [' he', ' he']",
                "name two different ones",
            ),
            (
                "measures = ['log-odds-main']\ntokens = [' he', ' uncharacteristically']",
                "the log-odds are of single tokens",
            ),
        ] {
            let said = refused(options);
            assert!(said.contains(says), "{options}: {said}");
        }
        assert_eq!(refused("tokens = ['no matter', 'what']"), "");
        let decode = Settings {
            max_new_tokens: 1,
            ..bench.scene().decode
        };
        let short = Bench::new()?.decode(decode);
        let refused = short.build(&kind(), "measures = ['smooth-matches']").err();
        let said = refused.map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("nothing is drafted"), "{said}");
        Ok(())
    }
}
