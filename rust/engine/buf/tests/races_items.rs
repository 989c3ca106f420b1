// SPDX-License-Identifier: GPL-2.0

//! Seed 000: items, the writes of their buffers, and the pusher. T-000-A, T-000-B and the first half
//! of T-000-D; the rest is about unmount, in the tests of mount.

use super::cache::*;
use crate::engine::buf::*;
use crate::engine::testing::races::{hits, reproduce, until, Race, Seen, Slow};
use crate::format::{Lsn, SymlinkBlock};
use crate::sys::device::MemDisk;
use crate::sys::sync_point::{points::Mutant, table::State, Session};
use std::thread;

/// A cache on a disk that takes its time, and that disk.
fn new_slow() -> (World, std::sync::Arc<MemDisk>) {
    let disk = std::sync::Arc::new(MemDisk::new(BLOCKS));
    let slow = std::sync::Arc::new(Slow(disk.clone()));
    (cache_on(slow), disk)
}

/// One round of the pusher, which does not wait for its writes.
fn round(world: &World) {
    world.ail.round(&world.inodes, Lsn(u64::MAX));
}

/// All buffers that can go do.
fn pressure(world: &World) {
    while world.reclaim(10) != 0 {}
}

/// A block with the text `committed` in the log, whose write has failed once.
fn failed(s: &Session, world: &World, block: DiskBlock) {
    drop(put(world, block, b"committed"));
    s.command(&format!("arm buf.write.submit fail=5 key={block} times=1"));
    assert!(sync(world).is_err());
}

fn drained(seen: &mut Seen, world: &World, disk: &MemDisk, block: DiskBlock) {
    world.ail.wait_writes();
    let state = world.ail.state();
    seen.must(
        state.is_quiet(),
        &format!("the AIL does not drain: {state:?}"),
    );
    let mut raw = [0; 4096];
    crate::sys::device::Backend::read(disk, block.get(), &mut raw).unwrap();
    seen.must(
        SymlinkBlock::of(&raw).bytes() == b"committed",
        "what was committed is not on disk",
    );
}

#[test]
fn t_000_a_push_of_a_failed_item_against_the_end_of_its_write() {
    let race = Race {
        name: "T-000-A",
        mutant: Mutant::Seed000,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let (world, disk) = new_slow();
        let block = at(0);
        failed(s, &world, block);
        // It is written again, and this time it reaches the disk.
        s.command(&format!("arm buf.ioend.before_items park key={block}"));
        round(&world);
        s.command("wait buf.ioend.before_items");
        s.command(&format!(
            "arm ail.push.read_buf park key={block} limit=20000"
        ));
        let plans = hits("ail.push.plan");
        thread::scope(|scope| {
            // The pusher comes to the item before the end of that write does. With the mutant it
            // takes it for failed, and reads which buffer it has.
            let pusher = scope.spawn(|| round(&world));
            seen.reached(until(|| {
                pusher.is_finished() || s.state("ail.push.read_buf") == State::Held
            }));
            seen.reached(hits("ail.push.plan") > plans);
            // The write ends: item clean, last reference given back, memory wanted.
            s.command("release buf.ioend.before_items");
            world.ail.wait_writes();
            pressure(&world);
            s.command("release ail.push.read_buf");
            pusher.join().unwrap();
        });
        seen.passed(s, "buf.ioend.before_items");
        drained(&mut seen, &world, &disk, block);
        seen
    });
}

#[test]
fn t_000_a_push_of_a_failed_item_against_a_shutdown() {
    let race = Race {
        name: "T-000-A, shutdown",
        mutant: Mutant::Seed000,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let (world, _disk) = new_slow();
        let block = at(0);
        failed(s, &world, block);
        s.command(&format!(
            "arm ail.push.read_buf park key={block} until=ail.lock.blocked limit=20000"
        ));
        thread::scope(|scope| {
            let pusher = scope.spawn(|| round(&world));
            s.command("wait ail.push.read_buf");
            // Everything on the list is given up. In the real build this waits for the AIL's lock,
            // under which the pusher takes a reference of its own.
            let aborter = scope.spawn(|| {
                world.ail.health().go_down();
                let down = world.ail.health().log_down().unwrap();
                world.ail.abort_all(&down);
            });
            aborter.join().unwrap();
            pressure(&world);
            s.command("release ail.push.read_buf");
            pusher.join().unwrap();
        });
        seen.passed(s, "ail.push.read_buf");
        world.ail.wait_writes();
        let state = world.ail.state();
        seen.must(
            state.is_quiet(),
            &format!("the AIL does not drain: {state:?}"),
        );
        pressure(&world);
        seen.must(world.count() == 0, "a buffer is left");
        seen
    });
}

#[test]
fn t_000_b_the_item_goes_while_its_push_returns() {
    let race = Race {
        name: "T-000-B",
        mutant: Mutant::Seed000Sibling,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let (world, disk) = new_slow();
        let block = at(0);
        drop(put(&world, block, b"committed"));
        s.command("arm ail.push.after_unlock_buf park");
        thread::scope(|scope| {
            let pusher = scope.spawn(|| round(&world));
            s.command("wait ail.push.after_unlock_buf");
            // The write ends, the item is clean, and its memory is wanted.
            world.ail.wait_writes();
            seen.reached(world.ail.is_empty());
            pressure(&world);
            seen.reached(world.count() == 0);
            // Another item gets its place.
            drop(put(&world, at(1), b"another"));
            s.command("release ail.push.after_unlock_buf");
            pusher.join().unwrap();
        });
        seen.passed(s, "ail.push.after_unlock_buf");
        seen.must(sync(&world).is_ok(), "the other item is not written");
        drained(&mut seen, &world, &disk, block);
        seen
    });
}

#[test]
fn t_000_d_a_failed_item_is_written_once_each_time() {
    const FAILURES: u32 = 3;
    let _s = Session::begin(None);
    let (world, disk) = new_slow();
    let block = at(0);
    drop(put(&world, block, b"committed"));
    _s.command(&format!(
        "arm buf.write.submit fail=5 key={block} times={FAILURES}"
    ));
    for _ in 0..FAILURES {
        assert!(sync(&world).is_err());
        assert_eq!(world.ail.state().failed, 1, "exactly the one");
    }
    assert!(sync(&world).is_ok());
    assert_eq!(hits("ail.retry"), FAILURES, "once for each failure");
    let mut seen = Seen::new();
    drained(&mut seen, &world, &disk, block);
    assert_eq!(format!("{seen:?}"), format!("{:?}", Seen::new()));
}
