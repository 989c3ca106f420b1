// SPDX-License-Identifier: GPL-2.0

//! Trees against a `BTreeMap`, at least 10,000 operations a case.

use super::super::*;
use super::check::{
    TestKind,
    TestTree, //
};
use proptest::prelude::*;

/// In which order keys come.
#[derive(Clone, Copy, Debug)]
enum Order {
    Ascending,
    Descending,
    Random,
    /// Four ascending streams side by side.
    Streams,
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        Just(Order::Ascending),
        Just(Order::Descending),
        Just(Order::Random),
        Just(Order::Streams),
    ]
}

/// A permutation of `0..n`: the order in which `n` keys come.
fn keys(order: Order, n: u64, seed: u64) -> Vec<u64> {
    let mut keys: Vec<u64> = (0..n).collect();
    match order {
        Order::Ascending => {}
        Order::Descending => keys.reverse(),
        Order::Random => {
            let mut state = seed | 1;
            for i in (1..keys.len()).rev() {
                keys.swap(i, (next(&mut state) % (i as u64 + 1)) as usize);
            }
        }
        Order::Streams => keys.sort_by_key(|k| (k % (n / 4).max(1), *k)),
    }
    keys
}

/// xorshift64.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Fills a tree in one order, empties it in another; more than 10,000 changes.
fn fill_and_empty<K: TestKind>(fill: Order, empty: Order, seed: u64) {
    const N: u64 = 6000;
    let mut tree = TestTree::<K>::new();
    let mut state = seed | 1;
    for (i, n) in keys(fill, N, seed).into_iter().enumerate() {
        tree.insert(K::key(n * 3), next(&mut state));
        if i % 1500 == 7 {
            tree.check();
        }
    }
    for n in (0..3 * N).step_by(97) {
        tree.look(K::key(n));
    }
    let full = tree.check();
    tree.check_disk();
    for (i, n) in keys(empty, N, !seed).into_iter().enumerate() {
        tree.remove(K::key(n * 3));
        if i % 1500 == 7 {
            let census = tree.check();
            // Merging keeps pace: no more than about four times the leaves that are needed.
            let needed = census.leaf_bytes / page::CAPACITY as u64 + 1;
            assert!(census.leaves <= 4 * needed + 1, "{census:?} of {full:?}");
        }
    }
    tree.check_gone();
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u64, u64),
    Remove(u64),
    /// Remove the first one not below.
    RemoveNear(u64),
    Update(u64, u64, u64),
    Look(u64),
    Step(u32, u64),
}

fn op() -> impl Strategy<Value = Op> {
    let key = || prop_oneof![0..3000_u64, 1000..1100_u64];
    prop_oneof![
        9 => (key(), any::<u64>()).prop_map(|(k, s)| Op::Insert(k, s)),
        2 => key().prop_map(Op::Remove),
        4 => key().prop_map(Op::RemoveNear),
        3 => (key(), 0..4_u64, any::<u64>()).prop_map(|(k, d, s)| Op::Update(k, k + d / 2, s)),
        2 => key().prop_map(Op::Look),
    ]
}

/// Rare operations that take much away.
fn rare() -> impl Strategy<Value = Op> {
    (1..40_u32, 0..2000_u64).prop_map(|(n, take)| Op::Step(n, take))
}

fn run<K: TestKind>(ops: &[Op]) {
    let mut tree = TestTree::<K>::new();
    for (i, op) in ops.iter().enumerate() {
        match *op {
            Op::Insert(k, salt) => tree.insert(K::key(k), salt),
            Op::Remove(k) => tree.remove(K::key(k)),
            Op::RemoveNear(k) => {
                if let Some((k, _)) = tree.model.range(K::key(k)..).next() {
                    let k = *k;
                    tree.remove(k);
                }
            }
            Op::Update(old, new, salt) => tree.update(K::key(old), K::key(new), salt),
            Op::Look(k) => tree.look(K::key(k)),
            Op::Step(max, take) => {
                let progress = tree.destroy_step(max, take);
                assert_eq!(progress == Progress::Done, tree.model.is_empty());
            }
        }
        if i % 1000 == 0 {
            tree.check();
        }
    }
    tree.check_disk();
    while tree.destroy_step(20, u64::MAX) == Progress::More {
        tree.check();
    }
    tree.check();
    tree.check_gone();
}

/// 10,000 operations with a few big cuts among them.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    (
        proptest::collection::vec(op(), 10_000),
        proptest::collection::vec((0..10_000_usize, rare()), 0..4),
    )
        .prop_map(|(mut ops, rare)| {
            for (at, op) in rare {
                ops[at] = op;
            }
            ops
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 400, ..Default::default() })]

    #[test]
    fn extents_fill_and_empty(fill in order(), empty in order(), seed: u64) {
        fill_and_empty::<Extents>(fill, empty, seed);
    }

    #[test]
    fn dirents_fill_and_empty(fill in order(), empty in order(), seed: u64) {
        fill_and_empty::<Dirents>(fill, empty, seed);
    }

    #[test]
    fn extents_are_a_map(ops in ops()) {
        run::<Extents>(&ops);
    }

    #[test]
    fn dirents_are_a_map(ops in ops()) {
        run::<Dirents>(&ops);
    }
}

/// Ascending and descending insertion leave full leaves, random insertion the usual ln 2.
#[test]
fn fill_grades() {
    for (order, expected) in [
        (Order::Ascending, 98),
        (Order::Descending, 98),
        (Order::Streams, 95),
        (Order::Random, 62),
    ] {
        let mut tree = TestTree::<Extents>::new();
        for n in keys(order, 20_000, 5) {
            tree.insert(n, 2);
        }
        let fill = tree.check().fill();
        assert!(fill >= expected, "{order:?}: {fill} %");
    }
}

/// A malformed record is refused before anything changes.
#[test]
fn bad_records_are_refused() {
    let mut tree = TestTree::<Dirents>::new();
    tree.insert(Dirents::key(1), 3);
    let mut record = Dirents::make(Dirents::key(2), 3);
    record.push(0);
    let (t, root) = (tree.tree, &mut tree.root);
    for bad in [&record[..], &record[..12], &[]] {
        let r = tree
            .fx
            .change(super::check::RES, |m, txn| {
                Ok(t.insert(m, txn, root, super::check::NEAR, bad))
            })
            .unwrap();
        assert!(r.unwrap_err().is(crate::sys::Errno::INVAL));
    }
    tree.check();
}
