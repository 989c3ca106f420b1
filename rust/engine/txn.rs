// SPDX-License-Identifier: GPL-2.0

//! Transactions: changes of metadata that happen together or not at all.
//!
//! [`Mount::begin`] does all waiting and all that can fail for space: it gets room in the log, and
//! takes the blocks the operation may need out of free space. What follows is memory only. The task
//! then locks its objects, changes blocks through [`Txn::modify`], says what inodes are like now
//! ([`Txn::log_inode`]), and commits; inodes and blocks stay locked until then. Nothing nests: a
//! task has one transaction at a time.
//!
//! The bitmaps and the counters of the file system are not touched before commit. The transaction
//! lists what it uses and frees, and *precommit* ([`precommit`]) locks the bitmap blocks concerned in
//! ascending order, checks the old bits, flips them, and holds them only until the changes are in
//! the open context of the log.
//!
//! A transaction that fails before its first change is cancelled by dropping it. After a change it
//! cannot be taken back (neither can XFS's or ext4's): dropping it then shuts the file system down.
//!
//! * [`commit`]: commit, and the next link of a chain;
//! * [`lists`]: what it lists, and the memory for that;
//! * [`bitmaps`]: bitmap blocks that are not on disk yet.
//!
//! Compare XFS's `xfs_trans`.

mod bitmaps;
mod block;
mod commit;
mod lists;
mod precommit;
pub mod res;
mod reservation;
#[cfg(all(test, unit_tests))]
mod tests;

pub use block::{BlockMut, CHUNK};
pub use lists::Lists;
pub use reservation::{TxnRes, MAX_BUFS};

use lists::{Changed, Joined};

use crate::engine::{
    alloc::{Claim, Reservation},
    buf::BufRef,
    inode::{self, InodeInner, InodeRef},
    log::{
        cil::{Chunk, Image},
        item,
        space::Who,
        Grant, //
    },
    mount::Mount,
    Error,
    Result, //
};
use crate::format::{
    inode::InodeSlot,
    BlockKind,
    BlockRange,
    DiskBlock,
    Ino,
    Owner, //
};
use crate::sys::{
    self,
    Errno,
    NofsScope,
    TxnSlot, //
};
use core::{
    mem::size_of,
    ops::{Deref, DerefMut}, //
};
use zerocopy::FromBytes as _;

/// What the blocks that are freed were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeKind {
    /// Metadata: what the cache has of them is never written again.
    Meta,
    /// File content.
    Data,
}

/// What the counts of inodes of the whole file system change by.
#[derive(Clone, Copy, Default)]
struct Deltas {
    inodes: i64,
    free: i64,
    orphans: i64,
}

/// The task's side of an open transaction: it belongs to the task that opened it, and keeps
/// allocations from recursing into the file system.
struct Open {
    _nofs: NofsScope,
    _slot: TxnSlot,
}

/// An open transaction.
#[must_use = "a transaction has to be committed"]
pub struct Txn<'m> {
    m: &'m Mount,
    open: Option<Open>,
    /// Room in the log.
    grant: Grant<'m>,
    res: TxnRes,
    /// Blocks promised and neither used nor given back.
    promised: u32,
    deltas: Deltas,
    /// Something was changed or freed: there is no way back.
    dirty: bool,
    times_only: bool,
    // On the heap: a transaction is handed on by value, and kernel stacks are small.
    lists: sys::Lent<'m, Lists>,
}

impl Mount {
    /// Opens a transaction.
    ///
    /// Waits for room in the log, may make a checkpoint if only busy blocks are left, and may read
    /// bitmap blocks. No lock above the folio lock may be held, and no transaction be open.
    ///
    /// Errors: ENOSPC; EROFS; EIO after a shutdown; ENOMEM.
    pub fn begin(&self, res: TxnRes) -> Result<Txn<'_>> {
        self.begin_near(res, DiskBlock(0))
    }

    /// [`Self::begin`], with the new metadata near `goal`.
    pub fn begin_near(&self, res: TxnRes, goal: DiskBlock) -> Result<Txn<'_>> {
        self.check_writable()?;
        let grant = self.grant(Who::Begin, res.log_bytes())?;
        self.alloc().promise(u64::from(res.blocks), res.pool)?;
        self.begin_promised(res, goal, grant, false)
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
        let grant = self.grant(Who::Begin, res.log_bytes())?;
        let want = u64::from(res.blocks);
        let got = from.spend(want);
        if let Err(error) = self.alloc().promise(want - got, true) {
            self.alloc().unpromise(got);
            return Err(error);
        }
        self.begin_promised(res, goal, grant, true)
    }

    /// Opens a transaction for which `res.blocks` blocks have been promised. `must`: it may not
    /// fail for memory (rules M18).
    fn begin_promised<'m>(
        &'m self,
        res: TxnRes,
        goal: DiskBlock,
        grant: Grant<'m>,
        must: bool,
    ) -> Result<Txn<'m>> {
        // From here on the transaction gives back what it has when it is dropped.
        let mut txn = Txn::new(self, res, res.blocks, grant, must)?;
        txn.reserve_memory(must)?;
        self.fill(&mut txn, goal, Who::Begin)?;
        txn.open = Some(self.enter()?);
        Ok(txn)
    }

    /// Gets the metadata blocks of a transaction. If all are busy it waits for a checkpoint, but not
    /// for a chain: they may be its own.
    fn fill(&self, txn: &mut Txn<'_>, goal: DiskBlock, who: Who) -> Result {
        loop {
            let have = txn
                .spare
                .iter()
                .fold(0, |n: u32, r| n.saturating_add(r.len));
            let want = txn.promised.saturating_sub(have);
            match self.alloc().take_meta(goal, want, &mut txn.spare) {
                Ok(()) => break,
                Err(e) if e.is(Errno::AGAIN) && who == Who::Begin => {
                    self.release_busy()?;
                }
                Err(e) if e.is(Errno::AGAIN) => {
                    if !self.make_bitmaps(who)? {
                        return Err(Error::new(Errno::NOSPC));
                    }
                }
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

    fn enter(&self) -> Result<Open> {
        let slot = TxnSlot::enter();
        debug_assert!(slot.is_some(), "transactions do not nest");
        let _slot = slot.ok_or(Error::new(Errno::BUSY))?;
        let _nofs = NofsScope::enter();
        self.check_writable()?;
        Ok(Open { _nofs, _slot })
    }
}

impl<'m> Txn<'m> {
    /// A transaction to which `promised` blocks have been promised: the promise is kept or taken
    /// back by its drop, also if there is no memory for it.
    #[inline(never)]
    fn new(m: &'m Mount, res: TxnRes, promised: u32, grant: Grant<'m>, must: bool) -> Result<Self> {
        let lists = m.txn_lists.lend(|| {
            if must {
                Ok(sys::must_box(Lists::default()))
            } else {
                sys::try_box(Lists::default())
            }
        });
        match lists {
            Ok(lists) => Ok(Self {
                m,
                open: None,
                grant,
                res,
                promised,
                deltas: Deltas::default(),
                dirty: false,
                times_only: false,
                lists,
            }),
            Err(errno) => {
                m.alloc().unpromise(u64::from(promised));
                Err(errno.into())
            }
        }
    }

    /// Memory for what the reservation allows, so that lists do not grow later.
    fn reserve_memory(&mut self, must: bool) -> Result {
        let res = self.res;
        self.lists.reserve(&res, must)
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

    /// Whether the log is nearly full: a long chain should commit, drop its ILOCKs and begin again,
    /// so that nobody waits for the locks of somebody who waits for the log.
    pub fn should_break(&self) -> bool {
        self.m.log().space().is_tight()
    }

    /// Reads the bitmap block of a run that will be used or freed.
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
            return Err(Error::corrupt(
                at.get(),
                "bitmap block that is not there yet",
            ));
        }
        let buf = self.m.buf().read(at, BlockKind::Bitmap, Owner::ag(ag))?;
        self.bitmaps.must_push(buf);
        Ok(())
    }

    /// Notes the first change of a buffer, or more chunks of a changed one.
    fn note(&mut self, buf: &BufRef, chunks: u32, ordered: bool) {
        self.dirty = true;
        if let Some(changed) = self.changed.iter_mut().find(|c| c.buf.same(buf)) {
            changed.chunks |= chunks;
            changed.ordered = ordered;
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
            ordered,
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
            self.note(buf, chunks, false);
        }
        r
    }

    /// [`Self::modify`] of a buffer whose content another record of this transaction describes: it is
    /// written to its place like others, but no image of it is logged. May sleep.
    pub fn modify_ordered<R>(
        &mut self,
        buf: &BufRef,
        change: impl FnOnce(&mut BlockMut<'_>) -> R,
    ) -> R {
        let mut content = buf.write();
        let mut block = BlockMut::new(buf.block().get(), &mut content);
        let r = change(&mut block);
        let chunks = block.chunks();
        if chunks != 0 {
            self.note(buf, chunks, true);
        }
        r
    }

    /// Logs a new chunk of 64 free inodes, the first of them `first`, in the eight blocks from
    /// `block` on, whose buffers are changed with [`Self::modify_ordered`]. Does not fail.
    pub fn log_inode_init(&mut self, block: DiskBlock, first: Ino) {
        self.dirty = true;
        self.batch.chunks.must_push(Chunk { block, first });
    }

    /// What this transaction changes the counts of inodes of the whole file system by: applied in
    /// commit, with what makes it true.
    pub fn count_inodes(&mut self, inodes: i64, free: i64, orphans: i64) {
        let deltas = &mut self.deltas;
        deltas.inodes = deltas.inodes.saturating_add(inodes);
        deltas.free = deltas.free.saturating_add(free);
        deltas.orphans = deltas.orphans.saturating_add(orphans);
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
            self.note(a, chunks_a, false);
        }
        if chunks_b != 0 {
            self.note(b, chunks_b, false);
        }
        Ok(r)
    }

    /// Says that this transaction changes an inode: before the first change of it. The caller
    /// holds its ILOCK exclusively until commit.
    ///
    /// May sleep: reads the block of the inode's slot, so that nothing after it can fail (rules
    /// S3). Errors: EIO, EUCLEAN, ENOMEM; if nothing was changed before, there is a way back.
    pub fn join_inode(&mut self, inode: &InodeRef) -> Result {
        if self.inodes.iter().any(|other| other.inode.ino == inode.ino) {
            return Ok(());
        }
        inode::attach(self.m, inode)?;
        debug_assert!(
            (self.inodes.len() as u32) < self.res.inodes,
            "more inodes joined than reserved"
        );
        self.inodes.must_push(Joined {
            inode: inode.clone(),
            image: None,
        });
        Ok(())
    }

    /// Logs a joined inode as it is now: fields and literal area. After its last change and before
    /// commit; whoever holds its ILOCK. What is not logged is not changed. May sleep for memory.
    ///
    /// Errors: EUCLEAN if the inode was not joined, or does not fit into its slot.
    pub fn log_inode(&mut self, inode: &InodeRef, inner: &InodeInner) -> Result {
        self.log_fields(inode, inner, item::CORE | item::LITERAL)
    }

    /// [`Self::log_inode`] of an inode whose literal area (inline data, or the root of a tree) is
    /// what it was.
    pub fn log_core(&mut self, inode: &InodeRef, inner: &InodeInner) -> Result {
        self.log_fields(inode, inner, item::CORE)
    }

    fn log_fields(&mut self, inode: &InodeRef, inner: &InodeInner, fields: u32) -> Result {
        self.dirty = true;
        if !self.times_only {
            inode.log.note_data();
        }
        let m = self.m;
        let block = m.ail().block_of(inode);
        let Lists { inodes, copies, .. } = &mut *self.lists;
        let joined = inodes
            .iter_mut()
            .find(|joined| joined.inode.ino == inode.ino);
        debug_assert!(joined.is_some(), "inode logged without being joined");
        let (Some(block), Some(joined)) = (block, joined) else {
            return Err(Error::new(Errno::UCLEAN));
        };
        // What was logged since the slot was last written has to be in each record (rules M5).
        let mut fields = fields | inode.log.logged();
        let mut bytes = match joined.image.take() {
            Some(Image::Inode { literal, slot, .. }) => {
                if literal.is_some() {
                    fields |= item::LITERAL;
                }
                slot
            }
            _ => {
                let mut bytes = copies.get(size_of::<InodeSlot>());
                bytes.must_extend_from_slice(&[0; size_of::<InodeSlot>()]);
                bytes
            }
        };
        let slot = InodeSlot::mut_from_bytes(&mut bytes).map_err(|_| Error::new(Errno::UCLEAN))?;
        inner.fill(slot, m.context(), inode.ino)?;
        let literal = (fields & item::LITERAL != 0).then(|| slot.used_literal().len());
        joined.image = Some(Image::Inode {
            block,
            ino: inode.ino,
            literal,
            slot: bytes,
        });
        Ok(())
    }

    /// Says that the transaction changes times of inodes and nothing else: fdatasync does not wait
    /// for it.
    pub fn times_only(&mut self) {
        self.times_only = true;
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

    /// Frees blocks: their bits are cleared at commit, and they are busy until the checkpoint with
    /// that is durable. A metadata block that this transaction allocated just goes back.
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
        let was = self.stale.len();
        if kind == FreeKind::Meta {
            for n in 0..range.len {
                let block = range.start.saturating_add(u64::from(n));
                if let Some(buf) = self.m.buf().forget(block) {
                    buf.pin();
                    self.stale.must_push(buf);
                }
            }
        }
        if range.len == 1 {
            if let Some(at) = self.metas.iter().position(|r| *r == range) {
                // The log never heard of it.
                while self.stale.len() > was {
                    if let Some(buf) = self.stale.pop() {
                        buf.unpin();
                    }
                }
                self.metas.swap_remove(at);
                self.spare.must_push(range);
                self.promised = self.promised.saturating_add(1);
                return Ok(());
            }
        }
        self.dirty = true;
        if kind == FreeKind::Meta {
            self.batch.cancels.must_push(range);
        }
        self.frees.must_push(range);
        Ok(())
    }
}

impl Deref for Txn<'_> {
    type Target = Lists;

    fn deref(&self) -> &Lists {
        &self.lists
    }
}

impl DerefMut for Txn<'_> {
    fn deref_mut(&mut self) -> &mut Lists {
        &mut self.lists
    }
}

impl Drop for Txn<'_> {
    fn drop(&mut self) {
        if self.dirty {
            self.m
                .shutdown("a transaction failed after its first change");
        }
        while let Some(changed) = self.changed.pop() {
            changed.buf.unpin();
        }
        while let Some(buf) = self.stale.pop() {
            buf.unpin();
        }
        while let Some(joined) = self.inodes.pop() {
            inode::detach(self.m, &joined.inode);
        }
        let promised = u64::from(self.promised).saturating_add(self.metas.len() as u64);
        // The blocks first, then the promise: whoever gets the promise finds the blocks.
        for range in self.spare.iter().chain(self.metas.iter()) {
            self.m.alloc().return_meta(*range);
        }
        self.m.alloc().unpromise(promised);
        self.lists.clear();
    }
}
