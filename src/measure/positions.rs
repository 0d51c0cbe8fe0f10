//! Next-token distributions of both models at many positions of many texts. A common beginning of texts is read once, and only one batch of
//! logits is in memory at a time.

use serde::{Deserialize, Serialize};

use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;

use super::distant_divergence;
use super::divergence::Divergence;
use crate::device::has_kernels;
use crate::device::room::{allocate, in_parts};
use crate::model::{KvPool, Pair};
use crate::readback::values;
use crate::thread::in_pool;

/// Tokens of the texts that are read together; their keys and values are in memory at the same time.
const GROUP: usize = 2048;
/// Rows of logits of each model that are in memory at the same time.
const ROWS: usize = 128;

/// The positions of a prompt at which the models are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// The last token of the prompt, after which the first new token comes.
    Last,
    /// Every token of the prompt.
    Prompt,
    /// The last token of the prompt, and every token of the main model's own continuation except the last.
    Continuation,
}

impl Positions {
    /// The name, as in options and tags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Prompt => "prompt",
            Self::Continuation => "continuation",
        }
    }
}

/// A text, and the first position at which the models are compared. They are compared from there to the end.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// The token ids.
    pub tokens: &'a [u32],
    /// The first position that is compared.
    pub from: usize,
}

/// A callback for a batch of logits. For each row it gets the places that the row stands for (text and position; several when texts begin
/// alike), then the rows `[rows, vocab]` of the main model and of the assistant.
type TakeRows<'a> = dyn FnMut(&[Places], &[f32], &[f32]) -> anyhow::Result<()> + 'a;

/// The texts and positions that a row of hidden states stands for.
pub(super) type Places = Vec<(usize, usize)>;

/// Texts that were read together.
pub(super) struct Group<'a> {
    pub pair: &'a Pair,
    /// What each row of the hidden states stands for.
    pub places: Vec<Places>,
    /// The hidden states of the main model at every compared position, `[rows, D]`.
    pub main: Tensor<2>,
    /// The same of the assistant.
    pub assistant: Tensor<2>,
}

/// The divergence between main model and assistant at every compared position: `[texts][positions]`.
///
/// # Errors
/// Those of `go_on`, which is called before each batch, and when logits are not finite.
pub fn divergences_along(
    pair: &Pair,
    texts: &[Text],
    go_on: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Vec<Divergence>>> {
    let mut found: Vec<Vec<Option<Divergence>>> = texts
        .iter()
        .map(|text| vec![None; text.tokens.len() - text.from])
        .collect();
    each_group(pair, texts, go_on, &mut |group| {
        let divergences = match group.distant_divergences(go_on)? {
            Some(divergences) => divergences,
            None => group.divergences(go_on)?,
        };
        for (places, divergence) in group.places.iter().zip(divergences) {
            for &(text, position) in places {
                found[text][position - texts[text].from] = Some(divergence);
            }
        }
        Ok(())
    })?;
    let found = found.into_iter();
    Ok(found
        .map(|one| one.into_iter().flatten().collect())
        .collect())
}

impl Group<'_> {
    /// The divergence at each row, in double precision.
    fn divergences(
        &self,
        go_on: &dyn Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Divergence>> {
        let vocab = self.pair.main.config().vocab_size;
        let mut found = Vec::with_capacity(self.places.len());
        self.each_batch(go_on, &mut |_, main, assistant| {
            let rows = main
                .par_chunks_exact(vocab)
                .zip(assistant.par_chunks_exact(vocab));
            let divergences: Result<Vec<Divergence>, _> =
                rows.map(|(p, q)| Divergence::between(p, q)).collect();
            found.extend(divergences?);
            Ok(())
        })?;
        Ok(found)
    }

    /// The divergence at each row, computed where both models are and read at once. None where they are on two devices or on one with kernels
    /// of our own, and when a logit is not finite.
    fn distant_divergences(
        &self,
        go_on: &dyn Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Option<Vec<Divergence>>> {
        let device = self.main.device();
        if has_kernels(&device) || device != self.assistant.device() {
            return Ok(None);
        }
        let mut numbers = Vec::new();
        for first in (0..self.places.len()).step_by(ROWS) {
            go_on()?;
            let [main, assistant] = self.heads(first);
            numbers.push(distant_divergence::numbers(main, assistant));
        }
        let numbers = values(Tensor::cat(numbers, 0));
        let vocab = self.pair.main.config().vocab_size;
        Ok(distant_divergence::divergences(&numbers, vocab))
    }

    /// Passes the logits at every row to `take`, batch by batch.
    fn each_batch(
        &self,
        go_on: &dyn Fn() -> anyhow::Result<()>,
        take: &mut TakeRows,
    ) -> anyhow::Result<()> {
        for (index, places) in self.places.chunks(ROWS).enumerate() {
            go_on()?;
            let [main, assistant] = in_pool(|| self.heads(index * ROWS).map(values));
            take(places, &main, &assistant)?;
        }
        Ok(())
    }

    /// Both models' logits at a batch of rows, the first of which is `first`: `[rows, vocab]`.
    fn heads(&self, first: usize) -> [Tensor<2>; 2] {
        let count = ROWS.min(self.places.len() - first);
        let Pair { main, assistant } = self.pair;
        [(main, &self.main), (assistant, &self.assistant)]
            .map(|(model, hidden)| model.head(hidden.clone().narrow(0, first, count)))
    }
}

/// Passes the logits at every compared position to `take`, batch by batch.
pub(super) fn each_batch(
    pair: &Pair,
    texts: &[Text],
    go_on: &dyn Fn() -> anyhow::Result<()>,
    take: &mut TakeRows,
) -> anyhow::Result<()> {
    each_group(pair, texts, go_on, &mut |group| {
        group.each_batch(go_on, take)
    })
}

/// Reads texts in groups, and passes each to `take`. What texts of a group begin with in common is read once.
pub(super) fn each_group(
    pair: &Pair,
    texts: &[Text],
    go_on: &dyn Fn() -> anyhow::Result<()>,
    take: &mut dyn FnMut(&Group) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // Sorted by their tokens, texts with a common beginning are neighbours.
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&index| texts[index].tokens);
    let mut rest = &order[..];
    while let Some(&first) = rest.first() {
        let (mut count, mut tokens) = (1, texts[first].tokens.len());
        while let Some(&next) = rest.get(count)
            && tokens + texts[next].tokens.len() <= GROUP
        {
            tokens += texts[next].tokens.len();
            count += 1;
        }
        let (group, others) = rest.split_at(count);
        rest = others;
        in_parts(
            group,
            &mut |part| {
                go_on()?;
                allocate(part.len());
                Ok(in_pool(|| read(pair, texts, part)))
            },
            &mut |_, group| {
                if group.places.is_empty() {
                    return Ok(());
                }
                take(&group)
            },
        )?;
    }
    Ok(())
}

/// Reads the texts of these indices.
fn read<'a>(pair: &'a Pair, texts: &[Text], group: &[usize]) -> Group<'a> {
    let tokens: Vec<&[u32]> = group.iter().map(|&index| texts[index].tokens).collect();
    let mut pool = KvPool::new(pair.main.config());
    let main = pair.main.read_texts(&tokens, &mut pool);
    let mut pool = KvPool::new(pair.assistant.config());
    let assistant = pair.assistant.read_texts(&tokens, &mut pool);
    drop(pool);
    // The texts and positions that each row of the hidden states stands for.
    let mut places: Vec<Places> = vec![Vec::new(); main.hidden.dims()[0]];
    for (&text, rows) in group.iter().zip(&main.rows) {
        let from = texts[text].from;
        for (position, &row) in rows.iter().enumerate().skip(from) {
            places[row as usize].push((text, position));
        }
    }
    let wanted: Vec<i32> = (0..places.len())
        .filter(|&row| !places[row].is_empty())
        .map(|row| row as i32)
        .collect();
    let select = |hidden: Tensor<2>| {
        let index = TensorData::new(wanted.clone(), [wanted.len()]);
        let index: Tensor<1, Int> = Tensor::from_data(index, &hidden.device());
        hidden.select(0, index)
    };
    Group {
        pair,
        main: select(main.hidden),
        assistant: select(assistant.hidden),
        places: places
            .into_iter()
            .filter(|places| !places.is_empty())
            .collect(),
    }
}
