// SPDX-License-Identifier: GPL-2.0

//! The shrinker of the extent indexes.
//!
//! Files are visited in turn, a bounded number of slots of the inode cache a call, going on where the
//! last call ended: a clock. A file whose extents were looked up in the index since the last turn is
//! passed over once. What is dropped is read from disk again when it is needed.

use super::index::ExtentIndex;
use crate::{
    engine::{file::FileState, inode::Inode, mount::Mount},
    sys::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
};

/// Slots of the inode cache that one call looks at, for each piece it is asked for, at least.
const SLOTS: usize = 4;
/// And at least so many.
const LEAST: usize = 256;

/// What the shrinker knows about all files of a mount.
#[derive(Default)]
pub(crate) struct Clock {
    /// Entries of all indexes.
    entries: AtomicU64,
    /// Where the next call goes on: shard and slot of the inode cache.
    hand: AtomicU64,
}

impl Clock {
    /// An index has `new` entries now, and had `old`.
    pub(crate) fn changed(&self, old: u32, new: u32) {
        let delta = u64::from(new).wrapping_sub(u64::from(old));
        self.entries.fetch_add(delta, Ordering::Relaxed);
    }

    /// Entries of all indexes.
    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }
}

/// Pieces in the extent indexes of all files: about what [`reclaim`] could drop. Does not sleep.
pub fn cached(m: &Mount) -> usize {
    usize::try_from(m.inodes.extents.entries()).unwrap_or(usize::MAX)
}

/// Drops about `most` cached pieces. Takes spinlocks and tries ILOCKs; does no I/O, allocates
/// nothing. Returns how many were dropped.
pub fn reclaim(m: &Mount, most: usize) -> usize {
    let mut dropped = 0_usize;
    if cached(m) == 0 {
        return 0;
    }
    let slots = most.saturating_mul(SLOTS).max(LEAST);
    m.inodes
        .cache
        .sweep(&m.inodes.extents.hand, slots, &mut |inode| {
            let left = most.saturating_sub(dropped);
            dropped = dropped.saturating_add(shrink(m, inode, left));
            dropped < most
        });
    dropped
}

/// Drops pieces of one file, if nobody has it locked and it has not been used since the last turn.
fn shrink(m: &Mount, inode: &Arc<Inode>, most: usize) -> usize {
    if inode.file.entries() == 0 || inode.file.take_referenced() {
        return 0;
    }
    let Some(mut inner) = inode.ilock.try_write() else {
        return 0;
    };
    crate::sys::sync_point!("extents.shrink", inode.ino.0);
    let most = u32::try_from(most).unwrap_or(u32::MAX);
    let dropped = inner.index.drop_cached(most);
    publish(m, &inode.file, &inner.index);
    dropped as usize
}

/// The index has changed, and nothing that was said about the file is wrong.
fn publish(m: &Mount, file: &FileState, index: &ExtentIndex) {
    file.publish(&m.inodes.extents, index, false);
}
