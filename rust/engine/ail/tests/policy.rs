// SPDX-License-Identifier: GPL-2.0

//! How often and how long a write is tried.

use super::super::policy::*;
use crate::sys::Errno;

/// Failures in a row until it is given up, `limit` at most; each a second after the one before.
fn failures(policy: &ErrorPolicy, errno: Errno, unmounting: bool, limit: u32) -> u32 {
    let mut retry = Retry::default();
    for n in 1..=limit {
        let moment = Moment {
            now: 1000 + u64::from(n),
            unmounting: unmounting.then_some(1000),
        };
        if policy.judge(errno, &mut retry, moment) == Verdict::GiveUp {
            return n;
        }
    }
    0
}

#[test]
fn the_defaults_are_xfs_s() {
    let policy = ErrorPolicy::new();
    for class in [ErrnoClass::Default, ErrnoClass::Io, ErrnoClass::NoSpace] {
        assert_eq!(policy.get(class), (FOREVER, FOREVER));
    }
    assert_eq!(policy.get(ErrnoClass::NoDevice), (0, 0));
    assert!(policy.fail_at_unmount());
    assert_eq!(failures(&policy, Errno::IO, false, 100_000), 0);
    assert_eq!(failures(&policy, Errno::NODEV, false, 10), 1);
}

#[test]
fn retries_are_counted_per_errno() {
    let policy = ErrorPolicy::new();
    policy.set_max_retries(ErrnoClass::Io, 3).unwrap();
    // The write, and three retries.
    assert_eq!(failures(&policy, Errno::IO, false, 100), 4);
    assert_eq!(failures(&policy, Errno::NOSPC, false, 100), 0);
    let mut retry = Retry::default();
    for n in 0..100 {
        let errno = [Errno::IO, Errno::NOSPC][n % 2];
        let verdict = policy.judge(errno, &mut retry, Moment::default());
        assert_eq!(verdict, Verdict::Retry, "another errno begins anew");
    }
}

#[test]
fn time_is_counted_from_the_first_failure() {
    let policy = ErrorPolicy::new();
    policy.set_retry_timeout(ErrnoClass::Io, 5).unwrap();
    assert_eq!(failures(&policy, Errno::IO, false, 100), 6);
    policy.set_retry_timeout(ErrnoClass::Io, 0).unwrap();
    assert_eq!(failures(&policy, Errno::IO, false, 100), 2);
}

#[test]
fn an_unmount_ends() {
    let policy = ErrorPolicy::new();
    assert_eq!(failures(&policy, Errno::IO, true, 100), 2);
    policy.set_fail_at_unmount(false);
    let patience = UNMOUNT_PATIENCE as u32;
    assert_eq!(failures(&policy, Errno::IO, true, 10 * patience), patience);
    policy.set_max_retries(ErrnoClass::Io, 7).unwrap();
    assert_eq!(failures(&policy, Errno::IO, true, 100), 8);
}

#[test]
fn limits_are_checked() {
    let policy = ErrorPolicy::new();
    assert_eq!(
        policy.set_max_retries(ErrnoClass::Io, -2),
        Err(Errno::INVAL)
    );
    for bad in [-2, MAX_TIMEOUT + 1] {
        let set = policy.set_retry_timeout(ErrnoClass::Io, bad);
        assert_eq!(set, Err(Errno::INVAL));
    }
    policy
        .set_retry_timeout(ErrnoClass::Io, MAX_TIMEOUT)
        .unwrap();
    policy.set_max_retries(ErrnoClass::Io, FOREVER).unwrap();
    for class in ErrnoClass::ALL {
        assert!(!class.name().is_empty());
    }
    assert_eq!(ErrnoClass::of(Errno::NODEV), ErrnoClass::NoDevice);
    assert_eq!(ErrnoClass::of(Errno::UCLEAN), ErrnoClass::Default);
}
