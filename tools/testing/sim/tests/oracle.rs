// SPDX-License-Identifier: GPL-2.0

//! The oracle by itself: what it lets pass, and what not.

use latchfs_sim::{
    image::{POISON, SECTOR},
    model::{Data, Promise},
};

/// Writes of 1,024 bytes: 1s at 0 (op 1), 2s at 0 (op 2), 3s behind them (op 3).
fn written() -> Data {
    let mut data = Data::new(0);
    data.write(1, (10, 11), 0, &[1; 1024]);
    data.write(2, (20, 21), 0, &[2; 1024]);
    data.write(3, (30, 31), 1024, &[3; 1024]);
    data
}

#[test]
fn content_is_from_the_promise_on() {
    let data = written();
    let all = [1_u8, 2];
    // Nothing promised: either.
    let window = data.window(100, &Promise::of(0), 0);
    for byte in all {
        assert!(data.allows(0, &[byte; SECTOR], &window, false));
    }
    assert_eq!(window.sizes, (0, 2048));
    // The first write was promised, the second too.
    let window = data.window(100, &Promise::of(25), 0);
    assert!(!data.allows(0, &[1; SECTOR], &window, false));
    assert!(data.allows(0, &[2; SECTOR], &window, false));
    assert_eq!(window.sizes, (1024, 2048));
    // Before the second began.
    let window = data.window(15, &Promise::of(12), 0);
    assert!(!data.allows(0, &[2; SECTOR], &window, false));
    assert_eq!(window.sizes, (1024, 1024));
}

#[test]
fn foreign_and_torn_sectors_are_not() {
    let data = written();
    let window = data.window(100, &Promise::of(0), 0);
    assert!(!data.allows(0, &[POISON; SECTOR], &window, false));
    assert!(!data.allows(0, &[3; SECTOR], &window, false));
    assert!(!data.allows(0, &[0; SECTOR], &window, false));
    assert!(!data.allows(9, &[0; SECTOR], &window, false));
    let mut torn = [1; SECTOR];
    torn[100..].fill(2);
    assert!(!data.allows(0, &torn, &window, false));
    // With an error that was reported, data that was not promised may be gone.
    assert!(data.allows(0, &[0; SECTOR], &window, true));
    let promised = data.window(100, &Promise::of(50), 0);
    assert!(!data.allows(0, &[0; SECTOR], &promised, true));
}

#[test]
fn what_was_cut_off_does_not_come_back() {
    let mut data = written();
    data.truncate(4, (40, 41), 700);
    data.write(5, (50, 51), 1024, &[5; 512]);
    // The truncation is there.
    let window = data.window(100, &Promise::of(0), 4);
    assert!(!data.allows(2, &[3; SECTOR], &window, false));
    assert!(data.allows(2, &[5; SECTOR], &window, false));
    assert_eq!(window.sizes, (700, 1536));
    // The hole in front of it is zeros, also inside of the sector where the file was cut.
    let mut cut = [2; SECTOR];
    assert!(!data.allows(1, &cut, &window, false));
    cut[700 - 512..].fill(0);
    assert!(data.allows(1, &cut, &window, false));
    // In front of the cut an older state will do.
    cut[..700 - 512].fill(1);
    assert!(data.allows(1, &cut, &window, false));
    // It is not: the old content is, and the size cannot be that of later.
    let window = data.window(100, &Promise::of(0), 3);
    assert!(data.allows(2, &[3; SECTOR], &window, false));
    assert_eq!(window.sizes, (0, 2048));
}
