//! What is asked for: measures, and their means and gaps.

use clap::ValueEnum;

use super::Arguments;
use crate::diagnostic::{Diagnostic, known_names};
use crate::influence::Goal;
use crate::measure::smooth::SmoothMeasure;
use crate::model::Role;
use crate::statistics::observation::weights_in_gap;
use crate::train::Plan;

/// A measure of the two models' distributions over the next token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Measure {
    /// KL(main || assistant), in nats.
    Kl,
    /// The expected acceptance of a sampled draft token, sum min(p, q).
    Acceptance,
    /// ln p(first) - ln p(second) of --tokens by the main model, in nats.
    LogOddsMain,
    /// The same by the assistant.
    LogOddsAssistant,
}

impl Measure {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kl => "kl",
            Self::Acceptance => "acceptance",
            Self::LogOddsMain => "log-odds-main",
            Self::LogOddsAssistant => "log-odds-assistant",
        }
    }

    /// As people read it, with its unit.
    fn title(self) -> &'static str {
        match self {
            Self::Kl => "KL, nats",
            Self::Acceptance => "expected acceptance",
            Self::LogOddsMain => "log-odds, main model, nats",
            Self::LogOddsAssistant => "log-odds, assistant, nats",
        }
    }

    fn smooth(self, tokens: [u32; 2]) -> SmoothMeasure {
        match self {
            Self::Kl => SmoothMeasure::Kl,
            Self::Acceptance => SmoothMeasure::Acceptance,
            Self::LogOddsMain => SmoothMeasure::LogOdds {
                role: Role::Main,
                tokens,
            },
            Self::LogOddsAssistant => SmoothMeasure::LogOdds {
                role: Role::Assistant,
                tokens,
            },
        }
    }

    fn has_tokens(self) -> bool {
        matches!(self, Self::LogOddsMain | Self::LogOddsAssistant)
    }
}

/// The goals that are asked for.
pub(super) struct Asked {
    pub goals: Vec<Goal>,
    /// The goals as people read them.
    pub titles: Vec<String>,
    /// Which goals are gaps.
    pub gaps: Vec<bool>,
    /// The weight of each prompt in the gap.
    pub gap: Option<Vec<f64>>,
    /// The tokens of log-odds, where they are asked for.
    pub tokens: Option<[String; 2]>,
}

impl Asked {
    /// The mean over all prompts and the gap of a contrast, for each measure.
    ///
    /// # Errors
    /// When a measure is named twice, there is no such contrast, or a text is not one token.
    pub fn new(arguments: &Arguments, plan: &Plan) -> anyhow::Result<Self> {
        let scene = &plan.scene;
        let measures = &arguments.measure;
        for (index, measure) in measures.iter().enumerate() {
            if measures[..index].contains(measure) {
                return Err(Diagnostic::file("--measure", "name each once").into());
            }
        }
        let contrasts = scene.templates.contrasts();
        let contrast = match &arguments.contrast {
            None => contrasts.first(),
            Some(wanted) => {
                let names: Vec<&str> = contrasts.iter().map(|one| one.name.as_str()).collect();
                let found = contrasts.iter().find(|one| one.name == *wanted);
                Some(found.ok_or_else(|| {
                    Diagnostic::file("--contrast", format!("the run has no contrast `{wanted}`"))
                        .with_help(known_names(wanted, &names))
                })?)
            }
        };
        let has_tokens = measures.iter().any(|measure| measure.has_tokens());
        let tokens = if has_tokens {
            let ids = only_tokens(arguments, plan)?;
            let [first, second] = &arguments.tokens[..] else {
                return Err(Diagnostic::file("--tokens", "name two").into());
            };
            Some((ids, [first.clone(), second.clone()]))
        } else {
            None
        };
        let ids = tokens.as_ref().map_or([0; 2], |(ids, _)| *ids);
        let count = scene.prompts.len();
        let gap = contrast.map(|contrast| weights_in_gap(&contrast.units, count));
        let mut asked = Self {
            goals: Vec::new(),
            titles: Vec::new(),
            gaps: Vec::new(),
            gap: gap.clone(),
            tokens: tokens.map(|(_, texts)| texts),
        };
        for measure in measures {
            let (name, title, smooth) = (measure.name(), measure.title(), measure.smooth(ids));
            asked.push(
                format!("{name}/mean"),
                title.to_owned(),
                smooth,
                false,
                vec![1.0 / count as f64; count],
            );
            if let (Some(contrast), Some(weights)) = (contrast, &gap) {
                let [first, second] = &contrast.groups;
                let title = format!("gap of {title}, {first} - {second}");
                asked.push(
                    format!("{name}/{}", contrast.name),
                    title,
                    smooth,
                    true,
                    weights.clone(),
                );
            }
        }
        Ok(asked)
    }

    fn push(
        &mut self,
        name: String,
        title: String,
        measure: SmoothMeasure,
        gap: bool,
        weights: Vec<f64>,
    ) {
        self.titles.push(title);
        self.gaps.push(gap);
        self.goals.push(Goal {
            name,
            measure,
            weights,
        });
    }
}

/// The ids of the two tokens, as they stand behind a prompt.
fn only_tokens(arguments: &Arguments, plan: &Plan) -> anyhow::Result<[u32; 2]> {
    let mut ids = [0; 2];
    for (id, text) in ids.iter_mut().zip(&arguments.tokens) {
        let encoded = plan.scene.tokenizer.encode_behind(text)?;
        let [only] = encoded[..] else {
            let message = format!(
                "`{text}` is {} tokens; the log-odds are of single tokens",
                encoded.len()
            );
            return Err(Diagnostic::file("--tokens", message).into());
        };
        *id = only;
    }
    if ids[0] == ids[1] {
        return Err(Diagnostic::file("--tokens", "name two different ones").into());
    }
    Ok(ids)
}
