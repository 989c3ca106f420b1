// SPDX-License-Identifier: GPL-2.0

//! Bitmap blocks: one bit for each block of an allocation group, 1 = used.
//!
//! On disk the bitmap is all there is about free space. Bits behind the end of the group are 1.
//! Static metadata is 1 too, and the verifier insists: whatever else an image says, the allocator
//! can never hand out a superblock or a bitmap.

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
    geometry::Geometry,
    header::{check_header, BlockHeader, BlockKind, Context, Owner, BODY_OFFSET},
    limits::{BITMAP_BITS, BITMAP_BYTES},
    units::{AgBlock, AgNumber, Block, DiskBlock, BLOCK_SIZE},
};

/// A block of the bitmap.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BitmapBlock {
    /// Common header; owner is [`Owner::ag`].
    pub header: BlockHeader,
    /// Which bitmap block of the group.
    pub index: U32,
    /// Number of zero bits.
    pub free: U32,
    /// Zero.
    pub spare: [u8; 16],
    /// Bit `n` is bit `n % 8` of byte `n / 8`.
    pub bits: [u8; BITMAP_BYTES],
}

const _: () = assert!(size_of::<BitmapBlock>() == BLOCK_SIZE);
const _: () = assert!(offset_of!(BitmapBlock, bits) == BODY_OFFSET);
const _: () = assert!(BITMAP_BYTES.is_multiple_of(8));

/// Byte offset in the block of the byte with bit `bit`.
#[inline]
pub const fn bit_byte(bit: u32) -> usize {
    BODY_OFFSET.saturating_add((bit / 8) as usize)
}

impl BitmapBlock {
    /// A block seen as bitmap. Nothing is checked.
    pub fn of(block: &Block) -> &Self {
        zerocopy::transmute_ref!(block)
    }

    /// A block seen as bitmap, to change it.
    pub fn of_mut(block: &mut Block) -> &mut Self {
        zerocopy::transmute_mut!(block)
    }

    /// Makes the block what an unwritten bitmap block reads as: all free but static metadata.
    /// [`None`] if there is no such bitmap block.
    pub fn format(block: &mut Block, context: &Context, ag: AgNumber, index: u32) -> Option<()> {
        let geometry = &context.geometry;
        let at = geometry.bitmap_block(ag, index)?;
        let coverage = geometry.bitmap_coverage(ag, index);

        *block = [0; BLOCK_SIZE];
        let this = Self::of_mut(block);
        this.header = BlockHeader::new(BlockKind::Bitmap, context.instance, at, Owner::ag(ag));
        this.index = U32::new(index);
        this.set_range(coverage.len, BITMAP_BITS.saturating_sub(coverage.len), true);
        for (start, len) in static_bits(geometry, ag, index) {
            this.set_range(start, len, true);
        }
        this.free = U32::new(this.count_free());
        Some(())
    }

    /// Whether bit `bit` is set; bits that do not exist are.
    #[inline]
    pub fn is_used(&self, bit: u32) -> bool {
        self.bits
            .get((bit / 8) as usize)
            .is_none_or(|byte| byte & (1 << (bit % 8)) != 0)
    }

    /// Sets or clears `len` bits from `start`; those behind the end of the block are ignored. The
    /// count of free bits is the caller's.
    pub fn set_range(&mut self, start: u32, len: u32, used: bool) {
        let end = start.saturating_add(len).min(BITMAP_BITS);
        let mut bit = start;

        while bit < end {
            let whole = bit.is_multiple_of(8) && end.saturating_sub(bit) >= 8;
            let mask = if whole { 0xff } else { 1_u8 << (bit % 8) };
            if let Some(byte) = self.bits.get_mut((bit / 8) as usize) {
                *byte = if used { *byte | mask } else { *byte & !mask };
            }
            bit = bit.saturating_add(if whole { 8 } else { 1 });
        }
    }

    /// Whether all of `len` bits from `start` have the value `used`.
    pub fn range_is(&self, start: u32, len: u32, used: bool) -> bool {
        let end = start.saturating_add(len);
        let mut bit = start;

        while bit < end {
            let whole = bit.is_multiple_of(8) && end.saturating_sub(bit) >= 8;
            let Some(byte) = self.bits.get((bit / 8) as usize) else {
                return false;
            };
            let mask = if whole { 0xff } else { 1_u8 << (bit % 8) };
            let want = if used { mask } else { 0 };
            if byte & mask != want {
                return false;
            }
            bit = bit.saturating_add(if whole { 8 } else { 1 });
        }
        true
    }

    /// First bit at or behind `from` with the value `used`, or [`None`].
    pub fn find(&self, from: u32, used: bool) -> Option<u32> {
        let skip = if used { 0 } else { 0xff };
        let mut bit = from;

        while bit < BITMAP_BITS {
            let byte = *self.bits.get((bit / 8) as usize)?;
            if bit.is_multiple_of(8) && byte == skip {
                bit = bit.saturating_add(8);
            } else if (byte & (1 << (bit % 8)) != 0) == used {
                return Some(bit);
            } else {
                bit = bit.saturating_add(1);
            }
        }
        None
    }

    /// Number of zero bits, counted.
    pub fn count_free(&self) -> u32 {
        let (words, _) = self.bits.as_chunks::<8>();
        words
            .iter()
            .map(|word| u64::from_le_bytes(*word).count_zeros())
            .fold(0, u32::saturating_add)
    }

    /// Checks a block that was read from `at` as bitmap block of group `ag`.
    pub fn verify(
        block: &Block,
        context: &Context,
        at: DiskBlock,
        ag: AgNumber,
    ) -> Result<(), Defect> {
        use DefectKind::{Mismatch, Misplaced};

        check_header(block, BlockKind::Bitmap, context, at, Some(Owner::ag(ag)))?;
        let this = Self::of(block);
        let geometry = &context.geometry;
        let index = this.index.get();

        ensure(
            geometry.bitmap_block(ag, index) == Some(at),
            "index",
            Misplaced,
        )?;
        ensure(this.free.get() == this.count_free(), "free", Mismatch)?;

        let coverage = geometry.bitmap_coverage(ag, index);
        let behind = BITMAP_BITS.saturating_sub(coverage.len);
        ensure(this.range_is(coverage.len, behind, true), "bits", Mismatch)?;
        for (start, len) in static_bits(geometry, ag, index) {
            ensure(this.range_is(start, len, true), "bits", Mismatch)?;
        }
        Ok(())
    }
}

/// The runs of bits (first, number) of bitmap block `index` that are static metadata.
pub fn static_bits(
    geometry: &Geometry,
    ag: AgNumber,
    index: u32,
) -> impl Iterator<Item = (u32, u32)> {
    let coverage = geometry.bitmap_coverage(ag, index);
    geometry
        .static_ranges(ag)
        .into_iter()
        .filter_map(move |range| {
            let start = range.start.max(coverage.start);
            let end: AgBlock = range.end().min(coverage.end());
            let len = end.0.checked_sub(start.0).filter(|len| *len > 0)?;
            Some((start.0.checked_sub(coverage.start.0)?, len))
        })
}
