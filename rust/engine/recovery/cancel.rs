// SPDX-License-Identifier: GPL-2.0

//! Which blocks were freed, and when last.
//!
//! Pass 1 collects the cancel records of the live log, pass 2 asks for each record it would apply.
//! Ranges of different checkpoints may overlap in any way, and a record may name 32,000 blocks, so
//! blocks are not listed one by one: all ends of ranges cut the device into pieces, and each piece
//! gets the highest position of a range that covers it.

use crate::{
    engine::{sort::sort_by_key, Result},
    format::units::{BlockRange, DiskBlock, Lsn},
    sys,
};

/// A cancel record.
#[derive(Clone, Copy, Debug)]
struct Cancel {
    range: BlockRange,
    lsn: Lsn,
}

/// A piece: from here to the next one.
#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    start: DiskBlock,
    /// Highest position at which it was freed; 0: never.
    lsn: Lsn,
    /// While they are painted: the first piece at or behind this one that is not yet.
    next: u32,
}

/// Cancel records by block.
#[derive(Default)]
pub(super) struct Cancels {
    records: sys::Vec<Cancel>,
    pieces: sys::Vec<Piece>,
}

impl Cancels {
    /// Adds a record; [`Self::finish`] comes after the last one. Errors: ENOMEM.
    pub(super) fn add(&mut self, range: BlockRange, lsn: Lsn) -> Result {
        Ok(self.records.try_push(Cancel { range, lsn })?)
    }

    /// Makes the table. Errors: ENOMEM.
    pub(super) fn finish(&mut self) -> Result {
        let mut ends = sys::Vec::try_with_capacity(self.records.len().saturating_mul(2))?;
        for record in self.records.iter() {
            ends.try_push(record.range.start)?;
            ends.try_push(record.range.end())?;
        }
        sort_by_key(&mut ends, |end: &DiskBlock| *end);
        for end in ends.iter() {
            if self.pieces.last().is_none_or(|piece| piece.start != *end) {
                let next = self.pieces.len() as u32;
                self.pieces.try_push(Piece {
                    start: *end,
                    lsn: Lsn(0),
                    next,
                })?;
            }
        }
        // Newest first, so that no piece is painted twice.
        sort_by_key(&mut self.records, |record: &Cancel| {
            core::cmp::Reverse(record.lsn)
        });
        for at in 0..self.records.len() {
            if let Some(record) = self.records.get(at).copied() {
                self.paint(&record);
            }
        }
        self.records = sys::Vec::new();
        Ok(())
    }

    /// The first piece at or behind `at` that is not painted.
    fn unpainted(&mut self, at: u32) -> u32 {
        let mut root = at;
        while let Some(next) = self.pieces.get(root as usize).map(|piece| piece.next) {
            if next == root {
                break;
            }
            root = next;
        }
        // Whoever asks next has a shorter way.
        let mut from = at;
        while from < root {
            let Some(piece) = self.pieces.get_mut(from as usize) else {
                break;
            };
            from = core::mem::replace(&mut piece.next, root);
        }
        root
    }

    fn paint(&mut self, record: &Cancel) {
        let first = self
            .pieces
            .partition_point(|piece| piece.start < record.range.start);
        let mut at = self.unpainted(first as u32);
        while let Some(piece) = self.pieces.get_mut(at as usize) {
            if piece.start >= record.range.end() {
                break;
            }
            piece.lsn = record.lsn;
            piece.next = at.saturating_add(1);
            at = self.unpainted(at.saturating_add(1));
        }
    }

    /// Whether what a record at `lsn` says about `block` is void.
    pub(super) fn covers(&self, block: DiskBlock, lsn: Lsn) -> bool {
        sys::mutant!(ReplayCancel => return false);
        let behind = self.pieces.partition_point(|piece| piece.start <= block);
        let piece = behind.checked_sub(1).and_then(|at| self.pieces.get(at));
        piece.is_some_and(|piece| piece.lsn >= lsn)
    }
}

#[cfg(all(test, unit_tests))]
mod tests;
