//! Samples documents so that the words of both columns of a list are named equally often.

use std::collections::VecDeque;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::TreatmentError;
use super::account::{Account, Amount, Named};
use super::chain::{Before, Limit, Passage, TextTreatment};
use super::word_list::WordList;

/// Drops random documents of the column that is named more often, until both are named equally often. Documents that name both equally often,
/// or neither, take their place as far as there is more text.
pub(super) struct Balance {
    list: WordList,
    /// How many documents would be taken without it.
    limit: Limit,
    rng: ChaCha8Rng,
    /// The documents that were chosen and not yet given. None before the choice.
    chosen: Option<VecDeque<Passage>>,
    /// How much more often the first column is named than the second.
    surplus: i64,
}

impl Balance {
    pub fn new(list: WordList, limit: Limit, rng: ChaCha8Rng) -> Self {
        Self {
            list,
            limit,
            rng,
            chosen: None,
            surplus: 0,
        }
    }

    /// How much more often a document names the first column than the second.
    fn surplus_of(&self, passage: &Passage) -> i64 {
        let [first, second] = self.list.named(&passage.text);
        first as i64 - second as i64
    }

    /// Takes the documents that would be taken without it, and drops some.
    fn choose(
        &mut self,
        before: &mut Before,
        account: &mut Account,
    ) -> Result<VecDeque<Passage>, TreatmentError> {
        let (mut taken, mut amount) = (Vec::new(), Amount::default());
        while !self.limit.is_reached(&amount)
            && let Some(passage) = before.next()?
        {
            amount += Amount::of(Some(&passage));
            taken.push((self.surplus_of(&passage), passage));
        }
        self.surplus = taken.iter().map(|(surplus, _)| surplus).sum();
        let mut named = Named::default();
        for (_, passage) in &taken {
            add(&mut named.before, self.list.named(&passage.text));
        }
        account.named = Some(named);
        let mut order: Vec<usize> = (0..taken.len()).collect();
        order.shuffle(&mut self.rng);
        let mut drops = vec![false; taken.len()];
        for index in order {
            let (surplus, _) = taken[index];
            // Whether it is dropped without the surplus becoming one of the other column.
            drops[index] = surplus != 0
                && surplus.signum() == self.surplus.signum()
                && surplus.abs() <= self.surplus.abs();
            if drops[index] {
                self.surplus -= surplus;
            }
        }
        let mut kept = VecDeque::new();
        for ((_, passage), drops) in taken.into_iter().zip(drops) {
            if drops {
                self.drop(&passage, account);
            } else {
                kept.push_back(passage);
            }
        }
        Ok(kept)
    }

    fn drop(&self, passage: &Passage, account: &mut Account) {
        let found = self.list.find(&passage.text);
        account.drop(passage, found.first().map_or(0, |first| first.place.start));
        for one in found {
            account.words.count(one.listed);
        }
    }

    /// The next document that is chosen, or a further one that brings the columns no further apart.
    fn pick(
        &mut self,
        before: &mut Before,
        account: &mut Account,
    ) -> Result<Option<Passage>, TreatmentError> {
        let mut chosen = match self.chosen.take() {
            Some(chosen) => chosen,
            None => self.choose(before, account)?,
        };
        let first = chosen.pop_front();
        self.chosen = Some(chosen);
        if first.is_some() {
            return Ok(first);
        }
        while let Some(passage) = before.next()? {
            let surplus = self.surplus_of(&passage);
            if surplus == 0 || (self.surplus + surplus).abs() < self.surplus.abs() {
                self.surplus += surplus;
                return Ok(Some(passage));
            }
            self.drop(&passage, account);
        }
        Ok(None)
    }
}

impl TextTreatment for Balance {
    fn next(
        &mut self,
        before: &mut Before,
        account: &mut Account,
    ) -> Result<Option<Passage>, TreatmentError> {
        let picked = self.pick(before, account)?;
        if let (Some(passage), Some(named)) = (&picked, &mut account.named) {
            add(&mut named.after, self.list.named(&passage.text));
        }
        Ok(picked)
    }
}

fn add(sum: &mut [u64; 2], named: [u64; 2]) {
    for (sum, named) in sum.iter_mut().zip(named) {
        *sum += named;
    }
}
