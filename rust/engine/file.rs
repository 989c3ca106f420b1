// SPDX-License-Identifier: GPL-2.0

//! The data path: one function for each callback of iomap and the VFS.
//!
//! Ring 3 has the C side (folios, bios, iomap's structures) and calls these functions with what iomap
//! hands it; the host's model page cache calls the same ones in the same order, so that what is
//! tested is what is loaded (rules F1). Positions and lengths are bytes.
//!
//! * [`bmap_read`], [`bmap_report`], [`bmap_direct_read`], [`zero_begin`]: mappings for reading,
//!   SEEK and FIEMAP, direct reads, zeroing;
//! * [`write_begin`], [`write_end`], [`punch_delayed`], [`mkwrite_begin`]: into the page cache;
//! * [`writeback_range`], [`writeback_submit`], [`writeback_undo`], [`writeback_discard`]: out of it;
//! * [`ioend_needs_completion`], [`ioend_complete`]: when it has arrived;
//! * [`direct_write_begin`], [`direct_write_end`], [`direct_write_complete`]: around it;
//! * [`truncate_plan`], [`truncate`], [`free_all`], [`free_beyond_size`]: sizes;
//! * [`falloc_plan`], [`fallocate`]: space, holes, and moving what is behind them;
//! * [`fsync_from`], [`fsync_upto`], [`Upto`], [`fsync_metadata`]: durability;
//! * [`make_space`]: what write(2) does about ENOSPC;
//! * [`opened`], [`released`]: whether there may be more to come; [`cached`], [`reclaim`]: memory.
//!
//! # The life of written data
//!
//! ```text
//! hole -- write_begin --> Delayed -- writeback_range --> InFlight -- ioend_complete --> Written
//!                            |        (nothing on disk changes)  |   (ONE transaction: bits,
//!                       short write:                        I/O error:  record, size)
//!                          hole                              Unwritten
//! ```
//!
//! So a crash before the completion leaves nothing to undo, no crash shows blocks of others, and
//! there is no second transaction. What is over Written blocks below the size on disk needs none at
//! all.
//!
//! # Locks
//!
//! Nothing here takes or waits for a folio lock, i_rwsem or the invalidate lock; who holds them says
//! the witness arguments, or the text of the function. Inside: transaction (if any), then the ILOCK.

mod bmap;
mod complete;
mod direct;
mod fallocate;
#[cfg(latchfs_races)]
mod mutants;
mod size;
mod space;
mod state;
mod truncate;
mod write;
mod writeback;

#[cfg(all(test, unit_tests))]
mod tests;

pub use self::{
    bmap::{bmap_direct_read, bmap_read, bmap_report, cookie, zero_begin, Bmap, BmapKind, NO_ADDR},
    complete::{ioend_complete, ioend_needs_completion},
    direct::{
        direct_write_begin, direct_write_complete, direct_write_end, direct_write_needs_completion,
        DirectHow, CONVERSION_MARGIN, NOTBLK,
    },
    fallocate::{
        falloc_plan, fallocate, must_prepare_to_grow, prepare_to_grow, Falloc, FallocMode,
        FallocPlan,
    },
    size::{fsync_from, fsync_metadata, fsync_upto, set_isize, settle_size, Upto},
    space::{make_space, Attempt, Space},
    state::{
        delayed_blocks, evict, flush_at_close, has_new_data, note_truncated, opened, released,
        FileState,
    },
    truncate::{
        free_all, free_beyond_size, free_inline, is_inline, truncate, truncate_plan, Cut,
        TruncatePlan,
    },
    write::{mkwrite_begin, punch_delayed, write_begin, write_end},
    writeback::{writeback_discard, writeback_range, writeback_submit, writeback_undo, WbCtx},
};
pub use super::extents::reclaim::{cached, reclaim};

use crate::format::{
    limits::MAX_FILE_SIZE,
    units::{FileBlock, BLOCK_SIZE},
};

/// Largest file size, `s_maxbytes`.
pub const MAX_BYTES: u64 = MAX_FILE_SIZE;

const BLOCK: u64 = BLOCK_SIZE as u64;

/// First block behind byte `end`.
fn block_end(end: u64) -> FileBlock {
    FileBlock(end.div_ceil(BLOCK))
}

/// The blocks that hold bytes `pos .. pos + len`.
fn blocks(pos: u64, len: u64) -> core::ops::Range<FileBlock> {
    FileBlock::of_byte(pos)..block_end(pos.saturating_add(len))
}

/// First byte of a block; the largest size where that does not exist.
fn byte(block: FileBlock) -> u64 {
    block.byte().unwrap_or(u64::MAX)
}
