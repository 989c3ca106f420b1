// SPDX-License-Identifier: GPL-2.0

//! Where things are: the layout of allocation groups and of their static metadata.
//!
//! All of it is computed from five numbers of the superblock. A [`Geometry`] exists only if those
//! numbers are consistent, so its methods have no "impossible" cases: a block outside the device
//! is an [`Option`] or a [`Defect`], nothing else fails.
//!
//! Static metadata of an allocation group - blocks that are in use on every file system of this
//! geometry - are its first blocks (reserved head or superblock copy, header, bitmaps), the log if
//! it is in the group, and the reserved tail of the device. They are marked in the bitmap, and a
//! bitmap block that was never written reads as "all free but these".

use super::{
    defect::{ensure, Defect, DefectKind},
    limits::*,
    units::{AgBlock, AgNumber, AgRange, BlockRange, DiskBlock, CHUNK_BLOCKS},
};

/// Layout of a file system. Small and `Copy`: every mount and every tool carries one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    block_count: u64,
    ag_blocks: u32,
    ag_count: u32,
    log: BlockRange,
}

/// Whether allocation group `ag` has a superblock copy: 1 and the powers of 3, 5 and 7.
pub const fn has_superblock_copy(ag: AgNumber) -> bool {
    const fn is_power(n: u32, base: u32) -> bool {
        let mut power = 1_u32;
        while power < n {
            power = power.saturating_mul(base);
        }
        power == n
    }

    // The first powers are 1; a product that saturates is no power of an odd number below 2^14.
    is_power(ag.0, 3) || is_power(ag.0, 5) || is_power(ag.0, 7)
}

/// Block of the group, relative, that holds its header.
pub const fn header_offset(ag: AgNumber) -> AgBlock {
    if ag.0 == 0 {
        AgBlock(RESERVED_HEAD)
    } else if has_superblock_copy(ag) {
        AgBlock(1)
    } else {
        AgBlock(0)
    }
}

impl Geometry {
    /// The geometry with these numbers, if they are consistent. Field names are those of the
    /// superblock.
    pub fn new(
        block_count: u64,
        ag_blocks: u32,
        ag_count: u32,
        log_start: DiskBlock,
        log_blocks: u32,
    ) -> Result<Self, Defect> {
        use DefectKind::{Address, Mismatch, Range};

        ensure(
            (MIN_BLOCKS..=MAX_BLOCKS).contains(&block_count),
            "block_count",
            Range,
        )?;
        ensure(
            (MIN_AG_BLOCKS..=MAX_AG_BLOCKS).contains(&ag_blocks),
            "ag_blocks",
            Range,
        )?;
        ensure((1..=MAX_AGS).contains(&ag_count), "ag_count", Range)?;
        ensure(
            block_count.div_ceil(u64::from(ag_blocks).max(1)) == u64::from(ag_count),
            "ag_count",
            Mismatch,
        )?;
        ensure(
            (MIN_LOG_BLOCKS..=MAX_LOG_BLOCKS).contains(&log_blocks),
            "log_blocks",
            Range,
        )?;

        let log = BlockRange::new(log_start, log_blocks);
        let geometry = Self {
            block_count,
            ag_blocks,
            ag_count,
            log,
        };
        let last = geometry.ag_len(AgNumber(ag_count.saturating_sub(1)));
        ensure(last >= MIN_LAST_AG, "block_count", Mismatch)?;

        // The log must be in one group, behind its static head, and not in the tail.
        let (ag, start) = geometry
            .locate(log_start)
            .ok_or(Defect::new("log_start", Address))?;
        let end = start.checked_add(log_blocks);
        ensure(start >= geometry.head_end(ag), "log_start", Address)?;
        ensure(
            end.is_some_and(|end| end <= geometry.tail_start(ag)),
            "log_blocks",
            Address,
        )?;
        Ok(geometry)
    }

    /// The default geometry for a device of `blocks` blocks, or [`None`] if it is too small or too
    /// large. `ag_blocks` overrides the size of the groups. The result may be a little smaller
    /// than the device: a rest too short for an allocation group is not used.
    pub fn for_device(blocks: u64, ag_blocks: Option<u32>) -> Option<Self> {
        Self::with_log(blocks, ag_blocks, None)
    }

    /// [`Self::for_device`] with a log of `log_blocks` blocks; also [`None`] if that is not between
    /// the limits, or does not fit into its group.
    pub fn with_log(blocks: u64, ag_blocks: Option<u32>, log_blocks: Option<u32>) -> Option<Self> {
        if !(MIN_BLOCKS..=MAX_BLOCKS).contains(&blocks) {
            return None;
        }

        let ag_blocks = ag_blocks.unwrap_or_else(|| default_ag_blocks(blocks));
        if !(MIN_AG_BLOCKS..=MAX_AG_BLOCKS).contains(&ag_blocks) {
            return None;
        }
        let size = u64::from(ag_blocks);
        let rest = blocks.checked_rem(size)?;
        let block_count = if rest != 0 && rest < u64::from(MIN_LAST_AG) && blocks > size {
            blocks.checked_sub(rest)?
        } else {
            blocks
        };
        let ag_count = u32::try_from(block_count.div_ceil(size.max(1))).ok()?;

        // A group in the middle halves the distance of the log to everything else. It is never the
        // last one, which may be short.
        let log_ag = AgNumber(ag_count.checked_sub(1)? / 2);
        let probe = Self {
            block_count,
            ag_blocks,
            ag_count,
            log: BlockRange::default(),
        };
        let log_start = probe.disk_block(log_ag, probe.head_end(log_ag))?;
        // At most half of its group: files want to be near each other there, too.
        let log_blocks = log_blocks.unwrap_or_else(|| {
            default_log_blocks(blocks)
                .min(probe.ag_len(log_ag) / 2)
                .max(MIN_LOG_BLOCKS)
        });
        Self::new(block_count, ag_blocks, ag_count, log_start, log_blocks).ok()
    }

    /// Blocks of the file system.
    pub const fn block_count(&self) -> u64 {
        self.block_count
    }

    /// Blocks of an allocation group; the last may be shorter.
    pub const fn ag_blocks(&self) -> u32 {
        self.ag_blocks
    }

    /// Number of allocation groups.
    pub const fn ag_count(&self) -> u32 {
        self.ag_count
    }

    /// The log.
    pub const fn log(&self) -> BlockRange {
        self.log
    }

    /// All allocation groups, ascending.
    pub fn ags(&self) -> impl Iterator<Item = AgNumber> {
        (0..self.ag_count).map(AgNumber)
    }

    /// First block of group `ag`, or [`None`] if there is no such group.
    pub fn ag_start(&self, ag: AgNumber) -> Option<DiskBlock> {
        (ag.0 < self.ag_count)
            .then(|| DiskBlock(u64::from(ag.0).saturating_mul(u64::from(self.ag_blocks))))
    }

    /// Blocks of group `ag`; 0 if there is no such group.
    pub fn ag_len(&self, ag: AgNumber) -> u32 {
        let start = u64::from(ag.0).saturating_mul(u64::from(self.ag_blocks));
        let rest = self.block_count.saturating_sub(start);
        u32::try_from(rest).map_or(self.ag_blocks, |rest| rest.min(self.ag_blocks))
    }

    /// The group of `block` and its number there, or [`None`] outside the file system.
    pub fn locate(&self, block: DiskBlock) -> Option<(AgNumber, AgBlock)> {
        if block.0 >= self.block_count {
            return None;
        }
        let size = u64::from(self.ag_blocks);
        let ag = u32::try_from(block.0.checked_div(size)?).ok()?;
        let inside = u32::try_from(block.0.checked_rem(size)?).ok()?;
        Some((AgNumber(ag), AgBlock(inside)))
    }

    /// Number on the device of a block of a group, or [`None`] outside of the group.
    pub fn disk_block(&self, ag: AgNumber, block: AgBlock) -> Option<DiskBlock> {
        if block.0 >= self.ag_len(ag) {
            return None;
        }
        self.ag_start(ag)?.checked_add(u64::from(block.0))
    }

    /// The run on the device of a run of a group, or [`None`] if it leaves the group.
    pub fn disk_range(&self, ag: AgNumber, range: AgRange) -> Option<BlockRange> {
        let end = range.start.checked_add(range.len)?;
        if end.0 > self.ag_len(ag) {
            return None;
        }
        let start = self.ag_start(ag)?.checked_add(u64::from(range.start.0))?;
        Some(BlockRange::new(start, range.len))
    }

    /// The block on the device of the header of group `ag`.
    pub fn header_block(&self, ag: AgNumber) -> Option<DiskBlock> {
        self.disk_block(ag, header_offset(ag))
    }

    /// The block that holds the superblock copy of group `ag`, if it has one (group 0: the
    /// superblock itself).
    pub fn superblock_copy(&self, ag: AgNumber) -> Option<DiskBlock> {
        (ag.0 == 0 || has_superblock_copy(ag))
            .then(|| self.ag_start(ag))
            .flatten()
    }

    /// First bitmap block of group `ag`, relative.
    pub fn bitmap_start(&self, ag: AgNumber) -> AgBlock {
        header_offset(ag).saturating_add(1)
    }

    /// Number of bitmap blocks of group `ag`.
    pub fn bitmap_count(&self, ag: AgNumber) -> u32 {
        self.ag_len(ag).div_ceil(BITMAP_BITS)
    }

    /// The block on the device of bitmap block `index` of group `ag`.
    pub fn bitmap_block(&self, ag: AgNumber, index: u32) -> Option<DiskBlock> {
        if index >= self.bitmap_count(ag) {
            return None;
        }
        self.disk_block(ag, self.bitmap_start(ag).checked_add(index)?)
    }

    /// The bitmap block that has the bit of `block`, and the number of the bit there.
    pub const fn bitmap_position(block: AgBlock) -> (u32, u32) {
        (block.0 / BITMAP_BITS, block.0 % BITMAP_BITS)
    }

    /// Blocks of group `ag` whose bits are in bitmap block `index`; empty if there is no such block.
    pub fn bitmap_coverage(&self, ag: AgNumber, index: u32) -> AgRange {
        let start = index.saturating_mul(BITMAP_BITS);
        let len = self.ag_len(ag).saturating_sub(start).min(BITMAP_BITS);
        AgRange::new(AgBlock(start), len)
    }

    /// First block of group `ag` behind its header and bitmaps.
    pub fn head_end(&self, ag: AgNumber) -> AgBlock {
        self.bitmap_start(ag).saturating_add(self.bitmap_count(ag))
    }

    /// First block of the reserved tail in group `ag`; the length of the group if it has none.
    fn tail_start(&self, ag: AgNumber) -> AgBlock {
        let len = self.ag_len(ag);
        if ag.0.saturating_add(1) == self.ag_count {
            AgBlock(len.saturating_sub(RESERVED_TAIL))
        } else {
            AgBlock(len)
        }
    }

    /// Static metadata of group `ag` in ascending order: head, log, tail. Runs that the group does
    /// not have are empty.
    pub fn static_ranges(&self, ag: AgNumber) -> [AgRange; 3] {
        let head = AgRange::new(AgBlock(0), self.head_end(ag).0);
        let log = match self.locate(self.log.start) {
            Some((log_ag, start)) if log_ag == ag => AgRange::new(start, self.log.len),
            _ => AgRange::default(),
        };
        let tail = self.tail_start(ag);
        let tail = AgRange::new(tail, self.ag_len(ag).saturating_sub(tail.0));
        [head, log, tail]
    }

    /// Whether a block of group `ag` is static metadata.
    pub fn is_static(&self, ag: AgNumber, block: AgBlock) -> bool {
        self.static_ranges(ag)
            .iter()
            .any(|range| range.contains(block))
    }

    /// Blocks of group `ag` that are not static metadata: what an empty group has free.
    pub fn dynamic_blocks(&self, ag: AgNumber) -> u32 {
        self.static_ranges(ag)
            .iter()
            .fold(self.ag_len(ag), |rest, range| {
                rest.saturating_sub(range.len)
            })
    }

    /// Blocks of the file system that are not static metadata: what statfs calls its size.
    pub fn total_dynamic_blocks(&self) -> u64 {
        self.ags().fold(0_u64, |sum, ag| {
            sum.saturating_add(u64::from(self.dynamic_blocks(ag)))
        })
    }

    /// Whether `range` can be the place of file content or of a metadata block that was allocated:
    /// not empty, inside one group and one bitmap block, clear of static metadata.
    pub fn check_range(&self, range: BlockRange, field: &'static str) -> Result<(), Defect> {
        let bad = Defect::new(field, DefectKind::Address);
        if range.len == 0 || range.len > MAX_EXTENT_LEN {
            return Err(bad);
        }
        let (ag, start) = self.locate(range.start).ok_or(bad)?;
        let run = AgRange::new(start, range.len);
        let last = start.checked_add(range.len.saturating_sub(1)).ok_or(bad)?;

        if last.0 >= self.ag_len(ag)
            || Self::bitmap_position(start).0 != Self::bitmap_position(last).0
            || self
                .static_ranges(ag)
                .iter()
                .any(|fixed| fixed.overlaps(run))
        {
            return Err(bad);
        }
        Ok(())
    }

    /// Whether `block` can be an allocated block.
    pub fn check_block(&self, block: DiskBlock, field: &'static str) -> Result<(), Defect> {
        self.check_range(BlockRange::new(block, 1), field)
    }

    /// Most inode chunks that group `ag` has room for.
    pub fn max_chunks(&self, ag: AgNumber) -> u32 {
        self.ag_len(ag) / CHUNK_BLOCKS
    }

    /// Whether `ino` can be an inode of this file system: its group exists and its index is in
    /// reach. Index 0 of group 0 does not exist.
    pub fn check_ino(&self, ino: super::units::Ino) -> bool {
        ino.0 != 0 && ino.ag().0 < self.ag_count && ino.chunk() < self.max_chunks(ino.ag())
    }
}

/// Size of the groups that mkfs gives a device of `blocks` blocks: at least four groups where they
/// can have 16 MiB, 1008 MiB where that needs no more than [`MKFS_MAX_AGS`].
fn default_ag_blocks(blocks: u64) -> u32 {
    const SMALLEST: u64 = 4096;
    const USUAL: u64 = 8 * BITMAP_BITS as u64;

    let size = if blocks.div_ceil(USUAL) <= u64::from(MKFS_MAX_AGS) {
        blocks.div_ceil(4).clamp(SMALLEST, USUAL)
    } else {
        blocks
            .div_ceil(u64::from(MKFS_MAX_AGS))
            .next_multiple_of(u64::from(BITMAP_BITS))
    };
    u32::try_from(size).unwrap_or(MAX_AG_BLOCKS)
}

/// Size of the log that mkfs gives a device of `blocks` blocks: 1/32 of it up to 64 MiB, then 1/128;
/// at least 4 MiB, at most 256 MiB.
fn default_log_blocks(blocks: u64) -> u32 {
    const MIB: u64 = 256;

    let size = (blocks / 32).min(64 * MIB).max(blocks / 128);
    let size = size.clamp(u64::from(MIN_LOG_BLOCKS), 256 * MIB);
    u32::try_from(size).unwrap_or(MIN_LOG_BLOCKS)
}
