//! Reading on: the model's pass over tokens that follow others it has read, for many sequences at once.

use burn::tensor::Tensor;

use super::{KvPool, Network};

/// Tokens of one pass: enough for matrix products at full speed, few enough for their results to be small.
const PASS: usize = 512;

/// A token to be read.
#[derive(Debug, Clone, Copy)]
pub struct NewToken<'a> {
    /// The token.
    pub id: u32,
    /// The slots of its sequence up to and including its own; their number is its position plus one.
    pub sequence: &'a [u32],
}

impl<'a> NewToken<'a> {
    /// The tokens of `text` after the first `read` of them. Their slots are in `sequence`.
    pub fn of(
        text: &'a [u32],
        sequence: &'a [u32],
        read: usize,
    ) -> impl Iterator<Item = NewToken<'a>> {
        (read..text.len()).map(move |position| NewToken {
            id: text[position],
            sequence: &sequence[..=position],
        })
    }
}

/// Texts that were read: their slots and hidden states.
#[derive(Debug)]
pub struct TextsRead {
    /// The slots of each text.
    pub sequences: Vec<Vec<u32>>,
    /// The last hidden states of all tokens that were read, `[read, D]`.
    pub hidden: Tensor<2>,
    /// For each text and position, which row of `hidden` belongs to it.
    pub rows: Vec<Vec<u32>>,
}

impl Network {
    /// Reads texts from their beginning. What a text's beginning has in common with the text before it is read once, so texts in the order
    /// of their tokens are read with every common beginning read once.
    pub fn read_texts(&self, texts: &[&[u32]], pool: &mut KvPool) -> TextsRead {
        let mut sequences: Vec<Vec<u32>> = Vec::with_capacity(texts.len());
        let mut rows: Vec<Vec<u32>> = Vec::with_capacity(texts.len());
        let (mut shared, mut read) = (Vec::with_capacity(texts.len()), 0);
        let mut before: &[u32] = &[];
        for text in texts {
            let both = text.iter().zip(before);
            let common = both.take_while(|(a, b)| a == b).count();
            let theirs = sequences.last().map_or(&[][..], |theirs| &theirs[..common]);
            let mut sequence = pool.share(theirs);
            pool.resize(&mut sequence, text.len());
            let mut own = rows
                .last()
                .map_or(Vec::new(), |rows| rows[..common].to_vec());
            own.extend(read..read + (text.len() - common) as u32);
            read += (text.len() - common) as u32;
            rows.push(own);
            sequences.push(sequence);
            shared.push(common);
            before = text;
        }
        let each = texts.iter().zip(&sequences).zip(shared);
        let new: Vec<NewToken> = each
            .flat_map(|((text, sequence), shared)| NewToken::of(text, sequence, shared))
            .collect();
        let hidden = self.read(&new, pool);
        TextsRead {
            sequences,
            hidden,
            rows,
        }
    }

    /// Reads tokens of any number of sequences and gives the last hidden states, after the final layer norm, of each: `[new, D]`.
    ///
    /// What a token follows must have been read before or stand before it in `new`; its position must be below `n_positions`.
    pub fn read(&self, new: &[NewToken], pool: &mut KvPool) -> Tensor<2> {
        if new.is_empty() {
            return Tensor::zeros([0, self.config().width], &self.device());
        }
        let passes = new.chunks(PASS).map(|new| self.pass(new, pool));
        Tensor::cat(passes.collect(), 0)
    }
}
