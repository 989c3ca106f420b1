// SPDX-License-Identifier: GPL-2.0

//! A file of a million extents: memory, depth, and (ignored by default) speed.

use super::super::*;

const MILLION: u64 = 1_000_000;

/// An index that knows all of a file of `n` extents, none of which continues the one before, filled
/// in the order of `step` (a generator of `n`).
fn filled(n: u64, step: u64) -> ExtentIndex {
    let mut index = ExtentIndex::new();
    let mut at = 0;
    for _ in 0..n {
        index.must_reserve(CHANGE_NODES);
        let start = FileBlock(at * 8);
        let what = Cached::Written(DiskBlock(100 + at * 16));
        index.fill(start..start.saturating_add(8), what).unwrap();
        at = (at + step) % n;
    }
    assert_eq!(u64::from(index.len()), n);
    index
}

#[test]
fn a_million_extents_take_64_bytes_each_and_20_steps() {
    // In order, and scattered.
    for step in [1, 611_953] {
        let index = filled(MILLION, step);
        let each = index.map.bytes() as f64 / MILLION as f64;
        println!("{each:.2} bytes an entry, height {}", index.map.levels());
        assert!(each <= 64.0, "{each} bytes an entry");
        // AVL: 1.44 log2 n.
        assert!(index.map.levels() <= 29);
    }
}

/// Nanoseconds this thread has run: other load on the machine does not count.
fn cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = stat.split(' ').next();
    first.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// `cargo test --release -p latchfs-engine --lib -- --ignored figures_of_the_index --nocapture`
#[test]
#[ignore = "figures"]
fn figures_of_the_index() {
    let begin = cpu();
    let mut index = filled(MILLION, 611_953);
    let filled = cpu() - begin;
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut found = 0;
    let begin = cpu();
    for _ in 0..MILLION {
        found += u64::from(index.lookup(FileBlock(next() % (MILLION * 8))).is_some());
    }
    let random = cpu() - begin;
    let begin = cpu();
    for at in 0..MILLION {
        found += u64::from(index.lookup(FileBlock(at * 8)).is_some());
    }
    let sequential = cpu() - begin;
    assert_eq!(found, 2 * MILLION);
    let bytes = index.map.bytes() as f64 / MILLION as f64;
    let begin = cpu();
    let dropped = index.drop_cached(u32::MAX);
    let forget = cpu() - begin;
    let each = |ns: u64| ns as f64 / MILLION as f64;
    println!("extent index of 1,000,000 extents: {bytes:.2} bytes an entry");
    println!("  insert in random order  {:6.0} ns", each(filled));
    println!("  lookup, random          {:6.0} ns", each(random));
    println!("  lookup, sequential      {:6.0} ns", each(sequential));
    println!("  reclaim of all {dropped}  {:6.0} ns each", each(forget));
}
