// SPDX-License-Identifier: GPL-2.0

//! The scheduler itself: that a seed decides, and that what goes wrong is said.

use super::*;
use crate::{lock_class, Mutex, RwSem, WaitQueue};
use std::sync::Arc;

lock_class! {
    A = "sim-a", rank 10;
    B = "sim-b", rank 10;
}

fn options(seed: u64) -> Options {
    Options {
        seed,
        preempt: 2,
        steps: 100_000,
    }
}

/// Three threads write their numbers under a lock; the order is the result.
fn order(seed: u64) -> Vec<u32> {
    run(&options(seed), || {
        let log: Arc<Mutex<Vec<u32>, A>> = Arc::new(Mutex::new(Vec::new()));
        let threads: Vec<_> = (0..3)
            .map(|n| {
                let log = log.clone();
                spawn("writer", move || {
                    for _ in 0..20 {
                        log.lock().push(n);
                    }
                })
            })
            .collect();
        for t in threads {
            t.join();
        }
        let log = log.lock();
        log.clone()
    })
    .expect("a run")
}

#[test]
fn a_seed_is_one_order() {
    let first = order(1);
    assert_eq!(first.len(), 60);
    assert_eq!(first, order(1));
    assert!((2..10).any(|seed| order(seed) != first));
}

#[test]
fn readers_writers_and_wakeups() {
    for seed in 0..50 {
        let sum = run(&options(seed), || {
            let sem: Arc<RwSem<u32, A>> = Arc::new(RwSem::new(0));
            let queue = Arc::new(WaitQueue::new());
            let (s, q) = (sem.clone(), queue.clone());
            let reader = spawn("reader", move || {
                q.wait(|| s.try_read().is_some_and(|n| *n == 10));
                *s.read()
            });
            for _ in 0..10 {
                *sem.write() += 1;
                queue.wake_all();
            }
            reader.join()
        });
        assert_eq!(sum, Ok(10));
    }
}

#[test]
fn time_passes_when_nothing_else_happens() {
    let waited = run(&options(3), || {
        let queue = WaitQueue::new();
        assert!(!queue.wait_until(|| false, 5_000));
        nanos()
    })
    .expect("a run");
    assert!(waited >= 5_000_000_000);
}

#[test]
fn a_deadlock_is_named() {
    let failure = (0..200).find_map(|seed| {
        run(&options(seed), || {
            let a: Arc<Mutex<(), A>> = Arc::new(Mutex::new(()));
            let b: Arc<Mutex<(), B>> = Arc::new(Mutex::new(()));
            let (a2, b2) = (a.clone(), b.clone());
            let other = spawn("other", move || {
                // A nest level keeps the checker of ranks out of this.
                let _b = b2.lock();
                let _a = a2.lock_nested(1);
            });
            {
                let _a = a.lock();
                let _b = b.lock_nested(1);
            }
            other.join();
        })
        .err()
    });
    assert_eq!(failure, Some(Failure::Deadlock("main, other".to_string())));
}

#[test]
fn a_panic_ends_the_run_with_its_message() {
    let failure = run(&options(1), || {
        spawn("victim", || panic!("on purpose")).join()
    });
    match failure {
        Err(Failure::Panic(what)) => assert!(what.starts_with("victim: on purpose at "), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_thread_left_behind_is_a_failure() {
    let failure = run(&options(1), || {
        let _ = spawn("daemon", || block(1, None));
    });
    assert_eq!(failure, Err(Failure::Left("daemon".to_string())));
}

#[test]
fn random_numbers_and_the_clock_are_the_runs() {
    let draw = |seed| run(&options(seed), || (crate::random_u64(), crate::now()));
    assert_eq!(draw(5), draw(5));
    assert_ne!(draw(5), draw(6));
}
