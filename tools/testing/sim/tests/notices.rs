// SPDX-License-Identifier: GPL-2.0

//! That the simulator finds what is broken, and nothing where nothing is.

use latchfs_sim::{
    ace::{Last, Start, Step},
    disk::Broken,
    run::{self, Effort},
};

fn violations(broken: Broken, seeds: std::ops::Range<u64>) -> Vec<String> {
    let effort = Effort {
        states: 60,
        unrecovered: false,
        broken,
    };
    let mut found = Vec::new();
    for seed in seeds {
        found.extend(run::seed(seed, &effort).violations);
    }
    found
}

#[test]
fn nothing_on_an_honest_disk() {
    let found = violations(Broken::No, 0..8);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Data is on its way to the disk when the log says that it is there.
#[test]
fn a_disk_that_ignores_preflush() {
    assert!(!violations(Broken::NoPreflush, 0..30).is_empty());
}

#[test]
fn a_disk_that_ignores_fua() {
    assert!(!violations(Broken::NoFua, 0..30).is_empty());
}

#[test]
fn a_disk_that_ignores_all_flushes() {
    assert!(!violations(Broken::NoFlush, 0..30).is_empty());
}

#[test]
fn a_seed_is_one_run() {
    let tell = run::tell(3);
    assert!(tell.lines().count() > 50);
    assert_eq!(tell, run::tell(3));
    assert_ne!(tell, run::tell(4));
}

#[test]
fn a_short_sequence_survives_everywhere() {
    let start = Start::new();
    for last in [Last::Fsync, Last::Sync] {
        let tally = start.explore(&[Step::Replace, Step::Append], last);
        assert!(tally.states > 10);
        assert_eq!(tally.violation, None);
    }
}
