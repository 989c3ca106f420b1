// SPDX-License-Identifier: GPL-2.0

//! Choosing numbers, growing and shrinking.

use super::{hints::BitSet, *};
use crate::{
    engine::{
        inode::{self, InodeRef},
        mount::Mount,
        namespace::{self, NewInode},
        testing::{check, Fixture},
    },
    format::{
        limits::MAP_INODES,
        units::{AgNumber, Ino},
    },
    sys::{Arc, Device, Errno},
};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::vec::Vec;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_bit_set_is_a_set(ops in prop::collection::vec((0_u32..10_000, 0_u8..3, 0_u32..10_100), 1000)) {
        let mut set = BitSet::new(10_000).unwrap();
        let mut model = BTreeSet::new();
        for (n, op, from) in ops {
            if op == 0 {
                set.set(n);
                model.insert(n);
            } else if op == 1 {
                set.clear(n);
                model.remove(&n);
            }
            let next = model.range(from..).next().copied();
            prop_assert_eq!(set.next(from), next);
            let wrapped = next.or_else(|| model.first().copied());
            prop_assert_eq!(set.next_wrapping(from), wrapped);
        }
    }
}

#[test]
fn the_empty_bit_set_has_no_member() {
    let mut set = BitSet::none();
    set.set(3);
    assert_eq!(set.next_wrapping(0), None);
    let mut set = BitSet::new(1 << 20).unwrap();
    set.set((1 << 20) - 1);
    set.set(1 << 20);
    assert_eq!(set.next(0), Some((1 << 20) - 1));
}

fn file() -> NewInode {
    NewInode {
        mode: 0o100644,
        ..NewInode::default()
    }
}

fn root(m: &Arc<Mount>) -> InodeRef {
    inode::iget(m, m.root_ino()).unwrap()
}

#[test]
fn a_claim_keeps_others_away_until_it_is_dropped() {
    let f = Fixture::new(16384);
    let near = f.m.root_ino();
    let a = claim(&f.m, near, false).unwrap();
    let b = claim(&f.m, near, false).unwrap();
    assert_ne!(a.ino, b.ino);
    let ino = a.ino;
    drop(a);
    let c = claim(&f.m, near, false).unwrap();
    assert_eq!(c.ino, ino);
    drop((b, c));
    // 62 are left in the first chunk; more claims make more chunks.
    let all: Vec<InoClaim<'_>> = (0..300)
        .map(|_| claim(&f.m, near, false).unwrap())
        .collect();
    let unique: BTreeSet<Ino> = all.iter().map(|c| c.ino).collect();
    assert_eq!(unique.len(), 300);
    drop(all);
    // Nothing of the new chunks was ever used.
    f.m.unmount().unwrap();
    let dev = Device::new(f.disk.clone(), false);
    let sum = check::check(&dev, false).unwrap();
    assert_eq!((sum.slots.len(), sum.inodes), (1, 64));
}

#[test]
fn the_map_grows_by_blocks_and_shrinks_again() {
    let f = Fixture::with_groups(16384, Some(16384));
    let m = &f.m;
    let root = root(m);
    m.sync().unwrap();
    let before = m.statfs();
    let n = MAP_INODES * 2 + 100;
    for i in 0..n {
        namespace::create(m, &root, format!("{i}").as_bytes(), &file()).unwrap();
    }
    let group = m.inodes.group(AgNumber(0)).unwrap();
    assert_eq!(group.read(m).unwrap().map_blocks, 3);
    for i in 0..n {
        let name = format!("{i}");
        let inode = namespace::lookup(m, &root, name.as_bytes())
            .unwrap()
            .unwrap();
        namespace::unlink(m, &root, name.as_bytes(), &inode, Default::default()).unwrap();
        namespace::inactivate_later(m, inode);
    }
    m.sync().unwrap();
    assert_eq!(group.read(m).unwrap().map_blocks, 1);
    assert_eq!(m.statfs(), before);
    m.unmount().unwrap();
    let dev = Device::new(f.disk.clone(), false);
    assert_eq!(check::check(&dev, false).unwrap().inodes, 64);
}

#[test]
fn a_chunk_with_somebody_in_memory_is_not_freed() {
    let f = Fixture::new(16384);
    let m = &f.m;
    let root = root(m);
    // Fill the first chunk, so that the next files are in the second.
    let mut first = Vec::new();
    let mut second = None;
    for i in 0.. {
        let name = format!("{i}");
        let inode = namespace::create(m, &root, name.as_bytes(), &file()).unwrap();
        if inode.ino.chunk() == 1 {
            second = Some((name, inode));
            break;
        }
        first.push(inode);
    }
    let (name, inode) = second.unwrap();
    namespace::unlink(m, &root, name.as_bytes(), &inode, Default::default()).unwrap();
    let (ino, generation) = (inode.ino, inode.generation());
    m.sync().unwrap();
    assert_eq!(
        m.counts()
            .inodes
            .load(crate::sys::atomic::Ordering::Relaxed),
        128
    );
    namespace::inactivate_later(m, inode);
    m.sync().unwrap();
    assert_eq!(
        m.counts()
            .inodes
            .load(crate::sys::atomic::Ordering::Relaxed),
        64
    );
    // Its block may be anything now, and is not looked at.
    assert!(inode::iget_handle(m, ino, generation).is_err_and(|e| e.is(Errno::STALE)));
}

#[test]
fn a_full_group_spills_into_the_others() {
    let f = Fixture::with_groups(8192, Some(2048));
    let m = &f.m;
    let root = root(m);
    let mut groups = BTreeSet::new();
    for i in 0..60_000 {
        match namespace::create(m, &root, format!("{i}").as_bytes(), &file()) {
            Ok(inode) => groups.insert(inode.ino.ag()),
            Err(e) => {
                assert!(e.is(Errno::NOSPC), "{e}");
                break;
            }
        };
    }
    assert_eq!(groups.len(), 4);
}

#[test]
fn creations_in_one_group_run_side_by_side() {
    let f = Fixture::with_groups(16384, Some(16384));
    let m = &f.m;
    let root = root(m);
    let dirs: Vec<InodeRef> = (0..4)
        .map(|i| {
            let new = NewInode {
                mode: 0o040755,
                ..NewInode::default()
            };
            namespace::create(m, &root, format!("d{i}").as_bytes(), &new).unwrap()
        })
        .collect();
    std::thread::scope(|s| {
        for d in &dirs {
            s.spawn(move || {
                for i in 0..1000 {
                    namespace::create(m, d, format!("{i}").as_bytes(), &file()).unwrap();
                }
            });
        }
    });
    drop((root, dirs));
    f.m.unmount().unwrap();
    let dev = Device::new(f.disk.clone(), false);
    assert_eq!(check::check(&dev, false).unwrap().slots.len(), 4005);
}
