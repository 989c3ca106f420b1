// SPDX-License-Identifier: GPL-2.0

//! Extent records: which blocks of the device hold which blocks of a file.
//!
//! A record is 16 bytes, in the inode, in the root of a hidden file and in the leaves of an extent
//! tree alike. Records are sorted by file block and do not overlap; what none covers is a hole. A
//! record never crosses the coverage of a bitmap block, so freeing one changes one bitmap block.

use core::mem::size_of;

use zerocopy::{
    little_endian::U64,
    FromBytes as _, //
};
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
    limits::{MAX_EXTENT_LEN, MAX_FILE_BLOCKS},
    units::{BlockRange, DiskBlock, FileBlock},
};

/// Bytes of an [`ExtentRecord`].
pub const EXTENT_SIZE: usize = 16;

const START_BITS: u32 = 48;
const START_MASK: u64 = (1 << START_BITS) - 1;
const LEN_MASK: u64 = (1 << 15) - 1;
const UNWRITTEN: u64 = 1 << 63;

/// An extent as it is on disk.
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
pub struct ExtentRecord {
    /// First block of the file; the key.
    pub file_block: U64,
    /// Bits 0..48 first block on the device, 48..63 number of blocks, 63 unwritten.
    pub packed: U64,
}

const _: () = assert!(size_of::<ExtentRecord>() == EXTENT_SIZE);
const _: () = assert!(MAX_EXTENT_LEN as u64 <= LEN_MASK);

/// An extent in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block of the file.
    pub file: FileBlock,
    /// First block on the device.
    pub disk: DiskBlock,
    /// Number of blocks, at least 1.
    pub len: u32,
    /// Allocated, but reads as zeroes.
    pub unwritten: bool,
}

impl Extent {
    /// First file block behind the extent.
    #[inline]
    pub const fn end(&self) -> FileBlock {
        self.file.saturating_add(self.len as u64)
    }

    /// The blocks on the device.
    #[inline]
    pub const fn range(&self) -> BlockRange {
        BlockRange::new(self.disk, self.len)
    }

    /// Whether the extent has the file block.
    #[inline]
    pub const fn contains(&self, block: FileBlock) -> bool {
        block.0 >= self.file.0 && block.0 < self.end().0
    }

    /// The block on the device of a file block of the extent.
    #[inline]
    pub fn map(&self, block: FileBlock) -> Option<DiskBlock> {
        if !self.contains(block) {
            return None;
        }
        self.disk.checked_add(block.distance(self.file)?)
    }

    /// The record of the extent; [`None`] if it does not fit (length 0 or above
    /// [`MAX_EXTENT_LEN`], block number above 2^48).
    pub fn pack(&self) -> Option<ExtentRecord> {
        if self.len == 0 || self.len > MAX_EXTENT_LEN || self.disk.0 > START_MASK {
            return None;
        }
        let flag = if self.unwritten { UNWRITTEN } else { 0 };
        Some(ExtentRecord {
            file_block: U64::new(self.file.0),
            packed: U64::new(self.disk.0 | (u64::from(self.len) << START_BITS) | flag),
        })
    }
}

impl ExtentRecord {
    /// The extent of the record. Nothing is checked; see [`Self::verify`].
    pub fn unpack(&self) -> Extent {
        let packed = self.packed.get();
        Extent {
            file: FileBlock(self.file_block.get()),
            disk: DiskBlock(packed & START_MASK),
            len: ((packed >> START_BITS) & LEN_MASK) as u32,
            unwritten: packed & UNWRITTEN != 0,
        }
    }

    /// The records in `bytes`; [`None`] if they are not a whole number.
    pub fn slice(bytes: &[u8]) -> Option<&[ExtentRecord]> {
        <[ExtentRecord]>::ref_from_bytes(bytes).ok()
    }

    /// Checks the extent by itself: it has blocks, they may belong to a file, the file can have
    /// them.
    pub fn verify(&self, geometry: &Geometry) -> Result<Extent, Defect> {
        let extent = self.unpack();
        let end = extent.file.checked_add(u64::from(extent.len));

        ensure(
            end.is_some_and(|end| end.0 <= MAX_FILE_BLOCKS),
            "extent.file_block",
            DefectKind::Range,
        )?;
        geometry.check_range(extent.range(), "extent.start")?;
        Ok(extent)
    }
}

/// Checks a sorted list of extents: each by itself, and that none begins before its predecessor
/// ends.
pub fn verify_extents(records: &[ExtentRecord], geometry: &Geometry) -> Result<(), Defect> {
    let mut free = FileBlock(0);
    for record in records {
        let extent = record.verify(geometry)?;
        ensure(extent.file >= free, "extent.file_block", DefectKind::Order)?;
        free = extent.end();
    }
    Ok(())
}
