// SPDX-License-Identifier: GPL-2.0

//! A fork: what the literal area of an inode maps to.
//!
//! The data fork of an inode is a list of extents, the root of an extent tree, an inline directory,
//! the root of a directory tree or the target of a short symlink; the two hidden files of an
//! allocation group have the first two of these in the group's header. A [`Fork`] is that area in
//! memory. It is protected by the ILOCK of its inode, or for a hidden file by the AG inode lock.
//! XFS calls it `xfs_ifork`.

pub use crate::format::inode::ForkFormat;

use crate::{
    engine::error::{Error, Result},
    format::{
        self,
        limits::{FILE_ROOT_AREA, LITERAL_SIZE},
        units::DiskBlock, //
    },
    sys::{self, Errno},
};

/// Most bytes a fork of an inode holds inline: the literal area of a 512-byte slot.
pub const INODE_FORK_BYTES: usize = LITERAL_SIZE;
/// Most bytes a fork of a hidden file holds inline: its root area in the AG header.
pub const HIDDEN_FORK_BYTES: usize = FILE_ROOT_AREA;

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

impl Fork {
    /// The fork that slot or header bytes describe: `bytes` is the used part of the literal area,
    /// `blocks` the inode's block count. What it contains was verified. ENOMEM; EUCLEAN if a root
    /// is not as long as a root.
    pub(crate) fn from_disk(
        format: ForkFormat,
        depth: u8,
        bytes: &[u8],
        blocks: u64,
        limit: usize,
    ) -> Result<Self> {
        let mut fork = Self::new(format);
        fork.limit = u16::try_from(limit).unwrap_or(0);
        fork.root.blocks = blocks;
        if format.is_tree() {
            let root = format::btree::TreeRoot::parse(bytes, depth)
                .ok_or_else(|| Error::new(Errno::UCLEAN))?;
            fork.root.block = root.block;
            fork.root.depth = depth;
        } else {
            fork.inline.try_extend_from_slice(bytes)?;
        }
        Ok(fork)
    }

    /// Format, depth and bytes of the fork as a slot or header has them; the bytes of a tree's root
    /// are made in `scratch`.
    pub(crate) fn to_disk<'a>(&'a self, scratch: &'a mut [u8; 8]) -> (ForkFormat, u8, &'a [u8]) {
        if self.format.is_tree() {
            *scratch = self.root.block.0.to_le_bytes();
            (self.format, self.root.depth, scratch)
        } else {
            (self.format, 0, &self.inline)
        }
    }
}
