// SPDX-License-Identifier: GPL-2.0

//! That the simulator finds what is broken in the engine.

use latchfs_host::sync_point::Session;
use latchfs_sim::{
    disk::Broken,
    mutants::{hunt, SEEDS, SHOWN},
    run::{self, Effort},
};

#[test]
fn every_mutant_is_found() {
    let mut missed = Vec::new();
    for (mutant, _) in SHOWN {
        match hunt(*mutant, SEEDS) {
            Some((seed, what)) => println!("{}: seed {seed}: {what}", mutant.name()),
            None => missed.push(mutant.name()),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn without_one_nothing_is() {
    let _session = Session::begin(None);
    let effort = Effort {
        states: 60,
        unrecovered: false,
        broken: Broken::No,
    };
    for seed in 1..20 {
        let found = run::seed(seed, &effort).violations;
        assert!(found.is_empty(), "seed {seed}: {}", found.join("\n"));
    }
}
