// SPDX-License-Identifier: GPL-2.0

//! The buffer word under shuttle: find, put, reclaim, dirty, writeback and free in three threads,
//! in a very small model of the cache (one block, one slot, a content lock).
//!
//! What is checked is the damage that the races of the seed would do: a dirty buffer that is torn
//! down (a lost write), a buffer torn down twice or while somebody has a reference, two living
//! buffers of one block, a freed block written, a state seen in which a changed buffer is neither
//! dirty nor under writeback.
//!
//! With the feature `races`, each mutant of the word has to be caught by the model of its race.

mod items;

use crate::engine::{buf::state::*, testing::schedules};
use shuttle::sync::{
    atomic::{AtomicU64, Ordering},
    Arc,
    Mutex, //
};
use shuttle::thread;

/// Schedules of each model, random and biased to few preemptions each half.
const SCHEDULES: usize = 100_000;

/// What a buffer has besides its word.
struct Buf {
    state: BufState,
    /// The content lock; the value is what the block holds.
    content: Mutex<u64>,
    torn_down: AtomicU64,
    /// The block was freed, and this buffer has not seen a new life since.
    freed: AtomicU64,
}

impl Buf {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: BufState::new_reading(),
            content: Mutex::new(0),
            torn_down: AtomicU64::new(0),
            freed: AtomicU64::new(0),
        })
    }
}

/// The cache with one slot, the disk with one block.
#[derive(Default)]
struct World {
    slot: Mutex<Option<Arc<Buf>>>,
    disk: AtomicU64,
}

impl World {
    /// The duty of whoever holds a token.
    fn bury(&self, buf: &Arc<Buf>, token: DeadToken) {
        let _ = token;
        assert_eq!(
            buf.torn_down.fetch_add(1, Ordering::SeqCst),
            0,
            "torn down twice"
        );
        let w = buf.state.load();
        assert!(w.is_dead() && w.refs() == 0, "torn down in use: {w:?}");
        assert!(
            !w.is_dirty() && !w.is_writeback() && !w.is_reading(),
            "busy buffer freed: {w:?}"
        );
        let mut slot = self.slot.lock().unwrap();
        if slot.as_ref().is_some_and(|b| Arc::ptr_eq(b, buf)) {
            *slot = None;
        }
    }

    fn put(&self, buf: &Arc<Buf>) {
        if let Some(token) = buf.state.put() {
            self.bury(buf, token);
        }
    }

    /// Lookup, and a read after a miss. Like the cache: the buffer goes in first, then the block is
    /// read; who finds it in between waits.
    fn find(&self) -> Arc<Buf> {
        let found = self.slot.lock().unwrap().clone();
        if let Some(buf) = found {
            if buf.state.get() {
                return self.wait_read(buf);
            }
        }
        let new = Buf::new();
        let old = {
            let mut slot = self.slot.lock().unwrap();
            match &*slot {
                Some(old) if old.state.get() => Some(old.clone()),
                // Dead, or nothing: the new one takes its place.
                _ => {
                    *slot = Some(new.clone());
                    None
                }
            }
        };
        if let Some(old) = old {
            return self.wait_read(old);
        }
        *new.content.lock().unwrap() = self.disk.load(Ordering::SeqCst);
        assert!(new.state.end_read(true).is_none(), "we have a reference");
        new
    }

    /// A read that nobody waits for.
    fn readahead(&self) {
        let new = Buf::new();
        *self.slot.lock().unwrap() = Some(new.clone());
        self.put(&new);
        *new.content.lock().unwrap() = self.disk.load(Ordering::SeqCst);
        if let Some(token) = new.state.end_read(true) {
            self.bury(&new, token);
        }
    }

    fn wait_read(&self, buf: Arc<Buf>) -> Arc<Buf> {
        while buf.state.load().is_reading() {
            thread::yield_now();
        }
        assert_eq!(buf.torn_down.load(Ordering::SeqCst), 0, "found a dead one");
        buf
    }

    /// Adds one to the block, as a transaction does.
    fn change(&self) {
        let buf = self.find();
        {
            let mut content = buf.content.lock().unwrap();
            if buf.state.load().is_stale() {
                // Somebody freed the block under a reader; a new life begins.
                assert_eq!(buf.state.set_dirty(), None);
                buf.state.revive();
                buf.freed.store(0, Ordering::SeqCst);
            }
            *content += 1;
            assert!(buf.state.set_dirty().is_some(), "{:?}", buf.state.load());
        }
        self.put(&buf);
    }

    /// One round of a writer that finds the buffer on its list.
    fn write(&self, ok: bool) {
        let found = self.slot.lock().unwrap().clone();
        let Some(buf) = found else { return };
        let content = buf.content.lock().unwrap();
        if !buf.state.start_writeback() {
            return;
        }
        assert_eq!(buf.freed.load(Ordering::SeqCst), 0, "freed block written");
        if ok {
            self.disk.store(*content, Ordering::SeqCst);
        }
        let token = buf.state.end_writeback(ok);
        drop(content);
        if let Some(token) = token {
            self.bury(&buf, token);
        }
    }

    fn reclaim(&self) {
        let found = self.slot.lock().unwrap().clone();
        let Some(buf) = found else { return };
        for _ in 0..2 {
            if let Reclaim::Dead(token) = buf.state.reclaim() {
                self.bury(&buf, token);
                return;
            }
        }
    }

    /// The block is freed: what is in memory is never written again.
    fn free(&self) {
        let buf = self.find();
        {
            let _content = buf.content.lock().unwrap();
            buf.state.mark_stale();
            buf.freed.store(1, Ordering::SeqCst);
        }
        self.put(&buf);
    }

    /// What the block holds, wherever its newest content is.
    fn value(&self) -> u64 {
        match &*self.slot.lock().unwrap() {
            Some(buf) if !buf.state.load().is_dead() => *buf.content.lock().unwrap(),
            _ => self.disk.load(Ordering::SeqCst),
        }
    }
}

/// Runs `model` under both schedulers, as often as LATCHFS_SCHEDULES says or [`SCHEDULES`].
fn explore(model: fn()) {
    let config = shuttle::Config::new();
    schedules::explore(schedules::schedules(SCHEDULES), &config, model);
}

fn run(world: &Arc<World>, tasks: Vec<fn(&World)>) {
    let threads: Vec<_> = tasks
        .into_iter()
        .map(|task| {
            let world = world.clone();
            thread::spawn(move || task(&world))
        })
        .collect();
    for t in threads {
        t.join().unwrap();
    }
}

fn changes_writes_reclaim() {
    let world = Arc::new(World::default());
    run(
        &world,
        vec![
            |w| {
                w.change();
                w.change();
            },
            |w| {
                w.write(true);
                w.change();
                w.write(true);
            },
            |w| {
                w.reclaim();
                w.reclaim();
            },
        ],
    );
    assert_eq!(world.value(), 3);
}

#[cfg(not(latchfs_races))]
#[test]
fn no_write_is_lost() {
    explore(changes_writes_reclaim);
}

#[test]
fn failed_writes_lose_nothing() {
    explore(|| {
        let world = Arc::new(World::default());
        run(
            &world,
            vec![
                |w| w.change(),
                |w| {
                    w.write(false);
                    w.write(true);
                },
                |w| {
                    w.reclaim();
                    w.change();
                },
            ],
        );
        assert_eq!(world.value(), 2);
    });
}

/// The seed: one task drops the last reference of a freed block's buffer while another finds
/// it and makes it a new block.
fn last_put_new_life() {
    let world = Arc::new(World::default());
    run(
        &world,
        vec![
            |w| w.free(),
            |w| {
                w.change();
                w.write(true);
            },
            |w| {
                w.reclaim();
                w.write(true);
            },
        ],
    );
}

#[cfg(not(latchfs_races))]
#[test]
fn the_last_put_of_a_stale_buffer_against_a_new_life() {
    explore(last_put_new_life);
}

fn write_reclaim_look() {
    let world = Arc::new(World::default());
    world.change();
    let buf = world.find();
    run(
        &world,
        vec![|w| w.write(false), |w| w.reclaim(), |w| {
            let buf = w.find();
            let s = buf.state.load();
            assert!(s.is_dirty() || s.is_writeback(), "seen clean: {s:?}");
            w.put(&buf);
        }],
    );
    world.put(&buf);
    assert_eq!(world.value(), 1);
}

#[cfg(not(latchfs_races))]
#[test]
fn changed_is_dirty_or_under_writeback() {
    explore(write_reclaim_look);
}

#[test]
fn one_living_buffer_of_a_block() {
    explore(|| {
        let world = Arc::new(World::default());
        let old = world.find();
        old.state.mark_stale();
        world.put(&old);
        run(
            &world,
            vec![
                |w| {
                    let a = w.find();
                    let b = w.find();
                    assert!(Arc::ptr_eq(&a, &b), "two buffers of one block");
                    w.put(&a);
                    w.put(&b);
                },
                |w| w.change(),
                |w| w.reclaim(),
            ],
        );
        assert_eq!(world.value(), 1);
    });
}

/// A read that nobody waits for, while the cache is torn down.
fn read_teardown() {
    let world = Arc::new(World::default());
    run(
        &world,
        vec![
            |w| w.readahead(),
            |w| {
                let found = w.slot.lock().unwrap().clone();
                let Some(buf) = found else { return };
                if let Some((token, _)) = buf.state.discard() {
                    w.bury(&buf, token);
                }
            },
            |w| w.reclaim(),
        ],
    );
}

#[cfg(not(latchfs_races))]
#[test]
fn teardown_leaves_a_read_alone() {
    explore(read_teardown);
}

/// What has to be caught, and the models of it on the real build.
#[cfg(latchfs_races)]
mod mutants {
    use super::*;
    use crate::engine::testing::race_table::Model;
    use crate::sys::sync_point::points::Mutant;

    fn caught(mutants: &'static [Mutant], name: &'static str, model: fn()) {
        Model {
            mutants,
            name,
            with: "shuttle",
        }
        .check(|| explore(model));
    }

    #[test]
    fn stale_decision_and_count_in_two_words() {
        caught(&[Mutant::Seed002], "last put, new life", last_put_new_life);
    }

    #[test]
    fn reclaim_against_dirty() {
        caught(
            &[Mutant::Seed002Reclaim],
            "change, write, reclaim",
            changes_writes_reclaim,
        );
    }

    #[test]
    fn writeback_with_a_gap() {
        caught(
            &[Mutant::Seed002Gap],
            "write, reclaim, look",
            write_reclaim_look,
        );
    }

    #[test]
    fn teardown_under_a_read() {
        caught(&[Mutant::Seed002Purge], "read, teardown", read_teardown);
    }
}
