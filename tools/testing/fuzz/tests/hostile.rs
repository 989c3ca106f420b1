// SPDX-License-Identifier: GPL-2.0

//! Thousands of hostile images through fsck and the engine.
//!
//! `LATCHFS_FUZZ_SEED` and `LATCHFS_FUZZ_COUNT` choose which; a failure prints its number.

use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use latchfs_fuzz::{exercise, mutate, Base, Patch, Tally};

/// Longest time that one image may take, on a slow and busy machine.
const LONGEST: Duration = Duration::from_secs(120);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Ends the process if the current image takes too long.
fn watch(current: &Arc<AtomicU64>) {
    let current = current.clone();
    std::thread::spawn(move || {
        let mut last = (u64::MAX, Instant::now());
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = current.load(Ordering::Relaxed);
            if now != last.0 {
                last = (now, Instant::now());
            } else if last.1.elapsed() > LONGEST {
                eprintln!("image {now}: hangs");
                std::process::abort();
            }
        }
    });
}

#[test]
fn thousands() {
    // What the engine says about damaged images is right, and of no interest here.
    latchfs_host::log::set_sink(Some(Box::new(|_, _| ())));
    let bases = [Base::sample(), Base::crashed()];
    let first = number("LATCHFS_FUZZ_SEED", 0);
    let count = number("LATCHFS_FUZZ_COUNT", 2000);
    let current = Arc::new(AtomicU64::new(0));
    let seen = current.clone();
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let n = seen.load(Ordering::Relaxed);
        eprintln!("image {n} (LATCHFS_FUZZ_SEED={n} LATCHFS_FUZZ_COUNT=1):");
        hook(info);
    }));
    watch(&current);

    let mut tally = Tally::default();
    // The bases themselves, first.
    for base in &bases {
        exercise(base, &Patch::new(), base.size, &mut tally);
    }
    assert_eq!((tally.clean, tally.mounted, tally.failed), (2, 2, 0));
    for seed in first..first + count {
        current.store(seed, Ordering::Relaxed);
        let base = &bases[seed as usize % 2];
        let patch = mutate(base, seed);
        // A device that was cut off, now and then.
        let size = match seed % 50 {
            49 => base.size - 1 - seed % 5000,
            _ => base.size,
        };
        exercise(base, &patch, size, &mut tally);
    }
    println!("{tally:?}");
}
