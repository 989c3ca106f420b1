// SPDX-License-Identifier: GPL-2.0

//! A directory of 100,000 names.

use super::*;

#[test]
fn lookup_in_a_hundred_thousand_names_touches_four_blocks() {
    const N: u64 = 100_000;
    let mut dir = TestDir::new(0xfeed_beef);
    let name = |n: u64| format!("some-file-name-{n:06}.txt").into_bytes();
    for n in 0..N {
        dir.insert(&name(n), n + 1);
    }
    assert!(dir.fork.root.depth <= 3, "{:?}", dir.fork.root);

    let mut most = 0;
    for n in (0..N + 1000).step_by(499) {
        most = most.max(dir.cost(&name(n)));
    }
    assert!((2..=4).contains(&most), "{most} blocks");
    dir.check();
    dir.empty();
}
