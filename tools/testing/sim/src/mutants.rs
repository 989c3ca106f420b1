// SPDX-License-Identifier: GPL-2.0

//! The simulator against an engine that is broken in one place: of each part that a crash depends on
//! there is a mutant, and some seed has to find it.

use crate::{
    disk::Broken,
    run::{self, Effort},
};
use latchfs_host::sync_point::{
    points::{Mutant, MUTANTS},
    Session,
};

/// Mutants that a crash shows, and what is wrong with them.
pub const SHOWN: &[(Mutant, &str)] = &[
    (
        Mutant::ReplayCancel,
        "recovery: writes to blocks that were freed",
    ),
    (Mutant::ReplayTorn, "recovery: believes torn blocks"),
    (Mutant::AilLate, "AIL: items enter behind their checkpoint"),
    (
        Mutant::OrderedEarly,
        "completion: recorded before the data is there",
    ),
    (
        Mutant::OrderedError,
        "completion: recorded though the write failed",
    ),
    (Mutant::SizeEarly, "size: does not wait for data"),
    (
        Mutant::Seed001Flush,
        "fsync: no flush after the data was written",
    ),
];

/// Seeds that are tried until one finds it.
pub const SEEDS: u64 = 400;

/// The mutant of this name.
pub fn named(name: &str) -> Option<Mutant> {
    let found = MUTANTS.iter().find(|(_, n)| *n == name);
    found.map(|(mutant, _)| *mutant)
}

/// Runs seeds on a mutant until one of them finds something: which, and what.
pub fn hunt(mutant: Mutant, seeds: u64) -> Option<(u64, String)> {
    let _session = Session::begin(Some(mutant));
    let effort = Effort {
        states: 80,
        unrecovered: false,
        broken: Broken::No,
    };
    (1..=seeds).find_map(|seed| {
        let violation = run::seed(seed, &effort).violations.into_iter().next()?;
        Some((seed, violation))
    })
}
