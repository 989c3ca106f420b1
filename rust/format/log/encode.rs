// SPDX-License-Identifier: GPL-2.0

//! From records to the blocks of a checkpoint.
//!
//! Records are appended to the payloads of a list of blocks, across block boundaries;
//! [`Encoder::finish`] adds the commit record and seals the blocks. Who calls this has computed
//! before how many blocks it takes ([`blocks_for`]); nothing is allocated here.

use zerocopy::{
    little_endian::{U16, U32, U64},
    IntoBytes as _,
};

use super::{
    block::{LogBlock, LOG_BLOCK_HEAD, LOG_FIRST, LOG_LAST, LOG_PAYLOAD},
    record::*,
};
use crate::format::{
    header::{BlockKind, Context, Owner},
    units::{Block, BlockRange, DiskBlock, Ino, Lsn, BLOCK_SIZE, CHUNK_BLOCKS},
};

/// Where an [`Encoder`] puts its blocks.
pub trait BlockList {
    /// Block `index` of the checkpoint; [`None`] if there are not so many.
    fn block(&mut self, index: usize) -> Option<&mut Block>;
}

impl BlockList for [Block] {
    fn block(&mut self, index: usize) -> Option<&mut Block> {
        self.get_mut(index)
    }
}

/// Blocks that records of `bytes` bytes take, the commit record not among them.
pub const fn blocks_for(bytes: u64) -> u64 {
    bytes
        .saturating_add(COMMIT_RECORD as u64)
        .div_ceil(LOG_PAYLOAD as u64)
}

/// The list has no room for what is appended to it, or the record is none that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// Appends records to a list of blocks.
pub struct Encoder<'a, L: BlockList + ?Sized> {
    blocks: &'a mut L,
    /// Number of the block that is being filled.
    index: usize,
    /// Bytes of its payload that are used.
    used: usize,
    records: u32,
}

impl<'a, L: BlockList + ?Sized> Encoder<'a, L> {
    /// An encoder that fills `blocks` from the first on.
    pub fn new(blocks: &'a mut L) -> Self {
        Self {
            blocks,
            index: 0,
            used: 0,
            records: 0,
        }
    }

    /// Appends bytes, wherever they fall.
    fn put(&mut self, mut bytes: &[u8]) -> Result<(), NoRoom> {
        while !bytes.is_empty() {
            if self.used == LOG_PAYLOAD {
                self.index = self.index.saturating_add(1);
                self.used = 0;
            }
            let block = self.blocks.block(self.index).ok_or(NoRoom)?;
            let room = LogBlock::of_mut(block)
                .payload
                .get_mut(self.used..)
                .ok_or(NoRoom)?;
            let n = room.len().min(bytes.len());
            let (now, later) = bytes.split_at_checked(n).ok_or(NoRoom)?;
            room.get_mut(..n).ok_or(NoRoom)?.copy_from_slice(now);
            self.used = self.used.saturating_add(n);
            bytes = later;
        }
        Ok(())
    }

    /// Appends a record: a head, and a body in parts.
    fn record(&mut self, kind: RecordKind, at: DiskBlock, parts: &[&[u8]]) -> Result<(), NoRoom> {
        let len = parts
            .iter()
            .fold(RECORD_HEAD, |sum, part| sum.saturating_add(part.len()));
        if !len.is_multiple_of(8) || len > MAX_RECORD {
            return Err(NoRoom);
        }
        let head = RecordHead {
            kind: U16::new(kind as u16),
            flags: U16::new(0),
            len: U32::new(len as u32),
            block: U64::new(at.0),
        };
        self.put(head.as_bytes())?;
        for part in parts {
            self.put(part)?;
        }
        self.records = self.records.saturating_add(1);
        Ok(())
    }

    /// Chunks of a metadata block: `data` has 128 bytes for each bit of `chunks`, in ascending
    /// order.
    pub fn buf(
        &mut self,
        at: DiskBlock,
        kind: BlockKind,
        owner: Owner,
        chunks: u32,
        data: &[u8],
    ) -> Result<(), NoRoom> {
        let code = block_kind_code(kind).ok_or(NoRoom)?;
        if data.len() != (chunks.count_ones() as usize).saturating_mul(LOG_CHUNK) {
            return Err(NoRoom);
        }
        let body = BufBody {
            block_kind: U16::new(code),
            spare: U16::new(0),
            chunks: U32::new(chunks),
            owner: U64::new(owner.0),
        };
        self.record(RecordKind::Buf, at, &[body.as_bytes(), data])
    }

    /// The core of an inode (bytes 32 to 191 of its slot, the first four of which are its
    /// generation) and, if it was logged, the beginning of its literal area: a multiple of 8
    /// bytes, behind which it is zero. `at` is the block of the slot.
    pub fn inode(
        &mut self,
        at: DiskBlock,
        ino: Ino,
        core: &[u8; CORE_SIZE],
        literal: Option<&[u8]>,
    ) -> Result<(), NoRoom> {
        let generation = core
            .first_chunk()
            .map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let len = literal.map_or(0, <[u8]>::len);
        let body = InodeBody {
            ino: U64::new(ino.0),
            generation: U32::new(generation),
            fields: U16::new(LOG_CORE | if literal.is_some() { LOG_LITERAL } else { 0 }),
            literal: U16::new(u16::try_from(len).map_err(|_| NoRoom)?),
        };
        let literal = literal.unwrap_or(&[]);
        self.record(RecordKind::Inode, at, &[body.as_bytes(), core, literal])
    }

    /// Metadata blocks that were freed.
    pub fn cancel(&mut self, range: BlockRange) -> Result<(), NoRoom> {
        let body = CancelBody {
            count: U32::new(range.len),
            spare: U32::new(0),
        };
        self.record(RecordKind::Cancel, range.start, &[body.as_bytes()])
    }

    /// A new chunk of inode slots in the eight blocks from `at`, the first of them that of `first`.
    pub fn inode_init(&mut self, at: DiskBlock, first: Ino) -> Result<(), NoRoom> {
        let body = InodeInitBody {
            count: U32::new(CHUNK_BLOCKS),
            ag: U32::new(first.ag().0),
            index: U32::new(first.index()),
            spare: U32::new(0),
        };
        self.record(RecordKind::InodeInit, at, &[body.as_bytes()])
    }

    /// Records so far.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Appends the commit record (its `records` is set here) and seals the blocks of the
    /// checkpoint, which begins at `start`. Returns their number.
    pub fn finish(
        mut self,
        context: &Context,
        start: Lsn,
        epoch: u32,
        mut commit: CommitBody,
    ) -> Result<u32, NoRoom> {
        commit.records = U32::new(self.records.saturating_add(1));
        self.record(RecordKind::Commit, DiskBlock(0), &[commit.as_bytes()])?;

        let last = self.index;
        let block = self.blocks.block(last).ok_or(NoRoom)?;
        let payload = &mut LogBlock::of_mut(block).payload;
        payload.get_mut(self.used..).ok_or(NoRoom)?.fill(0);
        for index in 0..=last {
            let block = self.blocks.block(index).ok_or(NoRoom)?;
            let at = (index as u64).saturating_mul(BLOCK_SIZE as u64);
            let first = if index == 0 { LOG_FIRST } else { 0 };
            let (used, end) = if index == last {
                (self.used, LOG_LAST)
            } else {
                (LOG_PAYLOAD, 0)
            };
            let lsn = start.saturating_add(at);
            LogBlock::seal(block, context, lsn, start, epoch, used as u16, first | end);
        }
        u32::try_from(last.saturating_add(1)).map_err(|_| NoRoom)
    }
}

const _: () =
    assert!(LOG_PAYLOAD <= u16::MAX as usize && LOG_BLOCK_HEAD + LOG_PAYLOAD == BLOCK_SIZE);
