// SPDX-License-Identifier: GPL-2.0

//! Push, in two halves that do not see the same things.
//!
//! [`plan`] looks at an entry under the spinlock, and makes of it a buffer that is locked and
//! referenced, or a reason why not. [`execute`] and what follows have no entry and no item: they
//! work on that buffer, and on inodes that they find by number and hold themselves. So there is no
//! item that could be touched after the buffer was unlocked and the item freed.

use super::{Ail, AilGuard, Entry, FlushToken, Owner};
use crate::engine::{
    buf::LockedBuf,
    inode::{cache::Cache, flush},
    sort::sort_by_key, //
};
use crate::format::{units::INODES_PER_BLOCK, BlockKind, DiskBlock, Ino, Lsn};
use crate::sys::{self, Arc, Errno, Vec};

/// Buffers that are locked at the same time and written under one plug.
pub(super) const PLUG: usize = 64;

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A metadata buffer.
    Buf,
    /// An inode.
    Inode(Ino),
}

/// What was seen of an item when it was planned: for messages and tracing, instead of the item.
#[derive(Clone, Copy, Debug)]
pub struct PushSnap {
    /// What it is.
    pub kind: ItemKind,
    /// Its position.
    pub lsn: Lsn,
    /// The block it goes to.
    pub block: DiskBlock,
}

/// What is to be done about an item.
pub enum PushPlan {
    /// Its newest state is not durable in the log: the log has to be forced first.
    Pinned,
    /// A write of it is under way, or somebody uses its buffer.
    Busy,
    /// Its block was freed: it leaves with the checkpoint that says so.
    Stale,
    /// Write this buffer.
    Flush(LockedBuf),
    /// Write this buffer, again after a failure.
    Resubmit(LockedBuf),
    /// A failed item's buffer, by name.
    #[cfg(latchfs_races)]
    Unowned(crate::engine::buf::BufHandle),
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushResult {
    /// As [`PushPlan::Pinned`].
    Pinned,
    /// As [`PushPlan::Busy`], or the locks of its inodes were taken.
    Busy,
    /// As [`PushPlan::Stale`].
    Stale,
    /// It is in the batch.
    Queued,
}

/// Buffers that are going to be written together.
pub(super) struct PushBatch {
    bufs: Vec<LockedBuf>,
}

/// The one function that sees an entry. Nothing waits; the reference is taken, and the buffer
/// locked, while the spinlock keeps the entry.
pub(super) fn plan(entry: &Entry, lsn: Lsn, _guard: &AilGuard<'_>) -> (PushPlan, Option<PushSnap>) {
    let Some(state) = entry.flush.get() else {
        return (PushPlan::Busy, None);
    };
    let snap = PushSnap {
        kind: match &entry.owner {
            Owner::Buf => ItemKind::Buf,
            Owner::Inode(inode) => ItemKind::Inode(inode.ino),
        },
        lsn,
        block: state.buf().block(),
    };
    sys::sync_point!("ail.push.plan", snap.block.get());
    #[cfg(latchfs_races)]
    if let (true, Some(plan)) = (sys::mutant!(Seed000), super::mutants::plan_failed(entry)) {
        return (plan, Some(snap));
    }
    let plan = if state.is_flushing() {
        PushPlan::Busy
    } else if entry.item().is_some_and(|item| item.is_pinned()) || state.buf().item().is_pinned() {
        PushPlan::Pinned
    } else if state.buf().is_stale() {
        PushPlan::Stale
    } else {
        let buf = state.buf().clone();
        sys::sync_point!("ail.push.read_buf", buf.block().get());
        let ino = match &entry.owner {
            Owner::Buf => None,
            Owner::Inode(inode) => Some(inode.ino),
        };
        match LockedBuf::try_lock(buf).map(|locked| locked.with_inode(ino)) {
            Err(_shared) => PushPlan::Busy,
            // A transaction may have changed it between the look and the lock.
            Ok(locked) if locked.buf().item().is_pinned() => PushPlan::Pinned,
            Ok(locked) if state.is_failed() => PushPlan::Resubmit(locked),
            Ok(locked) => PushPlan::Flush(locked),
        }
    };
    (plan, Some(snap))
}

/// Acts on a plan.
pub(super) fn execute(plan: PushPlan, batch: &mut PushBatch) -> PushResult {
    match plan {
        PushPlan::Pinned => PushResult::Pinned,
        PushPlan::Busy => PushResult::Busy,
        PushPlan::Stale => PushResult::Stale,
        PushPlan::Flush(locked) => batch.queue(locked),
        PushPlan::Resubmit(locked) => {
            sys::sync_point!("ail.retry", locked.buf().block().get());
            batch.queue(locked)
        }
        #[cfg(latchfs_races)]
        PushPlan::Unowned(handle) => match super::mutants::follow(&handle) {
            Some(locked) => batch.queue(locked),
            None => PushResult::Busy,
        },
    }
}

impl PushBatch {
    /// An empty batch. May sleep for memory.
    pub(super) fn new() -> Self {
        let mut bufs = Vec::new();
        bufs.must_reserve(PLUG);
        Self { bufs }
    }

    fn queue(&mut self, locked: LockedBuf) -> PushResult {
        match self.bufs.push_within_capacity(locked) {
            Ok(()) => PushResult::Queued,
            // Unlocked again, for the next batch.
            Err(_locked) => PushResult::Busy,
        }
    }

    /// Writes the buffers, ascending by block, under one plug; does not wait for the I/O. Returns
    /// how many were submitted.
    pub(super) fn submit(mut self, ail: &Arc<Ail>, inodes: &Cache) -> u64 {
        let mut written = 0;
        sort_by_key(&mut self.bufs, |locked| {
            core::cmp::Reverse(locked.buf().block())
        });
        sys::plugged(|| {
            while let Some(locked) = self.bufs.pop() {
                written += u64::from(write(ail, inodes, locked));
            }
        });
        written
    }
}

/// Writes one buffer, with the images of all items that go to it. False if there was nothing to
/// write, or it must not be.
fn write(ail: &Arc<Ail>, inodes: &Cache, mut locked: LockedBuf) -> bool {
    if ail.health().is_down() || locked.buf().is_stale() {
        return false;
    }
    let cluster = locked.buf().kind() == BlockKind::Inodes;
    let mut tokens: Vec<FlushToken> = Vec::new();
    tokens.must_reserve(if cluster {
        INODES_PER_BLOCK as usize + 1
    } else {
        1
    });

    let mut lsn = Lsn(0);
    if let Some((token, at)) = ail.begin(locked.buf().item(), locked.buf()) {
        lsn = at;
        tokens.must_push(token);
    }
    if cluster && !flush::flush_cluster(ail, inodes, &mut locked, &mut tokens) {
        ail.give_up(Errno::UCLEAN);
    }
    if tokens.is_empty() {
        return false;
    }
    locked.write(ail, lsn, tokens)
}
