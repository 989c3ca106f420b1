// SPDX-License-Identifier: GPL-2.0

//! Transactions: changes of metadata that happen together or not at all.
//!
//! [`Mount::begin`] does all waiting and all that can fail for space: it takes the blocks the
//! operation may need out of free space, and then passes the gate. What follows is memory only.
//! The task then locks its objects, changes blocks through [`Txn::modify`], and commits; inodes
//! and blocks stay locked until then. Nothing nests: a task has one transaction at a time.
//!
//! The bitmaps are not touched before commit. The transaction lists what it uses and frees, and
//! *precommit* ([`precommit`]) locks the bitmap blocks concerned in ascending order, checks the
//! old bits, flips them, and holds them only until the changes are handed on.
//!
//! A transaction that fails before its first change is cancelled by dropping it. After a change it
//! cannot be taken back (neither can XFS's or ext4's): dropping it then shuts the file system down.
//!
//! Compare XFS's `xfs_trans`.

mod block;
mod precommit;
pub mod res;
mod reservation;
#[cfg(test)]
mod tests;

pub use block::{BlockMut, CHUNK};
pub use reservation::{TxnRes, MAX_BUFS};

use crate::engine::{
    alloc::{Claim, Reservation},
    buf::BufRef,
    inode::{self, InodeRef},
    mount::Mount,
    Error,
    Result, //
};
use crate::format::{BlockKind, BlockRange, DiskBlock, Owner};
use crate::sys::{
    self,
    Errno,
    NofsScope,
    RwSemReadGuard,
    TxnSlot, //
};
use core::ops::{Deref, DerefMut};

/// What the blocks that are freed were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeKind {
    /// Metadata: what the cache has of them is never written again.
    Meta,
    /// File content.
    Data,
}

/// A changed buffer and its dirty chunks.
struct Changed {
    buf: BufRef,
    chunks: u32,
}

/// The task's side of an open transaction: it belongs to the task that opened it, keeps
/// allocations from recursing into the file system, and holds the gate against checkpoints.
struct Open<'m> {
    _gate: RwSemReadGuard<'m, ()>,
    _nofs: NofsScope,
    _slot: TxnSlot,
}

/// An open transaction.
#[must_use = "a transaction has to be committed"]
pub struct Txn<'m> {
    // On the heap: a transaction is handed on by value, and kernel stacks are small.
    body: sys::Box<Body<'m>>,
}

/// What is in a transaction.
pub struct Body<'m> {
    m: &'m Mount,
    open: Option<Open<'m>>,
    res: TxnRes,
    /// Blocks promised and neither used nor given back.
    promised: u32,
    /// Blocks claimed for metadata and not used yet; as many as promised.
    spare: sys::Vec<BlockRange>,
    /// Metadata blocks taken out of `spare`.
    metas: sys::Vec<BlockRange>,
    /// Claims whose bits are to be set.
    claims: sys::Vec<Claim>,
    /// Runs whose bits are to be cleared.
    frees: sys::Vec<BlockRange>,
    changed: sys::Vec<Changed>,
    /// Inodes changed; their ILOCKs are held by the caller until commit.
    inodes: sys::Vec<InodeRef>,
    /// Bitmap blocks of all of these that are on disk, read before anything is changed.
    bitmaps: sys::Vec<BufRef>,
    /// Something was changed or freed: there is no way back.
    dirty: bool,
}

impl Mount {
    /// Opens a transaction.
    ///
    /// Waits for a running checkpoint, may make one if only busy blocks are left, and may read
    /// bitmap blocks. No lock above the folio lock may be held, and no transaction be open.
    ///
    /// Errors: ENOSPC; EROFS; EIO after a shutdown; ENOMEM.
    pub fn begin(&self, res: TxnRes) -> Result<Txn<'_>> {
        self.begin_near(res, DiskBlock(0))
    }

    /// [`Self::begin`], with the new metadata near `goal`.
    pub fn begin_near(&self, res: TxnRes, goal: DiskBlock) -> Result<Txn<'_>> {
        self.check_writable()?;
        self.alloc().promise(u64::from(res.blocks), res.pool)?;
        self.begin_promised(res, goal, false)
    }

    /// [`Self::begin`], with the blocks taken from `from`, what it lacks from the hidden pool.
    /// For the completion of writes, which must not fail for space. What the transaction does not
    /// need is free again at its end.
    pub fn begin_reserved(
        &self,
        res: TxnRes,
        goal: DiskBlock,
        from: &mut Reservation,
    ) -> Result<Txn<'_>> {
        self.check_writable()?;
        let want = u64::from(res.blocks);
        let got = from.spend(want);
        if let Err(error) = self.alloc().promise(want - got, true) {
            self.alloc().unpromise(got);
            return Err(error);
        }
        self.begin_promised(res, goal, true)
    }

    /// Opens a transaction for which `res.blocks` blocks have been promised. `must`: it may not
    /// fail for memory (rules M18).
    fn begin_promised(&self, res: TxnRes, goal: DiskBlock, must: bool) -> Result<Txn<'_>> {
        // From here on the transaction gives back what it has when it is dropped.
        let mut txn = Txn::new(self, res, res.blocks, must)?;
        txn.reserve_memory(must)?;
        self.fill(&mut txn, goal, true)?;
        txn.open = Some(self.enter()?);
        Ok(txn)
    }

    /// Gets the metadata blocks of a transaction. `wait`: makes a checkpoint if all are busy.
    fn fill(&self, txn: &mut Txn<'_>, goal: DiskBlock, wait: bool) -> Result {
        loop {
            let have = txn
                .spare
                .iter()
                .fold(0, |n: u32, r| n.saturating_add(r.len));
            let want = txn.promised.saturating_sub(have);
            match self.alloc().take_meta(goal, want, &mut txn.spare) {
                Ok(()) => break,
                Err(e) if e.is(Errno::AGAIN) && wait => self.checkpoint()?,
                Err(e) if e.is(Errno::AGAIN) => return Err(Error::new(Errno::NOSPC)),
                Err(e) => return Err(e),
            }
        }
        // So that a bitmap block that cannot be read is found out while there is a way back.
        for at in 0..txn.spare.len() {
            let Some(range) = txn.spare.get(at).copied() else {
                break;
            };
            txn.attach(range)?;
        }
        Ok(())
    }

    fn enter(&self) -> Result<Open<'_>> {
        let slot = TxnSlot::enter();
        debug_assert!(slot.is_some(), "transactions do not nest");
        let _slot = slot.ok_or(Error::new(Errno::BUSY))?;
        let _nofs = NofsScope::enter();
        let _gate = self.gate.read();
        self.check_writable()?;
        Ok(Open {
            _gate,
            _nofs,
            _slot,
        })
    }
}

impl<'m> Txn<'m> {
    /// A transaction to which `promised` blocks have been promised: the promise is kept or taken
    /// back by its drop, also if there is no memory for it.
    #[inline(never)]
    fn new(m: &'m Mount, res: TxnRes, promised: u32, must: bool) -> Result<Self> {
        let body = Body {
            m,
            open: None,
            res,
            promised,
            spare: sys::Vec::new(),
            metas: sys::Vec::new(),
            claims: sys::Vec::new(),
            frees: sys::Vec::new(),
            changed: sys::Vec::new(),
            inodes: sys::Vec::new(),
            bitmaps: sys::Vec::new(),
            dirty: false,
        };
        let body = if must {
            sys::must_box(body)
        } else {
            sys::try_box(body)?
        };
        Ok(Self { body })
    }

    /// Memory for what the reservation allows, so that lists do not grow later.
    fn reserve_memory(&mut self, must: bool) -> Result {
        let res = self.res;
        if must {
            self.metas.must_reserve(res.blocks as usize);
            self.claims.must_reserve(res.extents as usize);
            self.frees.must_reserve(res.extents as usize);
            self.changed.must_reserve(res.bufs as usize);
            self.inodes.must_reserve(res.inodes as usize);
            self.bitmaps.must_reserve(res.bitmaps() as usize);
            return Ok(());
        }
        self.metas.try_reserve(res.blocks as usize)?;
        self.claims.try_reserve(res.extents as usize)?;
        self.frees.try_reserve(res.extents as usize)?;
        self.changed.try_reserve(res.bufs as usize)?;
        self.inodes.try_reserve(res.inodes as usize)?;
        self.bitmaps.try_reserve(res.bitmaps() as usize)?;
        Ok(())
    }

    /// The mount.
    pub fn mount(&self) -> &'m Mount {
        self.m
    }

    /// Whether anything was changed: from then on dropping is a shutdown.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// New metadata blocks that can still be asked for.
    pub fn blocks_left(&self) -> u32 {
        self.promised
    }

    /// Whether a checkpoint waits for open transactions: a long chain should commit, drop its
    /// ILOCKs and begin again.
    pub fn should_break(&self) -> bool {
        self.m.checkpoint_waits()
    }

    /// Reads the bitmap block of a run that will be used or freed, unless it is not on disk yet.
    fn attach(&mut self, range: BlockRange) -> Result {
        let context = self.m.buf().context();
        let geometry = context.geometry;
        let (ag, start) = geometry
            .locate(range.start)
            .ok_or_else(|| Error::corrupt(range.start.get(), "block outside of the device"))?;
        let (map, _) = crate::format::Geometry::bitmap_position(start);
        let at = geometry
            .bitmap_block(ag, map)
            .ok_or(Error::new(Errno::UCLEAN))?;
        if self.bitmaps.iter().any(|b| b.block() == at) {
            return Ok(());
        }
        if map >= self.m.alloc().bitmap_init(ag)? {
            return Ok(());
        }
        let buf = self.m.buf().read(at, BlockKind::Bitmap, Owner::ag(ag))?;
        self.bitmaps.must_push(buf);
        Ok(())
    }

    /// Notes the first change of a buffer, or more chunks of a changed one.
    fn note(&mut self, buf: &BufRef, chunks: u32) {
        self.dirty = true;
        if let Some(changed) = self.changed.iter_mut().find(|c| c.buf.same(buf)) {
            changed.chunks |= chunks;
            return;
        }
        debug_assert!(
            (self.changed.len() as u32) < self.res.bufs,
            "more buffers changed than reserved"
        );
        buf.pin();
        self.changed.must_push(Changed {
            buf: buf.clone(),
            chunks,
        });
    }

    /// Changes a buffer. Its content lock is held exclusively during `change` only; what keeps
    /// others from the block until commit is its owner's lock (ILOCK or AG inode lock).
    ///
    /// May sleep: waits for the end of writeback of the block. The caller holds no
    /// [`BufRef::data`] of it.
    pub fn modify<R>(&mut self, buf: &BufRef, change: impl FnOnce(&mut BlockMut<'_>) -> R) -> R {
        let mut content = buf.write();
        let mut block = BlockMut::new(buf.block().get(), &mut content);
        let r = change(&mut block);
        let chunks = block.chunks();
        if chunks != 0 {
            self.note(buf, chunks);
        }
        r
    }

    /// [`Self::modify`] of two different buffers at once, to move things between them.
    pub fn modify2<R>(
        &mut self,
        a: &BufRef,
        b: &BufRef,
        change: impl FnOnce(&mut BlockMut<'_>, &mut BlockMut<'_>) -> R,
    ) -> Result<R> {
        if a.same(b) {
            return Err(Error::corrupt(a.block().get(), "block used twice"));
        }
        // By block number, like everybody else who holds two.
        let a_first = a.block() < b.block();
        let (first, second) = if a_first { (a, b) } else { (b, a) };
        let mut first = first.write();
        let mut second = second.write_nested();
        let (content_a, content_b) = if a_first {
            (&mut first, &mut second)
        } else {
            (&mut second, &mut first)
        };
        let mut block_a = BlockMut::new(a.block().get(), content_a);
        let mut block_b = BlockMut::new(b.block().get(), content_b);
        let r = change(&mut block_a, &mut block_b);
        let (chunks_a, chunks_b) = (block_a.chunks(), block_b.chunks());
        if chunks_a != 0 {
            self.note(a, chunks_a);
        }
        if chunks_b != 0 {
            self.note(b, chunks_b);
        }
        Ok(r)
    }

    /// Says that this transaction changes an inode: before the first change of it. The caller
    /// holds its ILOCK exclusively until commit.
    ///
    /// May sleep: reads the block of the inode's slot, so that nothing after it can fail (rules
    /// S3). Errors: EIO, EUCLEAN, ENOMEM; if nothing was changed before, there is a way back.
    pub fn join_inode(&mut self, inode: &InodeRef) -> Result {
        if self.inodes.iter().any(|other| other.ino == inode.ino) {
            return Ok(());
        }
        inode::attach(self.m, inode)?;
        debug_assert!(
            (self.inodes.len() as u32) < self.res.inodes,
            "more inodes joined than reserved"
        );
        self.inodes.must_push(inode.clone());
        Ok(())
    }

    /// Says that a joined inode was changed in memory: from here on there is no way back. Changes
    /// of buffers say so themselves.
    pub fn touch(&mut self) {
        self.dirty = true;
    }

    /// A block for new metadata, as near to `near` as the reservation has one. Does not sleep.
    /// Errors: ENOSPC if the operation wants more than it reserved, which is a bug in its
    /// reservation.
    pub fn alloc_meta(&mut self, near: DiskBlock) -> Result<DiskBlock> {
        let far = |r: &BlockRange| r.start.get().abs_diff(near.get());
        let best = self
            .spare
            .iter()
            .enumerate()
            .min_by_key(|(_, r)| far(r))
            .map(|(at, _)| at);
        debug_assert!(best.is_some(), "more blocks allocated than reserved");
        let at = best.ok_or(Error::new(Errno::NOSPC))?;
        let range = self.spare.get_mut(at).ok_or(Error::new(Errno::NOSPC))?;
        let block = range.start;
        *range = BlockRange::new(block.saturating_add(1), range.len.saturating_sub(1));
        if range.is_empty() {
            self.spare.swap_remove(at);
        }
        self.promised = self.promised.saturating_sub(1);
        self.metas.must_push(BlockRange::new(block, 1));
        Ok(block)
    }

    /// [`Self::alloc_meta`] and a fresh buffer for it. May sleep. Errors: as that, and EUCLEAN if
    /// the cache knows that the block is in use.
    pub fn new_meta(&mut self, near: DiskBlock, kind: BlockKind, owner: Owner) -> Result<BufRef> {
        let block = self.alloc_meta(near)?;
        self.m.buf().fresh(block, kind, owner)
    }

    /// Uses a claim up: its bits are set at commit. May sleep to read a bitmap block. Errors: EIO
    /// and the like; the claim is given back.
    pub fn use_claim(&mut self, claim: Claim) -> Result<BlockRange> {
        let range = claim.range();
        if range.is_empty() {
            return Ok(range);
        }
        self.attach(range)?;
        self.claims.must_push(claim);
        Ok(range)
    }

    /// [`Self::use_claim`] of up to `len` blocks off the front of a claim.
    pub fn use_claim_part(&mut self, claim: &mut Claim, len: u32) -> Result<BlockRange> {
        let part = claim.split_front(len);
        self.use_claim(part)
    }

    /// Frees blocks: their bits are cleared at commit, and they are busy until the next checkpoint
    /// is durable. A metadata block that this transaction allocated just goes back.
    ///
    /// May sleep: reads a bitmap block, and for metadata waits for the blocks' writeback. Errors:
    /// EUCLEAN if the run cannot be an allocated one; EIO.
    pub fn free(&mut self, range: BlockRange, kind: FreeKind) -> Result {
        let geometry = self.m.buf().context().geometry;
        if geometry.check_range(range, "extent").is_err() {
            return Err(Error::corrupt(
                range.start.get(),
                "freed extent is no extent",
            ));
        }
        self.attach(range)?;
        if kind == FreeKind::Meta {
            for n in 0..range.len {
                self.m
                    .buf()
                    .forget(range.start.saturating_add(u64::from(n)));
            }
        }
        if range.len == 1 {
            if let Some(at) = self.metas.iter().position(|r| *r == range) {
                self.metas.swap_remove(at);
                self.spare.must_push(range);
                self.promised = self.promised.saturating_add(1);
                return Ok(());
            }
        }
        self.dirty = true;
        self.frees.must_push(range);
        Ok(())
    }

    /// Commits. Afterwards the objects may be unlocked; on disk everything is with the next
    /// checkpoint. May sleep. Errors: EUCLEAN if the bitmaps contradict what was used and freed:
    /// the file system is shut down.
    pub fn commit(mut self) -> Result {
        self.commit_changes()
    }

    fn commit_changes(&mut self) -> Result {
        self.m.check_live()?;
        if let Err(error) = self.precommit() {
            self.m.note_error(&error, 0, 0);
            // Dropped while dirty: shuts down.
            return Err(error);
        }
        while let Some(changed) = self.changed.pop() {
            let _ = changed.chunks;
            changed.buf.set_dirty();
            changed.buf.unpin();
        }
        let lsn = self.m.commit_lsn();
        while let Some(inode) = self.inodes.pop() {
            inode::mark_dirty(self.m, &inode, lsn);
        }
        self.dirty = false;
        self.m.stats().add_commits(1);
        self.m.kick_checkpoint();
        Ok(())
    }

    /// Commits this transaction and goes on with another one, without passing the gate again: for
    /// chains that keep ILOCKs. What is still locked has to be joined and changed in each link.
    ///
    /// Does not wait for busy blocks (they may be the chain's own). Errors: those of
    /// [`Self::commit`]; ENOSPC if the blocks for the next link are not to be had, with this link
    /// committed.
    pub fn roll(mut self, res: TxnRes) -> Result<Txn<'m>> {
        let goal = self.spare.last().map_or(DiskBlock(0), |r| r.start);
        self.commit_changes()?;

        let m = self.m;
        let mut next = Txn::new(m, res, 0, false)?;
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
        m.fill(&mut next, goal, false)?;
        next.open = self.open.take();
        Ok(next)
    }
}

impl<'m> Deref for Txn<'m> {
    type Target = Body<'m>;

    fn deref(&self) -> &Body<'m> {
        &self.body
    }
}

impl<'m> DerefMut for Txn<'m> {
    fn deref_mut(&mut self) -> &mut Body<'m> {
        &mut self.body
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        if self.dirty {
            self.m
                .shutdown("a transaction failed after its first change");
        }
        while let Some(changed) = self.changed.pop() {
            changed.buf.unpin();
        }
        let promised = u64::from(self.promised).saturating_add(self.metas.len() as u64);
        // The blocks first, then the promise: whoever gets the promise finds the blocks.
        for range in self.spare.iter().chain(self.metas.iter()) {
            self.m.alloc().return_meta(*range);
        }
        self.m.alloc().unpromise(promised);
    }
}
