// SPDX-License-Identifier: GPL-2.0

//! Blocks of symlink targets that do not fit in the inode. File block `n` of the symlink holds the
//! bytes from `n * 4032` on.

use core::mem::{offset_of, size_of};

use zerocopy::little_endian::U32;
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
    limits::{MAX_SYMLINK, SYMLINK_BYTES},
    units::{Block, DiskBlock, BLOCK_SIZE},
};

/// A block of a symlink target.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SymlinkBlock {
    /// Common header; owner is the inode.
    pub header: BlockHeader,
    /// Which block of the target.
    pub index: U32,
    /// Bytes of `target` in use; all of them except in the last block.
    pub len: U32,
    /// Zero.
    pub spare: [u8; 16],
    /// The bytes.
    pub target: [u8; SYMLINK_BYTES],
}

const _: () = assert!(size_of::<SymlinkBlock>() == BLOCK_SIZE);
const _: () = assert!(offset_of!(SymlinkBlock, target) == BODY_OFFSET);

impl SymlinkBlock {
    /// A block seen as part of a symlink. Nothing is checked.
    pub fn of(block: &Block) -> &Self {
        zerocopy::transmute_ref!(block)
    }

    /// Makes the block part `index` of a symlink with these bytes (at most 4032 are taken).
    pub fn format(
        block: &mut Block,
        context: &Context,
        at: DiskBlock,
        owner: Owner,
        index: u32,
        bytes: &[u8],
    ) {
        *block = [0; BLOCK_SIZE];
        let this: &mut Self = zerocopy::transmute_mut!(block);
        this.header = BlockHeader::new(BlockKind::Symlink, context.instance, at, owner);
        this.index = U32::new(index);
        this.len = U32::new(bytes.len().min(SYMLINK_BYTES) as u32);
        for (to, from) in this.target.iter_mut().zip(bytes) {
            *to = *from;
        }
    }

    /// The bytes in use.
    pub fn bytes(&self) -> &[u8] {
        self.target.get(..self.len.get() as usize).unwrap_or(&[])
    }

    /// Checks a block that was read from `at` as part of a symlink.
    pub fn verify(
        block: &Block,
        context: &Context,
        at: DiskBlock,
        owner: Option<Owner>,
    ) -> Result<(), Defect> {
        use DefectKind::Range;

        check_header(block, BlockKind::Symlink, context, at, owner)?;
        let this = Self::of(block);
        let most = MAX_SYMLINK.div_ceil(SYMLINK_BYTES) as u32;

        ensure(this.index.get() < most, "index", Range)?;
        let len = this.len.get() as usize;
        ensure((1..=SYMLINK_BYTES).contains(&len), "len", Range)?;
        ensure(!this.bytes().contains(&0), "target", Range)
    }
}
