// SPDX-License-Identifier: GPL-2.0

//! Damaged trees: nodes are overwritten in the cache, behind the verifier's back. Whatever is
//! there, every operation ends, with a result or an error, and no record is seen out of order.

use super::super::*;
use super::check::{
    TestKind,
    TestTree,
    NEAR,
    RES, //
};
use crate::format::units::BLOCK_SIZE;
use core::ops::ControlFlow;
use proptest::prelude::*;

/// How a node is damaged.
#[derive(Clone, Debug)]
enum Damage {
    /// Bytes anywhere.
    Bytes(Vec<(usize, u8)>),
    /// Bytes in the node's header and its first entries or slots.
    Head(Vec<(usize, u8)>),
    /// A child pointer becomes that of another node.
    Child(usize, usize),
    /// The whole node becomes a copy of another one.
    Copy(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        proptest::collection::vec((40..BLOCK_SIZE, any::<u8>()), 1..200).prop_map(Damage::Bytes),
        proptest::collection::vec((40..100_usize, any::<u8>()), 1..6).prop_map(Damage::Head),
        (0..20_usize, any::<usize>()).prop_map(|(i, n)| Damage::Child(i, n)),
        any::<usize>().prop_map(Damage::Copy),
    ]
}

fn hurt<K: TestKind>(t: &TestTree<K>, nodes: &[u64], victim: usize, damage: &Damage) {
    let pick = |n: usize| DiskBlock(nodes[n % nodes.len()]);
    let get = |block| {
        t.fx.m
            .buf()
            .read(block, BlockKind::Tree, super::check::OWNER)
    };
    let Ok(victim) = get(pick(victim)) else {
        return;
    };
    let source = match damage {
        Damage::Copy(n) => get(pick(*n)).ok().map(|b| *b.data()),
        _ => None,
    };
    t.fx.change(RES, |_, txn| {
        txn.modify(&victim, |page| {
            let page = page.whole();
            match damage {
                Damage::Bytes(list) | Damage::Head(list) => {
                    for (at, byte) in list {
                        page[*at] = *byte;
                    }
                }
                Damage::Child(index, n) => {
                    let at = page::AREA + index * page::BRANCH + 8;
                    page[at..at + 8].copy_from_slice(&pick(*n).0.to_le_bytes());
                }
                // The header stays: it says which block this is.
                Damage::Copy(_) => page[40..].copy_from_slice(&source.unwrap()[40..]),
            }
        });
        Ok(())
    })
    .unwrap();
}

fn survive<K: TestKind>(n: u64, damages: &[(usize, Damage)], key: u64, op: u8, salt: u64) {
    let mut t = TestTree::<K>::new();
    for i in 0..n {
        t.insert(K::key(i * 7 % n), salt.rotate_left(i as u32));
    }
    let nodes = t.blocks();
    for (victim, damage) in damages {
        hurt(&t, &nodes, *victim, damage);
    }

    let (tree, m, mut root) = (t.tree, &t.fx.m, t.root);
    let key = K::key(key);
    let _ = tree.lookup(m, &root, key, |_| ());
    let mut last = None;
    let mut seen = 0;
    let _ = tree.scan(m, &root, 0, |_| {
        seen += 1;
        ControlFlow::<()>::Continue(())
    });
    assert!(seen <= 4 * n, "{seen} records of {n}");
    if let Ok(Some(mut cursor)) = tree.seek_ge(m, &root, key) {
        while let Ok(now) = cursor.key() {
            assert!(seen <= 8 * n);
            seen += 1;
            last = Some(now).max(last);
            if !cursor.next(m).unwrap_or(false) {
                break;
            }
        }
    }
    if let Ok(Some(mut cursor)) = tree.seek_le(m, &root, key) {
        while let Ok(_now) = cursor.key() {
            assert!(seen <= 16 * n);
            seen += 1;
            if !cursor.prev(m).unwrap_or(false) {
                break;
            }
        }
    }

    let record = K::make(key, salt);
    let _ = t.fx.change(RES, |m, txn| {
        match op % 4 {
            0 => tree.insert(m, txn, &mut root, NEAR, &record)?,
            1 => {
                tree.remove(m, txn, &mut root, key)?;
            }
            2 => tree.update(m, txn, &mut root, NEAR, key, &record)?,
            _ => {
                tree.destroy_step(m, txn, &mut root, 20, |_| true)?;
            }
        }
        Ok(())
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..Default::default() })]

    #[test]
    fn damaged_extent_trees_are_survived(
        damages in proptest::collection::vec((any::<usize>(), damage()), 1..6),
        key in 0..700_u64,
        op: u8,
        salt: u64,
    ) {
        survive::<Extents>(700, &damages, key, op, salt);
    }

    #[test]
    fn damaged_dirent_trees_are_survived(
        damages in proptest::collection::vec((any::<usize>(), damage()), 1..6),
        key in 0..500_u64,
        op: u8,
        salt: u64,
    ) {
        survive::<Dirents>(500, &damages, key, op, salt);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..Default::default() })]

    /// Damage on the disk with the checksum repaired: the verifier lets some of it through.
    #[test]
    fn damage_on_disk_is_survived(
        list in proptest::collection::vec(
            (any::<usize>(), prop_oneof![40..120_usize, 40..BLOCK_SIZE], any::<u8>()),
            1..6,
        ),
        key in 0..400_u64,
    ) {
        use crate::sys::device::Backend;

        let mut t = TestTree::<Dirents>::new();
        for i in 0..400 {
            t.insert(Dirents::key(i), i * 3);
        }
        let nodes = t.blocks();
        t.fx.m.unmount().unwrap();
        for (victim, at, byte) in list {
            let block = nodes[victim % nodes.len()];
            let mut bytes = [0; BLOCK_SIZE];
            t.fx.disk.read(block, &mut bytes).unwrap();
            bytes[at] = byte;
            crate::format::header::reseal(&mut bytes, t.fx.m.context());
            t.fx.disk.write(block, &bytes).unwrap();
        }
        t.fx.remount_only();

        let (tree, mut root, key) = (t.tree, t.root, Dirents::key(key));
        let _ = tree.lookup(&t.fx.m, &root, key, |_| ());
        let mut last = None;
        let _ = tree.scan(&t.fx.m, &root, 0, |entry| {
            assert!(last < Some(entry.key), "order");
            last = Some(entry.key);
            ControlFlow::<()>::Continue(())
        });
        let _ = t.fx.change(RES, |m, txn| tree.remove(m, txn, &mut root, key));
        let record = Dirents::make(key, 9);
        let _ = t.fx.change(RES, |m, txn| tree.insert(m, txn, &mut root, NEAR, &record));
    }
}

/// A root that is not what the inode says.
#[test]
fn bad_roots_are_errors() {
    let mut t = TestTree::<Extents>::new();
    for i in 0..600 {
        t.insert(i, 2);
    }
    let (tree, m) = (t.tree, &t.fx.m);
    assert_eq!(t.root.depth, 2);
    for depth in [1, 3, 8, 9, 255] {
        let root = TreeRoot { depth, ..t.root };
        let r = tree.lookup(m, &root, 5, |_| ());
        assert!(r.unwrap_err().is(crate::sys::Errno::UCLEAN), "{depth}");
    }
    // Another owner's tree.
    let other = Tree::<Extents>::new(crate::format::header::Owner::inode(
        crate::format::units::Ino(99),
    ));
    assert!(other.lookup(m, &t.root, 5, |_| ()).is_err());
    // Another kind's.
    let other = Tree::<Dirents>::new(super::check::OWNER);
    assert!(other.lookup(m, &t.root, 5, |_| ()).is_err());
}

/// A tree whose child points at its parent, or at a sibling, ends a descent with an error.
#[test]
fn cycles_are_errors() {
    for index in 0..2 {
        let mut t = TestTree::<Extents>::new();
        for i in 0..600 {
            t.insert(i, 2);
        }
        let root =
            t.fx.m
                .buf()
                .read(t.root.block, BlockKind::Tree, super::check::OWNER)
                .unwrap();
        let sibling = view(&root, Shape::INTERIOR, |node| node.child(0)).unwrap();
        let to = [t.root.block.0, sibling][index];
        t.fx.change(RES, |_, txn| {
            txn.modify(&root, |page| {
                let at = page::AREA + page::BRANCH + 8;
                page.whole()[at..at + 8].copy_from_slice(&to.to_le_bytes());
            });
            Ok(())
        })
        .unwrap();
        let r = t
            .tree
            .scan(&t.fx.m, &t.root, 0, |_| ControlFlow::<()>::Continue(()));
        assert!(r.unwrap_err().is(crate::sys::Errno::UCLEAN));
        // In the range of the second entry.
        let r = t.tree.lookup(&t.fx.m, &t.root, 300, |_| ());
        assert!(r.unwrap_err().is(crate::sys::Errno::UCLEAN));
    }
}
