//! Everything a hook needs: `use milepost::prelude::*` works the same in this crate and in your own.

/// The version of burn that milepost is built with, for anything not listed here. Your own crate needs no dependency on burn.
pub use burn;
/// For reading weights: `context.pair().main.visit(&mut visitor)` shows a [`ModuleVisitor`] every parameter.
pub use burn::module::{Module, ModuleVisitor, Param};
/// Tensors, such as the logits that `context.pair().main.logits(tokens)` returns.
pub use burn::tensor::{Int, Tensor, TensorData};

pub use anyhow::{Result, bail, ensure};
pub use maud::html;
pub use serde::{Deserialize, Serialize};

pub use crate::data::csv_rows::{CsvRow, CsvRows};
pub use crate::data::templates::{Contrast, Template, Templates};
pub use crate::data::tokenizer::Tokenizer;
pub use crate::decode::{Decoding, Drafting, Sampling, Settings};
pub use crate::event::Event;
pub use crate::hook::{
    Batch, BatchRow, Context, Hook, Input, Kind, Optimiser, OptionError, ParameterValues,
    Preparation, Recorded, RowDocument, Seen, StepTimes, TWO_BY_TWO, When, markdown_cell,
    read_text,
};
pub use crate::intervention::{Control, Intervention, InterventionKind, RunFacts, restored};
pub use crate::measure::agreement::{Agreement, expected_matches};
pub use crate::measure::chord::{Change, Chord, Decomposition, Points, Weighting};
pub use crate::measure::classifier::{Classifier, Head};
pub use crate::measure::decoding::{DecodingTotals, DraftPosition, by_position};
pub use crate::measure::divergence::{Divergence, MeanDivergence};
pub use crate::measure::evaluation::{each_position, each_prompt};
pub use crate::measure::lexicon::Lexicon;
pub use crate::measure::likelihood::{log_probabilities, share_above_zero, wilson_interval};
pub use crate::measure::positions::{Positions, Text};
pub use crate::measure::similarity::linear_cka;
pub use crate::measure::smooth::SmoothMeasure;
pub use crate::measure::toxicity::Toxicity;
pub use crate::model::{Activations, Layer, Network, Pair, Part, Role, named_parameters};
pub use crate::registry::Registry;
pub use crate::report::number::number;
pub use crate::statistics::correlation::correlation;
pub use crate::statistics::disparity::{
    Disparity, Method, Settings as DisparitySettings, deviation,
};
pub use crate::statistics::equivalence::SMALL_EFFECT;
pub use crate::statistics::family::holm;
pub use crate::statistics::observation::{Contributions, Observation, weights_in_gap};
pub use crate::train::Best;
