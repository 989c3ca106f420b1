// SPDX-License-Identifier: GPL-2.0

//! The buffer word under loom: all interleavings of two or three short threads in the C11 memory
//! model, so that an ordering that is too weak shows.
//!
//! What the word's orderings alone must protect are relaxed cells here: the memory of a buffer that
//! is torn down (every use by a holder comes before it), the content that a read has filled in
//! (whoever sees UPTODATE sees it), a change (whoever takes DIRTY away sees it).

use crate::engine::buf::state::*;
use loom::{
    sync::{
        atomic::{AtomicU64, Ordering::Relaxed},
        Arc, //
    },
    thread, //
};

/// A buffer, and what its holders write.
struct Buf {
    state: BufState,
    used: [AtomicU64; 2],
    freed: AtomicU64,
}

impl Buf {
    fn new(state: BufState) -> Arc<Self> {
        Arc::new(Self {
            state,
            used: [AtomicU64::new(0), AtomicU64::new(0)],
            freed: AtomicU64::new(0),
        })
    }

    /// Uses the memory as holder `n`, then gives the reference back.
    fn use_and_put(&self, n: usize, holders: u64) {
        self.used[n].store(1, Relaxed);
        if let Some(token) = self.state.put() {
            self.tear_down(token, holders);
        }
    }

    fn reclaim(&self, holders: u64) {
        for _ in 0..2 {
            if let Reclaim::Dead(token) = self.state.reclaim() {
                self.tear_down(token, holders);
                return;
            }
        }
    }

    /// Everything that `holders` holders did must be visible, and nobody else comes here.
    fn tear_down(&self, _token: DeadToken, holders: u64) {
        let seen: u64 = self.used.iter().map(|u| u.load(Relaxed)).sum();
        assert_eq!(seen, holders, "torn down before a holder was done");
        assert_eq!(self.freed.fetch_add(1, Relaxed), 0, "torn down twice");
    }
}

/// Runs `f` in a thread of the model.
fn spawn(buf: &Arc<Buf>, f: impl FnOnce(&Buf) + 'static) -> thread::JoinHandle<()> {
    let buf = buf.clone();
    thread::spawn(move || f(&buf))
}

#[test]
fn a_holder_is_done_before_the_shrinker_frees() {
    loom::model(|| {
        let buf = Buf::new(BufState::new_uptodate());
        let shrinker = spawn(&buf, |b| b.reclaim(1));
        buf.use_and_put(0, 1);
        shrinker.join().unwrap();
    });
}

fn last_puts() {
    let buf = Buf::new(BufState::new_uptodate());
    assert!(buf.state.get());
    buf.state.mark_stale();
    let other = spawn(&buf, |b| b.use_and_put(1, 2));
    buf.use_and_put(0, 2);
    other.join().unwrap();
    assert_eq!(buf.freed.load(Relaxed), 1);
}

#[test]
fn both_holders_of_a_stale_buffer_are_done_before_one_frees() {
    loom::model(last_puts);
}

fn lookup_and_reclaim() {
    let buf = Buf::new(BufState::new_uptodate());
    let shrinker = spawn(&buf, |b| {
        if let Reclaim::Dead(_) = b.state.reclaim() {
            b.freed.store(1, Relaxed);
        }
    });
    let finder = spawn(&buf, |b| {
        if b.state.get() {
            assert!(!b.state.load().is_dead());
            assert_eq!(b.freed.load(Relaxed), 0, "found after its end");
            assert!(b.state.put().is_none());
        }
    });
    assert!(buf.state.put().is_none());
    shrinker.join().unwrap();
    finder.join().unwrap();
}

#[test]
fn a_lookup_finds_a_living_buffer_or_misses() {
    loom::model(lookup_and_reclaim);
}

#[test]
fn whoever_sees_uptodate_sees_what_was_read() {
    loom::model(|| {
        let buf = Buf::new(BufState::new_reading());
        assert!(buf.state.get());
        let device = spawn(&buf, |b| {
            b.used[0].store(7, Relaxed);
            assert!(b.state.end_read(true).is_none());
        });
        if buf.state.load().is_uptodate() {
            assert_eq!(buf.used[0].load(Relaxed), 7);
        }
        device.join().unwrap();
    });
}

#[test]
fn whoever_takes_dirty_away_sees_the_change() {
    loom::model(|| {
        let buf = Buf::new(BufState::new_uptodate());
        let writer = spawn(&buf, |b| {
            if b.state.start_writeback() {
                assert_eq!(b.used[0].load(Relaxed), 3);
                assert!(b.state.end_writeback(true).is_none());
            }
        });
        buf.used[0].store(3, Relaxed);
        assert_eq!(buf.state.set_dirty(), Some(true));
        assert!(buf.state.put().is_none());
        writer.join().unwrap();
    });
}

#[test]
fn three_at_once_end_with_one_teardown() {
    loom::model(|| {
        let buf = Buf::new(BufState::new_uptodate());
        assert!(buf.state.get());
        buf.state.mark_stale();
        let shrinker = spawn(&buf, |b| b.reclaim(2));
        let other = spawn(&buf, |b| b.use_and_put(1, 2));
        buf.use_and_put(0, 2);
        other.join().unwrap();
        shrinker.join().unwrap();
        assert_eq!(buf.freed.load(Relaxed), 1);
    });
}

fn write_and_look() {
    let buf = Buf::new(BufState::new_uptodate());
    assert_eq!(buf.state.set_dirty(), Some(true));
    // Ends after everybody has looked.
    let writer = spawn(&buf, |b| assert!(b.state.start_writeback()));
    let seen = buf.state.load();
    assert!(seen.is_dirty() || seen.is_writeback(), "seen clean");
    writer.join().unwrap();
}

#[test]
fn a_changed_buffer_is_never_seen_clean() {
    loom::model(write_and_look);
}

fn read_and_teardown() {
    let buf = Buf::new(BufState::new_reading());
    assert!(buf.state.put().is_none());
    let device = spawn(&buf, |b| {
        b.used[0].store(1, Relaxed);
        assert!(b.state.end_read(true).is_none());
    });
    if let Some((token, _)) = buf.state.discard() {
        buf.tear_down(token, 1);
    }
    device.join().unwrap();
}

#[test]
fn teardown_leaves_a_read_alone() {
    loom::model(read_and_teardown);
}
