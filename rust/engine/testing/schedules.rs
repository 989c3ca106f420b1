// SPDX-License-Identifier: GPL-2.0

//! Models under shuttle: which schedules are tried, and how many.
//!
//! The same ones each time, so that a test that has passed passes, and one that has failed can be
//! looked at. `LATCHFS_SEED` is another seed than the one that is built in, or `random`: `make
//! shuttle-long` looks further each time. A failure says what seed it was.

use shuttle::{
    scheduler::{PctScheduler, RandomScheduler},
    Config, Runner,
};
use std::{
    hash::{BuildHasher, RandomState},
    panic::{catch_unwind, resume_unwind, AssertUnwindSafe},
};

/// The seed if LATCHFS_SEED does not say.
const SEED: u64 = 0x6c61_7463_6866_7301;
/// Preemptions at most in a schedule that has few.
const DEPTH: usize = 3;

/// Schedules of a model: LATCHFS_SCHEDULES, or `default`.
pub(crate) fn schedules(default: usize) -> usize {
    std::env::var("LATCHFS_SCHEDULES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(default)
}

fn seed() -> u64 {
    match std::env::var("LATCHFS_SEED") {
        Err(_) => SEED,
        Ok(s) if s == "random" => RandomState::new().hash_one(()),
        Ok(s) => s.parse().expect("LATCHFS_SEED is a number or random"),
    }
}

/// Runs `model` under both schedulers, random and with few preemptions, `schedules / 2` times each.
pub(crate) fn explore(
    schedules: usize,
    config: &Config,
    model: impl Fn() + Clone + Send + Sync + 'static,
) {
    let (seed, half) = (seed(), (schedules / 2).max(1));
    let run = catch_unwind(AssertUnwindSafe(|| {
        let random = RandomScheduler::new_from_seed(seed, half);
        Runner::new(random, config.clone()).run(model.clone());
        let pct = PctScheduler::new_from_seed(seed, DEPTH, half);
        Runner::new(pct, config.clone()).run(model);
    }));
    if let Err(e) = run {
        eprintln!("LATCHFS_SEED={seed} LATCHFS_SCHEDULES={schedules} does the same again");
        resume_unwind(e);
    }
}

/// Runs what models share and keep, once, where it does not change what their schedules are.
#[allow(
    dead_code,
    reason = "this file is shared, and not all models have such a thing"
)]
pub(crate) fn prepare(config: &Config, shared: impl Fn() + Send + Sync + 'static) {
    Runner::new(RandomScheduler::new_from_seed(SEED, 1), config.clone()).run(shared);
}
