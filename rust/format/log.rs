// SPDX-License-Identifier: GPL-2.0

//! The log: its header, its blocks, its records.
//!
//! The log is one extent; its first block is the header, the others are its body. A log position
//! (LSN) is a byte count that only grows; position `p` is in body block `p / 4096 % body blocks`.
//! mkfs begins at the length of the body, so that 0 can mean "never logged".
//!
//! What is written at once is a *checkpoint*: a run of body blocks, around the end of the body if
//! need be, each of which says which checkpoint it is part of ([`block`]). Their payloads, one
//! after the other, are a sequence of records ([`record`]), the last of which is a commit record.
//! A checkpoint without one, or with a hole, never happened.
//!
//! * [`encode`] turns records into blocks, [`decode`] does the reverse. Whatever the blocks hold,
//!   decoding ends with a record whose every field is in range or with a [`Defect`].
//!
//! The header only identifies the log. Where it begins and ends is found by looking: the
//! superblock has a lower bound, the last commit record the rest.

pub mod block;
pub mod decode;
pub mod encode;
pub mod record;
#[cfg(all(test, unit_tests))]
mod tests;

use core::mem::{offset_of, size_of};

use zerocopy::little_endian::{U16, U32};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

use super::{
    defect::{ensure, Defect, DefectKind},
    header::{check_header, BlockHeader, BlockKind, Context, Owner},
    units::{Block, BlockRange, DiskBlock, Lsn, BLOCK_LOG, BLOCK_SIZE},
};

/// Version of the records in the log.
pub const LOG_VERSION: u16 = 2;

/// A checkpoint has at most this part of the body: so two that follow each other, and what is
/// reserved while they are written, always have room.
pub const CHECKPOINT_PART: u32 = 4;

/// First block of the log.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LogHeader {
    /// Common header; owner is [`Owner::log`].
    pub header: BlockHeader,
    /// [`LOG_VERSION`].
    pub version: U16,
    /// Zero.
    pub spare: U16,
    /// Blocks of the log, this one included.
    pub blocks: U32,
    /// Zero.
    pub rest: [u8; 4048],
}

const _: () = assert!(size_of::<LogHeader>() == BLOCK_SIZE);
const _: () = assert!(offset_of!(LogHeader, rest) == 48);

/// Blocks of the body of a log of `log_blocks` blocks.
pub const fn body_blocks(log_blocks: u32) -> u32 {
    log_blocks.saturating_sub(1)
}

/// Bytes of the body of a log of `log_blocks` blocks: how far head and tail may be apart.
pub const fn body_bytes(log_blocks: u32) -> u64 {
    (body_blocks(log_blocks) as u64).saturating_mul(BLOCK_SIZE as u64)
}

/// Most blocks of one checkpoint.
pub const fn max_checkpoint(log_blocks: u32) -> u32 {
    body_blocks(log_blocks) / CHECKPOINT_PART
}

/// The position at which the log of a new file system begins.
pub const fn first_lsn(log_blocks: u32) -> Lsn {
    Lsn(body_bytes(log_blocks))
}

/// The position one block behind `lsn`. Stays at the largest where the type ends.
pub const fn next_block(lsn: Lsn) -> Lsn {
    lsn.saturating_add(BLOCK_SIZE as u64)
}

/// Whether a checkpoint may begin at `lsn`: a block, and not below the first position.
pub const fn is_start(lsn: Lsn, log_blocks: u32) -> bool {
    lsn.0.is_multiple_of(BLOCK_SIZE as u64) && lsn.0 >= first_lsn(log_blocks).0
}

/// The number, in the body, of the block that holds position `lsn`. 0 in a log without a body.
pub fn body_index(lsn: Lsn, log_blocks: u32) -> u32 {
    let blocks = u64::from(body_blocks(log_blocks));
    let index = (lsn.0 >> BLOCK_LOG).checked_rem(blocks);
    index
        .and_then(|index| u32::try_from(index).ok())
        .unwrap_or(0)
}

/// The block on the device that holds position `lsn` of the log `log`.
pub fn block_at(log: BlockRange, lsn: Lsn) -> DiskBlock {
    let index = body_index(lsn, log.len).saturating_add(1);
    log.start.saturating_add(u64::from(index))
}

/// Body blocks from that of `lsn` to the end of the body, that of `lsn` included: how much can be
/// written there at once.
pub fn blocks_before_wrap(lsn: Lsn, log_blocks: u32) -> u32 {
    body_blocks(log_blocks).saturating_sub(body_index(lsn, log_blocks))
}

impl LogHeader {
    /// A block seen as log header. Nothing is checked.
    pub fn of(block: &Block) -> &Self {
        zerocopy::transmute_ref!(block)
    }

    /// A block seen as log header, to change it.
    pub fn of_mut(block: &mut Block) -> &mut Self {
        zerocopy::transmute_mut!(block)
    }

    /// Makes the block the header of the log.
    pub fn format(block: &mut Block, context: &Context) {
        let log = context.geometry.log();

        *block = [0; BLOCK_SIZE];
        let this = Self::of_mut(block);
        this.header = BlockHeader::new(BlockKind::Log, context.instance, log.start, Owner::log());
        this.version = U16::new(LOG_VERSION);
        this.blocks = U32::new(log.len);
    }

    /// Checks a block that was read from `at` as log header.
    pub fn verify(block: &Block, context: &Context, at: DiskBlock) -> Result<(), Defect> {
        use DefectKind::{Mismatch, Misplaced, Unsupported};

        check_header(block, BlockKind::Log, context, at, Some(Owner::log()))?;
        let this = Self::of(block);
        let log = context.geometry.log();

        ensure(log.start == at, "block", Misplaced)?;
        ensure(this.version.get() == LOG_VERSION, "version", Unsupported)?;
        ensure(this.blocks.get() == log.len, "blocks", Mismatch)
    }
}
