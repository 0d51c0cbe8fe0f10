//! The state of one prompt in assisted decoding, and the rules of acceptance.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::sampling::Distribution;
use super::{Decoding, Drafting, Round, Settings};
use crate::model::Ends;

/// A model's choice for the next token.
pub(super) enum Choice {
    /// The most probable token, with its probability if that was asked for, else 1.
    Greedy(u32, f64),
    /// The processed distribution that the token is drawn from.
    Sampled(Distribution),
    /// A token that was drawn on a device by the row's next uniform number, its probability, and the turn and the place in it of the distribution
    /// that it was drawn from.
    Drawn {
        token: u32,
        probability: f64,
        from: (usize, usize),
    },
    /// What a device makes of a [`Place`].
    Weighed {
        /// The probability of the drafted token.
        probability: f64,
        /// The token if that is rejected, or if nothing was drafted.
        otherwise: u32,
    },
}

/// A place of the text at which the main model's choice is asked for, where all drafted tokens before it are accepted.
pub(super) struct Place {
    /// The drafted token, and the turn and the place in it of the distribution that it was drawn from.
    pub drafted: Option<(u32, (usize, usize))>,
    /// The number by which the main model's own token is drawn.
    pub uniform: f64,
}

/// The distribution that a drafted token was drawn from.
enum Source {
    Here(Distribution),
    /// On a device: the token's probability, and where the distribution is.
    There(f64, (usize, usize)),
}

/// What a row needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The next token of the assistant.
    Drafting,
    /// The main model's choice for the token after the text that is agreed on.
    Verifying,
    /// Nothing: the text is at its limit or has ended.
    Done,
}

/// The state of one prompt.
pub(super) struct Row {
    /// The index of its request among the distinct ones.
    pub request: usize,
    /// The prompt, the emitted tokens, and the draft of the current round.
    pub text: Vec<u32>,
    /// The slots of the main model's keys and values, one for each token of `text` that was read.
    pub main: Vec<u32>,
    /// The same for the assistant.
    pub assistant: Vec<u32>,
    pub phase: Phase,
    prompt: usize,
    /// Tokens of `text` before the draft.
    settled: usize,
    /// Tokens of the draft that were accepted so far.
    matched: usize,
    limit: usize,
    draft_length: usize,
    /// Whether nothing is to be added to the draft.
    drafted_all: bool,
    /// The distributions that the drafted tokens were drawn from.
    drawn_from: Vec<Source>,
    rng: ChaCha8Rng,
    rounds: Vec<Round>,
}

impl Row {
    pub fn new(request: usize, prompt: &[u32], settings: &Settings, rng: ChaCha8Rng) -> Self {
        let mut row = Self {
            request,
            text: prompt.to_vec(),
            main: Vec::new(),
            assistant: Vec::new(),
            phase: Phase::Done,
            prompt: prompt.len(),
            settled: prompt.len(),
            matched: 0,
            limit: prompt.len() + settings.max_new_tokens,
            draft_length: settings.draft_length,
            drafted_all: false,
            drawn_from: Vec::new(),
            rng,
            rounds: Vec::new(),
        };
        row.begin_round();
        row
    }

    fn begin_round(&mut self) {
        self.settled = self.text.len();
        self.matched = 0;
        self.drawn_from.clear();
        let room = self.limit - self.settled;
        // The last token is the main model's own.
        self.drafted_all = room < 2 || self.draft_length == 0;
        self.phase = match room {
            0 => Phase::Done,
            _ if self.drafted_all => Phase::Verifying,
            _ => Phase::Drafting,
        };
    }

    /// How many tokens of `text` the main model may read now. It reads the last token of a draft only when the draft is complete.
    pub fn readable(&self) -> usize {
        self.text.len() - usize::from(!self.drafted_all)
    }

    /// Takes the assistant's next token. An end-of-text token, or one below the confidence threshold, ends the draft and stays in it. A lazy
    /// draft is checked after every `piece` tokens.
    pub fn draft(&mut self, choice: Choice, ends: &Ends, settings: &Settings, piece: usize) {
        let (token, probability) = match choice {
            Choice::Greedy(token, probability) => (token, probability),
            Choice::Sampled(distribution) => {
                let token = distribution.draw(&mut self.rng);
                let probability = distribution.probability(token);
                self.drawn_from.push(Source::Here(distribution));
                (token, probability)
            }
            Choice::Drawn {
                token,
                probability,
                from,
            } => {
                self.next_uniform();
                self.drawn_from.push(Source::There(probability, from));
                (token, probability)
            }
            Choice::Weighed {
                probability,
                otherwise,
            } => (otherwise, probability),
        };
        self.text.push(token);
        let drafted = self.text.len() - self.settled;
        let wanted = self.draft_length.min(self.limit - self.settled - 1);
        self.drafted_all =
            drafted == wanted || ends.has(token) || probability < settings.confidence_threshold;
        let is_piece = settings.drafting == Drafting::Lazy && drafted - self.matched >= piece;
        if self.drafted_all || is_piece {
            self.phase = Phase::Verifying;
        }
    }

    /// Takes the main model's choice for the token after the text that is agreed on. Either the next drafted token is accepted, or the
    /// round ends with a token of the main model. Returns whether the row still verifies: not when the round is over, and not when more is
    /// to be drafted.
    pub fn verify(&mut self, choice: Choice, ends: &Ends, settings: &Settings) -> bool {
        let place = self.settled + self.matched;
        let drafted = self.text.get(place).copied();
        let token = match choice {
            Choice::Greedy(token, _) | Choice::Drawn { token, .. } => token,
            Choice::Sampled(p) => self.accept_or_draw(drafted, &p),
            Choice::Weighed {
                probability,
                otherwise,
            } => self.accept_or(drafted, probability, otherwise),
        };
        let accepted = drafted == Some(token);
        self.matched += usize::from(accepted);
        // An accepted end-of-text token is emitted as the main model's own token of this round, and nothing follows it.
        let ended = ends.has(token);
        if accepted && !ended {
            if place + 1 == self.text.len() && !self.drafted_all {
                self.phase = Phase::Drafting;
            }
            return self.phase == Phase::Verifying;
        }
        let drafted = match settings.drafting {
            Drafting::Whole => self.text.len() - self.settled,
            Drafting::Lazy => (self.text.len() - self.settled).min(self.matched + 1),
        };
        self.text.truncate(place);
        self.text.push(token);
        self.draft_length = settings.schedule.next(self.draft_length, self.matched);
        self.rounds.push(Round {
            drafted,
            matched: self.matched - usize::from(accepted),
        });
        self.begin_round();
        if ended {
            self.phase = Phase::Done;
        }
        false
    }

    /// Returns the drafted token with probability min(1, p/q), else a token drawn from norm(max(p - q, 0)). Without a drafted token it
    /// draws from p.
    fn accept_or_draw(&mut self, drafted: Option<u32>, p: &Distribution) -> u32 {
        let Some((token, Source::Here(q))) = drafted.zip(self.drawn_from.get(self.matched)) else {
            return p.draw(&mut self.rng);
        };
        let ratio = p.probability(token) / q.probability(token);
        if self.rng.random::<f64>() < ratio {
            token
        } else {
            p.draw_excess(q, &mut self.rng)
        }
    }

    /// The same of what a device has computed: it used the uniform numbers of [`Row::places`].
    fn accept_or(&mut self, drafted: Option<u32>, p: f64, otherwise: u32) -> u32 {
        if let Some((token, Source::There(q, _))) = drafted.zip(self.drawn_from.get(self.matched)) {
            let ratio = p / q;
            if self.next_uniform() < ratio {
                return token;
            }
        }
        self.next_uniform();
        otherwise
    }

    fn next_uniform(&mut self) -> f64 {
        self.rng.random()
    }

    /// The number that the row draws next.
    pub fn uniform(&self) -> f64 {
        self.rng.clone().random()
    }

    /// The next `count` places that the main model is asked for. Whether a drafted token is accepted takes a number; the main model's own token
    /// takes the next one.
    pub fn places(&self, count: usize) -> impl Iterator<Item = Place> {
        let mut rng = self.rng.clone();
        let uniforms: Vec<f64> = (0..=count).map(|_| rng.random()).collect();
        (0..count).map(move |place| {
            let token = self.text.get(self.settled + self.matched + place).copied();
            let from = match self.drawn_from.get(self.matched + place) {
                Some(Source::There(_, from)) => Some(*from),
                _ => None,
            };
            let drafted = token.zip(from);
            Place {
                uniform: uniforms[place + usize::from(drafted.is_some())],
                drafted,
            }
        })
    }

    /// Whether a token of the current draft was drawn in a turn, on a device.
    pub fn drew_in(&self, turn: usize) -> bool {
        let mut all = self.drawn_from.iter();
        all.any(|one| matches!(one, Source::There(_, (own, _)) if *own == turn))
    }

    /// The new tokens and the rounds that produced them.
    pub fn into_decoding(mut self) -> Decoding {
        Decoding {
            tokens: self.text.split_off(self.prompt),
            rounds: self.rounds,
        }
    }
}
