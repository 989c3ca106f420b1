// SPDX-License-Identifier: GPL-2.0

//! The word, the table, the lists and the cache by themselves.

use super::super::{
    bag::Bag,
    cache::{Cache, Found, Reuse},
    lock::lock_many,
    state::{Gone, StateWord},
    table::{Entry, Store, Table},
    *,
};
use crate::{
    engine::{locks::InodeGcList, namespace, testing::Fixture},
    sys::Arc,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::thread;
use std::vec::Vec;

fn ino(n: u64) -> Ino {
    Ino(n)
}

#[test]
fn the_word_gives_references_only_to_living_inodes() {
    let w = StateWord::new();
    assert!(!w.reclaim(false), "used");
    assert_eq!(w.get(), Ok(()));
    w.put();
    w.put();
    assert!(!w.reclaim(true), "second chance");
    assert!(w.set_dirty());
    assert!(!w.set_dirty());
    assert!(!w.reclaim(false), "dirty");
    w.clear_dirty();
    assert!(w.reclaim(true));
    assert_eq!(w.get(), Err(Gone::Dead));
    assert!(!w.reclaim(false), "only one may tear it down");
    assert!(w.is_dead());
}

#[test]
fn the_word_knows_the_last_user() {
    let w = StateWord::new();
    assert_eq!(w.get(), Ok(()));
    assert!(!w.retire(), "two users");
    w.put();
    assert!(w.retire());
    assert_eq!(w.get(), Err(Gone::Unlinked));
    assert!(!w.claim_free(), "not free yet");
    w.set_free();
    assert_eq!(w.get(), Err(Gone::Unlinked));
    assert!(!w.claim_free(), "still used by inodegc");
    w.put();
    assert!(w.claim_free());
    assert!(!w.claim_free(), "once");
    w.clear_free();
    assert_eq!(w.get(), Ok(()));
    assert!(w.set_queued());
    assert!(!w.set_queued());
    w.clear_queued();
    assert!(w.set_queued());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Insert, remove and find against a map; few numbers, so that probes meet.
    #[test]
    fn the_table_is_a_map(ops in prop::collection::vec((0_u64..600, 0_u8..3), 2000)) {
        let mut table = Table::new();
        let mut model: BTreeMap<u64, ()> = BTreeMap::new();
        for (n, op) in ops {
            match op {
                0 | 1 => {
                    if let Some(slots) = table.wants_room() {
                        let _ = table.grow_into(Store::with_slots(slots).unwrap());
                    }
                    let old = table.insert(Entry::Loading(ino(n)));
                    let had = model.insert(n, ()).is_some();
                    prop_assert_eq!(old.ok().map(|o| o.is_some()), Some(had));
                }
                _ => {
                    let had = model.remove(&n).is_some();
                    prop_assert_eq!(table.remove(ino(n)).is_some(), had);
                }
            }
            prop_assert_eq!(table.len(), model.len());
        }
        for n in 0..600 {
            prop_assert_eq!(table.find(ino(n)).is_some(), model.contains_key(&n));
        }
        let listed = (0..table.slots()).filter(|at| table.slot(*at).is_some()).count();
        prop_assert_eq!(listed, model.len());
    }
}

#[test]
fn a_full_table_gives_the_entry_back() {
    let mut table = Table::new();
    assert!(table.insert(Entry::Loading(ino(1))).is_err());
    let _ = table.grow_into(Store::with_slots(16).unwrap());
    let mut n = 0;
    while table.insert(Entry::Loading(ino(n))).is_ok() {
        n += 1;
    }
    assert_eq!(n, 12);
    // What is there can be replaced without room.
    assert!(table
        .insert(Entry::Loading(ino(3)))
        .is_ok_and(|old| old.is_some()));
}

#[test]
fn a_bag_loses_nothing() {
    let bag: Bag<u64, InodeGcList> = Bag::new();
    thread::scope(|s| {
        for t in 0..4_u64 {
            let bag = &bag;
            s.spawn(move || {
                for i in 0..5000 {
                    bag.add(t * 5000 + i);
                }
            });
        }
    });
    assert_eq!(bag.len(), 20_000);
    let mut all: Vec<u64> = bag.take().collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..20_000));
    assert_eq!(bag.len(), 0);
    // A long list is dropped without recursion.
    for i in 0..200_000 {
        bag.add(i);
    }
    drop(bag);
}

#[test]
fn the_cache_has_one_object_for_a_number() {
    let cache = Cache::new().unwrap();
    assert!(matches!(cache.find(ino(7)), Found::Nothing));
    let load = cache.begin_load(ino(7)).unwrap().unwrap();
    assert!(cache.begin_load(ino(7)).unwrap().is_none());
    assert!(matches!(cache.find(ino(7)), Found::Loading));
    let inode = Inode::alloc(ino(7)).unwrap();
    load.done(&inode);
    let Found::Object(found) = cache.find(ino(7)) else {
        panic!("not found");
    };
    assert!(found.same(&inode));
    assert_eq!(cache.len(), 1);
    drop((found, inode));
    assert_eq!(cache.reclaim(10, true), 0, "second chance");
    assert_eq!(cache.reclaim(10, true), 1);
    assert!(matches!(cache.find(ino(7)), Found::Nothing));
}

#[test]
fn a_failed_load_is_tried_again() {
    let cache = Cache::new().unwrap();
    let load = cache.begin_load(ino(7)).unwrap().unwrap();
    thread::scope(|s| {
        let waiter = s.spawn(|| cache.wait_loaded(ino(7)));
        drop(load);
        waiter.join().unwrap();
    });
    assert!(cache.begin_load(ino(7)).unwrap().is_some());
}

#[test]
fn a_free_number_is_reused_with_its_object_or_not_at_all() {
    let cache = Cache::new().unwrap();
    assert!(matches!(cache.reuse(ino(7)), Reuse::Nothing));
    let inode = Inode::alloc(ino(7)).unwrap();
    cache.publish(&inode);
    assert!(matches!(cache.reuse(ino(7)), Reuse::Busy));
    inode.state.set_free();
    assert!(matches!(cache.reuse(ino(7)), Reuse::Busy), "still used");
    assert!(!cache.evict(ino(7)));
    drop(inode);
    let Reuse::Object(again) = cache.reuse(ino(7)) else {
        panic!("not reusable");
    };
    assert!(matches!(cache.reuse(ino(7)), Reuse::Busy));
    assert!(matches!(cache.find(ino(7)), Found::Unlinked));
    drop(again);
    assert!(cache.evict(ino(7)));
    assert!(cache.evict(ino(7)), "nothing is there");
    assert_eq!(cache.len(), 0);
}

#[test]
fn the_cache_grows_and_shrinks() {
    let cache = Cache::new().unwrap();
    let all: Vec<InodeRef> = (0..20_000)
        .map(|n| {
            let inode = Inode::alloc(ino(n)).unwrap();
            cache.publish(&inode);
            inode
        })
        .collect();
    assert_eq!(cache.len(), 20_000);
    while cache.reclaim(1000, false) != 0 {}
    assert_eq!(cache.len(), 20_000, "all are used");
    drop(all);
    let mut gone = 0;
    loop {
        let n = cache.reclaim(1000, false);
        assert!(n <= 1000);
        if n == 0 {
            break;
        }
        gone += n;
    }
    assert_eq!((gone, cache.len()), (20_000, 0));
}

#[test]
fn locks_are_taken_by_number_and_come_back_in_order() {
    let (a, b, c) = (
        Inode::alloc(ino(30)).unwrap(),
        Inode::alloc(ino(10)).unwrap(),
        Inode::alloc(ino(20)).unwrap(),
    );
    for i in [&a, &b, &c] {
        i.ilock.write().core.uid = i.ino.0 as u32;
    }
    let uid = |g: &Option<InodeWrite<'_>>| g.as_ref().map(|g| g.core.uid);
    let guards = lock_many([Some(&*a), Some(&*b), None, Some(&*a), Some(&*c)]);
    let uids: Vec<_> = guards.iter().map(uid).collect();
    assert_eq!(uids, [Some(30), Some(10), None, None, Some(20)]);
    drop(guards);
    let (x, y) = lock_two(&a, &b);
    assert_eq!((x.core.uid, y.unwrap().core.uid), (30, 10));
    drop(x);
    assert!(lock_two(&a, &a).1.is_none());
}

#[test]
fn threads_locking_many_do_not_deadlock() {
    let all: Vec<InodeRef> = (0..6).map(|n| Inode::alloc(ino(n)).unwrap()).collect();
    thread::scope(|s| {
        for t in 0..4_usize {
            let all = &all;
            s.spawn(move || {
                for i in 0..3000_usize {
                    let pick = |k: usize| Some(&*all[(i * k + t * 5 + k) % 6]);
                    let mut guards = lock_many([pick(1), pick(7), pick(3), pick(5)]);
                    for g in guards.iter_mut().flatten() {
                        g.core.nlink += 1;
                    }
                }
            });
        }
    });
}

#[test]
fn a_change_survives_eviction_and_is_in_the_slot_after_a_sync() {
    let f = Fixture::new(16384);
    let root = iget(&f.m, f.m.root_ino()).unwrap();
    let new = namespace::NewInode {
        mode: 0o100600,
        ..namespace::NewInode::default()
    };
    let file = namespace::create(&f.m, &root, b"f", &new).unwrap();
    let n = file.ino;
    let change = namespace::Change {
        uid: Some(77),
        ..namespace::Change::default()
    };
    namespace::setattr(&f.m, &file, &change).unwrap();
    let object = Arc::as_ptr(file.object());
    drop(file);
    // Dirty: the only copy of the change stays.
    reclaim(&f.m, 100);
    reclaim(&f.m, 100);
    let file = iget(&f.m, n).unwrap();
    assert_eq!(Arc::as_ptr(file.object()), object);
    assert_eq!(file.attrs().uid, 77);
    drop(file);
    f.m.push_ail_all().unwrap();
    reclaim(&f.m, 100);
    reclaim(&f.m, 100);
    f.m.buf().reclaim(1000);
    f.m.buf().reclaim(1000);
    let reads = f.reads();
    assert_eq!(iget(&f.m, n).unwrap().attrs().uid, 77);
    assert!(f.reads() > reads);
}
