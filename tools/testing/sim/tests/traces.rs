// SPDX-License-Identifier: GPL-2.0

//! Crash states of traces made by hand: what must be there, what may be, and what cannot.

use latchfs_host::sim::Rng;
use latchfs_sim::{
    crash::{Replay, Style, STYLES},
    image::{Base, BaseKind, Image, BLOCK, SECTOR},
    trace::{Trace, Write},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

fn image() -> Image {
    static BASE: OnceLock<Arc<Base>> = OnceLock::new();
    let base = BASE.get_or_init(|| Arc::new(Base::new(BaseKind::Empty)));
    Image::new(base.clone())
}

/// Where the traces write: blocks nobody needs.
const AT: u64 = 3000;

fn write(block: u64, byte: u8, preflush: bool, fua: bool) -> Write {
    Write {
        start: AT + block,
        data: vec![Arc::new([byte; BLOCK])],
        preflush,
        fua,
        failed: None,
    }
}

/// First bytes of sectors of the blocks 0 and 1 in all crash states at the end of a trace.
fn states(trace: &Trace) -> BTreeSet<(Vec<u8>, Vec<u8>)> {
    let mut found = BTreeSet::new();
    let mut replay = Replay::new(trace, image());
    while replay.step() {}
    let mut rng = Rng::new(1);
    for style in STYLES {
        for _ in 0..200 {
            let choice = replay.choose(style, &mut rng);
            let image = replay.image(&choice);
            let sectors = |block| {
                let mut bytes = [0; BLOCK];
                image.read(AT + block, &mut bytes);
                bytes.chunks(SECTOR).map(|s| s[0]).collect::<Vec<_>>()
            };
            found.insert((sectors(0), sectors(1)));
        }
    }
    found
}

/// The values of one sector of block 0.
fn values(states: &BTreeSet<(Vec<u8>, Vec<u8>)>) -> BTreeSet<u8> {
    states.iter().flat_map(|(a, _)| a.clone()).collect()
}

const OLD: u8 = latchfs_sim::image::POISON;

#[test]
fn a_completed_write_is_loose_until_a_flush() {
    let mut trace = Trace::default();
    let id = trace.submit(write(0, 1, false, false));
    trace.complete(id, None);
    let found = states(&trace);
    assert_eq!(values(&found), BTreeSet::from([1, OLD]));
    // Torn: a state with both.
    assert!(found
        .iter()
        .any(|(a, _)| a.contains(&1) && a.contains(&OLD)));

    let flush = trace.flush();
    assert_eq!(values(&states(&trace)), BTreeSet::from([1, OLD]));
    trace.flushed(flush, true);
    assert_eq!(values(&states(&trace)), BTreeSet::from([1]));
}

#[test]
fn a_flush_covers_what_was_complete_when_it_began() {
    let mut trace = Trace::default();
    let id = trace.submit(write(0, 1, false, false));
    let flush = trace.flush();
    trace.complete(id, None);
    trace.flushed(flush, true);
    assert_eq!(values(&states(&trace)), BTreeSet::from([1, OLD]));
    let failed = trace.flush();
    trace.flushed(failed, false);
    assert_eq!(values(&states(&trace)), BTreeSet::from([1, OLD]));
}

#[test]
fn fua_is_durable_when_complete_and_only_then() {
    let mut trace = Trace::default();
    let id = trace.submit(write(0, 1, false, true));
    assert_eq!(values(&states(&trace)), BTreeSet::from([1, OLD]));
    trace.complete(id, None);
    assert_eq!(values(&states(&trace)), BTreeSet::from([1]));
}

#[test]
fn nothing_of_a_preflush_write_comes_before_what_it_flushes() {
    let mut trace = Trace::default();
    let body = trace.submit(write(0, 1, false, false));
    trace.complete(body, None);
    let commit = trace.submit(write(1, 2, true, true));
    let found = states(&trace);
    assert!(found.iter().any(|(_, b)| b.contains(&2)));
    assert!(found.iter().any(|(a, _)| a.contains(&OLD)));
    for (a, b) in &found {
        let whole = a.iter().all(|s| *s == 1);
        assert!(!b.contains(&2) || whole, "the commit without its body");
    }
    trace.complete(commit, None);
    let found = states(&trace);
    assert_eq!(found, BTreeSet::from([(vec![1; 8], vec![2; 8])]));

    // Without PREFLUSH the order is anybody's.
    let mut trace = Trace::default();
    let body = trace.submit(write(0, 1, false, false));
    trace.complete(body, None);
    trace.submit(write(1, 2, false, true));
    let free = states(&trace);
    assert!(free.iter().any(|(a, b)| b.contains(&2) && a.contains(&OLD)));
}

#[test]
fn the_later_write_is_never_below_the_earlier_one() {
    let mut trace = Trace::default();
    for byte in [1, 2] {
        let id = trace.submit(write(0, byte, false, false));
        trace.complete(id, None);
    }
    let flushed = trace.submit(write(0, 3, false, true));
    trace.complete(flushed, None);
    assert_eq!(values(&states(&trace)), BTreeSet::from([3]));
    let last = trace.submit(write(0, 4, false, false));
    trace.complete(last, None);
    assert_eq!(values(&states(&trace)), BTreeSet::from([3, 4]));
}

#[test]
fn a_failed_write_left_what_it_left() {
    let mut trace = Trace::default();
    let id = trace.submit(write(0, 1, false, false));
    trace.complete(id, Some(vec![0b0000_0011]));
    let found = states(&trace);
    assert!(found.iter().all(|(a, _)| a[2..].iter().all(|s| *s == OLD)));
    assert!(found.iter().any(|(a, _)| a[0] == 1));
    let flush = trace.flush();
    trace.flushed(flush, true);
    let found = states(&trace);
    assert!(found.iter().all(|(a, _)| a[..2] == [1, 1] && a[2] == OLD));
}

#[test]
fn a_request_of_many_blocks_tears_anywhere() {
    let mut trace = Trace::default();
    let id = trace.submit(Write {
        start: AT,
        data: vec![Arc::new([1; BLOCK]), Arc::new([2; BLOCK])],
        preflush: false,
        fua: true,
        failed: None,
    });
    let found = states(&trace);
    assert!(
        found.contains(&(vec![OLD; 8], vec![2; 8]))
            || found.iter().any(|(a, b)| a[0] == OLD && b[7] == 2)
    );
    assert!(found.iter().any(|(a, b)| a[0] == 1 && b[7] == OLD));
    trace.complete(id, None);
    assert_eq!(states(&trace).len(), 1);
}

#[test]
fn styles_are_what_they_say() {
    let mut trace = Trace::default();
    for n in 0..2 {
        let id = trace.submit(write(n, 1 + n as u8, false, false));
        trace.complete(id, None);
    }
    let mut replay = Replay::new(&trace, image());
    while replay.step() {}
    let mut rng = Rng::new(1);
    let mut first = |style| {
        let choice = replay.choose(style, &mut rng);
        let image = replay.image(&choice);
        let mut bytes = [0; BLOCK];
        image.read(AT, &mut bytes);
        let a = bytes[0];
        image.read(AT + 1, &mut bytes);
        (a, bytes[0])
    };
    assert_eq!(first(Style::None), (OLD, OLD));
    assert_eq!(first(Style::All), (1, 2));
    assert_eq!(first(Style::Last), (OLD, 2));
    assert!([(OLD, 2), (1, OLD)].contains(&first(Style::AllButOne)));
}
