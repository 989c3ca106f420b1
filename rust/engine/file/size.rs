// SPDX-License-Identifier: GPL-2.0

//! Two sizes, and fsync.
//!
//! `i_size` is what users see and the VFS owns; `disk_size` is what the inode on disk may say. It
//! follows data to the disk in file order, so a file that was appended to has neither holes nor
//! garbage at its end after a crash (rules M15):
//!
//! ```text
//! disk_size := min(done_end, first unsettled byte at or above disk_size)
//! ```
//!
//! Unsettled is what is delayed, appended above an unwritten extent (`extents::promise`), or in flight.
//!
//! `i_size` is not in it: data was cut at the size that the page cache had when it was submitted, so
//! its end is the proof that the file was that long; a truncation since has set `done_end`. Our copy of
//! `i_size`, which is told of after each write, may be older than completions of that write, and
//! nothing would recompute the size when it comes.
//!
//! A write into a hole in front of the end of the file holds nothing back: the hole is what the file
//! was, and an fsync of what is behind it must not depend on it. `append_low` tells the two apart,
//! and errs on the side of holding back; fsync, which knows that all data of its time was written,
//! does not rely on it.
//!
//! Nor does it leave a last block of which only a part belongs to the file before that has been
//! written again: what is behind the end there may be what a truncation has cut off, zeroed in the
//! page cache only. Nor does it go past what the disk has of a block that was appended to (`short`).
//!
//! `done_end` is the highest end of data that has reached the disk. Every completion and every fsync
//! recompute the size, and so does everybody who takes something away that may have held it back
//! (punching, a short write, data that is lost): no completion may come any more, and a file that
//! leaves memory is cut where its size on disk is.

use super::{byte, Cut};
use crate::{
    engine::{
        error::Result,
        extents::{short::Short, Extents, IndexStock, Piece, View},
        inode::{Inode, InodeInner, InodeRef},
        mount::Mount,
        txn::TxnRes,
    },
    format::units::FileBlock,
    sys::{self, pr_err, Arc, NofsScope},
};
use core::ops::Range;

/// What a change of the size on disk needs: the inode.
const SIZE_ONLY: TxnRes = TxnRes::new(0, 0).joins(1);

/// Data from block `start` up to byte `end` has reached the disk. ILOCK exclusive.
pub(super) fn data_done(extents: &mut Extents<'_>, start: FileBlock, end: u64) {
    let inner = extents.inner();
    inner.index.done_end = inner.index.done_end.max(end);
    let tail = FileBlock::of_byte(inner.core.disk_size);
    if start <= tail && end > byte(tail) {
        inner.index.tail_fresh = true;
    }
    inner.index.has_data(start, end);
}

/// Data from block `start` up to byte `end` was lost, and that was said: it is not waited for any more.
/// What was appended behind `end` since is. ILOCK exclusive.
pub(super) fn data_lost(extents: &mut Extents<'_>, start: FileBlock, end: u64) {
    let inner = extents.inner();
    let tail = FileBlock::of_byte(inner.core.disk_size);
    if start <= tail && end > byte(tail) {
        // Or the size would stay in this block until somebody writes it again.
        inner.index.tail_fresh = true;
    }
    inner.index.has_data(start, end);
}

/// The highest end of data that has reached the disk. ILOCK exclusive.
fn done_end(inner: &InodeInner, inode: &Inode) -> u64 {
    inner.index.done_end.max(inode.file.overwritten())
}

/// The size on disk as things are. Never smaller than it was: only a truncation does that. ILOCK
/// exclusive.
pub(super) fn settled(inner: &mut InodeInner, inode: &Inode) -> u64 {
    let old = inner.core.disk_size;
    let mut size = done_end(inner, inode);
    sys::mutant!(SizeEarly => return inode.file.i_size().max(size).max(old));
    if size <= old {
        return old;
    }
    let from = FileBlock::of_byte(old).max(inner.index.append_low);
    let first = inner.index.first_unsettled(from);
    inner.index.append_low = first.unwrap_or(FileBlock(u64::MAX));
    if let Some(block) = first {
        size = size.min(byte(block));
    }
    let tail = FileBlock::of_byte(old);
    let written = |piece: Piece| matches!(piece.view, View::Written { .. });
    if byte(tail) < old && !inner.index.tail_fresh && inner.index.lookup(tail).is_some_and(written)
    {
        // Whatever made the file longer made this block dirty, so it will be written.
        return old;
    }
    if let Some(short) = inner.index.first_short(old) {
        size = size.min(short);
    }
    if size > old {
        // The block it ends in now was allocated and written since.
        inner.index.tail_fresh = true;
    }
    size.max(old)
}

/// Data is going to be written to blocks `range`, which have become Delayed or are marked as appended.
/// Those behind the end of the file hold the size on disk back. ILOCK exclusive.
pub(super) fn held(inode: &Inode, inner: &mut InodeInner, range: Range<FileBlock>) {
    let end = FileBlock::of_byte(inode.file.i_size());
    if range.end > end {
        let low = range.start.max(end);
        inner.index.append_low = inner.index.append_low.min(low);
    }
}

/// The size becomes `new_size`, and all data up to it is there, but for what failed to be written,
/// which holds the size on disk back: of a truncation either way, whose caller has flushed what a
/// growing file needs. ILOCK exclusive, in a transaction that logs the inode.
pub(super) fn assign(extents: &mut Extents<'_>, inode: &Inode, new_size: u64) {
    let inner = extents.inner();
    inner.index.done_end = new_size;
    inner.index.tail_fresh = false;
    inner.index.forget_short();
    let old = inner.core.disk_size.min(new_size);
    let unsettled = inner.index.first_unsettled(FileBlock::of_byte(old));
    inner.core.disk_size = unsettled.map_or(new_size, |b| byte(b).clamp(old, new_size));
    inode.file.set_i_size(new_size);
    inode.file.set_disk_size(inner.core.disk_size);
    // Behind the size, for fsync_upto().
    inode.file.size_was_set();
}

/// The block that the file ends inside of, if a write of `len` bytes at `pos` goes past that end and
/// comes by this block. i_rwsem is held exclusively.
pub(super) fn tail_on_the_way(inode: &Inode, pos: u64, len: u64) -> Option<FileBlock> {
    let size = inode.file.i_size();
    let block = FileBlock::of_byte(size);
    let next = byte(block.saturating_add(1));
    (byte(block) < size && pos < next && pos.saturating_add(len) > size).then_some(block)
}

/// What a write of `len` bytes at `pos` appends in the block that it begins in and the file ends inside
/// of. i_rwsem is held exclusively.
pub(super) fn appends(inode: &Inode, pos: u64, len: u64) -> Option<Short> {
    let block = tail_on_the_way(inode, pos, len)?;
    let next = byte(block.saturating_add(1));
    (pos >= byte(block)).then_some(Short {
        block,
        done: inode.file.i_size(),
        want: pos.saturating_add(len).min(next),
    })
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

/// How far the size on disk must come by an fsync: [`fsync_upto`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upto {
    bytes: u64,
    cuts: u64,
}

impl Upto {
    /// No further than data that has reached the disk says.
    pub const NONE: Self = Self { bytes: 0, cuts: 0 };

    /// But not further than `size`.
    #[must_use]
    pub fn min(self, size: u64) -> Self {
        Self {
            bytes: self.bytes.min(size),
            ..self
        }
    }
}

/// How far the size on disk must come by an fsync that begins now and ends with byte `last`: for
/// [`fsync_metadata`]. Does not sleep.
pub fn fsync_upto(inode: &Inode, last: u64) -> Upto {
    // In this order: a size of before a truncation does not go with the count of after it.
    let cuts = inode.file.cuts();
    Upto {
        bytes: inode.file.i_size().min(last.saturating_add(1)),
        cuts,
    }
}

/// The metadata part of fsync, after the data of the range was written and waited for (which settles
/// it: writeback ends after the completion): the size on disk, then everything committed, durably;
/// the device's cache is flushed after this call began (rules M7). Waits for no direct write (M16).
/// `upto` is what [`fsync_upto`] said before the data was written, but not more than the size of the
/// file since: all data in front of it is there. If the size was set to something else meanwhile it is
/// worth nothing, for data written after that may be in front of it (and the one who set the size has
/// seen to what there was). May sleep; no lock may be held. EIO and the like: those of metadata only,
/// data errors are in errseq.
pub fn fsync_metadata(m: &Arc<Mount>, inode: &InodeRef, upto: Upto, datasync: bool) -> Result {
    m.check_live()?;
    if m.read_only() {
        return Ok(());
    }
    sys::mutant!(Seed001Wait => super::mutants::wait_for_direct(inode));
    sys::sync_point!("fsync.after_wait", inode.ino.0);
    Cut::wait(m, inode);
    log_size(m, inode, upto)?;
    sys::sync_point!("fsync.before_force", inode.ino.0);
    m.log_force_item(&inode.log, datasync)
}

/// The data of the file was written and waited for: logs the size that goes with it, and makes
/// nothing durable. What is committed after this is not durable before the data is (the flush of
/// its checkpoint is issued later): for a rename that replaces another file, which a crash must not
/// turn into an empty one. `upto` is what [`fsync_upto`] said before the data was written. May
/// sleep; no lock but i_rwsem may be held. EIO and the like.
pub fn settle_size(m: &Arc<Mount>, inode: &InodeRef, upto: Upto) -> Result {
    m.check_live()?;
    if m.read_only() {
        return Ok(());
    }
    log_size(m, inode, upto)
}

/// The size on disk as an fsync leaves it. What is unsettled in front of `upto` became so while the
/// fsync was at work. Failed writes do not come here: the fsync has ended with their error.
fn reached(extents: &mut Extents<'_>, inode: &Inode, upto: Upto) -> u64 {
    let size = settled(extents.inner(), inode);
    if upto.cuts != inode.file.cuts() {
        return size;
    }
    let done = done_end(extents.inner(), inode);
    size.max(upto.bytes.min(done).min(inode.file.i_size()))
}

/// Something that may have held the size on disk back is gone, and no completion comes of it: logs
/// the size that goes with what is left. Rarely anything. May sleep; locks as for a completion, so a
/// folio may be locked. Errors are logged: another completion may do it yet.
pub(super) fn let_go(m: &Arc<Mount>, inode: &InodeRef) {
    let lags = {
        let _nofs = NofsScope::enter();
        let mut inner = inode.ilock.write();
        settled(&mut inner, inode) != inner.core.disk_size
    };
    if !lags || m.is_shutdown() || m.read_only() {
        return;
    }
    // Not bounded by our copy of the file's size, which may be older than what reached the disk.
    if let Err(e) = log_settled(m, inode, |extents| settled(extents.inner(), inode)) {
        pr_err!("inode {}: size on disk not set: {}\n", inode.ino, e);
    }
}

/// Logs the size if it can be larger than the disk knows.
fn log_size(m: &Arc<Mount>, inode: &InodeRef, upto: Upto) -> Result {
    let behind = |inode: &InodeRef| {
        // Reclaim takes the ILOCKs of inodes it evicts.
        let _nofs = NofsScope::enter();
        let mut inner = inode.ilock.write();
        let mut extents = Extents::new(m, inode, &mut inner, IndexStock::none());
        reached(&mut extents, inode, upto) != extents.inner().core.disk_size
    };
    if inode.file.i_size() <= inode.file.disk_size() || !behind(inode) {
        return Ok(());
    }
    log_settled(m, inode, |extents| reached(extents, inode, upto))
}

fn log_settled(
    m: &Arc<Mount>,
    inode: &InodeRef,
    size: impl FnOnce(&mut Extents<'_>) -> u64,
) -> Result {
    let mut txn = m.begin(SIZE_ONLY)?;
    let mut inner = inode.ilock.write();
    txn.join_inode(inode)?;
    let mut extents = Extents::new(m, inode, &mut inner, IndexStock::none());
    let size = size(&mut extents);
    let core = &mut extents.inner().core;
    core.disk_size = size;
    core.bump();
    txn.log_core(inode, extents.inner())?;
    txn.commit()?;
    inode.file.set_disk_size(size);
    Ok(())
}
