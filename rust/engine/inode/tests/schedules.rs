// SPDX-License-Identifier: GPL-2.0

//! The life of an inode object under shuttle: lookups, changes, unlink and inodegc, a new life of
//! the number, flush and shrinker in three threads, with the real word, table and cache and a disk
//! of one slot.
//!
//! What is checked is rules M1: a committed change is never lost, whoever drops what when; a lookup
//! never sees an older life or reads the slot while an object exists; a number is not used twice.

use super::super::{
    cache::{Cache, Found, Reuse},
    Inode, InodeRef,
};
use crate::{
    engine::{
        locks::{AgInodeLock, InodeGcList},
        testing::schedules::{explore, schedules},
    },
    format::units::Ino,
    sys::{Arc, RwSem, Spin},
};
use shuttle::thread;
use std::vec::Vec;

/// Schedules of the model, random and biased to few preemptions each half.
const SCHEDULES: usize = 100_000;

const INO: Ino = Ino(5);

/// What is on the disk: generation and version of the one slot, as last flushed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Slot {
    generation: u32,
    version: u64,
}

/// The file system: one number.
struct World {
    cache: Cache,
    /// The bit of the inode map, under the AG inode lock.
    used: RwSem<bool, AgInodeLock>,
    claimed: Spin<bool, InodeGcList>,
    disk: Spin<Slot, InodeGcList>,
    dirty: Spin<Vec<std::sync::Arc<Inode>>, InodeGcList>,
    /// What must be true of the current life: changes made in it.
    truth: Spin<Slot, InodeGcList>,
}

impl World {
    fn new() -> Arc<Self> {
        let first = Slot {
            generation: 1,
            version: 0,
        };
        Arc::new(Self {
            cache: Cache::with_shards(1).unwrap(),
            used: RwSem::new(true),
            claimed: Spin::new(false),
            disk: Spin::new(first),
            dirty: Spin::new(Vec::new()),
            truth: Spin::new(first),
        })
    }

    /// As `load::find`.
    fn find(&self) -> Option<InodeRef> {
        loop {
            match self.cache.find(INO) {
                Found::Object(inode) => return Some(inode),
                Found::Unlinked => return None,
                Found::Loading => {
                    self.cache.wait_loaded(INO);
                    continue;
                }
                Found::Nothing => {}
            }
            let load = {
                let used = self.used.read();
                if !*used {
                    return None;
                }
                match self.cache.begin_load(INO).unwrap() {
                    Some(load) => load,
                    None => {
                        thread::yield_now();
                        continue;
                    }
                }
            };
            let slot = *self.disk.lock();
            let inode = Inode::alloc(INO).unwrap();
            {
                let mut inner = inode.ilock.write();
                inner.core.mode = 1;
                inner.core.nlink = 1;
                inner.core.generation = slot.generation;
                inner.core.version = slot.version;
            }
            inode.set_links(1);
            load.done(&inode);
            return Some(inode);
        }
    }

    fn mark_dirty(&self, inode: &InodeRef) {
        if inode.state.set_dirty() {
            self.dirty.lock().push(inode.object().clone());
        }
    }

    /// A transaction that changes the inode, if it has not been deleted.
    fn change(&self) {
        let Some(inode) = self.find() else { return };
        let seen = inode.ilock.read().core.generation;
        let mut inner = inode.ilock.write();
        assert_eq!(
            inner.core.generation, seen,
            "a new life while the old one is used"
        );
        if inner.core.nlink == 0 {
            return;
        }
        {
            let mut truth = self.truth.lock();
            assert_eq!(
                inner.core.generation, truth.generation,
                "an older life was found"
            );
            assert_eq!(inner.core.version, truth.version, "a change was lost");
            truth.version += 1;
        }
        inner.core.version += 1;
        self.mark_dirty(&inode);
    }

    /// Unlink, the last user goes, inodegc runs.
    fn delete(&self) {
        let Some(inode) = self.find() else { return };
        {
            let mut inner = inode.ilock.write();
            if inner.core.nlink == 0 {
                return;
            }
            inner.core.nlink = 0;
            inode.set_links(0);
            self.mark_dirty(&inode);
        }
        while !inode.state.retire() {
            thread::yield_now();
        }
        if inode.links() != 0 {
            inode.state.clear_inactive();
            return;
        }
        let mut inner = inode.ilock.write();
        assert_eq!(inner.core.nlink, 0, "an inode with a name is freed");
        inner.core.mode = 0;
        self.mark_dirty(&inode);
        let mut used = self.used.write();
        assert!(*used, "freed twice");
        *used = false;
        inode.state.set_free();
    }

    /// Gives the inode a name again if it has lost the last one.
    fn link(&self) {
        let Some(inode) = self.find() else { return };
        thread::yield_now();
        let mut inner = inode.ilock.write();
        if inner.core.mode != 0 && inner.core.nlink == 0 {
            inner.core.nlink = 1;
            inode.set_links(1);
            self.mark_dirty(&inode);
        }
    }

    /// A new life of the number, if it is free: claimed under the AG inode lock, made under the
    /// ILOCK, findable under the AG inode lock.
    fn create(&self) {
        let (inode, fresh) = {
            let used = self.used.read();
            if *used || core::mem::replace(&mut *self.claimed.lock(), true) {
                return;
            }
            match self.cache.reuse(INO) {
                Reuse::Nothing => (Inode::alloc(INO).unwrap(), true),
                Reuse::Object(inode) => (inode, false),
                Reuse::Busy => {
                    *self.claimed.lock() = false;
                    return;
                }
            }
        };
        let mut inner = inode.ilock.write();
        {
            let mut truth = self.truth.lock();
            truth.generation += 1;
            truth.version = 0;
            inner.core.generation = truth.generation;
        }
        inner.core.mode = 1;
        inner.core.nlink = 1;
        inner.core.version = 0;
        inode.set_links(1);
        self.mark_dirty(&inode);
        let mut used = self.used.write();
        assert!(!*used, "a number in use was allocated");
        *used = true;
        if fresh {
            self.cache.publish(&inode);
        } else {
            inode.state.clear_free();
        }
        *self.claimed.lock() = false;
    }

    fn flush(&self) {
        let all = core::mem::take(&mut *self.dirty.lock());
        for inode in all {
            let inner = inode.ilock.read();
            *self.disk.lock() = Slot {
                generation: inner.core.generation,
                version: inner.core.version,
            };
            inode.state.clear_dirty();
        }
    }

    /// Everything goes to the disk and out of memory; what is there then?
    fn settle(&self) {
        self.flush();
        while self.cache.reclaim(10, false) != 0 {}
        assert_eq!(self.cache.len(), 0, "an object nobody uses stays");
        if *self.used.read() {
            let disk = *self.disk.lock();
            let truth = *self.truth.lock();
            assert_eq!(disk, truth);
        }
    }
}

fn model() {
    let w = World::new();
    let user = {
        let w = w.clone();
        thread::spawn(move || {
            w.change();
            w.link();
            w.create();
            w.change();
        })
    };
    let killer = {
        let w = w.clone();
        thread::spawn(move || {
            w.change();
            w.delete();
            w.create();
        })
    };
    for _ in 0..2 {
        w.flush();
        w.cache.reclaim(10, true);
        w.cache.reclaim(10, false);
    }
    user.join().unwrap();
    killer.join().unwrap();
    w.settle();
}

#[test]
fn no_change_is_lost_and_no_life_is_mixed_up() {
    explore(schedules(SCHEDULES), &shuttle::Config::new(), model);
}
