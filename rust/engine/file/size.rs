// SPDX-License-Identifier: GPL-2.0

//! Two sizes, and fsync.
//!
//! `i_size` is what users see and the VFS owns; `disk_size` is what the inode on disk may say. It
//! follows data to the disk in file order, so a file that was appended to has neither holes nor
//! garbage at its end after a crash (rules M15):
//!
//! ```text
//! disk_size := min(i_size, done_end, first delayed or in-flight byte at or above disk_size)
//! ```
//!
//! `done_end` is the highest end of data that has reached the disk. Every completion and every fsync
//! recompute it; nothing else logs a size.

use super::byte;
use crate::{
    engine::{
        error::Result,
        extents::{Extents, IndexStock},
        inode::{Inode, InodeRef},
        mount::Mount,
        txn::TxnRes,
    },
    format::units::FileBlock,
    sys::{Arc, NofsScope},
};

/// What a change of the size on disk needs: the inode.
const SIZE_ONLY: TxnRes = TxnRes::new(0, 0).joins(1);

/// Data up to byte `end` has reached the disk. ILOCK exclusive.
pub(super) fn data_done(extents: &mut Extents<'_>, end: u64) {
    let index = &mut extents.inner().index;
    index.done_end = index.done_end.max(end);
}

/// The size on disk as things are. `seen` is a size the file has had in the page cache: the VFS
/// inode's may be newer than ours. Never smaller than it was: only a truncation does that. ILOCK
/// exclusive.
pub(super) fn settled(extents: &mut Extents<'_>, inode: &Inode, seen: u64) -> u64 {
    let i_size = inode.file.i_size().max(seen);
    let inner = extents.inner();
    let old = inner.core.disk_size;
    let mut size = i_size.min(inner.index.done_end);
    if size <= old {
        return old;
    }
    if let Some(block) = inner.index.first_unsettled(FileBlock::of_byte(old)) {
        size = size.min(byte(block));
    }
    size.max(old)
}

/// The VFS inode's size has changed: after each write that extends the file. Does not sleep.
pub fn set_isize(inode: &Inode, size: u64) {
    inode.file.set_i_size(size);
}

/// Where fsync of bytes `start ..= last` has to begin writing back: a range that ends beyond the size
/// on disk is reachable after a crash only if all data before it is there, too. Does not sleep.
pub fn fsync_from(inode: &Inode, start: u64, last: u64) -> u64 {
    let disk_size = inode.file.disk_size();
    if last >= disk_size {
        start.min(disk_size)
    } else {
        start
    }
}

/// The metadata part of fsync, after the data of the range was written and waited for (which settles
/// it: writeback ends after the completion): the size on disk, then everything committed, durably;
/// the device's cache is flushed after this call began (rules M7). Waits for no direct write (M16).
/// May sleep; no lock may be held. EIO and the like: those of metadata only, data errors are in
/// errseq.
pub fn fsync_metadata(m: &Arc<Mount>, inode: &InodeRef, _datasync: bool) -> Result {
    m.check_live()?;
    if m.read_only() {
        return Ok(());
    }
    log_size(m, inode)?;
    m.log_force_item(&inode.log)
}

/// Logs the size if it can be larger than the disk knows.
fn log_size(m: &Arc<Mount>, inode: &InodeRef) -> Result {
    let behind = |inode: &InodeRef| {
        // Reclaim takes the ILOCKs of inodes it evicts.
        let _nofs = NofsScope::enter();
        let mut inner = inode.ilock.write();
        let mut extents = Extents::new(m, inode, &mut inner, IndexStock::none());
        settled(&mut extents, inode, 0) != extents.inner().core.disk_size
    };
    if inode.file.i_size() <= inode.file.disk_size() || !behind(inode) {
        return Ok(());
    }
    let mut txn = m.begin(SIZE_ONLY)?;
    let mut inner = inode.ilock.write();
    txn.join_inode(inode)?;
    let mut extents = Extents::new(m, inode, &mut inner, IndexStock::none());
    let size = settled(&mut extents, inode, 0);
    let core = &mut extents.inner().core;
    core.disk_size = size;
    core.bump();
    txn.log_core(inode, extents.inner())?;
    txn.commit()?;
    inode.file.set_disk_size(size);
    Ok(())
}
