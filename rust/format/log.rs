// SPDX-License-Identifier: GPL-2.0

//! The place and header of the log. What is in it is not defined in this revision: a clean file
//! system has an empty log, and one that is not clean is taken as it is.
//!
//! The log is one extent; its first block is the header, the others are its body. A log position
//! (LSN) is a byte count that only grows; position `p` is byte `p % body` of the body. mkfs begins
//! with the position `body`, so that 0 can mean "never logged".

use core::mem::{offset_of, size_of};

use zerocopy::little_endian::{U16, U32, U64};
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
    units::{Block, DiskBlock, Lsn, BLOCK_SIZE},
};

/// Version of the records in the log.
pub const LOG_VERSION: u16 = 1;

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
    /// Position of the oldest record that replay needs.
    pub tail: U64,
    /// Position behind the newest record when the header was written.
    pub head: U64,
    /// Zero.
    pub rest: [u8; 4032],
}

const _: () = assert!(size_of::<LogHeader>() == BLOCK_SIZE);
const _: () = assert!(offset_of!(LogHeader, tail) == 48);

/// The position at which the log of a new file system begins.
pub fn first_lsn(log_blocks: u32) -> Lsn {
    Lsn(u64::from(log_blocks.saturating_sub(1)).saturating_mul(BLOCK_SIZE as u64))
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

    /// Makes the block the header of an empty log.
    pub fn format(block: &mut Block, context: &Context) {
        let log = context.geometry.log();
        let lsn = first_lsn(log.len);

        *block = [0; BLOCK_SIZE];
        let this = Self::of_mut(block);
        this.header = BlockHeader::new(BlockKind::Log, context.instance, log.start, Owner::log());
        this.version = U16::new(LOG_VERSION);
        this.blocks = U32::new(log.len);
        this.tail = U64::new(lsn.0);
        this.head = U64::new(lsn.0);
    }

    /// Checks a block that was read from `at` as log header.
    pub fn verify(block: &Block, context: &Context, at: DiskBlock) -> Result<(), Defect> {
        use DefectKind::{Mismatch, Misplaced, Range, Unsupported};

        check_header(block, BlockKind::Log, context, at, Some(Owner::log()))?;
        let this = Self::of(block);
        let log = context.geometry.log();
        let body = first_lsn(log.len).0;
        let (tail, head) = (this.tail.get(), this.head.get());

        ensure(log.start == at, "block", Misplaced)?;
        ensure(this.version.get() == LOG_VERSION, "version", Unsupported)?;
        ensure(this.blocks.get() == log.len, "blocks", Mismatch)?;
        ensure(tail >= body, "tail", Range)?;
        ensure(
            head.checked_sub(tail).is_some_and(|len| len <= body),
            "head",
            Mismatch,
        )
    }
}
