// SPDX-License-Identifier: GPL-2.0

//! Limits of the format. Verifiers reject what is outside of them.

use super::units::{BLOCK_SIZE, CHUNK_INODES};

/// Version of the format. Frozen when the data path is complete.
pub const VERSION: u16 = 1;
/// Revision within the version; raised by each change of a type until the version is frozen.
pub const FORMAT_REV: u16 = 3;

/// Blocks at the start of the device that never hold anything but the superblock: other file
/// systems, boot loaders and partition tables have their signatures there, and libblkid looks.
pub const RESERVED_HEAD: u32 = 17;
/// Blocks at the end of the file system that never hold anything, for the same reason.
pub const RESERVED_TAIL: u32 = 16;

/// Smallest file system, in blocks (16 MiB).
pub const MIN_BLOCKS: u64 = 4096;
/// Largest file system, in blocks (4 PiB).
pub const MAX_BLOCKS: u64 = 1 << 40;
/// Smallest allocation group, in blocks: one of them has the log.
pub const MIN_AG_BLOCKS: u32 = 2048;
/// Largest allocation group, in blocks.
pub const MAX_AG_BLOCKS: u32 = 1 << 31;
/// Smallest last allocation group; a shorter rest of the device is left unused.
pub const MIN_LAST_AG: u32 = 256;
/// Most allocation groups of a legal file system.
pub const MAX_AGS: u32 = 1 << 14;
/// Most allocation groups that mkfs makes.
pub const MKFS_MAX_AGS: u32 = 1024;

/// Smallest log, in blocks (4 MiB): a quarter of its body holds the largest transaction, which the
/// engine's reservations assert.
pub const MIN_LOG_BLOCKS: u32 = 1024;
/// Largest log, in blocks (1 GiB; mkfs makes at most 256 MiB).
pub const MAX_LOG_BLOCKS: u32 = 1 << 18;

/// Bytes of bitmap in a bitmap block.
pub const BITMAP_BYTES: usize = BLOCK_SIZE - 64;
/// Blocks covered by one bitmap block; also the longest extent.
pub const BITMAP_BITS: u32 = BITMAP_BYTES as u32 * 8;
/// Longest extent record in blocks: no extent crosses the coverage of a bitmap block.
pub const MAX_EXTENT_LEN: u32 = BITMAP_BITS;

/// Chunks described by one inode map block.
pub const MAP_CHUNKS: u32 = 250;
/// Inodes described by one inode map block.
pub const MAP_INODES: u32 = MAP_CHUNKS * CHUNK_INODES;

/// Bytes of the literal area of an inode: the forks' inline content or tree roots.
pub const LITERAL_SIZE: usize = 320;
/// Bytes of the area of a hidden file's root in the AG header.
pub const FILE_ROOT_AREA: usize = 160;
/// Levels of a tree, the root included.
pub const MAX_TREE_DEPTH: u8 = 8;
/// Bytes of a tree block behind its header.
pub const TREE_BODY: usize = BLOCK_SIZE - 64;
/// Entries of an interior tree node, or records of a leaf of 16-byte records.
pub const NODE_ENTRIES: usize = TREE_BODY / 16;

/// Largest file size in bytes: what a signed 64-bit offset can reach.
pub const MAX_FILE_SIZE: u64 = i64::MAX as u64;
/// Number of file blocks a file can have.
pub const MAX_FILE_BLOCKS: u64 = 1 << 51;
/// Longest name in a directory.
pub const MAX_NAME: usize = 255;
/// Longest symlink target in bytes.
pub const MAX_SYMLINK: usize = 4095;
/// Bytes of a symlink target in one symlink block.
pub const SYMLINK_BYTES: usize = BLOCK_SIZE - 64;
/// Longest name of an attribute, its prefix included.
pub const MAX_ATTR_NAME: usize = 255;
/// Longest value of an attribute in bytes.
pub const MAX_ATTR_VALUE: u32 = 65536;
/// Longest record of an attribute: two fit in a leaf, so one split always makes room.
pub const MAX_ATTR_RECORD: usize = TREE_BODY / 2 - 2;
/// Bytes of an attribute's value in one value block.
pub const ATTR_VALUE_BYTES: usize = BLOCK_SIZE - 64;
/// Most links to an inode.
pub const MAX_LINKS: u32 = i32::MAX as u32;
/// Bytes of the volume label, not terminated when full.
pub const LABEL_SIZE: usize = 64;
