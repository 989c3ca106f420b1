// SPDX-License-Identifier: GPL-2.0

//! A fork: what the literal area of an inode maps to.
//!
//! The data fork of an inode is a list of extents, the root of an extent tree, an inline directory,
//! the root of a directory tree or the target of a short symlink; the two hidden files of an
//! allocation group have the first two of these in the group's header. A [`Fork`] is that area in
//! memory. It is protected by the ILOCK of its inode, or for a hidden file by the AG inode lock.
//! XFS calls it `xfs_ifork`.

use crate::format::units::DiskBlock;
use crate::sys;

/// Most bytes a fork of an inode holds inline: the literal area of a 512-byte slot.
pub const INODE_FORK_BYTES: usize = 320;
/// Most bytes a fork of a hidden file holds inline: its root area in the AG header.
pub const HIDDEN_FORK_BYTES: usize = 160;

/// What the bytes of a fork mean. Values are those of the on-disk `data_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ForkFormat {
    /// Nothing: device, fifo, socket.
    #[default]
    None = 0,
    /// Extent records, sorted, 16 bytes each.
    InlineExtents = 1,
    /// Root of a tree of extent records.
    ExtentTree = 2,
    /// Directory entries in key order.
    InlineDir = 3,
    /// Root of a tree of directory entries.
    DirTree = 4,
    /// Target of a symbolic link.
    InlineSymlink = 5,
}

impl ForkFormat {
    /// From the value on disk; `None` if there is no such format.
    pub const fn from_disk(v: u8) -> Option<Self> {
        Some(match v {
            0 => Self::None,
            1 => Self::InlineExtents,
            2 => Self::ExtentTree,
            3 => Self::InlineDir,
            4 => Self::DirTree,
            5 => Self::InlineSymlink,
            _ => return None,
        })
    }

    /// Whether the content is a tree whose root is [`Fork::root`].
    pub const fn is_tree(self) -> bool {
        matches!(self, Self::ExtentTree | Self::DirTree)
    }
}

/// Where a tree begins. Block 0 (never a tree block) and depth 0 is the empty tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeRoot {
    /// The root node.
    pub block: DiskBlock,
    /// Number of levels; 1 means that the root is a leaf.
    pub depth: u8,
    /// All blocks that belong to the fork: tree nodes and, for extents, the mapped blocks. Tree
    /// code counts its nodes here, extent code the mapped blocks (also while the fork is inline).
    /// On disk this is the inode's `blocks`; hidden files do not keep it.
    pub blocks: u64,
}

/// One fork in memory.
#[derive(Debug)]
pub struct Fork {
    /// What the fork is.
    pub format: ForkFormat,
    /// Content of the inline formats; empty for trees.
    pub inline: sys::Vec<u8>,
    /// Root of the tree formats.
    pub root: TreeRoot,
    /// Most bytes `inline` may have: [`INODE_FORK_BYTES`] or less when an attribute fork shares
    /// the literal area, [`HIDDEN_FORK_BYTES`] for a hidden file.
    pub limit: u16,
}

impl Default for Fork {
    fn default() -> Self {
        Self::new(ForkFormat::None)
    }
}

impl Fork {
    /// An empty fork of an inode.
    pub const fn new(format: ForkFormat) -> Self {
        Self {
            format,
            inline: sys::Vec::new(),
            root: TreeRoot {
                block: DiskBlock(0),
                depth: 0,
                blocks: 0,
            },
            limit: INODE_FORK_BYTES as u16,
        }
    }

    /// An empty fork of a hidden file.
    pub const fn hidden() -> Self {
        Self {
            format: ForkFormat::InlineExtents,
            inline: sys::Vec::new(),
            root: TreeRoot {
                block: DiskBlock(0),
                depth: 0,
                blocks: 0,
            },
            limit: HIDDEN_FORK_BYTES as u16,
        }
    }

    /// Whether the fork maps nothing.
    pub fn is_empty(&self) -> bool {
        if self.format.is_tree() {
            self.root.depth == 0
        } else {
            self.inline.is_empty()
        }
    }
}
