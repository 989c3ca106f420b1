// SPDX-License-Identifier: GPL-2.0

//! The active item list (AIL): what is durable in the log and not yet in its place.
//!
//! A checkpoint that has become durable puts its items here, at the position of its first byte
//! ([`Ail::committed`]); a write that has put an item into its place takes it off. The oldest
//! position on the list is the *tail*: the log is needed from there on. The pusher ([`push`]) writes
//! items, oldest first, to move the tail.
//!
//! * [`list`]: the arena and the list, one spinlock around both ([`AilLock`]);
//! * [`state`]: the flush state of an item, which owns the buffer reference;
//! * [`token`]: the flush lock, owned by the write;
//! * [`plan`]: the only function that sees an item of the list, and what follows without it;
//! * [`push`]: rounds of the pusher, in the background or by whoever waits;
//! * [`policy`]: what becomes of writes that fail;
//! * [`verify`]: what must be true when it is quiet.
//!
//! Three rules, each a type here and a comment in XFS. What the list points at is alive: an entry
//! owns a reference to its buffer in every state ([`FlushState`]). What was seen under the spinlock
//! is not touched after it: the push works on a locked buffer of its own ([`PushPlan`]). What leaves
//! the list under the spinlock is dropped after it ([`DropBag`]).
//!
//! Compare XFS's `xfs_ail`, `xfs_trans_ail.c`.
//!
//! [`AilLock`]: crate::engine::locks::AilLock

mod bag;
mod list;
#[cfg(latchfs_races)]
mod mutants;
mod plan;
pub mod policy;
pub mod push;
pub mod state;
pub mod token;
pub mod verify;

#[cfg(test)]
mod tests;

pub use bag::{DropBag, Tail};
pub use plan::{ItemKind, PushPlan, PushResult, PushSnap};
pub use policy::{ErrnoClass, ErrorPolicy};
pub use push::Pushed;
pub use state::{FlushId, FlushState};
pub use token::FlushToken;

use crate::engine::{
    buf::BufRef,
    health::{Health, LogDown},
    inode::Inode,
    locks::AilLock,
    log::item::{ItemRef, LogItem}, //
};
use crate::format::{DiskBlock, Lsn};
use crate::sys::{
    self,
    atomic::{AtomicU32, AtomicU64},
    Arc,
    Errno,
    Spin,
    SpinGuard,
    Vec,
    WaitQueue, //
};
use bag::Dropped;
use list::{List, Room};
use state::Flush;

/// Items put on the list for one hold of the spinlock.
const BATCH: usize = 64;

/// What an entry is of.
enum Owner {
    /// The buffer of its flush state itself.
    Buf,
    /// An inode, whose slot is in the buffer.
    Inode(Arc<Inode>),
}

fn item_of(item: &ItemRef) -> &LogItem {
    match item {
        ItemRef::Buf(buf) => buf.item(),
        ItemRef::Inode(inode) => &inode.log,
    }
}

/// What the AIL knows of one item.
struct Entry {
    owner: Owner,
    /// Position of the checkpoint that has the item's oldest change that is not in its place:
    /// [`None`] if the entry is not on the list, because the item is joined to a transaction or in a
    /// checkpoint that is not durable, and has nothing older.
    lsn: Option<Lsn>,
    flush: Flush<BufRef>,
    #[cfg(latchfs_races)]
    marks: mutants::Marks,
}

impl Entry {
    fn new(owner: Owner, lsn: Option<Lsn>, buf: BufRef) -> Self {
        Self {
            owner,
            lsn,
            flush: Flush::attached(buf),
            #[cfg(latchfs_races)]
            marks: mutants::Marks::new(),
        }
    }

    fn item(&self) -> Option<&LogItem> {
        match &self.owner {
            Owner::Buf => self.flush.buf().map(BufRef::item),
            Owner::Inode(inode) => Some(&inode.log),
        }
    }

    /// The item is clean and leaves: what its object remembers of changes goes.
    fn forget(&self) {
        if let Some(item) = self.item() {
            item.set_entry(None);
            item.written();
        }
        if let Owner::Inode(inode) = &self.owner {
            inode.state.clear_dirty();
        }
    }
}

/// What the spinlock protects.
struct Inner {
    list: List<Entry>,
    /// Entries whose last write failed.
    failed: usize,
    next_id: u64,
}

/// The AIL of one mount.
pub struct Ail {
    inner: Spin<Inner, AilLock>,
    health: Arc<Health>,
    policy: ErrorPolicy,
    /// Signs of progress: ends of writes, removals, shutdown. Who waits for the pusher sleeps here.
    progress: WaitQueue,
    /// Writes under way.
    inflight: AtomicU64,
    /// Writes that have ended, for those who wait for one more.
    ended: AtomicU64,
    /// Those of them that failed.
    failures: AtomicU64,
    /// Flush tokens that exist.
    tokens: AtomicU64,
    /// Position up to which somebody wants the list to be empty.
    target: AtomicU64,
    /// The newest position some time ago, and when that was, in seconds since boot.
    mark: AtomicU64,
    mark_time: AtomicU64,
    /// Seconds since boot when unmount began, 0 if it has not.
    unmounting: AtomicU64,
    /// Errno of a write that was given up, 0 if none was: the pusher shuts down.
    hopeless: AtomicU32,
}

/// The AIL under its spinlock. Not [`Send`]; nothing may sleep while it lives.
pub struct AilGuard<'a> {
    inner: SpinGuard<'a, Inner>,
}

impl Ail {
    /// An empty list. ENOMEM.
    pub fn new(health: Arc<Health>) -> sys::SysResult<Arc<Self>> {
        sys::try_arc(Self {
            inner: Spin::new(Inner {
                list: List::new(),
                failed: 0,
                next_id: 0,
            }),
            health,
            policy: ErrorPolicy::new(),
            progress: WaitQueue::new(),
            inflight: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            target: AtomicU64::new(0),
            mark: AtomicU64::new(0),
            mark_time: AtomicU64::new(0),
            unmounting: AtomicU64::new(0),
            hopeless: AtomicU32::new(0),
        })
    }

    /// What becomes of failed writes.
    pub fn policy(&self) -> &ErrorPolicy {
        &self.policy
    }

    /// Whether the file system is alive.
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    fn lock(&self) -> AilGuard<'_> {
        #[cfg(latchfs_races)]
        if self.inner.try_lock().is_none() {
            sys::sync_point!("ail.lock.blocked", 0);
        }
        AilGuard {
            inner: self.inner.lock(),
        }
    }

    /// The oldest position on the list: the log is needed from there on. [`None`] if the list is
    /// empty. Takes the spinlock.
    pub fn tail(&self) -> Option<Lsn> {
        self.lock().tail()
    }

    /// The newest position on the list.
    pub fn newest(&self) -> Option<Lsn> {
        let guard = self.lock();
        let at = guard.inner.list.last()?;
        guard.inner.list.get(at)?.lsn
    }

    /// Items on the list.
    pub fn len(&self) -> usize {
        self.lock().inner.list.len()
    }

    /// Whether nothing is on the list.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The spinlock with room for `n` more entries. May sleep for memory, cannot fail.
    fn lock_with_room(&self, n: usize) -> AilGuard<'_> {
        // What was too much is dropped with the spinlock released.
        let mut old: Option<Room<Entry>> = None;
        loop {
            drop(old.take());
            let segments = {
                let guard = self.lock();
                if guard.inner.list.room() >= n {
                    return guard;
                }
                guard.inner.list.wants_segments()
            };
            let room = Room::must_new(segments);
            let mut guard = self.lock();
            old = Some(guard.inner.list.grow(room));
        }
    }

    /// A transaction wants to change `inode`, whose ILOCK it holds exclusively: takes a pin, if the
    /// item has an entry. If not, [`Self::attach`] is next.
    pub fn join(&self, inode: &Arc<Inode>) -> bool {
        let guard = self.lock();
        if inode.log.entry().is_none() {
            return false;
        }
        inode.log.pin();
        drop(guard);
        true
    }

    /// [`Self::join`] for an inode without an entry: makes one, attached to the buffer with the
    /// inode's slot. May sleep for memory, cannot fail.
    pub fn attach(&self, inode: &Arc<Inode>, buf: BufRef) {
        let mut bag = DropBag::with_room(1);
        let mut guard = self.lock_with_room(1);
        let entry = Entry::new(Owner::Inode(inode.clone()), None, buf);
        debug_assert!(inode.log.entry().is_none());
        match guard.inner.list.insert(entry) {
            Ok(at) => inode.log.set_entry(Some(at)),
            Err(entry) => bag.put(Dropped::Entry(entry)),
        }
        inode.log.pin();
        drop(guard);
    }

    /// The transaction gives the inode back unchanged: the end of [`Self::join`]. The entry goes if
    /// nothing else needs it. Drop what is returned with no spinlock held.
    pub fn detach(&self, inode: &Arc<Inode>) -> DropBag {
        let mut bag = DropBag::with_room(1);
        let mut guard = self.lock();
        inode.log.unpin();
        guard.let_go(&inode.log, &mut bag);
        drop(guard);
        bag
    }

    /// The block that an inode's entry is attached to.
    pub fn block_of(&self, inode: &Inode) -> Option<DiskBlock> {
        let guard = self.lock();
        let entry = guard.inner.list.get(inode.log.entry()?)?;
        entry.flush.buf().map(BufRef::block)
    }

    /// A checkpoint that begins at `lsn` is durable: its items enter the list there (rules M6: at
    /// its first byte, or the tail would pass its own body), and each loses the checkpoint's pin.
    /// Takes everything out of `items`. Positions must not decrease from call to call.
    ///
    /// Holds the spinlock for a bounded number of items at a time. May sleep for memory, cannot
    /// fail. Drop the bag with no spinlock held.
    pub fn committed(&self, items: &mut Vec<ItemRef>, lsn: Lsn) -> (DropBag, Tail) {
        let before = self.tail();
        #[cfg(latchfs_races)]
        let lsn = mutants::position(lsn);
        let mut bag = DropBag::with_room(items.len());
        while !items.is_empty() {
            let mut guard = self.lock_with_room(BATCH);
            for _ in 0..BATCH {
                let Some(item) = items.pop() else { break };
                guard.enter(item, lsn, &mut bag);
            }
            drop(guard);
        }
        (bag, self.moved(before))
    }

    /// The checkpoint that cancels these freed blocks is durable: they leave the list, and each
    /// buffer loses the checkpoint's pin. Takes everything out of `bufs`. Otherwise as
    /// [`Self::committed`].
    pub fn cancelled(&self, bufs: &mut Vec<BufRef>) -> (DropBag, Tail) {
        let before = self.tail();
        let mut bag = DropBag::with_room(bufs.len().saturating_mul(2));
        while !bufs.is_empty() {
            let mut guard = self.lock();
            for _ in 0..BATCH {
                let Some(buf) = bufs.pop() else { break };
                buf.item().unpin();
                guard.leave(buf.item(), &mut bag);
                bag.put(Dropped::Item(ItemRef::Buf(buf)));
            }
            drop(guard);
        }
        (bag, self.moved(before))
    }

    /// The checkpoint of these items will never be durable: each loses its pin, and its changes are
    /// given up. Takes everything out of `items`.
    pub fn aborted(&self, items: &mut Vec<ItemRef>, down: &LogDown) -> DropBag {
        let mut bag = DropBag::with_room(items.len().saturating_mul(2));
        while !items.is_empty() {
            let mut guard = self.lock();
            for _ in 0..BATCH {
                let Some(item) = items.pop() else { break };
                guard.abort(&item, down, &mut bag);
                bag.put(Dropped::Item(item));
            }
            drop(guard);
        }
        self.progress.wake_all();
        bag
    }

    /// Gives up everything on the list that is not being written and in no transaction or
    /// checkpoint. What is being written follows when its write has ended.
    pub fn abort_all(&self, down: &LogDown) {
        let mut from = 0;
        loop {
            let mut bag = DropBag::with_room(BATCH);
            let mut guard = self.lock();
            let mut left = BATCH;
            while left > 0 {
                let Some(at) = guard.inner.list.any_from(from) else {
                    break;
                };
                from = at.saturating_add(1);
                left -= 1;
                guard.abort_entry(at, down, &mut bag);
            }
            drop(guard);
            drop(bag);
            if left > 0 {
                break;
            }
        }
        self.progress.wake_all();
    }

    /// Whether and where to the tail has moved since it was `before`.
    fn moved(&self, before: Option<Lsn>) -> Tail {
        let now = self.tail();
        if now != before {
            self.progress.wake_all();
        }
        Tail::new(before, now)
    }

    /// Takes the item into the write that is about to begin: it has an image as of the returned
    /// position, and the write gets the token. [`None`] if the item is pinned, under writeback, or
    /// not on the list. The caller holds the content of `buf`, the item's buffer, exclusively.
    pub(crate) fn begin(
        self: &Arc<Self>,
        item: &LogItem,
        buf: &BufRef,
    ) -> Option<(FlushToken, Lsn)> {
        let mut guard = self.lock();
        let at = item.entry()?;
        if item.is_pinned() {
            return None;
        }
        let inner = &mut *guard.inner;
        let entry = inner.list.get_mut(at)?;
        if !entry.flush.buf().is_some_and(|mine| mine.same(buf)) {
            return None;
        }
        let lsn = entry.lsn?;
        let id = FlushId(inner.next_id);
        let again = entry.flush.is_failed();
        if !entry.flush.begin(lsn, id) {
            return None;
        }
        inner.failed = inner.failed.saturating_sub(usize::from(again));
        inner.next_id = inner.next_id.wrapping_add(1);
        drop(guard);
        Some((FlushToken::new(self, at, id), lsn))
    }

    /// The write that owned these tokens has ended. `Ok`: its items leave the list, unless they were
    /// committed again since. `Err`: exactly they have failed. The content of the buffer is still
    /// held by the write. Does not sleep.
    pub(crate) fn complete(
        &self,
        tokens: Vec<FlushToken>,
        result: Result<(), Errno>,
    ) -> (DropBag, Tail) {
        let mut bag = DropBag::with_room(tokens.len());
        let mut guard = self.lock();
        let before = guard.tail();
        for token in tokens.iter() {
            let (at, id) = token.spent();
            match result {
                Ok(()) => guard.written(at, id, &mut bag),
                Err(errno) => {
                    guard.failed(at, id, errno);
                    if let Some(down) = self.health.log_down() {
                        guard.abort_entry(at, &down, &mut bag);
                    }
                }
            }
        }
        let now = guard.tail();
        drop(guard);
        (bag, Tail::new(before, now))
    }
}

impl AilGuard<'_> {
    fn tail(&self) -> Option<Lsn> {
        let at = self.inner.list.first()?;
        self.inner.list.get(at)?.lsn
    }

    /// See [`Ail::committed`].
    fn enter(&mut self, item: ItemRef, lsn: Lsn, bag: &mut DropBag) {
        let inner = &mut *self.inner;
        let known = match &item {
            ItemRef::Buf(buf) => buf.item().entry(),
            ItemRef::Inode(inode) => inode.log.entry(),
        };
        if let Some(at) = known {
            if let Some(entry) = inner.list.get_mut(at) {
                debug_assert!(entry.lsn.is_none_or(|old| old <= lsn));
                entry.lsn = Some(lsn);
            }
            inner.list.push_back(at);
            item_of(&item).unpin();
            bag.put(Dropped::Item(item));
            return;
        }
        let buf = match item {
            ItemRef::Buf(buf) => buf,
            ItemRef::Inode(inode) => {
                // Joined means attached.
                debug_assert!(false, "inode {} committed without an entry", inode.ino);
                inode.log.unpin();
                bag.put(Dropped::Item(ItemRef::Inode(inode)));
                return;
            }
        };
        let again = buf.clone();
        let entry = Entry::new(Owner::Buf, Some(lsn), buf);
        match inner.list.insert(entry) {
            Ok(at) => {
                again.item().set_entry(Some(at));
                inner.list.push_back(at);
            }
            Err(entry) => {
                debug_assert!(false, "no room was made");
                bag.put(Dropped::Entry(entry));
            }
        }
        again.item().unpin();
        bag.put(Dropped::Item(ItemRef::Buf(again)));
    }

    /// The item leaves, whatever its state: its block was freed, so no write is under way.
    fn leave(&mut self, item: &LogItem, bag: &mut DropBag) {
        let Some(at) = item.entry() else { return };
        self.take_out(at, bag);
    }

    /// Takes a clean entry out.
    fn take_out(&mut self, at: u32, bag: &mut DropBag) {
        if let Some(entry) = self.inner.list.remove(at) {
            let failed = usize::from(entry.flush.is_failed());
            self.inner.failed = self.inner.failed.saturating_sub(failed);
            entry.forget();
            bag.put(Dropped::Entry(entry));
        }
    }

    /// An inode's item that lost a pin: its entry goes if it is not on the list and nobody is about
    /// to put it there.
    fn let_go(&mut self, item: &LogItem, bag: &mut DropBag) {
        let Some(at) = item.entry() else { return };
        let idle = self
            .inner
            .list
            .get(at)
            .is_some_and(|e| e.lsn.is_none() && !e.flush.is_flushing());
        if idle && !item.is_pinned() {
            self.take_out(at, bag);
        }
    }

    /// The write `id` of an entry has reached the disk.
    fn written(&mut self, at: u32, id: FlushId, bag: &mut DropBag) {
        let list = &mut self.inner.list;
        let Some(entry) = list.get_mut(at) else {
            return;
        };
        let Some(lsn) = entry.flush.written(id) else {
            debug_assert!(false, "token of another write");
            return;
        };
        if entry.lsn != Some(lsn) {
            // Committed again since: the disk has an older state, and the log has the newer one.
            return;
        }
        entry.lsn = None;
        // A buffer does not get changes while it is written, so nobody is about to put it back.
        let keep = match &entry.owner {
            Owner::Buf => false,
            Owner::Inode(inode) => inode.log.is_pinned(),
        };
        list.unlink(at);
        if !keep {
            self.take_out(at, bag);
        }
    }

    /// The write `id` of an entry was lost.
    fn failed(&mut self, at: u32, id: FlushId, errno: Errno) {
        if let Some(entry) = self.inner.list.get_mut(at) {
            #[cfg(latchfs_races)]
            entry.marks.set_failed(true);
            let done = entry.flush.failed(id, errno);
            debug_assert!(done, "token of another write");
            self.inner.failed = self.inner.failed.saturating_add(usize::from(done));
        }
    }

    /// See [`Ail::aborted`].
    fn abort(&mut self, item: &ItemRef, down: &LogDown, bag: &mut DropBag) {
        item_of(item).unpin();
        match item_of(item).entry() {
            Some(at) => self.abort_entry(at, down, bag),
            None => {
                if let ItemRef::Buf(buf) = item {
                    buf.abandon(down);
                }
            }
        }
    }

    /// Gives an entry up, if nothing is under way with it.
    fn abort_entry(&mut self, at: u32, down: &LogDown, bag: &mut DropBag) {
        let Some(entry) = self.inner.list.get(at) else {
            return;
        };
        let pinned = entry.item().is_some_and(LogItem::is_pinned);
        if entry.flush.is_flushing() || pinned {
            return;
        }
        if let (Owner::Buf, Some(buf)) = (&entry.owner, entry.flush.buf()) {
            buf.abandon(down);
        }
        self.take_out(at, bag);
    }
}
