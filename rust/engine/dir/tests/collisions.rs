// SPDX-License-Identifier: GPL-2.0

//! Names of one hash.

use super::*;
use std::collections::HashMap;

/// 4,096 names of one hash: all operations work, and disambiguators are dense and reused.
#[test]
fn thousands_of_names_of_one_hash() {
    const N: u64 = 4096;
    let mut dir = TestDir::new(SAME_HASH);
    let name = |n: u64| format!("one hash {n}").into_bytes();
    for n in 0..N {
        dir.insert(&name(n), n + 1);
        if n % 5 == 0 {
            // It exists.
            dir.insert(&name(n / 2), 1);
        }
    }
    // Names of the next hash do not mix with them.
    dir.insert(b"~other", 5);
    dir.check();
    for n in (0..N).step_by(17) {
        dir.look(&name(n));
        assert_eq!(dir.model[&name(n)].key, key(77, n as u32));
    }
    dir.look(b"one hash, but absent");

    for n in (0..N).filter(|n| n % 3 == 1) {
        dir.remove(&name(n));
    }
    dir.check();
    // The lowest gaps are filled first.
    dir.insert(b"first gap", 9);
    dir.insert(b"second gap", 9);
    assert_eq!(dir.model[&b"first gap"[..]].key, key(77, 1));
    assert_eq!(dir.model[&b"second gap"[..]].key, key(77, 4));
    for n in 0..N {
        dir.replace(&name(n), n + 2);
    }
    dir.check();
    dir.empty();
}

/// A lookup in a long run reads the run and nothing else.
#[test]
fn a_run_does_not_slow_its_neighbours() {
    let mut dir = TestDir::new(SAME_HASH);
    for n in 0..3000 {
        dir.insert(format!("run {n}").as_bytes(), 1);
    }
    dir.insert(b"~alone", 2);
    let depth = u64::from(dir.fork.root.depth);
    assert!(dir.cost(b"~alone") <= depth + 1);
    assert!(dir.cost(b"~absent") <= depth + 1);
    assert!(dir.cost(b"run 0") <= depth + 1);
    // The last of the run costs the whole run.
    assert!(dir.cost(b"run 2999") <= dir.fork.root.blocks);
}

/// Names that collide under the real hash: one of 2^32 pairs does.
#[test]
fn real_collisions() {
    const SEED: u64 = 0x0123_4567_89ab_cdef;
    let mut names = HashMap::new();
    let mut pairs = Vec::new();
    for n in 0..600_000_u32 {
        let hash = name_hash(SEED, n.to_string().as_bytes());
        if let Some(other) = names.insert(hash, n) {
            pairs.push((other.to_string().into_bytes(), n.to_string().into_bytes()));
        }
    }
    assert!(pairs.len() > 20, "{} pairs", pairs.len());

    let mut dir = TestDir::new(SEED);
    for (a, b) in &pairs {
        dir.insert(a, 1);
        dir.insert(b, 2);
        dir.look(a);
        dir.look(b);
        assert_eq!(dir.model[a].key + 1, dir.model[b].key);
    }
    // The first of a pair goes, the second keeps its key, the first comes back to its own.
    for (a, b) in &pairs {
        let before = dir.model[a].key;
        dir.remove(a);
        dir.look(b);
        dir.insert(a, 3);
        assert_eq!(dir.model[a].key, before);
    }
    dir.check();
    dir.empty();
}
