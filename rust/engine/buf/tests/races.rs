// SPDX-License-Identifier: GPL-2.0

//! Seed 002: recycling of buffers. T-002-A to T-002-E.

use super::cache::*;
use crate::engine::buf::*;
use crate::engine::testing::races::{hits, reproduce, until, Race, Seen, Slow};
use crate::sys::device::MemDisk;
use crate::sys::sync_point::{points::Mutant, table::State, Session};
use std::thread;

/// The text that is on the disk, read by another cache.
fn on_disk(disk: &std::sync::Arc<MemDisk>, block: DiskBlock) -> Vec<u8> {
    let other = cache_on(disk.clone());
    let read = other.read(block, KIND, OWNER);
    read.map_or(Vec::new(), |buf| text(&buf))
}

/// A block with the text `old` on the disk; its buffer is cached, clean and unused.
fn settled(world: &World, block: DiskBlock) {
    drop(put(world, block, b"old"));
    sync(world).unwrap();
}

fn arm(s: &Session, point: &str, block: DiskBlock, more: &str) {
    s.command(&format!("arm {point} park key={block} limit=20000 {more}"));
}

#[test]
fn t_002_a_last_put_against_new_life() {
    let race = Race {
        name: "T-002-A",
        mutant: Mutant::Seed002,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let (world, disk) = new_cache();
        let block = at(0);
        settled(&world, block);
        // The block was freed; one reader still has a reference, which it gives back now.
        let last = world.read(block, KIND, OWNER).unwrap();
        world.forget(block);
        arm(s, "eb.put.decided", block, "");
        thread::scope(|scope| {
            let a = scope.spawn(move || drop(last));
            s.command("wait eb.put.decided");
            // Meanwhile the block begins a new life.
            let new = world.fresh(block, KIND, OWNER).unwrap();
            change(&world, &new, b"new");
            drop(new);
            s.command("release eb.put.decided");
            a.join().unwrap();
        });
        seen.passed(s, "eb.put.decided");
        let _ = sync(&world);
        seen.must(
            on_disk(&disk, block) == b"new",
            "the new block is not on disk",
        );
        seen
    });
}

#[test]
fn t_002_b_reclaim_against_dirty() {
    let race = Race {
        name: "T-002-B",
        mutant: Mutant::Seed002Reclaim,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let (world, disk) = new_cache();
        let block = at(0);
        settled(&world, block);
        arm(s, "eb.reclaim.decided", block, "until=eb.find.blocked");
        thread::scope(|scope| {
            let shrinker = scope.spawn(|| world.reclaim(1));
            s.command("wait eb.reclaim.decided");
            // It finds the door shut until the shrinker has done what it decided, or, with the
            // mutant, gets through.
            let user = scope.spawn(|| {
                let buf = world.read(block, KIND, OWNER).unwrap();
                change(&world, &buf, b"new");
            });
            user.join().unwrap();
            s.command("release eb.reclaim.decided");
            shrinker.join().unwrap();
        });
        seen.passed(s, "eb.reclaim.decided");
        let _ = sync(&world);
        seen.must(on_disk(&disk, block) == b"new", "the change is not on disk");
        seen
    });
}

#[test]
fn t_002_c_read_against_teardown() {
    let race = Race {
        name: "T-002-C",
        mutant: Mutant::Seed002Purge,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let (world, disk) = new_cache();
        let block = at(0);
        settled(&world, block);
        let world = cache_on(std::sync::Arc::new(Slow(disk)));
        arm(s, "eb.read.before_end", block, "");
        thread::scope(|scope| {
            // Nobody waits for it, so only READING keeps the buffer. The read ends in a task of its
            // own: whoever asked has given his reference back, as all have before a teardown.
            world.readahead(block, KIND, OWNER);
            s.command("wait eb.read.before_end");
            // Teardown waits for the read, or does not.
            let teardown = scope.spawn(|| world.purge());
            seen.reached(until(|| {
                hits("eb.purge.waits") != 0 || teardown.is_finished()
            }));
            s.command("release eb.read.before_end");
            until(|| s.state("eb.read.before_end") == State::Passed);
            seen.must(
                teardown.join().unwrap() == (0, 0),
                "a buffer is lost or held",
            );
        });
        seen.passed(s, "eb.read.before_end");
        seen.must(
            world.purge() == (0, 0) && world.count() == 0,
            "a buffer is left",
        );
        seen
    });
}

#[test]
fn t_002_d_two_creators_and_a_dead_predecessor() {
    let race = Race {
        name: "T-002-D",
        mutant: Mutant::Seed002Insert,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let (world, disk) = new_cache();
        let block = at(0);
        settled(&world, block);
        let last = world.read(block, KIND, OWNER).unwrap();
        world.forget(block);
        arm(s, "eb.bury.before", block, "");
        arm(s, "eb.insert.before", block, "");
        thread::scope(|scope| {
            // A dead buffer is still in the index.
            let undertaker = scope.spawn(move || drop(last));
            s.command("wait eb.bury.before");
            // Two tasks miss; the second is first to put its buffer in.
            let first = scope.spawn(|| world.read(block, KIND, OWNER).unwrap());
            s.command("wait eb.insert.before");
            let second = world.read(block, KIND, OWNER).unwrap();
            s.command("release eb.insert.before");
            let first = first.join().unwrap();
            seen.must(first.same(&second), "two buffers of one block");
            change(&world, &second, b"new");
            seen.must(text(&first) == b"new", "two contents of one block");
            s.command("release eb.bury.before");
            undertaker.join().unwrap();
            let found = world.find(block);
            seen.must(
                found.is_some_and(|found| found.same(&second)),
                "the living buffer is not in the cache",
            );
        });
        seen.passed(s, "eb.bury.before");
        seen.passed(s, "eb.insert.before");
        seen.reached(hits("eb.insert.before") == 2);
        let _ = sync(&world);
        seen.must(on_disk(&disk, block) == b"new", "the change is not on disk");
        seen
    });
}

#[test]
fn t_002_e_writeback_against_reclaim() {
    let race = Race {
        name: "T-002-E",
        mutant: Mutant::Seed002Gap,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let (world, disk) = new_cache();
        let block = at(0);
        settled(&world, block);
        drop(put_again(&world, block, b"new"));
        arm(s, "eb.wb.decided", block, "");
        thread::scope(|scope| {
            let writer = scope.spawn(|| sync(&world));
            s.command("wait eb.wb.decided");
            let buf = world.peek(block).unwrap();
            let state = buf.buf.state.load();
            seen.must(
                state.is_dirty() || state.is_writeback(),
                "a changed buffer is seen clean",
            );
            drop(buf);
            seen.must(world.reclaim(10) == 0, "a changed buffer was reclaimed");
            s.command("release eb.wb.decided");
            let _ = writer.join();
        });
        seen.passed(s, "eb.wb.decided");
        seen.must(on_disk(&disk, block) == b"new", "the change is not on disk");
        seen
    });
}

/// Changes a block that exists.
fn put_again(world: &World, block: DiskBlock, text: &[u8]) -> BufRef {
    let buf = world.read(block, KIND, OWNER).unwrap();
    change(world, &buf, text);
    buf
}
