// SPDX-License-Identifier: GPL-2.0

//! A block of the log's body: which checkpoint it is part of, and a piece of its payload.

use core::mem::{offset_of, size_of};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

use super::is_start;
use crate::format::{
    crc::block_crc,
    defect::{ensure, Defect, DefectKind},
    header::Context,
    units::{Block, Lsn, BLOCK_SIZE},
};

/// Magic number of a block of the body; reads as "LfLB".
pub const LOG_BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"LfLB");
/// [`LogBlockHead::flags`]: the first block of its checkpoint.
pub const LOG_FIRST: u16 = 1 << 0;
/// [`LogBlockHead::flags`]: the last block of its checkpoint.
pub const LOG_LAST: u16 = 1 << 1;
/// All bits of [`LogBlockHead::flags`] that have a meaning.
pub const LOG_FLAGS: u16 = LOG_FIRST | LOG_LAST;

/// Bytes of [`LogBlockHead`].
pub const LOG_BLOCK_HEAD: usize = 32;
/// Bytes of payload in a block of the body.
pub const LOG_PAYLOAD: usize = BLOCK_SIZE - LOG_BLOCK_HEAD;

/// The 32 bytes that begin a block of the body.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LogBlockHead {
    /// [`LOG_BLOCK_MAGIC`].
    pub magic: U32,
    /// CRC-32C of the block, see [`crate::format::crc`].
    pub crc: U32,
    /// Position of the block.
    pub lsn: U64,
    /// Position of the first block of the checkpoint.
    pub start: U64,
    /// Superblock's `mount_count` of the mount that wrote the block.
    pub epoch: U32,
    /// Bytes of payload that are used: all, but in the last block of a checkpoint.
    pub used: U16,
    /// `LOG_FIRST`, `LOG_LAST`.
    pub flags: U16,
}

/// A block of the body.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LogBlock {
    /// Which checkpoint the block is part of.
    pub head: LogBlockHead,
    /// Records, or pieces of them.
    pub payload: [u8; LOG_PAYLOAD],
}

const _: () = assert!(size_of::<LogBlockHead>() == LOG_BLOCK_HEAD);
const _: () = assert!(size_of::<LogBlock>() == BLOCK_SIZE);
const _: () = assert!(offset_of!(LogBlockHead, epoch) == 24);
const _: () = assert!(LOG_PAYLOAD.is_multiple_of(8));

impl LogBlock {
    /// A block seen as block of the body. Nothing is checked.
    pub fn of(block: &Block) -> &Self {
        zerocopy::transmute_ref!(block)
    }

    /// A block seen as block of the body, to change it.
    pub fn of_mut(block: &mut Block) -> &mut Self {
        zerocopy::transmute_mut!(block)
    }

    /// Makes head and checksum of a block whose payload is complete.
    pub fn seal(
        block: &mut Block,
        context: &Context,
        lsn: Lsn,
        start: Lsn,
        epoch: u32,
        used: u16,
        flags: u16,
    ) {
        let this = Self::of_mut(block);

        this.head = LogBlockHead {
            magic: U32::new(LOG_BLOCK_MAGIC),
            crc: U32::new(0),
            lsn: U64::new(lsn.0),
            start: U64::new(start.0),
            epoch: U32::new(epoch),
            used: U16::new(used),
            flags: U16::new(flags),
        };
        let crc = block_crc(context.seed, block);
        Self::of_mut(block).head.crc = U32::new(crc);
    }

    /// Checks the block at position `lsn`. That it belongs to the same checkpoint as its
    /// neighbours is for the caller.
    ///
    /// Cheap tests come first: most of what a scan meets fails by magic or position.
    pub fn verify(block: &Block, context: &Context, lsn: Lsn) -> Result<(), Defect> {
        use DefectKind::{Checksum, Magic, Mismatch, Misplaced, Range};

        let head = &Self::of(block).head;
        let log_blocks = context.geometry.log().len;
        let (start, used, flags) = (Lsn(head.start.get()), head.used.get(), head.flags.get());

        ensure(head.magic.get() == LOG_BLOCK_MAGIC, "magic", Magic)?;
        ensure(head.lsn.get() == lsn.0, "lsn", Misplaced)?;
        ensure(
            head.crc.get() == block_crc(context.seed, block),
            "crc",
            Checksum,
        )?;
        ensure(flags & !LOG_FLAGS == 0, "flags", Range)?;
        ensure(is_start(start, log_blocks), "start", Range)?;
        let before = lsn.0.checked_sub(start.0);
        let most = u64::from(super::max_checkpoint(log_blocks)).saturating_mul(BLOCK_SIZE as u64);
        ensure(before.is_some_and(|n| n < most), "start", Range)?;
        ensure(
            (flags & LOG_FIRST != 0) == (before == Some(0)),
            "flags",
            Mismatch,
        )?;
        ensure(usize::from(used) <= LOG_PAYLOAD, "used", Range)?;
        ensure(used != 0 && used.is_multiple_of(8), "used", Range)?;
        ensure(
            flags & LOG_LAST != 0 || usize::from(used) == LOG_PAYLOAD,
            "used",
            Mismatch,
        )
    }

    /// The used bytes of the payload.
    pub fn bytes(&self) -> &[u8] {
        let used = usize::from(self.head.used.get());
        self.payload.get(..used).unwrap_or(&self.payload)
    }

    /// Whether the block is the first of its checkpoint.
    pub fn is_first(&self) -> bool {
        self.head.flags.get() & LOG_FIRST != 0
    }

    /// Whether the block is the last of its checkpoint.
    pub fn is_last(&self) -> bool {
        self.head.flags.get() & LOG_LAST != 0
    }
}
