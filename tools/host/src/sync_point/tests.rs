// SPDX-License-Identifier: GPL-2.0

//! The points themselves: who is held, until when, and what is said about it.

use super::points::{Damage, Mutant};
use super::table::{self, State};
use super::{task_id, Session};
use crate::Errno;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::thread;

fn sleep_point(key: u64) {
    crate::sync_point!("selftest.sleep", key);
}

fn spin_point(key: u64) {
    crate::sync_point!("selftest.spin", key);
}

#[test]
fn nothing_armed_nobody_held() {
    let s = Session::begin(None);
    sleep_point(1);
    spin_point(1);
    assert_eq!(s.state("selftest.sleep"), State::Unarmed);
    assert_eq!(s.damage(), "");
}

#[test]
fn the_nth_hit_of_the_key_is_held_until_released() {
    let s = Session::begin(None);
    s.command("arm selftest.sleep park key=7 nth=2");
    let passed = Arc::new(AtomicU32::new(0));
    let counter = passed.clone();
    let t = thread::spawn(move || {
        for key in [6, 7, 6, 7, 7] {
            sleep_point(key);
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    s.command("wait selftest.sleep");
    assert_eq!(s.state("selftest.sleep"), State::Held);
    assert_eq!(passed.load(Ordering::SeqCst), 3);
    s.command("release selftest.sleep");
    t.join().unwrap();
    assert_eq!(s.state("selftest.sleep"), State::Passed);
    assert_eq!(table::hits(table::find("selftest.sleep").unwrap()), 5);
}

#[test]
fn a_hit_of_the_other_point_releases() {
    let s = Session::begin(None);
    s.command("arm selftest.spin park until=selftest.sleep limit=20000");
    let t = thread::spawn(|| spin_point(0));
    s.command("wait selftest.spin");
    assert_eq!(s.state("selftest.spin"), State::Held);
    sleep_point(0);
    t.join().unwrap();
    assert_eq!(s.state("selftest.spin"), State::Passed);
}

#[test]
fn two_points_hand_over_to_each_other() {
    // The sleeping side waits for the spinning one to arrive, which waits for the sleeping side to
    // come to its second point.
    for _ in 0..100 {
        let s = Session::begin(None);
        s.command("arm selftest.sleep park until=selftest.spin");
        s.command("arm selftest.spin park until=eb.put.done limit=20000");
        let sleeper = thread::spawn(|| {
            sleep_point(0);
            crate::sync_point!("eb.put.done", 0);
        });
        s.command("wait selftest.sleep");
        spin_point(0);
        sleeper.join().unwrap();
        assert_eq!(s.state("selftest.sleep"), State::Passed);
        assert_eq!(s.state("selftest.spin"), State::Passed);
    }
}

#[test]
fn when_the_other_side_does_not_come_it_is_said() {
    let s = Session::begin(None);
    s.command("arm selftest.spin park limit=1");
    spin_point(0);
    assert_eq!(s.state("selftest.spin"), State::Expired);
    s.command("arm selftest.sleep park");
    assert_eq!(table::command("wait selftest.sleep 1"), Err(Errno::AGAIN));
    assert_eq!(s.state("selftest.sleep"), State::Waiting);
}

#[test]
fn only_this_task() {
    let s = Session::begin(None);
    s.command(&format!("arm selftest.sleep park task={}", task_id()));
    thread::spawn(|| sleep_point(0)).join().unwrap();
    assert_eq!(s.state("selftest.sleep"), State::Waiting);
}

#[test]
fn a_point_fails_as_told() {
    let s = Session::begin(None);
    assert_eq!(crate::fail_point!("selftest.sleep", 3), Ok(()));
    s.command("arm selftest.sleep fail=5 key=3 nth=2 times=2");
    let got: Vec<_> = (0..5)
        .map(|_| crate::fail_point!("selftest.sleep", 3).is_err())
        .collect();
    assert_eq!(got, [false, true, true, false, false]);
    assert_eq!(crate::fail_point!("selftest.sleep", 4), Ok(()));
}

#[test]
fn a_mutant_runs_when_chosen() {
    let s = Session::begin(None);
    assert!(!crate::mutant!(Seed000));
    s.command("mutant seed000");
    assert!(crate::mutant!(Seed000) && !crate::mutant!(Seed002));
    let mut ran = false;
    crate::mutant!(Seed000 => ran = true;);
    assert!(ran);
    table::select(Some(Mutant::Seed002));
    assert!(!crate::mutant!(Seed000) && crate::mutant!(Seed002));
    s.command("mutant none");
    assert!(!crate::mutant!(Seed002));
}

#[test]
fn damage_is_counted() {
    let s = Session::begin(None);
    crate::damage!(DirtyFreed, 9);
    crate::damage!(DirtyFreed, 10);
    assert_eq!(table::damage(Damage::DirtyFreed), 2);
    let mut text = String::new();
    table::status(&mut text).unwrap();
    assert!(
        text.contains("damage 2 key=10 dirty buffer freed"),
        "{text}"
    );
    s.command("reset");
    assert_eq!(s.damage(), "");
}

#[test]
fn nonsense_is_refused() {
    let _s = Session::begin(None);
    for line in [
        "arm",
        "arm nowhere park",
        "arm selftest.sleep",
        "arm selftest.sleep jump",
        "arm selftest.sleep park colour=blue",
        "arm selftest.sleep park until=nowhere",
        "wait selftest.sleep",
        "mutant seed999",
        "frobnicate",
    ] {
        assert_eq!(table::command(line), Err(Errno::INVAL), "{line}");
    }
    assert_eq!(table::command(""), Ok(()));
}

#[test]
fn names_are_unique() {
    for (at, def) in super::points::POINTS.iter().enumerate() {
        assert_eq!(table::find(def.name), Ok(at));
    }
}

#[test]
fn a_sleeping_point_checks_that_one_may_sleep() {
    let _s = Session::begin(None);
    crate::lock_class! { Leaf = "leaf", rank 30; }
    let spin: crate::Spin<(), Leaf> = crate::Spin::new(());
    let held = spin.lock();
    spin_point(0);
    let r = std::panic::catch_unwind(|| sleep_point(0));
    drop(held);
    assert!(r.is_err(), "not armed, and checked all the same");
}
