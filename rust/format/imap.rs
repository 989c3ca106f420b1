// SPDX-License-Identifier: GPL-2.0

//! Blocks of the inode map: which inodes of an allocation group exist, are allocated, are orphans.
//!
//! One bit a chunk says that its 64 inodes have blocks in the inode file; two masks a chunk say
//! which of them are allocated, and which of those are to be finished or freed after a crash.
//! Orphan with links left means an interrupted truncate, without links an interrupted deletion.

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
    header::{check_header, BlockHeader, BlockKind, Context, Owner, BODY_OFFSET},
    limits::MAP_CHUNKS,
    units::{AgNumber, Block, DiskBlock, BLOCK_SIZE, CHUNK_INODES},
};

/// The 64 inodes of a chunk.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct ChunkMasks {
    /// Bit set: the inode is allocated.
    pub alloc: U64,
    /// Bit set: the inode is an orphan.
    pub orphan: U64,
}

/// A block of the inode map: 250 chunks, 16,000 inodes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MapBlock {
    /// Common header; owner is [`Owner::inode_map`].
    pub header: BlockHeader,
    /// Which block of the map: its first chunk is `index * 250`.
    pub index: U32,
    /// Free inodes in chunks that exist.
    pub free: U16,
    /// Orphans.
    pub orphans: U16,
    /// Chunks that exist.
    pub present: U16,
    /// Zero.
    pub spare: [u8; 14],
    /// Bit `n`, at `n % 8` of byte `n / 8`: chunk `n` exists. Bits from 250 on are 0.
    pub chunks: [u8; 32],
    /// Masks of the chunks; both are 0 for one that does not exist.
    pub masks: [ChunkMasks; MAP_CHUNKS as usize],
}

const _: () = assert!(size_of::<ChunkMasks>() == 16);
const _: () = assert!(size_of::<MapBlock>() == BLOCK_SIZE);
const _: () = assert!(offset_of!(MapBlock, chunks) == BODY_OFFSET);
const _: () = assert!(offset_of!(MapBlock, masks) == 96);

impl MapBlock {
    /// A block seen as part of the inode map. Nothing is checked.
    pub fn of(block: &Block) -> &Self {
        zerocopy::transmute_ref!(block)
    }

    /// A block seen as part of the inode map, to change it.
    pub fn of_mut(block: &mut Block) -> &mut Self {
        zerocopy::transmute_mut!(block)
    }

    /// Makes the block map block `index` of group `ag` at `at`, without any chunk.
    pub fn format(block: &mut Block, context: &Context, at: DiskBlock, ag: AgNumber, index: u32) {
        *block = [0; BLOCK_SIZE];
        let this = Self::of_mut(block);
        this.header = BlockHeader::new(
            BlockKind::InodeMap,
            context.instance,
            at,
            Owner::inode_map(ag),
        );
        this.index = U32::new(index);
    }

    /// Whether chunk `n` of the block exists.
    #[inline]
    pub fn has_chunk(&self, n: u32) -> bool {
        n < MAP_CHUNKS
            && self
                .chunks
                .get((n / 8) as usize)
                .is_some_and(|byte| byte & (1 << (n % 8)) != 0)
    }

    /// Marks chunk `n` as existing or not; its masks and the counts are the caller's.
    pub fn set_chunk(&mut self, n: u32, exists: bool) {
        if let Some(byte) = self.chunks.get_mut((n / 8) as usize) {
            let mask = 1_u8 << (n % 8);
            *byte = if exists { *byte | mask } else { *byte & !mask };
        }
    }

    /// Masks of chunk `n`, or [`None`] if it does not exist.
    pub fn chunk(&self, n: u32) -> Option<&ChunkMasks> {
        if !self.has_chunk(n) {
            return None;
        }
        self.masks.get(n as usize)
    }

    /// Masks of chunk `n`, to change them, or [`None`] if it does not exist.
    pub fn chunk_mut(&mut self, n: u32) -> Option<&mut ChunkMasks> {
        if !self.has_chunk(n) {
            return None;
        }
        self.masks.get_mut(n as usize)
    }

    /// Chunks that exist, free inodes in them and orphans, counted.
    pub fn count(&self) -> (u32, u32, u32) {
        let mut sums = (0_u32, 0_u32, 0_u32);
        for (n, masks) in (0..MAP_CHUNKS).zip(&self.masks) {
            if self.has_chunk(n) {
                sums.0 = sums.0.saturating_add(1);
                sums.1 = sums.1.saturating_add(masks.alloc.get().count_zeros());
                sums.2 = sums.2.saturating_add(masks.orphan.get().count_ones());
            }
        }
        sums
    }

    /// Checks a block that was read from `at` as part of the inode map of group `ag`.
    pub fn verify(
        block: &Block,
        context: &Context,
        at: DiskBlock,
        ag: AgNumber,
    ) -> Result<(), Defect> {
        use DefectKind::{Mismatch, Range};

        check_header(
            block,
            BlockKind::InodeMap,
            context,
            at,
            Some(Owner::inode_map(ag)),
        )?;
        let this = Self::of(block);
        let most = context.geometry.max_chunks(ag);
        let first = this.index.get().checked_mul(MAP_CHUNKS);
        let first = first
            .filter(|first| *first < most)
            .ok_or(Defect::new("index", Range))?;

        let behind = this.chunks.get(31).copied().unwrap_or(0) & !0b11;
        ensure(behind == 0, "chunks", Range)?;
        for (n, masks) in (0..MAP_CHUNKS).zip(&this.masks) {
            let (alloc, orphan) = (masks.alloc.get(), masks.orphan.get());
            if this.has_chunk(n) {
                ensure(first.saturating_add(n) < most, "chunks", Range)?;
            } else {
                ensure(alloc == 0, "masks.alloc", Mismatch)?;
            }
            ensure(orphan & !alloc == 0, "masks.orphan", Mismatch)?;
        }

        let (present, free, orphans) = this.count();
        ensure(
            u32::from(this.present.get()) == present,
            "present",
            Mismatch,
        )?;
        ensure(u32::from(this.free.get()) == free, "free", Mismatch)?;
        ensure(
            u32::from(this.orphans.get()) == orphans,
            "orphans",
            Mismatch,
        )
    }
}

const _: () = assert!(MAP_CHUNKS * CHUNK_INODES <= u16::MAX as u32);
