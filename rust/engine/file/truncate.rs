// SPDX-License-Identifier: GPL-2.0

//! Sizes: truncation both ways, and the end of a file.
//!
//! A truncation frees extents from the end in bounded steps. If one transaction is enough, that is
//! all; else the first one marks the inode as an orphan, so that a crash in between leaves something
//! that the next mount finds without a scan and finishes (rules M4), and the last one takes the mark
//! away. The size on disk is the new one from the first transaction on.

use super::{block_end, prepare_to_grow, size, BLOCK};
use crate::{
    engine::{
        error::{Error, Result},
        extents::{
            disk::{self, STEP_RECORDS},
            inode_ctx, Extents, IndexStock,
        },
        fork::{Fork, ForkFormat},
        ialloc::{MapDelta, MapOp},
        inode::{Inode, InodeInner, InodeRef},
        mount::Mount,
        txn::{Txn, TxnRes},
    },
    format::{extent::EXTENT_SIZE, limits::MAX_FILE_SIZE, units::FileBlock},
    sys::{
        self,
        witness::{InvalidateExcl, IolockExcl},
        Arc, Errno, RwSemReadGuard, Time,
    },
};

/// What a step needs: extents, the inode, and the map block and header of the orphan mark.
const STEP: TxnRes = disk::step_res().and(TxnRes::new(0, 2)).joins(1);
/// What a change of the size alone needs: the inode.
const SIZE_ONLY: TxnRes = TxnRes::new(0, 0).joins(1);
/// What taking the mark away needs.
const ADOPT: TxnRes = TxnRes::new(0, 2).joins(1);

/// What has to happen in the page cache before [`truncate`], in this order, then `truncate_setsize`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TruncatePlan {
    /// Zero these bytes (position, length): what follows the end of the file in its last block.
    pub zero: Option<(u64, u64)>,
    /// Write back and wait for bytes from .. to: the size on disk may not pass data that is not
    /// there (rules M15).
    pub flush: Option<(u64, u64)>,
}

/// What a truncation to `new_size` needs first. i_rwsem and the invalidate lock are held
/// exclusively, and direct I/O has ended. Does not sleep. EFBIG.
pub fn truncate_plan(m: &Arc<Mount>, inode: &Inode, new_size: u64) -> Result<TruncatePlan> {
    m.check_writable()?;
    if new_size > MAX_FILE_SIZE {
        return Err(Error::new(Errno::FBIG));
    }
    let old_size = inode.file.i_size();
    let disk_size = inode.file.disk_size();
    // Growing: the block of the old end may have had stores behind it by mmap. Shrinking: the block
    // of the new end keeps what follows it.
    let at = old_size.min(new_size);
    let end = at.next_multiple_of(BLOCK).min(old_size.max(new_size));
    let zero = (end > at).then(|| (at, end.saturating_sub(at)));
    let lagging = old_size != disk_size || zero.is_some();
    let flush = (new_size > disk_size && lagging).then_some((disk_size, new_size));
    Ok(TruncatePlan { zero, flush })
}

/// A truncation between the page cache and the map: what it cut off is in neither, so an fsync would
/// find no data to write and no change to make durable, and a crash would bring back what was there
/// before that data. fsync and sync wait for it to end. XFS has this gap; ext4 logs the size first.
pub struct Cut<'a> {
    inode: &'a Inode,
    _cuts: RwSemReadGuard<'a, ()>,
}

impl<'a> Cut<'a> {
    /// Pages of `inode` are going to be taken away: behind the plan, in front of `truncate_setsize`.
    /// What is done until [`truncate`] may wait for folios and their writeback, not for an fsync or a
    /// sync. May sleep. EINVAL: locks of another inode.
    pub fn begin(
        m: &'a Mount,
        inode: &'a Inode,
        iolock: &IolockExcl<'_>,
        invalidate: &InvalidateExcl<'_>,
    ) -> Result<Self> {
        if iolock.ino() != inode.ino.0 || invalidate.ino() != inode.ino.0 {
            return Err(Error::new(Errno::INVAL));
        }
        let cuts = m.cuts.read();
        inode.file.set_cutting(true);
        Ok(Self { inode, _cuts: cuts })
    }

    /// Waits for the truncation that has taken pages of `inode` away, if there is one: for who has
    /// written what the page cache has. What it logs is committed then. May sleep; nothing may be
    /// held, no i_rwsem or folio either.
    pub(super) fn wait(m: &Mount, inode: &Inode) {
        if inode.file.cutting() {
            sys::sync_point!("fsync.cut", inode.ino.0);
            drop(m.cuts.write());
        }
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        self.inode.file.set_cutting(false);
    }
}

/// Sets the size to `new_size` and frees what is behind it. The plan was carried out, the page cache
/// behind the new size is gone, and no writeback of it is in flight; both locks are held from before
/// that to after this, so nobody can bring something back. The times become `now`.
///
/// Several transactions if there is much to free; the ILOCK is dropped between some of them. May
/// sleep. EIO, EUCLEAN, EBADMSG; an error after the first transaction leaves an orphan that the next
/// mount finishes.
pub fn truncate(
    m: &Arc<Mount>,
    inode: &InodeRef,
    iolock: &IolockExcl<'_>,
    invalidate: &InvalidateExcl<'_>,
    cut: Cut<'_>,
    new_size: u64,
    now: Time,
) -> Result {
    sys::sync_point!("trunc.before_txn", inode.ino.0);
    if iolock.ino() != inode.ino.0 || invalidate.ino() != inode.ino.0 {
        return Err(Error::new(Errno::INVAL));
    }
    let set = |extents: &mut Extents<'_>| {
        extents.inner().core.touch(now, true);
        size::assign(extents, inode, new_size);
    };
    if new_size > inode.file.i_size() {
        // What fallocate(2) has put behind the old end stays.
        prepare_to_grow(m, inode, iolock, invalidate)?;
        return grow(m, inode, set);
    }
    cut_tail(m, inode, block_end(new_size), Some(cut), set)
}

/// Changes the size of a file from whose end nothing is taken.
fn grow(m: &Arc<Mount>, inode: &InodeRef, set: impl FnOnce(&mut Extents<'_>)) -> Result {
    let mut txn = m.begin(SIZE_ONLY)?;
    let mut inner = inode.ilock.write();
    txn.join_inode(inode)?;
    let mut extents = Extents::new(m, inode, &mut inner, IndexStock::none());
    set(&mut extents);
    txn.log_core(inode, extents.inner())?;
    txn.commit()
}

/// Whether [`free_inline`] frees all there is. ILOCK shared.
pub fn is_inline(inner: &InodeInner) -> bool {
    is_short(&inner.data)
}

/// Frees all extents of an inode without a name or a user in a transaction that frees its number,
/// too: of a file with few extents, which most are ([`is_inline`], [`disk::inline_res`]). The inode
/// is joined, its ILOCK held exclusively to the commit. May sleep. EIO, EUCLEAN, EBADMSG.
pub fn free_inline(
    m: &Arc<Mount>,
    txn: &mut Txn<'_>,
    inode: &InodeRef,
    inner: &mut InodeInner,
) -> Result {
    let mut extents = Extents::new(m, inode, inner, IndexStock::none());
    extents.remove_tail(FileBlock(0))?;
    drop(extents);
    inode.file.loaded(0);
    if inner.data.inline.is_empty() {
        return Ok(());
    }
    let ctx = inode_ctx(m, inode);
    let step = disk::truncate_step(m, txn, &ctx, &mut inner.data, FileBlock(0))?;
    debug_assert!(step.done, "inline extents are more than a step frees");
    Ok(())
}

/// Frees all extents of an inode without a name or a user (inodegc). It is an orphan already. As
/// [`truncate`].
pub fn free_all(m: &Arc<Mount>, inode: &InodeRef) -> Result {
    cut_tail(m, inode, FileBlock(0), None, |extents| {
        let inner = extents.inner();
        inner.core.disk_size = 0;
        inner.index.done_end = 0;
        inner.index.tail_fresh = false;
        inner.index.forget_short();
        inode.file.loaded(0);
    })
}

/// Frees what is behind the size on disk: the rest of a truncation that a crash interrupted. The
/// caller takes the orphan mark away. As [`truncate`].
pub fn free_beyond_size(m: &Arc<Mount>, inode: &InodeRef) -> Result {
    let from = block_end(inode.ilock.read().core.disk_size);
    let mut links = Links {
        m,
        inode,
        from,
        marked: Mark::Theirs,
        cut: None,
    };
    links.run(|_| {})
}

fn cut_tail(
    m: &Arc<Mount>,
    inode: &InodeRef,
    from: FileBlock,
    cut: Option<Cut<'_>>,
    first: impl FnOnce(&mut Extents<'_>),
) -> Result {
    let mut links = Links {
        m,
        inode,
        from,
        marked: Mark::No,
        cut,
    };
    links.run(first)
}

/// Whether the inode is marked as an orphan.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    No,
    /// By this truncation.
    Ours,
    /// For another reason: it has no name, or a crash left it.
    Theirs,
}

/// A chain of transactions that frees the end of a file.
struct Links<'a> {
    m: &'a Arc<Mount>,
    inode: &'a InodeRef,
    from: FileBlock,
    marked: Mark,
    /// Ends with the first transaction.
    cut: Option<Cut<'a>>,
}

/// Whether freeing from block `from` on certainly takes one step.
fn is_short(fork: &Fork) -> bool {
    fork.format == ForkFormat::InlineExtents && fork.inline.len() / EXTENT_SIZE <= STEP_RECORDS
}

impl Links<'_> {
    fn run(&mut self, first: impl FnOnce(&mut Extents<'_>)) -> Result {
        let mut first = Some(first);
        loop {
            let txn = self.m.begin(STEP)?;
            let mut inner = self.inode.ilock.write();
            if self.chain(txn, &mut inner, &mut first)? {
                break;
            }
        }
        if self.marked == Mark::Ours {
            self.unmark()?;
        }
        Ok(())
    }

    /// Runs links under one hold of the ILOCK, until all is done (true) or a checkpoint waits.
    #[inline(never)]
    fn chain(
        &mut self,
        mut txn: Txn<'_>,
        inner: &mut InodeInner,
        first: &mut Option<impl FnOnce(&mut Extents<'_>)>,
    ) -> Result<bool> {
        loop {
            // Everything that can fail without a trace.
            txn.join_inode(self.inode)?;
            let mut mark = None;
            if self.marked == Mark::No {
                if inner.core.nlink == 0 {
                    self.marked = Mark::Theirs;
                } else if !is_short(&inner.data) {
                    let mut delta = MapDelta::new(self.m);
                    delta.add(self.inode.ino, MapOp::Orphan)?;
                    mark = Some(delta);
                }
            }
            let mut extents = Extents::new(self.m, self.inode, inner, IndexStock::none());
            extents.remove_tail(self.from)?;
            if let Some(first) = first.take() {
                first(&mut extents);
            }
            drop(extents);

            let ctx = inode_ctx(self.m, self.inode);
            let step = disk::truncate_step(self.m, &mut txn, &ctx, &mut inner.data, self.from)?;
            txn.log_inode(self.inode, inner)?;
            let locks = match mark.filter(|_| !step.done) {
                Some(mut delta) => {
                    self.marked = Mark::Ours;
                    Some(delta.apply(&mut txn)?)
                }
                None => None,
            };
            if step.done || txn.should_break() || locks.is_some() {
                txn.commit()?;
                drop(locks);
                self.cut = None;
                return Ok(step.done);
            }
            txn = txn.roll(STEP)?;
            self.cut = None;
        }
    }

    /// The truncation is complete.
    fn unmark(&self) -> Result {
        let mut txn = self.m.begin(ADOPT)?;
        let inner = self.inode.ilock.write();
        if inner.core.nlink == 0 {
            // Unlinked meanwhile: the mark is somebody else's now.
            return Ok(());
        }
        let mut delta = MapDelta::new(self.m);
        delta.add(self.inode.ino, MapOp::Adopt)?;
        txn.join_inode(self.inode)?;
        let locks = delta.apply(&mut txn)?;
        txn.commit()?;
        drop(locks);
        drop(inner);
        Ok(())
    }
}
