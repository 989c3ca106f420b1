// SPDX-License-Identifier: GPL-2.0

//! What a transaction may need at most.
//!
//! Bounded at compile time ([`super::res`] has the constants); work that has no bound (truncate,
//! unlink of a large file) rolls. Log bytes follow from the other numbers, so that the smallest log
//! mkfs may make can be derived from them.

use crate::engine::log::space::{cost, most_granted};
use crate::format::{
    limits::{LITERAL_SIZE, MIN_LOG_BLOCKS},
    log::record::{buf_record, inode_record, CANCEL_RECORD, INODE_INIT_RECORD}, //
};

/// Most buffers of one transaction, the bitmap blocks included.
pub const MAX_BUFS: u32 = 256;
/// Log bytes of a changed block: all of it.
const BLOCK_BYTES: u64 = buf_record(u32::MAX) as u64;
/// Log bytes of an inode: its core and its literal area.
const INODE_BYTES: u64 = inode_record(LITERAL_SIZE) as u64;

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
    /// Buffers among `bufs` of which no image is logged.
    pub ordered: u32,
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
            ordered: 0,
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

    /// `n` of the buffers are changed without an image in the log.
    pub const fn ordered(mut self, n: u32) -> Self {
        self.ordered = self.ordered.saturating_add(n);
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
            ordered: self.ordered.saturating_add(other.ordered),
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
            // Fewer than there may be: more bytes.
            ordered: 0,
            pool: self.pool || other.pool,
        }
    }

    /// Bitmap blocks changed: each new block and each run may be behind another one.
    pub const fn bitmaps(self) -> u32 {
        self.blocks.saturating_add(self.extents)
    }

    /// Bytes of log records at most: every changed block as a whole.
    pub const fn log_bytes(self) -> u64 {
        let blocks = self.bufs.saturating_add(self.bitmaps()) as u64;
        let ordered = self.ordered as u64;
        blocks
            .saturating_sub(ordered)
            .saturating_mul(BLOCK_BYTES)
            .saturating_add(ordered.saturating_mul(INODE_INIT_RECORD as u64))
            .saturating_add((self.inodes as u64).saturating_mul(INODE_BYTES))
            .saturating_add((self.extents as u64).saturating_mul(CANCEL_RECORD as u64))
    }

    /// Fails to compile, or to run, if the reservation is not one.
    pub const fn checked(self) -> Self {
        assert!(self.bufs.saturating_add(self.bitmaps()) <= MAX_BUFS);
        // A quarter of the smallest log holds it, so no checkpoint is larger than that.
        assert!(cost(self.log_bytes()) <= most_granted(MIN_LOG_BLOCKS));
        self
    }
}
