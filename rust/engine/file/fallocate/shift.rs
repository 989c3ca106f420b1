// SPDX-License-Identifier: GPL-2.0

//! Collapse and insert: everything behind a place moves.
//!
//! The index forgets what is behind the place in each transaction: somebody who asks in between (a
//! SEEK_DATA takes no lock of the VFS) may have put pieces there that are not true any more.

use super::{byte, Change};
use crate::{
    engine::{
        alloc::Reservation,
        btree::Way,
        error::{Error, Result},
        extents::{disk, Extents, IndexStock},
        file::size,
        inode::InodeInner,
        txn::{Txn, TxnRes},
    },
    format::{limits::MAX_FILE_BLOCKS, units::FileBlock},
    sys::{sync_point, Errno, NofsScope},
};
use core::ops::Range;

/// What a transaction needs that moves the extents of one leaf.
const STEP: TxnRes = disk::shift_res().joins(1);

/// Which extents move, and where.
pub(super) struct Shift {
    /// What is left to do: where extents begin.
    pub(super) left: Range<FileBlock>,
    pub(super) by: u64,
    pub(super) way: Way,
    /// Behind this nothing in the index is true.
    pub(super) from: FileBlock,
}

impl Change<'_> {
    /// Removes the blocks of `range`, which is inside the file: what is behind it takes its place,
    /// the file becomes shorter with the last transaction.
    pub(super) fn collapse(&self, range: Range<FileBlock>) -> Result {
        let by = range.end.0.saturating_sub(range.start.0);
        self.clear(range.clone(), super::Clear::Punch)?;
        let mut shift = Shift {
            left: range.end..FileBlock(MAX_FILE_BLOCKS),
            by,
            way: Way::Down,
            from: range.start,
        };
        let new_size = self.inode.file.i_size().saturating_sub(byte_len(by));
        while !self.shift_step(&mut shift, |extents, done| {
            if done {
                size::assign(extents, self.inode, new_size);
            }
        })? {}
        self.join(range.start)
    }

    /// Makes room for `range`, which begins inside the file: what was there is behind it afterwards,
    /// and the range is a hole. The file becomes longer with the first transaction that moves
    /// something, so a crash leaves nothing behind its end.
    pub(super) fn insert(&self, range: Range<FileBlock>) -> Result {
        let by = range.end.0.saturating_sub(range.start.0);
        self.split(range.start, by)?;
        let mut shift = Shift {
            left: range.start..FileBlock(MAX_FILE_BLOCKS),
            by,
            way: Way::Up,
            from: range.start,
        };
        let mut new_size = self.inode.file.i_size().checked_add(byte_len(by));
        while !self.shift_step(&mut shift, |extents, _| {
            if let Some(size) = new_size.take() {
                size::assign(extents, self.inode, size);
            }
        })? {}
        Ok(())
    }

    /// Moves the extents of one leaf, in a transaction that needs no blocks and waits for memory:
    /// nothing but a damaged disk stops in the middle. `also` is told whether that was all, and
    /// changes what else belongs into the transaction. Returns whether that was all.
    #[inline(never)]
    pub(super) fn shift_step(
        &self,
        shift: &mut Shift,
        also: impl FnOnce(&mut Extents<'_>, bool),
    ) -> Result<bool> {
        let mut nothing = Reservation::empty(self.m.alloc());
        let goal = crate::format::units::DiskBlock(0);
        let mut txn = self.m.begin_reserved(STEP, goal, &mut nothing)?;
        let mut inner = self.inode.ilock.write();
        let mut extents = Extents::new(self.m, self.inode, &mut inner, IndexStock::none());
        txn.join_inode(self.inode)?;
        extents.forget_tail(shift.from)?;
        let (m, ctx, fork) = extents.map();
        let left = shift.left.clone();
        let left = disk::shift_step(m, &mut txn, &ctx, fork, left, shift.by, shift.way)?;
        let done = !disk::any_in(m, &ctx, fork, &left)?;
        shift.left = left;
        also(&mut extents, done);
        self.touch(&mut extents);
        txn.log_inode(self.inode, extents.inner())?;
        txn.commit()?;
        drop(extents);
        drop(inner);
        sync_point!("falloc.after_commit", self.inode.ino.0);
        Ok(done)
    }

    /// Makes sure that an extent begins at `at` if there are blocks around it, and that the last one
    /// can move up by `by`: the only part of an insertion that can need space, before anything has
    /// moved. EINVAL if there are blocks where no file can have any.
    #[inline(never)]
    fn split(&self, at: FileBlock, by: u64) -> Result {
        self.edit(|m, ctx, txn, fork| {
            let last = disk::last(m, ctx, fork)?;
            let end = last.map_or(FileBlock(0), |e| e.end());
            if end.0.saturating_add(by) > MAX_FILE_BLOCKS {
                return Err(Error::new(Errno::INVAL));
            }
            disk::split_at(m, txn, ctx, fork, at)
        })
    }

    /// Merges the extents that have met at `at`, so that insertions and collapses do not make more
    /// and more records. Not if there is no space to do it.
    fn join(&self, at: FileBlock) -> Result {
        let joined = self.edit(|m, ctx, txn, fork| disk::join_at(m, txn, ctx, fork, at));
        match joined {
            Err(e) if e.is(Errno::NOSPC) || e.is(Errno::NOMEM) => Ok(()),
            other => other,
        }
    }

    /// A transaction with one change of the map that moves nothing; `f` says whether it made one.
    #[inline(never)]
    fn edit(
        &self,
        f: impl Fn(
            &crate::engine::mount::Mount,
            &disk::ExtentCtx,
            &mut Txn<'_>,
            &mut crate::engine::fork::Fork,
        ) -> Result<bool>,
    ) -> Result {
        loop {
            let changes = {
                let _nofs = NofsScope::enter();
                disk::changes(&self.inode.ilock.read().data, 1, 1)
            };
            let mut txn = self.m.begin(changes.res.joins(1))?;
            let mut inner = self.inode.ilock.write();
            txn.join_inode(self.inode)?;
            if !changes.fits(&inner.data) {
                continue;
            }
            let inner: &mut InodeInner = &mut inner;
            let ctx = crate::engine::extents::inode_ctx(self.m, self.inode);
            if f(self.m, &ctx, &mut txn, &mut inner.data)? {
                txn.log_inode(self.inode, inner)?;
                txn.commit()?;
            }
            return Ok(());
        }
    }
}

/// Bytes of `blocks` blocks.
fn byte_len(blocks: u64) -> u64 {
    byte(FileBlock(blocks))
}
