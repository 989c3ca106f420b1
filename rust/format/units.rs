// SPDX-License-Identifier: GPL-2.0

//! Units of the on-disk format.
//!
//! A block number inside the file system, inside an allocation group and inside a file are three
//! different things; each has its own type, so that the compiler finds a mix-up. Arithmetic that
//! can leave the range of the type returns an [`Option`]: values come from the disk.

use core::fmt;

/// Size of a block in bytes. Version 1 of the format has no other.
pub const BLOCK_SIZE: usize = 4096;
/// Base-2 logarithm of [`BLOCK_SIZE`].
pub const BLOCK_LOG: u32 = 12;
/// Size of an inode slot in bytes.
pub const INODE_SIZE: usize = 512;
/// Base-2 logarithm of [`INODE_SIZE`].
pub const INODE_LOG: u32 = 9;
/// Inode slots in one block.
pub const INODES_PER_BLOCK: u32 = 8;
/// Inodes in one chunk, the unit in which an inode file grows and shrinks.
pub const CHUNK_INODES: u32 = 64;
/// Blocks of one inode chunk; contiguous on disk.
pub const CHUNK_BLOCKS: u32 = 8;
/// Bytes of a sector: the unit a device writes without tearing.
pub const SECTOR_SIZE: usize = 512;

/// A metadata block as it is in memory.
pub type Block = [u8; BLOCK_SIZE];

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub $int);

        impl $name {
            /// The number itself.
            #[inline]
            pub const fn get(self) -> $int {
                self.0
            }

            /// `self + n`, or [`None`] where the type ends.
            #[inline]
            pub const fn checked_add(self, n: $int) -> Option<Self> {
                match self.0.checked_add(n) {
                    Some(v) => Some(Self(v)),
                    None => None,
                }
            }

            /// `self - n`, or [`None`] below zero.
            #[inline]
            pub const fn checked_sub(self, n: $int) -> Option<Self> {
                match self.0.checked_sub(n) {
                    Some(v) => Some(Self(v)),
                    None => None,
                }
            }

            /// `self + n`, staying at the largest value where the type ends.
            #[inline]
            pub const fn saturating_add(self, n: $int) -> Self {
                Self(self.0.saturating_add(n))
            }

            /// How far `self` is behind `from`, or [`None`] if it is before it.
            #[inline]
            pub const fn distance(self, from: Self) -> Option<$int> {
                self.0.checked_sub(from.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

unit!(
    /// Number of a block, counted from the start of the device.
    DiskBlock,
    u64
);
unit!(
    /// Number of an allocation group.
    AgNumber,
    u32
);
unit!(
    /// Number of a block, counted from the start of its allocation group.
    AgBlock,
    u32
);
unit!(
    /// Number of a block inside a file.
    FileBlock,
    u64
);
unit!(
    /// Inode number: allocation group in the upper, index in the lower 32 bits.
    Ino,
    u64
);
unit!(
    /// Position in the log: a byte count that only grows. Zero means "never logged".
    Lsn,
    u64
);

impl DiskBlock {
    /// Byte offset of the block on the device, or [`None`] beyond 2^64 bytes.
    #[inline]
    pub const fn byte(self) -> Option<u64> {
        self.0.checked_mul(BLOCK_SIZE as u64)
    }
}

impl FileBlock {
    /// The block that holds byte `offset` of a file.
    #[inline]
    pub const fn of_byte(offset: u64) -> Self {
        Self(offset >> BLOCK_LOG)
    }

    /// Byte offset of the block in the file, or [`None`] beyond 2^64 bytes.
    #[inline]
    pub const fn byte(self) -> Option<u64> {
        self.0.checked_mul(BLOCK_SIZE as u64)
    }
}

impl Ino {
    /// The inode with this index in this allocation group.
    #[inline]
    pub const fn new(ag: AgNumber, index: u32) -> Self {
        Self(((ag.0 as u64) << 32) | index as u64)
    }

    /// Allocation group whose inode file holds the inode.
    #[inline]
    pub const fn ag(self) -> AgNumber {
        AgNumber((self.0 >> 32) as u32)
    }

    /// Index in the inode file of its allocation group.
    #[inline]
    pub const fn index(self) -> u32 {
        self.0 as u32
    }

    /// Chunk of the allocation group that holds the inode.
    #[inline]
    pub const fn chunk(self) -> u32 {
        self.index() / CHUNK_INODES
    }

    /// Bit of the inode in the masks of its chunk, 0..64.
    #[inline]
    pub const fn chunk_bit(self) -> u32 {
        self.index() % CHUNK_INODES
    }

    /// Block of the inode file that holds the slot.
    #[inline]
    pub const fn file_block(self) -> FileBlock {
        FileBlock((self.index() / INODES_PER_BLOCK) as u64)
    }

    /// Byte offset of the slot in its block.
    #[inline]
    pub const fn slot_offset(self) -> usize {
        ((self.index() % INODES_PER_BLOCK) as usize) << INODE_LOG
    }
}

/// A run of blocks on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockRange {
    /// First block.
    pub start: DiskBlock,
    /// Number of blocks.
    pub len: u32,
}

impl BlockRange {
    /// A run of `len` blocks from `start`.
    #[inline]
    pub const fn new(start: DiskBlock, len: u32) -> Self {
        Self { start, len }
    }

    /// First block behind the run; stays at the largest number where the type ends.
    #[inline]
    pub const fn end(self) -> DiskBlock {
        self.start.saturating_add(self.len as u64)
    }

    /// Whether the run has no blocks.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Whether `block` is in the run.
    #[inline]
    pub const fn contains(self, block: DiskBlock) -> bool {
        block.0 >= self.start.0 && block.0 < self.end().0
    }

    /// Whether the two runs have a block in common.
    #[inline]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start.0 < other.end().0 && other.start.0 < self.end().0
    }
}

/// A run of blocks inside an allocation group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgRange {
    /// First block, relative to the group.
    pub start: AgBlock,
    /// Number of blocks.
    pub len: u32,
}

impl AgRange {
    /// A run of `len` blocks from `start`.
    #[inline]
    pub const fn new(start: AgBlock, len: u32) -> Self {
        Self { start, len }
    }

    /// First block behind the run.
    #[inline]
    pub const fn end(self) -> AgBlock {
        self.start.saturating_add(self.len)
    }

    /// Whether the run has no blocks.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Whether `block` is in the run.
    #[inline]
    pub const fn contains(self, block: AgBlock) -> bool {
        block.0 >= self.start.0 && block.0 < self.end().0
    }

    /// Whether the two runs have a block in common.
    #[inline]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start.0 < other.end().0 && other.start.0 < self.end().0
    }
}
