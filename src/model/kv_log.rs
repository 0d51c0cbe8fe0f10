//! Keys and values on a device, in the order in which they were made: what a pass adds is one range of rows, written where it lies by one
//! copy a block. Which row a slot has is known to the host alone, so nothing is read back.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};

/// Rows are added so many at a time, or more.
const LEAST: usize = 256;
/// The row of a slot that was never filled.
const NONE: u32 = u32::MAX;

/// The keys and values of every slot in every block.
#[derive(Debug)]
pub(crate) struct KvLog {
    width: usize,
    layers: usize,
    /// Of each block `[rows, 2 width]`: a token's key, then its value.
    blocks: Vec<Tensor<2>>,
    /// How many rows there are, and how many from the first on are written.
    rows: usize,
    used: usize,
    /// The row of each slot.
    row_of: Vec<u32>,
}

impl KvLog {
    /// An empty log. `width` is that of a token's key in a block, all heads; its value has as many.
    pub fn new(width: usize, layers: usize) -> Self {
        Self {
            width,
            layers,
            blocks: Vec::new(),
            rows: 0,
            used: 0,
            row_of: Vec::new(),
        }
    }

    /// Gives these slots the next rows, which every block is then to fill. `holders` says how many sequences hold each slot: what nobody holds
    /// is dropped when there is no room, and the log grows when that makes too little.
    pub fn append(&mut self, slots: &[u32], holders: &[u32], device: &Device) -> Range<usize> {
        self.row_of.resize(holders.len(), NONE);
        // What they held before is of no use.
        for &slot in slots {
            self.row_of[slot as usize] = NONE;
        }
        if self.used + slots.len() > self.rows {
            self.make_room(slots.len(), holders, device);
        }
        let first = self.used;
        self.used += slots.len();
        for (row, &slot) in (first as u32..).zip(slots) {
            self.row_of[slot as usize] = row;
        }
        first..self.used
    }

    /// Copies the rows that are held into logs with at least as much room as that again, once `more` are added.
    fn make_room(&mut self, more: usize, holders: &[u32], device: &Device) {
        let mut kept = Vec::new();
        for (row, &holders) in self.row_of.iter_mut().zip(holders) {
            if holders == 0 {
                *row = NONE;
            }
            if *row != NONE {
                kept.push(*row as i32);
                *row = kept.len() as u32 - 1;
            }
        }
        let count = kept.len();
        self.used = count;
        self.rows = (2 * (count + more)).next_multiple_of(LEAST).max(self.rows);
        let shape = [self.rows, 2 * self.width];
        let kept = Tensor::<1, Int>::from_data(TensorData::new(kept, [count]), device);
        let mut old = std::mem::take(&mut self.blocks).into_iter();
        // Block by block, so that only one of them is there twice.
        for _ in 0..self.layers {
            let mut new = Tensor::zeros(shape, device);
            if let (Some(old), 1..) = (old.next(), count) {
                let kept = old.select(0, kept.clone());
                new = new.slice_assign([0..count, 0..2 * self.width], kept);
            }
            self.blocks.push(new);
        }
    }

    /// Fills rows of a block with keys and values `[rows, 2 width]`.
    pub fn fill(&mut self, block: usize, rows: Range<usize>, values: Tensor<2>) {
        let ranges = [rows, 0..2 * self.width];
        // Nothing else holds the tensor while it is written, so it is written where it lies.
        let log = self.blocks.remove(block);
        self.blocks.insert(block, log.slice_assign(ranges, values));
    }

    /// The row of a slot that was filled.
    pub fn row(&self, slot: u32) -> u32 {
        self.row_of[slot as usize]
    }

    /// Rows of a block, in any order: `[index, 2 width]`.
    pub fn rows(&self, block: usize, index: Tensor<1, Int>) -> Tensor<2> {
        self.blocks[block].clone().select(0, index)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::readback::values;

    const WIDTH: usize = 3;
    const LAYERS: usize = 2;

    /// The values of a slot in a block that was filled as number `stamp`.
    fn stamped(block: usize, stamp: usize) -> Vec<f32> {
        let values = (0..2 * WIDTH).map(|at| (stamp * 100 + block * 10 + at) as f32);
        values.collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Slots that are taken, given back and taken again hold what they were last filled with, whatever was dropped or moved meanwhile.
        #[test]
        fn slots_hold_what_they_were_filled_with(
            turns in prop::collection::vec((1usize..200, prop::collection::vec(0usize..400, 0..150)), 1..12)
        ) {
            let device = Device::flex();
            let mut log = KvLog::new(WIDTH, LAYERS);
            let mut holders = vec![0u32; 400];
            let mut held: BTreeMap<u32, usize> = BTreeMap::new();
            let mut stamp = 0;
            for (more, dropped) in turns {
                for slot in dropped {
                    holders[slot] = 0;
                    held.remove(&(slot as u32));
                }
                let free = (0..400u32).filter(|slot| holders[*slot as usize] == 0);
                let new: Vec<u32> = free.take(more).collect();
                for &slot in &new {
                    holders[slot as usize] = 1;
                }
                let rows = log.append(&new, &holders, &device);
                prop_assert!(log.rows <= (2 * (held.len() + new.len()) + LEAST).max(log.rows));
                for block in 0..LAYERS {
                    let filling = (stamp..).take(new.len()).flat_map(|stamp| stamped(block, stamp));
                    let filling: Vec<f32> = filling.collect();
                    let filling = TensorData::new(filling, [new.len(), 2 * WIDTH]);
                    log.fill(block, rows.clone(), Tensor::from_data(filling, &device));
                }
                for slot in new {
                    held.insert(slot, stamp);
                    stamp += 1;
                }
                let index: Vec<i32> = held.keys().map(|slot| log.row(*slot) as i32).collect();
                for block in 0..LAYERS {
                    let index = TensorData::new(index.clone(), [index.len()]);
                    let found = values(log.rows(block, Tensor::from_data(index, &device)));
                    let expected = held.values().flat_map(|stamp| stamped(block, *stamp));
                    prop_assert_eq!(found, expected.collect::<Vec<f32>>());
                }
            }
        }
    }
}
