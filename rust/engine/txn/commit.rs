// SPDX-License-Identifier: GPL-2.0

//! Commit, and the next link of a chain.
//!
//! Under the gate, held shared: bitmaps flipped, copies made of everything that was changed, all of
//! it put into the open context, counters changed. So a checkpoint has all of a commit or nothing.
//!
//! Two transactions may have changed the same buffer one after the other. What keeps their copies
//! in order is the lock under which they changed it: an ILOCK or AG inode lock, held to the end of
//! the commit, or for bitmap blocks the content lock, held until the copy is in the context.

use super::lists::Copies;
use super::precommit::Locked;
use super::*;
use crate::engine::log::{
    cil::{Batch, Slot},
    item::ItemRef, //
};
use crate::sys::atomic::{AtomicU64, Ordering};

/// Adds `delta` to a counter.
fn add(counter: &AtomicU64, delta: i64) {
    counter.fetch_add(delta as u64, Ordering::Relaxed);
}

/// Copies the chunks of `mask` out of a block.
pub(super) fn copy_chunks(
    block: &crate::format::Block,
    mask: u32,
    copies: &mut Copies,
) -> sys::Vec<u8> {
    let mut data = copies.get((mask.count_ones() as usize).saturating_mul(CHUNK));
    let mut left = mask;
    let mut at = 0_usize;
    while left != 0 {
        // Neighbours together: a leaf that was changed often is all of it.
        let skip = left.trailing_zeros();
        left >>= skip;
        let run = left.trailing_ones();
        left = left.checked_shr(run).unwrap_or(0);

        let start = at.saturating_add(skip as usize);
        at = start.saturating_add(run as usize);
        let bytes = start.saturating_mul(CHUNK)..at.saturating_mul(CHUNK);
        data.must_extend_from_slice(block.get(bytes).unwrap_or_default());
    }
    data
}

impl Changed {
    /// What is logged of the buffer. The caller keeps it from changing.
    fn image(&self, copies: &mut Copies) -> Image {
        if self.ordered {
            return Image::Ordered;
        }
        // All that was logged since the last write, too (rules M5).
        let chunks = self.buf.item().log(self.chunks);
        Image::Buf {
            block: self.buf.block(),
            kind: self.buf.kind(),
            owner: self.buf.owner(),
            chunks,
            data: copy_chunks(&self.buf.data(), chunks, copies),
        }
    }
}

impl<'m> Txn<'m> {
    /// Commits. Afterwards the objects may be unlocked; on disk everything is with the next
    /// checkpoint. May sleep. Errors: EUCLEAN if the bitmaps contradict what was used and freed:
    /// the file system is shut down.
    pub fn commit(mut self) -> Result {
        self.commit_changes()
    }

    /// Whether every inode that the chain keeps locked is logged in this link, too: else the log's
    /// tail could not pass it while the chain waits (rules M10).
    fn relogs_what_it_keeps(&self) -> bool {
        self.kept.iter().all(|ino| {
            let mut logged = self.inodes.iter().filter(|j| j.image.is_some());
            logged.any(|j| j.inode.ino == *ino)
        })
    }

    fn commit_changes(&mut self) -> Result {
        let m = self.m;
        m.check_live()?;
        debug_assert!(
            self.relogs_what_it_keeps(),
            "an inode that is kept locked is not logged"
        );
        let mut batch = core::mem::take(&mut self.batch);
        let n = self.changed.len() + self.inodes.len() + self.stale.len();
        batch
            .slots
            .must_reserve(n.saturating_add(self.bitmaps.len()));

        let gate = m.gate.read();
        let locked = match self.precommit(&mut batch) {
            Ok(locked) => locked,
            Err(error) => {
                m.note_error(&error, 0, 0);
                // Dropped while dirty: shuts down.
                return Err(error);
            }
        };
        self.collect(&mut batch);
        self.dirty = false;
        let (bytes, first) = self.insert(&mut batch);
        drop::<sys::Vec<Locked>>(locked);
        let settled = self.settle();
        self.apply_deltas();
        drop(gate);

        self.batch = batch;
        self.lists.clear_batch();
        m.stats().add_commits(1);
        m.log_committed(bytes, first);
        settled.inspect_err(|error| m.note_error(error, 0, 0))
    }

    /// Everything that was changed, but for bitmaps. The pins go over to the batch.
    fn collect(&mut self, batch: &mut Batch) {
        while let Some(changed) = self.changed.pop() {
            if changed.buf.is_stale() {
                // Freed by this transaction, and if the log has to know, among `stale`.
                changed.buf.unpin();
                continue;
            }
            changed.buf.set_dirty();
            let image = changed.image(&mut self.copies);
            batch.slots.must_push(Some(Slot {
                item: ItemRef::Buf(changed.buf),
                image,
            }));
        }
        while let Some(buf) = self.stale.pop() {
            batch.slots.must_push(Some(Slot {
                item: ItemRef::Buf(buf),
                image: Image::Cancelled,
            }));
        }
        while let Some(joined) = self.inodes.pop() {
            let Some(image) = joined.image else {
                // Not changed after all.
                inode::detach(self.m, &joined.inode);
                continue;
            };
            if let Image::Inode { literal, .. } = &image {
                let fields = if literal.is_some() { item::LITERAL } else { 0 };
                joined.inode.log.log(item::CORE | fields);
            }
            inode::mark_dirty(&joined.inode);
            batch.slots.must_push(Some(Slot {
                item: ItemRef::Inode(joined.inode.object().clone()),
                image,
            }));
        }
    }

    /// Puts the batch into the open context.
    fn insert(&mut self, batch: &mut Batch) -> (u64, bool) {
        if batch.slots.is_empty() && batch.cancels.is_empty() && batch.chunks.is_empty() {
            return (0, false);
        }
        let m = self.m;
        m.log().insert(batch, &mut self.grant)
    }

    fn apply_deltas(&mut self) {
        let deltas = core::mem::take(&mut self.deltas);
        let counts = self.m.counts();
        add(&counts.inodes, deltas.inodes);
        add(&counts.free, deltas.free);
        add(&counts.orphans, deltas.orphans);
    }

    /// Commits this transaction and goes on with another one: for chains that keep ILOCKs. What is
    /// still locked has to be joined and changed in each link, so that the log's tail can pass what
    /// the chain has done (rules M10).
    ///
    /// Waits for room in the log, before transactions that only begin; does not wait for busy blocks
    /// (they may be the chain's own). Errors: those of [`Self::commit`]; ENOSPC if the blocks for the
    /// next link are not to be had, with this link committed.
    pub fn roll(mut self, res: TxnRes) -> Result<Txn<'m>> {
        let goal = self.spare.last().map_or(DiskBlock(0), |r| r.start);
        let mut kept = sys::Vec::new();
        kept.must_reserve(self.inodes.len());
        for joined in self.inodes.iter() {
            kept.must_push(joined.inode.ino);
        }
        self.commit_changes()?;

        let m = self.m;
        // The task holds locks, so this goes on while no transaction is open.
        let _nofs = NofsScope::enter();
        self.open = None;
        self.grant.shrink(0);
        let grant = m.grant(Who::Chain, res.log_bytes())?;
        let mut next = Txn::new(m, res, 0, grant, false)?;
        next.kept = kept;
        // The blocks that were not needed are the next link's first ones.
        let carried = self.promised.min(res.blocks);
        next.promised = carried;
        self.promised -= carried;
        let mut left = carried;
        while left > 0 {
            let Some(range) = self.spare.pop() else { break };
            let n = range.len.min(left);
            next.spare.must_push(BlockRange::new(range.start, n));
            left -= n;
            if n < range.len {
                self.spare.must_push(BlockRange::new(
                    range.start.saturating_add(u64::from(n)),
                    range.len - n,
                ));
            }
        }
        let more = res.blocks - carried;
        m.alloc().promise(u64::from(more), res.pool)?;
        next.promised = res.blocks;
        next.reserve_memory(false)?;
        m.fill(&mut next, goal, Who::Chain)?;
        next.open = Some(m.enter()?);
        Ok(next)
    }
}
