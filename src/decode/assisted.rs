//! Assisted (speculative) decoding of many prompts at once (Leviathan et al. 2023, arXiv 2211.17192; transformers' `_assisted_decoding`).
//! In each round the assistant drafts some tokens, one pass of the main model checks them all, and the longest agreeing prefix is emitted
//! with one more token of the main model. The text is that of plain decoding by the main model; the measure is how many drafted tokens were
//! right, `n_matches`. A lazy draft is checked while it is written: what would follow the first rejected token is never drafted.
//! Each prompt is a row with its own length, draft and acceptance. A turn is one pass of the assistant over all rows that draft, and one
//! pass of the main model over all rows that verify. When there are many rows, they fill a pass by themselves: each verifies one token at a
//! time, so that the main model never reads beyond the first token that it rejects. When there are few, each verifies several at once; a
//! single row verifies its whole draft. A row that is done gives its place to the next prompt. The result of a row does not depend on the
//! others.

use std::collections::HashMap;

use burn::tensor::{Int, Tensor, TensorData};

use super::distant_sampling::DrawnFrom;
use super::greedy::check_length;
use super::row::{Choice, Phase, Row};
use super::{DecodeError, Decoding, Sampling, Settings};
use crate::device::has_kernels;
use crate::device::room::{allocate, in_halves, room};
use crate::model::{Ends, KvPool, NewToken, Pair, Role};
use crate::random::{Purpose, stream, token_hash};
use crate::thread::in_pool;

/// The most rows at once: with more, matrix products get no faster.
const MOST_ROWS: usize = 512;
/// Tokens that make a pass of the main model efficient.
const FULL_PASS: usize = 128;

/// A prompt to continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request<'a> {
    /// The prompt's token ids.
    pub prompt: &'a [u32],
    /// The seed of the draws, when tokens are sampled. The stream depends on the prompt and this seed alone, so that neither the other
    /// prompts nor their order change what is drawn. Different seeds give different continuations of one prompt.
    pub seed: u64,
}

/// Continues every prompt with the pair and returns the decodings in the order of `requests`. Equal requests are decoded once. Each of `ends` ends a
/// continuation. Before each turn `go_on` is called with the number of requests that are done; an error of it ends the decoding.
///
/// # Errors
/// When a prompt is empty or too long, when a model's logits are not finite, or when `go_on` returns an error.
pub fn assisted(
    pair: &Pair,
    requests: &[Request],
    ends: impl Into<Ends>,
    settings: &Settings,
    go_on: &dyn Fn(usize) -> Result<(), String>,
) -> Result<Vec<Decoding>, DecodeError> {
    let ends = ends.into();
    for (index, request) in requests.iter().enumerate() {
        let limit = pair.n_positions();
        check_length(index, request.prompt, settings.max_new_tokens, limit)?;
    }
    // Sorted by their tokens, prompts with a common beginning are neighbours.
    let mut distinct = requests.to_vec();
    distinct.sort_unstable_by_key(|request| (request.prompt, request.seed));
    distinct.dedup();
    let most = rows_that_fit(pair, settings, &distinct).min(distinct.len());
    let decodings = in_halves(most, |room| {
        let mut batch = Batch::new(pair, &ends, settings, &distinct, room);
        while !batch.is_done() {
            go_on(batch.done * requests.len() / distinct.len()).map_err(DecodeError::Stopped)?;
            // Run inside rayon's pool. From outside, each of the many short parallel loops would wake the pool and wait for it.
            in_pool(|| {
                batch.admit();
                batch.draft()?;
                batch.verify()
            })?;
        }
        Ok::<_, DecodeError>(batch.decodings)
    })?;
    let place: HashMap<Request, usize> = distinct.iter().copied().zip(0..).collect();
    let found = requests
        .iter()
        .map(|request| decodings[place[request]].clone());
    Ok(found.collect())
}

/// How many rows fit into the room on the main model's device.
fn rows_that_fit(pair: &Pair, settings: &Settings, requests: &[Request]) -> usize {
    let (main, assistant) = (pair.main.config(), pair.assistant.config());
    let longest = requests.iter().map(|request| request.prompt.len()).max();
    let tokens = longest.unwrap_or(0) + settings.max_new_tokens + settings.draft_length;
    let mut row = tokens * (KvPool::bytes_per_token(main) + KvPool::bytes_per_token(assistant));
    if settings.sampling.is_some() {
        // Two distributions for each drafted token, and one for the token after the draft.
        row += (2 * settings.draft_length + 1) * main.vocab_size * size_of::<f32>();
    }
    (room(&pair.main.device()) / row.max(1)).clamp(1, MOST_ROWS)
}

/// The current rows, and the requests that wait.
struct Batch<'a> {
    pair: &'a Pair,
    ends: &'a Ends,
    settings: &'a Settings,
    requests: &'a [Request<'a>],
    /// How many requests have been admitted, and how many are done.
    admitted: usize,
    done: usize,
    /// How many rows there may be at once.
    room: usize,
    rows: Vec<Row>,
    main: KvPool,
    assistant: KvPool,
    /// Of tokens that are drawn where the models are; empty where they are drawn here.
    drawn_from: DrawnFrom,
    decodings: Vec<Decoding>,
}

impl<'a> Batch<'a> {
    fn new(
        pair: &'a Pair,
        ends: &'a Ends,
        settings: &'a Settings,
        requests: &'a [Request<'a>],
        room: usize,
    ) -> Self {
        let (main, assistant) = (pair.main.config(), pair.assistant.config());
        Self {
            pair,
            ends,
            settings,
            requests,
            admitted: 0,
            done: 0,
            room,
            rows: Vec::new(),
            main: KvPool::new(main),
            assistant: KvPool::new(assistant),
            drawn_from: DrawnFrom::default(),
            decodings: vec![Decoding::default(); requests.len()],
        }
    }

    fn is_done(&self) -> bool {
        self.done == self.requests.len() || self.settings.max_new_tokens == 0
    }

    /// Starts new rows once a quarter of the room is free. Reads their prompts except the last token, which belongs to the first round. A
    /// beginning that a prompt shares with the one before it is read once.
    fn admit(&mut self) {
        if self.admitted == self.requests.len()
            || self.rows.len() > self.room - self.room.div_ceil(4)
        {
            return;
        }
        let first = self.rows.len();
        let new = self.requests.iter().enumerate().skip(self.admitted);
        for (index, request) in new.take(self.room - first) {
            let rng = stream(
                request.seed,
                Purpose::Decoding,
                token_hash(request.prompt),
                0,
            );
            self.rows
                .push(Row::new(index, request.prompt, self.settings, rng));
        }
        self.admitted += self.rows.len() - first;
        allocate(self.rows.len());
        let rows = &mut self.rows[first..];
        let texts = rows.iter().map(|row| &row.text[..row.text.len() - 1]);
        let texts: Vec<&[u32]> = texts.collect();
        let main = self.pair.main.read_texts(&texts, &mut self.main);
        // Without drafting, the assistant is never used.
        let assistant = match self.settings.draft_length {
            0 => Vec::new(),
            _ => {
                let read = self.pair.assistant.read_texts(&texts, &mut self.assistant);
                read.sequences
            }
        };
        for (row, main) in rows.iter_mut().zip(main.sequences) {
            row.main = main;
        }
        for (row, assistant) in rows.iter_mut().zip(assistant) {
            row.assistant = assistant;
        }
    }

    /// Drafts one token of the assistant for every row that drafts.
    fn draft(&mut self) -> Result<(), DecodeError> {
        let piece = (FULL_PASS / self.rows.len().max(1)).max(1);
        let mut rows = in_phase(&mut self.rows, Phase::Drafting);
        if rows.is_empty() {
            return Ok(());
        }
        let mut new = Vec::new();
        let mut last = Vec::new();
        for row in &mut rows {
            let read = row.assistant.len();
            self.assistant.resize(&mut row.assistant, row.text.len());
            new.extend(NewToken::of(&row.text, &row.assistant, read));
            last.push(new.len() as i32 - 1);
        }
        // Sent before the pass, so that it need not be waited for.
        let count = last.len();
        let device = self.pair.assistant.device();
        let last: Tensor<1, Int> = Tensor::from_data(TensorData::new(last, [count]), &device);
        let hidden = self.pair.assistant.read(&new, &mut self.assistant);
        let hidden = hidden.select(0, last);
        let role = Role::Assistant;
        let choices = match draws_there(self.pair, self.settings) {
            Some(sampling) => {
                let model = &self.pair.assistant;
                let uniforms: Vec<f64> = rows.iter().map(|row| row.uniform()).collect();
                let drawn = self.drawn_from.draw(model, sampling, hidden, &uniforms);
                drawn.ok_or(DecodeError::NotFinite(role))?
            }
            None => {
                let with_probability = self.settings.confidence_threshold > 0.0;
                choices(self.pair, self.settings, role, hidden, with_probability)?
            }
        };
        for (row, choice) in rows.into_iter().zip(choices) {
            row.draft(choice, self.ends, self.settings, piece);
        }
        Ok(())
    }

    /// Does one pass of the main model over the rows that verify, and removes rows that are done.
    fn verify(&mut self) -> Result<(), DecodeError> {
        let mut rows = in_phase(&mut self.rows, Phase::Verifying);
        if rows.is_empty() {
            return Ok(());
        }
        let at_once = (FULL_PASS / rows.len()).max(1);
        let mut new = Vec::new();
        let mut counts = Vec::new();
        let mut places = Vec::new();
        let there = draws_there(self.pair, self.settings);
        for row in &mut rows {
            let read = row.main.len();
            let end = row.readable().min(read + at_once);
            self.main.resize(&mut row.main, end);
            new.extend(NewToken::of(&row.text[..end], &row.main, read));
            counts.push(end - read);
            if there.is_some() {
                places.extend(row.places(end - read));
            }
        }
        let hidden = self.pair.main.read(&new, &mut self.main);
        let role = Role::Main;
        let choices = match there {
            Some(sampling) => {
                let model = &self.pair.main;
                let weighed = self.drawn_from.weigh(model, sampling, hidden, &places);
                weighed.ok_or(DecodeError::NotFinite(role))?
            }
            None => choices(self.pair, self.settings, role, hidden, false)?,
        };
        let mut choices = choices.into_iter();
        for (row, count) in rows.into_iter().zip(counts) {
            // Takes all choices of the row, including those after the first rejected token.
            let own: Vec<Choice> = choices.by_ref().take(count).collect();
            let mut own = own.into_iter();
            if own.all(|choice| row.verify(choice, self.ends, self.settings)) {
                continue;
            }
            // The round is over, or more is to be drafted. Keys and values of rejected drafts are dropped; the last emitted token is read in the next round.
            let kept = match row.phase {
                Phase::Done => 0,
                _ => row.text.len() - 1,
            };
            let main = kept.min(row.main.len());
            self.main.resize(&mut row.main, main);
            let assistant = kept.min(row.assistant.len());
            self.assistant.resize(&mut row.assistant, assistant);
        }
        for row in self.rows.extract_if(.., |row| row.phase == Phase::Done) {
            self.done += 1;
            let request = row.request;
            self.decodings[request] = row.into_decoding();
        }
        self.drawn_from.forget(&self.rows);
        Ok(())
    }
}

fn in_phase(rows: &mut [Row], phase: Phase) -> Vec<&mut Row> {
    rows.iter_mut().filter(|row| row.phase == phase).collect()
}

/// How tokens are drawn, where they are drawn on the device of both models.
fn draws_there<'a>(pair: &Pair, settings: &'a Settings) -> Option<&'a Sampling> {
    let device = pair.main.device();
    let there = !has_kernels(&device) && device == pair.assistant.device();
    settings.sampling.as_ref().filter(|_| there)
}

/// The model's choice for the token after each of the hidden states `[rows, D]`.
fn choices(
    pair: &Pair,
    settings: &Settings,
    role: Role,
    hidden: Tensor<2>,
    with_probability: bool,
) -> Result<Vec<Choice>, DecodeError> {
    let model = pair.get(role);
    let found: Vec<Option<Choice>> = match &settings.sampling {
        Some(sampling) => model.map_logits(hidden, &|_, logits| {
            sampling.distribution(logits).map(Choice::Sampled)
        }),
        None if with_probability => {
            let found = model.likeliest(hidden).into_iter();
            let greedy = found.map(|one| one.map(|(token, p)| Choice::Greedy(token, p)));
            greedy.collect()
        }
        None => {
            let tokens = model.argmax(hidden).into_iter();
            tokens
                .map(|token| token.map(|token| Choice::Greedy(token, 1.0)))
                .collect()
        }
    };
    let found: Option<Vec<Choice>> = found.into_iter().collect();
    found.ok_or(DecodeError::NotFinite(role))
}
