// SPDX-License-Identifier: GPL-2.0

//! Blocks of attribute values that do not fit in a record. Block `n` of a value holds its bytes
//! from `n * 4032` on.

use core::mem::{offset_of, size_of};

use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned, //
};

use crate::format::{
    defect::{ensure, Defect, DefectKind},
    hash::key_is_legal,
    header::{check_header, BlockHeader, BlockKind, Context, Owner, BODY_OFFSET},
    limits::{ATTR_VALUE_BYTES, MAX_ATTR_VALUE},
    units::{Block, DiskBlock, BLOCK_SIZE},
};

/// Most blocks of one value.
pub const MAX_VALUE_BLOCKS: u32 = value_blocks(MAX_ATTR_VALUE);

/// Blocks that a value of `len` bytes takes when it is not in its record.
pub const fn value_blocks(len: u32) -> u32 {
    len.div_ceil(ATTR_VALUE_BYTES as u32)
}

/// A block of a value.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct AttrBlock {
    /// Common header; owner is the inode.
    pub header: BlockHeader,
    /// Key of the attribute's record.
    pub key: U64,
    /// Which block of the value.
    pub index: U32,
    /// Bytes of `value` in use; all of them except in the last block.
    pub len: U32,
    /// Zero.
    pub spare: [u8; 8],
    /// The bytes.
    pub value: [u8; ATTR_VALUE_BYTES],
}

const _: () = assert!(size_of::<AttrBlock>() == BLOCK_SIZE);
const _: () = assert!(offset_of!(AttrBlock, value) == BODY_OFFSET);
const _: () = assert!(MAX_VALUE_BLOCKS == 17);

impl AttrBlock {
    /// A block seen as part of a value. Nothing is checked.
    pub fn of(block: &Block) -> &Self {
        zerocopy::transmute_ref!(block)
    }

    /// Makes the block part `index` of a value with these bytes (at most 4032 are taken).
    pub fn format(
        block: &mut Block,
        context: &Context,
        at: DiskBlock,
        owner: Owner,
        key: u64,
        index: u32,
        bytes: &[u8],
    ) {
        *block = [0; BLOCK_SIZE];
        let this: &mut Self = zerocopy::transmute_mut!(block);
        this.header = BlockHeader::new(BlockKind::AttrValue, context.instance, at, owner);
        this.key = U64::new(key);
        this.index = U32::new(index);
        this.len = U32::new(bytes.len().min(ATTR_VALUE_BYTES) as u32);
        for (to, from) in this.value.iter_mut().zip(bytes) {
            *to = *from;
        }
    }

    /// The bytes in use.
    pub fn bytes(&self) -> &[u8] {
        self.value.get(..self.len.get() as usize).unwrap_or(&[])
    }

    /// The bytes, if this is part `index` of the value of `len` bytes of the attribute with this
    /// key.
    pub fn part(&self, key: u64, index: u32, len: u32) -> Option<&[u8]> {
        let start = index.checked_mul(ATTR_VALUE_BYTES as u32)?;
        let want = len.checked_sub(start)?.min(ATTR_VALUE_BYTES as u32);
        let same = self.key.get() == key && self.index.get() == index;
        (same && want > 0 && self.len.get() == want).then(|| self.bytes())
    }

    /// Checks a block that was read from `at` as part of a value.
    pub fn verify(
        block: &Block,
        context: &Context,
        at: DiskBlock,
        owner: Option<Owner>,
    ) -> Result<(), Defect> {
        use DefectKind::Range;

        check_header(block, BlockKind::AttrValue, context, at, owner)?;
        let this = Self::of(block);
        let whose = BlockHeader::of(block).owner().as_inode();

        ensure(
            whose.is_some_and(|ino| context.geometry.check_ino(ino)),
            "owner",
            DefectKind::Owner,
        )?;
        ensure(key_is_legal(this.key.get()), "key", Range)?;
        ensure(this.index.get() < MAX_VALUE_BLOCKS, "index", Range)?;
        let len = this.len.get();
        let full = ATTR_VALUE_BYTES as u32;
        ensure((1..=full).contains(&len), "len", Range)?;
        let end = this.index.get().saturating_mul(full).saturating_add(len);
        ensure(end <= MAX_ATTR_VALUE, "len", Range)
    }
}
