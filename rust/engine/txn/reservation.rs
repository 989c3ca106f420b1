// SPDX-License-Identifier: GPL-2.0

//! What a transaction may need at most.
//!
//! Bounded at compile time ([`super::res`] has the constants); work that has no bound (truncate,
//! unlink of a large file) rolls. Log bytes follow from the other numbers, so that the smallest log
//! mkfs may make can be derived from them.

/// Most buffers of one transaction, the bitmap blocks included.
pub const MAX_BUFS: u32 = 256;
/// Bytes of a log record beside the bytes it carries.
const RECORD_HEAD: u32 = 64;
/// Bytes a joined inode logs at most: its core and its literal area.
const INODE_BYTES: u32 = 512;

/// The reservation of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnRes {
    /// New metadata blocks.
    pub blocks: u32,
    /// Metadata buffers changed, new ones included, bitmap blocks not.
    pub bufs: u32,
    /// Runs of blocks freed or claims used.
    pub extents: u32,
    /// Inodes changed.
    pub inodes: u32,
    /// Whether the blocks may come from the hidden pool: for what frees or converts.
    pub pool: bool,
}

impl TxnRes {
    /// Up to `blocks` new metadata blocks, and changes to up to `bufs` buffers (the new ones
    /// included).
    pub const fn new(blocks: u32, bufs: u32) -> Self {
        Self {
            blocks,
            bufs,
            extents: 0,
            inodes: 0,
            pool: false,
        }
    }

    /// `n` runs of blocks are freed or come out of claims.
    pub const fn frees(mut self, n: u32) -> Self {
        self.extents = self.extents.saturating_add(n);
        self
    }

    /// `n` inodes are joined.
    pub const fn joins(mut self, n: u32) -> Self {
        self.inodes = self.inodes.saturating_add(n);
        self
    }

    /// The blocks may come from the hidden pool.
    #[allow(clippy::wrong_self_convention, reason = "blocks from the pool")]
    pub const fn from_pool(mut self) -> Self {
        self.pool = true;
        self
    }

    /// The blocks may not come from the hidden pool, whatever the parts say.
    pub const fn not_from_pool(mut self) -> Self {
        self.pool = false;
        self
    }

    /// Both, one after the other.
    pub const fn and(self, other: Self) -> Self {
        Self {
            blocks: self.blocks.saturating_add(other.blocks),
            bufs: self.bufs.saturating_add(other.bufs),
            extents: self.extents.saturating_add(other.extents),
            inodes: self.inodes.saturating_add(other.inodes),
            pool: self.pool || other.pool,
        }
    }

    /// The larger of both in each respect: for either one or the other.
    pub const fn or(self, other: Self) -> Self {
        const fn max(a: u32, b: u32) -> u32 {
            if a > b {
                a
            } else {
                b
            }
        }
        Self {
            blocks: max(self.blocks, other.blocks),
            bufs: max(self.bufs, other.bufs),
            extents: max(self.extents, other.extents),
            inodes: max(self.inodes, other.inodes),
            pool: self.pool || other.pool,
        }
    }

    /// Bitmap blocks changed: each new block and each run may be behind another one.
    pub const fn bitmaps(self) -> u32 {
        self.blocks.saturating_add(self.extents)
    }

    /// Log bytes at most: every changed block as a whole.
    pub const fn log_bytes(self) -> u32 {
        let blocks = self.bufs.saturating_add(self.bitmaps());
        let blocks = blocks.saturating_mul(crate::format::BLOCK_SIZE as u32 + RECORD_HEAD);
        let inodes = self.inodes.saturating_mul(INODE_BYTES + RECORD_HEAD);
        blocks.saturating_add(inodes)
    }

    /// Fails to compile, or to run, if the reservation is not one.
    pub const fn checked(self) -> Self {
        assert!(self.bufs.saturating_add(self.bitmaps()) <= MAX_BUFS);
        self
    }
}
