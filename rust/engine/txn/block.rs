// SPDX-License-Identifier: GPL-2.0

//! Changing a block inside a transaction.

use core::ops::Range;

use crate::engine::{
    Error,
    Result, //
};
use crate::format::BLOCK_SIZE;
use crate::sys::Errno;

/// Bytes of a dirty chunk: the unit in which changes of a block are logged (XFS's 128).
pub const CHUNK: usize = 128;

/// A block that is being changed: its bytes, and which of them were.
///
/// Ranges may come from the disk; what is outside of the block is EUCLEAN.
pub struct BlockMut<'a> {
    block: u64,
    bytes: &'a mut [u8; BLOCK_SIZE],
    chunks: u32,
}

impl<'a> BlockMut<'a> {
    pub(super) fn new(block: u64, bytes: &'a mut [u8; BLOCK_SIZE]) -> Self {
        Self {
            block,
            bytes,
            chunks: 0,
        }
    }

    /// One bit for each chunk that was given out for change.
    pub(super) fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Number of the block on the device.
    pub fn block(&self) -> crate::format::DiskBlock {
        crate::format::DiskBlock(self.block)
    }

    /// All bytes, to read.
    pub fn bytes(&self) -> &[u8; BLOCK_SIZE] {
        self.bytes
    }

    /// All bytes, to change: the whole block will be logged.
    pub fn whole(&mut self) -> &mut [u8; BLOCK_SIZE] {
        self.chunks = u32::MAX;
        self.bytes
    }

    #[track_caller]
    fn bad(&self) -> Error {
        Error::corrupt(self.block, "range outside of the block")
    }

    /// Marks the chunks of a range as changed.
    #[track_caller]
    fn mark(&mut self, range: &Range<usize>) -> Result {
        if range.start > range.end || range.end > BLOCK_SIZE {
            return Err(self.bad());
        }
        if range.start == range.end {
            return Ok(());
        }
        let first = range.start / CHUNK;
        let last = (range.end - 1) / CHUNK;
        let below = |bit: usize| u32::MAX.checked_shr(31 - bit as u32).unwrap_or(0);
        let mask = below(last) & !(below(first) >> 1);
        self.chunks |= mask;
        Ok(())
    }

    /// The bytes of `range`, to change. Errors: EUCLEAN outside of the block.
    #[track_caller]
    pub fn bytes_mut(&mut self, range: Range<usize>) -> Result<&mut [u8]> {
        self.mark(&range)?;
        self.bytes.get_mut(range).ok_or(Error::new(Errno::UCLEAN))
    }

    /// Copies `from` to byte `at`. Errors: EUCLEAN outside of the block.
    #[track_caller]
    pub fn write(&mut self, at: usize, from: &[u8]) -> Result {
        let end = at.saturating_add(from.len());
        for (to, from) in self.bytes_mut(at..end)?.iter_mut().zip(from) {
            *to = *from;
        }
        Ok(())
    }

    /// Moves the bytes of `from` to byte `to`; the two may overlap. Errors: EUCLEAN outside of the
    /// block.
    #[track_caller]
    pub fn copy_within(&mut self, from: Range<usize>, to: usize) -> Result {
        if from.start > from.end || from.end > BLOCK_SIZE {
            return Err(self.bad());
        }
        self.mark(&(to..to.saturating_add(from.len())))?;
        self.bytes.copy_within(from, to);
        Ok(())
    }
}
