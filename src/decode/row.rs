//! One prompt on its way through assisted decoding.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::sampling::Distribution;
use super::{Decoding, Round, Settings};

/// A token that a model proposes, with what else is needed of it.
pub(super) enum Choice {
    /// The model's most probable token, and its probability where it was asked for (else 1).
    Greedy(u32, f64),
    /// The processed distribution to draw from.
    Sampled(Distribution),
}

/// The state of one prompt.
pub(super) struct Row {
    /// Which of the distinct requests it is.
    pub request: usize,
    /// The prompt, what was emitted, and the draft of the round at hand.
    pub text: Vec<u32>,
    /// Where the main model's keys and values of `text` lie.
    pub main: Vec<u32>,
    /// Where the assistant's lie.
    pub assistant: Vec<u32>,
    prompt: usize,
    /// Tokens of `text` in front of the draft.
    settled: usize,
    limit: usize,
    draft_length: usize,
    /// The draft is complete though it could be longer.
    cut: bool,
    /// What the drafted tokens were drawn from.
    drawn_from: Vec<Distribution>,
    rng: ChaCha8Rng,
    rounds: Vec<Round>,
}

impl Row {
    pub fn new(request: usize, prompt: &[u32], settings: &Settings, rng: ChaCha8Rng) -> Self {
        Self {
            request,
            text: prompt.to_vec(),
            main: Vec::new(),
            assistant: Vec::new(),
            prompt: prompt.len(),
            settled: prompt.len(),
            limit: prompt.len() + settings.max_new_tokens,
            draft_length: settings.draft_length,
            cut: false,
            drawn_from: Vec::new(),
            rng,
            rounds: Vec::new(),
        }
    }

    /// Whether the assistant has another token to draft in this round.
    pub fn drafts(&self) -> bool {
        let wanted = self.draft_length.min(self.limit - self.settled - 1);
        !self.cut && self.drafted() < wanted
    }

    /// Tokens in the draft.
    pub fn drafted(&self) -> usize {
        self.text.len() - self.settled
    }

    /// Takes the assistant's next token. An end of text, or a token that it was not sure of, ends the draft and stays in it.
    pub fn draft(&mut self, choice: Choice, eos: Option<u32>, threshold: f64) {
        let (token, probability) = match choice {
            Choice::Greedy(token, probability) => (token, probability),
            Choice::Sampled(distribution) => {
                let token = distribution.draw(&mut self.rng);
                let probability = distribution.probability(token);
                self.drawn_from.push(distribution);
                (token, probability)
            }
        };
        self.text.push(token);
        self.cut = Some(token) == eos || probability < threshold;
    }

    /// Compares the draft with the main model's choices after the text and after each drafted token, one more than was drafted, and emits
    /// what is agreed on. Whether the prompt is done.
    pub fn verify(&mut self, choices: Vec<Choice>, eos: Option<u32>, settings: &Settings) -> bool {
        let draft = self.text.split_off(self.settled);
        let mut matched = 0;
        for (index, choice) in choices.into_iter().enumerate() {
            let drafted = draft.get(index).copied();
            let token = match choice {
                Choice::Greedy(token, _) => token,
                Choice::Sampled(p) => match drafted.zip(self.drawn_from.get(index)) {
                    None => p.draw(&mut self.rng),
                    Some((token, q)) => {
                        let ratio = p.probability(token) / q.probability(token);
                        match self.rng.random::<f64>() < ratio {
                            true => token,
                            false => p.draw_excess(q, &mut self.rng),
                        }
                    }
                },
            };
            self.text.push(token);
            if drafted != Some(token) {
                break;
            }
            matched += 1;
            if drafted == eos {
                // The draft's end of text is emitted as the main model's own token of this round; nothing follows it.
                break;
            }
        }
        self.draft_length = settings.schedule.next(self.draft_length, matched);
        let ended = self.text.last().copied() == eos;
        if ended && matched == draft.len() && draft.last().copied() == eos {
            matched -= 1;
        }
        self.rounds.push(Round {
            drafted: draft.len(),
            matched,
        });
        self.settled = self.text.len();
        self.cut = false;
        self.drawn_from.clear();
        ended || self.settled == self.limit
    }

    /// The new tokens and how they came about.
    pub fn into_decoding(mut self) -> Decoding {
        Decoding {
            tokens: self.text.split_off(self.prompt),
            rounds: self.rounds,
        }
    }
}
