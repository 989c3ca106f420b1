// SPDX-License-Identifier: GPL-2.0

//! Memory that runs out and disks that do not read.

use super::super::*;
use super::check::{
    TestKind,
    TestTree,
    NEAR,
    RES, //
};
use crate::engine::mount::MountOpts;
use crate::sys::{
    alloc::fail_after,
    Errno, //
};

/// A tree changes inside a transaction, where memory is allocated without fail; so an operation
/// that has begun does not end for lack of it, cached or not.
#[test]
fn changes_survive_lack_of_memory() {
    let mut t = TestTree::<Dirents>::new();
    let changed = |t: &mut TestTree<Dirents>, i: u64, insert: bool| {
        let record = Dirents::make(Dirents::key(i), 250 << 8);
        let (tree, root) = (t.tree, &mut t.root);
        t.fx.change(RES, |m, txn| {
            fail_after(Some(0));
            let r = if insert {
                tree.insert(m, txn, root, NEAR, &record)
            } else {
                tree.remove(m, txn, root, Dirents::key(i)).map(|_| ())
            };
            fail_after(None);
            r
        })
        .unwrap();
        if insert {
            t.model.insert(Dirents::key(i), record);
        } else {
            t.model.remove(&Dirents::key(i));
        }
    };
    for insert in [true, false] {
        for i in 0..1500 {
            if i % 50 == 0 {
                t.fx.remount();
            }
            changed(&mut t, i * 7 % 1500, insert);
        }
        t.check_disk();
    }
    t.check_gone();
}

/// Unreadable neighbours are not merged with; that is all.
#[test]
fn removal_survives_unreadable_neighbours() {
    let mut t = TestTree::<Extents>::new();
    for i in 0..2000 {
        t.insert(i * 1327 % 2000, 2);
    }
    let errors = crate::engine::faults::OnError::Continue;
    t.fx.remount_with(MountOpts {
        errors,
        ..Default::default()
    });
    // One leaf in the middle is all that is cached.
    t.tree.lookup(&t.fx.m, &t.root, 1000, |_| ()).unwrap();
    // Bitmap blocks, too.
    t.fx.change(RES, |_, _| Ok(())).unwrap();
    let before = t.root.blocks;
    let disk = t.fx.disk.clone();
    let fails = |t: &TestTree<Extents>, key| {
        let r = t.tree.lookup(&t.fx.m, &t.root, key, |_| ());
        r.is_err_and(|e| e.is(Errno::IO))
    };
    disk.fail_reads(true);
    assert!(fails(&t, 10));
    let cached: Vec<u64> = (0..2000).filter(|k| !fails(&t, *k)).collect();
    assert!((100..=252).contains(&cached.len()), "{}", cached.len());
    for key in &cached[2..] {
        t.remove(*key);
    }
    disk.fail_reads(false);
    assert!(!t.fx.m.is_shutdown());
    assert_eq!(t.root.blocks, before);
    t.check();
    // With the neighbours back the next removal merges.
    t.remove(cached[1]);
    assert!(t.root.blocks < before);
    t.check();
}
