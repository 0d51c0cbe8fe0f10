//! Inputs made from valid ones: bits, cuts, insertions, splices, numbers and words.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Numbers at the ends of what types hold, and what is none.
const NUMBERS: [&str; 22] = [
    "0",
    "-1",
    "1",
    "255",
    "256",
    "65536",
    "1000000",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "1e309",
    "-1e-320",
    "0.5",
    "NaN",
    "Infinity",
    "null",
];

/// Values of other kinds.
const VALUES: [&str; 12] = [
    "null",
    "true",
    "false",
    "\"\"",
    "[]",
    "{}",
    "[[]]",
    "\"a\\u0000b\"",
    "\"é\"",
    "[1,2]",
    "{\"a\":1}",
    "\"1\"",
];

/// Makes inputs.
pub struct Mutator {
    rng: ChaCha8Rng,
    seeds: Vec<Vec<u8>>,
    words: Vec<&'static str>,
}

impl Mutator {
    pub fn new(rng: ChaCha8Rng, seeds: Vec<Vec<u8>>, words: Vec<&'static str>) -> Self {
        Self { rng, seeds, words }
    }

    /// The next input: a seed with a few changes.
    pub fn next(&mut self) -> Vec<u8> {
        let mut input = self.seed();
        for _ in 0..self.rng.random_range(1..=4) {
            self.change(&mut input);
        }
        input
    }

    fn seed(&mut self) -> Vec<u8> {
        let index = self.rng.random_range(0..self.seeds.len());
        self.seeds[index].clone()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let (start, end) = self.range(input);
        match self.rng.random_range(0..11) {
            0 | 1 if start < input.len() => input[start] ^= 1 << self.rng.random_range(0..8),
            2 if start < input.len() => {
                input[start] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\n'][self.rng.random_range(0..7)];
            }
            3 => input.truncate(start),
            4 => drop(input.drain(start..end)),
            5 => {
                let piece = input[start..end].to_vec();
                let place = self.rng.random_range(0..=input.len());
                input.splice(place..place, piece);
            }
            6 => {
                let other = self.seed();
                let (from, to) = self.range(&other);
                input.splice(start..end, other[from..to].iter().copied());
            }
            7 => {
                let count = self.rng.random_range(1..=8);
                let bytes: Vec<u8> = (0..count).map(|_| self.rng.random()).collect();
                input.splice(start..start, bytes);
            }
            8 => self.replace_number(input, start),
            9 => self.replace_value(input, start),
            _ if !self.words.is_empty() => {
                let word = self.words[self.rng.random_range(0..self.words.len())];
                input.splice(start..end.min(start + word.len()), word.bytes());
            }
            _ => {}
        }
    }

    /// A range, mostly a short one.
    fn range(&mut self, input: &[u8]) -> (usize, usize) {
        let start = self.rng.random_range(0..=input.len());
        let most = match self.rng.random_range(0..4) {
            0 => input.len() - start,
            _ => 12.min(input.len() - start),
        };
        (start, start + self.rng.random_range(0..=most))
    }

    /// Replaces the next number in decimal digits.
    fn replace_number(&mut self, input: &mut Vec<u8>, start: usize) {
        let Some(first) = input[start..].iter().position(u8::is_ascii_digit) else {
            return;
        };
        let first = start + first;
        let rest = input[first..].iter();
        let length = rest.take_while(|byte| byte.is_ascii_digit() || **byte == b'.');
        let length = length.count();
        let number = NUMBERS[self.rng.random_range(0..NUMBERS.len())];
        input.splice(first..first + length, number.bytes());
    }

    /// Replaces what stands between a colon and the next comma or bracket: a value of JSON, mostly.
    fn replace_value(&mut self, input: &mut Vec<u8>, start: usize) {
        let Some(first) = input[start..].iter().position(|byte| *byte == b':') else {
            return;
        };
        let first = start + first + 1;
        let rest = input[first..].iter();
        let length = rest.take_while(|byte| !b",]}\n".contains(byte)).count();
        let value = VALUES[self.rng.random_range(0..VALUES.len())];
        input.splice(first..first + length, value.bytes());
    }
}
