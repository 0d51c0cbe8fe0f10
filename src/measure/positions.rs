//! Next-token distributions of both models at many positions of many texts. A common beginning of texts is read once, and only one batch of
//! logits is in memory at a time.

use serde::{Deserialize, Serialize};

use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;

use super::divergence::Divergence;
use crate::device::room::{allocate, caught};
use crate::model::{KvPool, Pair};

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
type TakeRows<'a> = dyn FnMut(&[Vec<(usize, usize)>], &[f32], &[f32]) -> anyhow::Result<()> + 'a;

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
    let vocab = pair.main.config().vocab_size;
    each_batch(pair, texts, go_on, &mut |places, main, assistant| {
        let rows = main
            .par_chunks_exact(vocab)
            .zip(assistant.par_chunks_exact(vocab));
        let divergences: Result<Vec<Divergence>, _> =
            rows.map(|(p, q)| Divergence::between(p, q)).collect();
        for (places, divergence) in places.iter().zip(divergences?) {
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

/// Passes the logits at every compared position to `take`, batch by batch.
pub(super) fn each_batch(
    pair: &Pair,
    texts: &[Text],
    go_on: &dyn Fn() -> anyhow::Result<()>,
    take: &mut TakeRows,
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
        in_halves(pair, texts, group, go_on, take)?;
    }
    Ok(())
}

/// Does a group as a whole, or, where the device has not the memory, in two halves, and these likewise.
fn in_halves(
    pair: &Pair,
    texts: &[Text],
    group: &[usize],
    go_on: &dyn Fn() -> anyhow::Result<()>,
    take: &mut TakeRows,
) -> anyhow::Result<()> {
    let mut taken = false;
    let whole = caught(|| {
        one_group(pair, texts, group, go_on, &mut |places, p, q| {
            taken = true;
            take(places, p, q)
        })
    });
    match whole {
        Ok(done) => done,
        // Nothing is taken twice.
        Err(_) if group.len() > 1 && !taken => {
            let (first, second) = group.split_at(group.len() / 2);
            in_halves(pair, texts, first, go_on, take)?;
            in_halves(pair, texts, second, go_on, take)
        }
        Err(error) => Err(error.into()),
    }
}

fn one_group(
    pair: &Pair,
    texts: &[Text],
    group: &[usize],
    go_on: &dyn Fn() -> anyhow::Result<()>,
    take: &mut TakeRows,
) -> anyhow::Result<()> {
    go_on()?;
    allocate(group.len());
    let tokens: Vec<&[u32]> = group.iter().map(|&index| texts[index].tokens).collect();
    let mut pool = KvPool::new(pair.main.config());
    let main = pair.main.read_texts(&tokens, &mut pool);
    let mut pool = KvPool::new(pair.assistant.config());
    let assistant = pair.assistant.read_texts(&tokens, &mut pool);
    drop(pool);
    // The texts and positions that each row of the hidden states stands for.
    let mut places: Vec<Vec<(usize, usize)>> = vec![Vec::new(); main.hidden.dims()[0]];
    for (&text, rows) in group.iter().zip(&main.rows) {
        let from = texts[text].from;
        for (position, &row) in rows.iter().enumerate().skip(from) {
            places[row as usize].push((text, position));
        }
    }
    let wanted: Vec<usize> = (0..places.len())
        .filter(|&row| !places[row].is_empty())
        .collect();
    for rows in wanted.chunks(ROWS) {
        go_on()?;
        let index: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
        let logits = |model: &crate::model::Network, hidden: &Tensor<2>| {
            let index: Tensor<1, Int> = Tensor::from_data(
                TensorData::new(index.clone(), [rows.len()]),
                &hidden.device(),
            );
            model.logits_of(hidden.clone().select(0, index))
        };
        let p = logits(&pair.main, &main.hidden);
        let q = logits(&pair.assistant, &assistant.hidden);
        let places: Vec<Vec<(usize, usize)>> =
            rows.iter().map(|&row| places[row].clone()).collect();
        take(&places, &p, &q)?;
    }
    Ok(())
}
