// SPDX-License-Identifier: GPL-2.0

//! Directories against a map of names, 10,000 operations a case.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Insert(Vec<u8>),
    Remove(Vec<u8>),
    /// Remove the `n`-th of those there are.
    RemoveNth(usize),
    Replace(Vec<u8>),
    Look(Vec<u8>),
}

/// Names of any byte but NUL and '/', of any length, short ones often enough to meet again.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = || (1..=255_u8).prop_map(|b| if b == b'/' { b'~' } else { b });
    prop_oneof![
        6 => (0..900_u32).prop_map(|n| format!("file{n}").into_bytes()),
        2 => proptest::collection::vec(byte(), 1..3),
        2 => proptest::collection::vec(byte(), 1..40),
        1 => proptest::collection::vec(byte(), 200..=255),
        1 => (0..40_u8).prop_map(|n| vec![n + b'A'; 255]),
    ]
    .prop_filter("dots", |n| n != b"." && n != b"..")
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => name().prop_map(Op::Insert),
        2 => name().prop_map(Op::Remove),
        6 => any::<usize>().prop_map(Op::RemoveNth),
        2 => name().prop_map(Op::Replace),
        3 => name().prop_map(Op::Look),
    ]
}

fn run(seed: u64, ops: Vec<Op>, shrinking: bool) {
    let mut dir = TestDir::new(seed);
    let len = ops.len();
    for (i, op) in ops.into_iter().enumerate() {
        match op {
            Op::Insert(name) => dir.insert(&name, i as u64 + 1),
            Op::Remove(name) => dir.remove(&name),
            Op::RemoveNth(n) => {
                // The second half takes more away than it brings.
                let times = if shrinking && i > len / 2 { 3 } else { 1 };
                for _ in 0..times {
                    let count = dir.model.len().max(1);
                    if let Some(name) = dir.model.keys().nth(n % count).cloned() {
                        dir.remove(&name);
                    }
                }
            }
            Op::Replace(name) => dir.replace(&name, i as u64 + 1),
            Op::Look(name) => dir.look(&name),
        }
        if i % 500 == 0 {
            dir.check();
        }
    }
    dir.check();
    dir.empty();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 400, ..Default::default() })]

    #[test]
    fn directory_is_a_map(
        ops in proptest::collection::vec(op(), 10_000),
        seed: u64,
        shrinking: bool,
    ) {
        run(seed, ops, shrinking);
    }

    /// The same with names of two hashes only.
    #[test]
    fn directory_of_equal_hashes_is_a_map(
        ops in proptest::collection::vec(op(), 10_000),
        shrinking: bool,
    ) {
        run(SAME_HASH, ops, shrinking);
    }

    /// Small directories, which change their form all the time.
    #[test]
    fn small_directory_is_a_map(
        ops in proptest::collection::vec(
            prop_oneof![
                (0..14_u32).prop_map(|n| Op::Insert(format!("file-{n:012}").into_bytes())),
                (0..14_u32).prop_map(|n| Op::Remove(format!("file-{n:012}").into_bytes())),
            ],
            10_000,
        ),
        seed: u64,
    ) {
        run(seed, ops, false);
    }
}
