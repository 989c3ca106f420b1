// SPDX-License-Identifier: GPL-2.0

//! Blocks that the file ended inside of when more was appended to it.
//!
//! Such a block may be on disk already with what it had before, and what was appended in it is in the
//! page cache only. The extent map does not show that: the block is written, or reads as zeroes as it
//! did before. Until it has been written again, the size on disk must not go past the byte up to which
//! the disk has it, or a crash would show zeros in the middle of what was appended. XFS and ext4 go
//! past it: their order is by blocks.
//!
//! A write notes the block before it looks at the map, so whatever becomes of the block between the
//! two is seen. What it notes goes when the data has reached the disk, is lost, or was not written after
//! all, and with a truncation. There are as many as blocks were appended to and not written since:
//! usually one.

use super::index::ExtentIndex;
use crate::{
    format::units::{FileBlock, BLOCK_SIZE},
    sys,
};

/// A block; see the module's text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short {
    /// The block.
    pub(crate) block: FileBlock,
    /// The byte, in the file, up to which the disk has it for certain.
    pub(crate) done: u64,
    /// The byte up to which the page cache has it, or is about to.
    pub(crate) want: u64,
}

impl Short {
    fn end(&self) -> u64 {
        let start = self.block.byte().unwrap_or(u64::MAX);
        start.saturating_add(BLOCK_SIZE as u64)
    }
}

/// All of a file's, in no order.
pub(super) type ShortBlocks = sys::Vec<Short>;

impl ExtentIndex {
    fn each_short(&mut self, change: impl Fn(&mut Short)) {
        let mut at = 0;
        while let Some(short) = self.short.get_mut(at) {
            change(short);
            if short.done < short.want {
                at = at.saturating_add(1);
            } else {
                self.short.swap_remove(at);
            }
        }
    }

    /// More is about to be appended in a block. May sleep for memory, cannot fail.
    pub(crate) fn append_to(&mut self, new: Short) {
        let mut list = self.short.iter_mut();
        match list.find(|short| short.block == new.block) {
            Some(short) => short.want = short.want.max(new.want),
            None => self.short.must_push(new),
        }
    }

    /// The file ends at `size` after all: less was appended than was to be.
    pub(crate) fn appended(&mut self, size: u64) {
        self.each_short(|short| short.want = short.want.min(size));
    }

    /// The disk has what the page cache had of blocks from `start` on, up to byte `end`.
    pub(crate) fn has_data(&mut self, start: FileBlock, end: u64) {
        self.each_short(|short| {
            if short.block >= start && short.done < end {
                short.done = end.min(short.end());
            }
        });
    }

    /// The size was set to something else, and nothing is short any more.
    pub(crate) fn forget_short(&mut self) {
        self.short.clear();
    }

    /// The byte that a size on disk of `size` cannot go past.
    pub(crate) fn first_short(&mut self, size: u64) -> Option<u64> {
        // What is in front of it an fsync has seen to.
        self.each_short(|short| {
            if short.end() <= size {
                short.done = short.want;
            }
        });
        self.short.iter().map(|short| short.done).min()
    }
}
