// SPDX-License-Identifier: GPL-2.0

//! Discards: never of a block that somebody has or may need after a crash.

use super::tape::{taped, Event};
use crate::engine::{
    mount::MountOpts,
    txn::{FreeKind, TxnRes},
    Mount,
};
use crate::format::{BlockRange, DiskBlock};
use crate::sys::{Arc, Errno};

fn take(m: &Arc<Mount>, goal: u64, n: u32) -> BlockRange {
    let claim = m.claim(DiskBlock(goal), n, n).unwrap();
    let mut txn = m.begin(TxnRes::new(0, 0).frees(1)).unwrap();
    let range = txn.use_claim(claim).unwrap();
    txn.commit().unwrap();
    range
}

fn free(m: &Arc<Mount>, range: BlockRange) {
    let mut txn = m.begin(TxnRes::new(0, 0).frees(1)).unwrap();
    txn.free(range, FreeKind::Data).unwrap();
    txn.commit().unwrap();
}

fn discards(events: &[Event]) -> Vec<(u64, u64)> {
    events
        .iter()
        .filter_map(|e| match e {
            Event::Discard(start, len) => Some((*start, *len)),
            _ => None,
        })
        .collect()
}

#[test]
fn freed_blocks_are_discarded_behind_their_checkpoint() {
    let (tape, m) = taped(16_384, MountOpts::default());
    m.set_discard(true);
    let range = take(&m, 2000, 64);
    m.checkpoint().unwrap();
    tape.take();
    free(&m, range);
    assert!(discards(&tape.take()).is_empty(), "not durable yet");
    m.checkpoint().unwrap();
    let events = tape.take();
    let log = events.iter().position(|e| matches!(e, Event::Log(..)));
    let discard = events.iter().position(|e| matches!(e, Event::Discard(..)));
    assert!(log.unwrap() < discard.unwrap(), "{events:?}");
    assert_eq!(discards(&events), [(range.start.get(), 64)]);
    // And they can be used.
    assert_eq!(m.alloc().claim_exact(range).unwrap().range(), range);
    m.alloc().check(true).unwrap();
    m.unmount().unwrap();
}

#[test]
fn without_the_option_nothing_is_discarded() {
    let (tape, m) = taped(16_384, MountOpts::default());
    let range = take(&m, 2000, 64);
    free(&m, range);
    m.unmount().unwrap();
    assert!(discards(&tape.take()).is_empty());
}

#[test]
fn fitrim_discards_what_is_free_and_nothing_else() {
    let (tape, m) = taped(16_384, MountOpts::default());
    let used = take(&m, 2000, 64);
    let claimed = m.claim(DiskBlock(3000), 32, 32).unwrap();
    let busy = take(&m, 4000, 16);
    m.checkpoint().unwrap();
    free(&m, busy);
    tape.take();
    let before = m.statfs();
    let bytes = m.trim(0, u64::MAX, 0, &|| false).unwrap();
    let done = discards(&tape.take());
    assert_eq!(bytes, done.iter().map(|(_, n)| n * 4096).sum::<u64>());
    for r in [used, claimed.range(), busy] {
        let end = r.end().get();
        assert!(
            done.iter()
                .all(|(s, n)| s + n <= r.start.get() || *s >= end),
            "{r:?} {done:?}"
        );
    }
    // Nearly all of the rest.
    assert!(bytes / 4096 > before.free - 1000, "{bytes}");
    assert_eq!(m.statfs(), before);
    m.alloc().check(true).unwrap();
    // A part of the device, long runs only; nothing beyond the end.
    let end = 5000 * 4096;
    m.trim(1000 * 4096, 4000 * 4096, 100 * 4096, &|| false)
        .unwrap();
    let done = discards(&tape.take());
    assert!(!done.is_empty());
    assert!(done
        .iter()
        .all(|(s, n)| *s >= 1000 && (s + n) * 4096 <= end && *n >= 100));
    let e = m.trim(1 << 50, 1, 0, &|| false).unwrap_err();
    assert!(e.is(Errno::INVAL));
    assert_eq!(m.trim(0, u64::MAX, 0, &|| true).unwrap(), 0, "interrupted");
    drop(claimed);
    m.unmount().unwrap();
}

#[test]
fn allocation_and_fitrim_at_once_share_no_block() {
    let (_tape, m) = taped(16_384, MountOpts::default());
    let before = m.statfs();
    std::thread::scope(|s| {
        let m = &m;
        s.spawn(move || {
            for _ in 0..30 {
                m.trim(0, u64::MAX, 0, &|| false).unwrap();
            }
        });
        for t in 0..2_u64 {
            s.spawn(move || {
                for n in 0..100 {
                    let range = take(m, t * 8000 + n * 50, 20);
                    free(m, range);
                }
            });
        }
    });
    m.checkpoint().unwrap();
    m.alloc().check(true).unwrap();
    assert_eq!(m.statfs(), before);
    m.unmount().unwrap();
}
