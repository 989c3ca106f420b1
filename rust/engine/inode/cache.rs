// SPDX-License-Identifier: GPL-2.0

//! Number to object: the inodes in memory.
//!
//! Sharded by chunk, so that tasks that work in different directories do not meet; each shard is a
//! hash table under a spinlock. The table owns the memory of an
//! object, not a use of it: an object stays while it is used, dirty or with inodegc, and after that
//! until the shrinker wants its memory.
//!
//! A number that is being read from disk has a placeholder, so that however many look for it, one
//! reads and all get the same object. Placeholders and new objects are made under the AG inode lock
//! only, and only if the inode map says (or is about to say) that the number is in use.

use super::{
    state::Gone,
    table::{Entry, Store, Table},
    Inode,
};
use crate::{
    engine::{error::Result, locks::InodeShard},
    format::units::Ino,
    sys::{
        atomic::{AtomicU64, AtomicUsize, Ordering},
        Arc,
        Spin,
        Vec,
        WaitQueue, //
    },
};
use core::ops::Deref;

/// A counted use of an [`Inode`]. Cloning and dropping never sleep.
///
/// Dropping the last one leaves the object in the cache; see
/// [`inactivate_later`](crate::engine::namespace::inactivate_later) for what a user that had the
/// inode open must call instead.
pub struct InodeRef {
    inode: Arc<Inode>,
}

impl InodeRef {
    /// For a new object, whose word begins with the one use this is, and for
    /// [`StateWord::claim_free`](super::state::StateWord::claim_free).
    pub(crate) fn adopt(inode: Arc<Inode>) -> Self {
        Self { inode }
    }

    /// The object's memory, without a use.
    pub(crate) fn object(&self) -> &Arc<Inode> {
        &self.inode
    }

    /// Whether both are the same inode.
    pub fn same(&self, other: &InodeRef) -> bool {
        Arc::ptr_eq(&self.inode, &other.inode)
    }
}

impl Deref for InodeRef {
    type Target = Inode;

    fn deref(&self) -> &Inode {
        &self.inode
    }
}

impl Clone for InodeRef {
    fn clone(&self) -> Self {
        self.inode.state.get_more();
        Self {
            inode: self.inode.clone(),
        }
    }
}

impl Drop for InodeRef {
    fn drop(&mut self) {
        self.inode.state.put();
    }
}

/// What a lookup found.
pub(crate) enum Found {
    /// The object, one use taken.
    Object(InodeRef),
    /// Its number is free, or it is unlinked and its last user has gone.
    Unlinked,
    /// Somebody reads it: [`Cache::wait_loaded`], then look again.
    Loading,
    /// Not in memory.
    Nothing,
}

/// How an allocation of a number finds the cache.
pub(crate) enum Reuse {
    /// No object.
    Nothing,
    /// The object of the number's last life, nobody uses it.
    Object(InodeRef),
    /// Somebody still looks at the object of its last life: take another number.
    Busy,
}

/// Number of shards.
/// Few in the models, as in `buf`.
const SHARDS: usize = if cfg!(feature = "shuttle") { 4 } else { 128 };

struct Shard {
    table: Spin<Table, InodeShard>,
    /// Those who wait for an inode that is being read.
    loaded: WaitQueue,
}

/// The cache of one mount.
pub(crate) struct Cache {
    first: Shard,
    /// The other shards.
    more: Vec<Shard>,
    /// Where the shrinker goes on.
    hand: AtomicUsize,
}

impl Shard {
    fn new() -> Self {
        Self {
            table: Spin::new(Table::new()),
            loaded: WaitQueue::new(),
        }
    }
}

impl Cache {
    /// An empty cache. May sleep; ENOMEM.
    pub(crate) fn new() -> Result<Self> {
        Self::with_shards(SHARDS)
    }

    /// [`Self::new`] with another number of shards, at least 1.
    pub(crate) fn with_shards(shards: usize) -> Result<Self> {
        let mut more = Vec::try_with_capacity(shards)?;
        for _ in 1..shards {
            more.try_push(Shard::new())?;
        }
        Ok(Self {
            first: Shard::new(),
            more,
            hand: AtomicUsize::new(0),
        })
    }

    fn shards(&self) -> usize {
        self.more.len().saturating_add(1)
    }

    fn shard_at(&self, n: usize) -> &Shard {
        n.checked_sub(1)
            .and_then(|n| self.more.get(n))
            .unwrap_or(&self.first)
    }

    fn shard_of(&self, ino: Ino) -> &Shard {
        // Chunks of one group are neighbours, so are directories; multiplying spreads the groups.
        let mix = (ino.0 >> 6).wrapping_add((ino.0 >> 32).wrapping_mul(0x9e37_79b1));
        self.shard_at((mix as usize).checked_rem(self.shards()).unwrap_or(0))
    }

    fn shard(&self, ino: Ino) -> &Spin<Table, InodeShard> {
        &self.shard_of(ino).table
    }

    /// Looks for the object of `ino`. Never sleeps.
    pub(crate) fn find(&self, ino: Ino) -> Found {
        let table = self.shard(ino).lock();
        match table.find(ino) {
            None => Found::Nothing,
            Some(Entry::Loading(_)) => Found::Loading,
            Some(Entry::Object(inode)) => match inode.state.get() {
                Ok(()) => Found::Object(InodeRef::adopt(inode.clone())),
                Err(Gone::Dead) => Found::Nothing,
                Err(Gone::Unlinked) => Found::Unlinked,
            },
        }
    }

    /// The object of `ino` in any living state, for the flush of its slot: free numbers and inodes
    /// that are being freed have changes to be written, too. No use is taken. Never sleeps.
    pub(crate) fn peek(&self, ino: Ino) -> Option<Arc<Inode>> {
        let table = self.shard(ino).lock();
        match table.find(ino) {
            Some(Entry::Object(inode)) if !inode.state.is_dead() => Some(inode.clone()),
            _ => None,
        }
    }

    /// Whether a lookup of `ino` would find something, or wait for somebody who reads it.
    pub(crate) fn knows(&self, ino: Ino) -> bool {
        match self.shard(ino).lock().find(ino) {
            None => false,
            Some(Entry::Loading(_)) => true,
            Some(Entry::Object(inode)) => !inode.state.is_dead(),
        }
    }

    /// Waits until `ino` is not being read. May sleep, for one metadata read; the reader needs the
    /// AG inode lock no more.
    pub(crate) fn wait_loaded(&self, ino: Ino) {
        self.shard_of(ino).loaded.wait(|| {
            !matches!(
                self.shard(ino).lock().find(ino),
                Some(Entry::Loading(_)) //
            )
        });
    }

    /// Whether a free number can be used again as far as the cache goes. Under the AG inode lock.
    pub(crate) fn reuse(&self, ino: Ino) -> Reuse {
        let table = self.shard(ino).lock();
        match table.find(ino) {
            None => Reuse::Nothing,
            Some(Entry::Object(inode)) if inode.state.claim_free() => {
                Reuse::Object(InodeRef::adopt(inode.clone()))
            }
            Some(Entry::Object(inode)) if inode.state.is_dead() => Reuse::Nothing,
            Some(_) => Reuse::Busy,
        }
    }

    /// Makes room for one more entry in the shard of `ino` and puts `entry` in, unless there is a
    /// live one: then that stays and `None` is returned. May sleep; ENOMEM unless it `must`.
    fn insert(&self, ino: Ino, entry: Entry, must: bool) -> Result<Option<()>> {
        let shard = self.shard(ino);
        let mut entry = entry;
        let mut store: Option<Store> = None;
        loop {
            let want;
            // What falls out of the table is dropped after its lock.
            let _dead;
            let _old;
            {
                let mut table = shard.lock();
                if let Some(fresh) = store.take() {
                    _old = table.grow_into(fresh);
                }
                match table.find(ino) {
                    Some(Entry::Loading(_)) => return Ok(None),
                    Some(Entry::Object(old)) if !old.state.is_dead() => return Ok(None),
                    _ => {}
                }
                match table.insert(entry) {
                    Ok(old) => {
                        _dead = old;
                        drop(table);
                        return Ok(Some(()));
                    }
                    Err(back) => {
                        entry = back;
                        want = table.wants_room();
                    }
                }
            }
            store = match want {
                Some(slots) if must => Some(Store::must_with_slots(slots)),
                Some(slots) => Some(Store::with_slots(slots)?),
                None => None,
            };
        }
    }

    /// Says that the caller will read `ino`. `None` if it is there, or being read by somebody else.
    /// Under the AG inode lock. May sleep; ENOMEM.
    pub(crate) fn begin_load(&self, ino: Ino) -> Result<Option<Load<'_>>> {
        Ok(self
            .insert(ino, Entry::Loading(ino), false)?
            .map(|()| Load { cache: self, ino }))
    }

    /// Makes a new inode findable. Under the AG inode lock, exclusive, with the number's bit set.
    /// May sleep for memory, cannot fail: the commit that made the inode is done.
    pub(crate) fn publish(&self, inode: &InodeRef) {
        let entry = Entry::Object(inode.object().clone());
        let _ = self.insert(inode.ino, entry, true);
    }

    /// Removes up to `max` objects that are clean and unused: the shrinker's call. Goes on where
    /// the last call ended. Takes spinlocks only. Returns the number removed.
    pub(crate) fn reclaim(&self, max: usize, second_chance: bool) -> usize {
        let mut done = 0;
        for _ in 0..self.shards() {
            if done >= max {
                break;
            }
            let hand = self.hand.fetch_add(1, Ordering::Relaxed);
            let n = hand.checked_rem(self.shards()).unwrap_or(0);
            let shard = &self.shard_at(n).table;
            let mut at = 0;
            loop {
                // One object at a time: freeing an object's memory happens outside of the lock.
                let victim;
                {
                    let mut table = shard.lock();
                    let mut ino = None;
                    let end = table.slots();
                    let mut looked = 0;
                    while at < end && looked < 64 {
                        if let Some(Entry::Object(inode)) = table.slot(at) {
                            if inode.state.reclaim(second_chance) {
                                ino = Some(inode.ino);
                                break;
                            }
                        }
                        at = at.saturating_add(1);
                        looked += 1;
                    }
                    victim = ino.and_then(|ino| table.remove(ino));
                    if victim.is_none() && at >= end {
                        break;
                    }
                }
                #[cfg(latchfs_races)]
                if let Some(Entry::Object(inode)) = &victim {
                    crate::sys::sync_point!("reclaim.before_free", inode.ino.0);
                }
                if victim.is_some() {
                    done += 1;
                    if done >= max {
                        break;
                    }
                }
            }
        }
        done
    }

    /// Kills the clean unused object of `ino`, if there is one. `false` if one is there that cannot
    /// go. Under the AG inode lock, exclusive, for the end of a chunk (rules M3).
    pub(crate) fn evict(&self, ino: Ino) -> bool {
        let _victim;
        let mut table = self.shard(ino).lock();
        match table.find(ino) {
            None => true,
            Some(Entry::Loading(_)) => false,
            Some(Entry::Object(inode)) => {
                if inode.state.reclaim(false) {
                    _victim = table.remove(ino);
                    drop(table);
                    true
                } else {
                    inode.state.is_dead()
                }
            }
        }
    }

    /// The sum of what `f` says of each object in memory; `f` runs under a spinlock. For debugging.
    pub(crate) fn sum(&self, f: impl Fn(&Inode) -> u64) -> u64 {
        let mut sum = 0_u64;
        for n in 0..self.shards() {
            let table = self.shard_at(n).table.lock();
            for at in 0..table.slots() {
                if let Some(Entry::Object(inode)) = table.slot(at) {
                    sum = sum.saturating_add(f(inode));
                }
            }
        }
        sum
    }

    /// Calls `f` with objects in memory until it says false or `most` slots have been looked at, going
    /// on where the last call with this `hand` ended. `f` runs without a lock. For shrinkers: takes
    /// spinlocks only, and allocates nothing.
    pub(crate) fn sweep(
        &self,
        hand: &AtomicU64,
        most: usize,
        f: &mut dyn FnMut(&Arc<Inode>) -> bool,
    ) {
        let start = hand.load(Ordering::Relaxed);
        let (mut shard, mut at) = (
            (start >> 32) as usize,
            (start & u64::from(u32::MAX)) as usize,
        );
        for _ in 0..most {
            let mut found = None;
            {
                let table = self.shard_at(shard).table.lock();
                if at >= table.slots() {
                    shard = shard.wrapping_add(1);
                    if shard >= self.shards() {
                        shard = 0;
                    }
                    at = 0;
                } else {
                    if let Some(Entry::Object(inode)) = table.slot(at) {
                        found = Some(inode.clone());
                    }
                    at = at.saturating_add(1);
                }
            }
            if found.is_some_and(|inode| !f(&inode)) {
                break;
            }
        }
        let end = (shard as u64) << 32 | at as u64 & u64::from(u32::MAX);
        hand.store(end, Ordering::Relaxed);
    }

    /// Objects in memory.
    pub(crate) fn len(&self) -> usize {
        (0..self.shards())
            .map(|n| self.shard_at(n).table.lock().len())
            .sum()
    }
}

/// The right and the duty to read one inode. Dropping it without [`Load::done`] gives up: those who
/// wait will read it themselves.
pub(crate) struct Load<'a> {
    cache: &'a Cache,
    ino: Ino,
}

impl Load<'_> {
    /// The inode was read: everyone finds the object from now on.
    pub(crate) fn done(self, inode: &InodeRef) {
        let _placeholder;
        {
            let mut table = self.cache.shard(self.ino).lock();
            // The placeholder is there, so this replaces it and needs no room.
            _placeholder = table.insert(Entry::Object(inode.object().clone()));
        }
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        {
            let mut table = self.cache.shard(self.ino).lock();
            if let Some(Entry::Loading(_)) = table.find(self.ino) {
                let _ = table.remove(self.ino);
            }
        }
        self.cache.shard_of(self.ino).loaded.wake_all();
    }
}
