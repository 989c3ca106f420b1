// SPDX-License-Identifier: GPL-2.0

//! Seed 003: looked up without the lock, inserted with it. T-003-A to T-003-F.

use super::*;
use crate::races::{hits, reproduce, Race};
use latchfs_engine::engine::file;
use latchfs_host::sync_point::points::Mutant;
use latchfs_pagecache::{Errno, FallocMode};
use std::thread;

#[test]
fn t_003_a_store_against_fallocate() {
    let race = Race {
        name: "T-003-A",
        mutant: Mutant::Seed003,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let b = Bench::new();
        let before = b.available();
        s.command(&format!("arm da.after_lookup park key={}", b.ino()));
        thread::scope(|scope| {
            // page_mkwrite, with the folio locked: it has seen a hole.
            let store = scope.spawn(|| b.file.store(5 * PAGE, &[2; 10]));
            s.command("wait da.after_lookup");
            let done = b.file.fallocate(FallocMode::Allocate, true, 0, 64 * KB);
            seen.must(done == Ok(()), "fallocate fails");
            seen.reached(matches!(b.view(5), Some(View::Unwritten { .. })));
            s.command("release da.after_lookup");
            seen.must(store.join().unwrap() == Ok(()), "the store fails");
        });
        seen.passed(s, "da.after_lookup");
        seen.must(
            matches!(b.view(5), Some(View::Unwritten { promised: true, .. })),
            "delayed over blocks that the file has",
        );
        seen.must(
            b.counts() == (0, 0),
            "delayed over blocks that the file has",
        );
        seen.must(b.available() + 16 == before, "another number of blocks");
        seen.must(b.reread(5 * PAGE, 10) == [2; 10], "the store is lost");
        b.end(&mut seen);
        seen
    });
}

#[test]
fn t_003_b_write_against_a_store_that_reached_the_disk() {
    let race = Race {
        name: "T-003-B",
        mutant: Mutant::Seed003,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let b = Bench::new();
        s.command(&format!("arm da.after_lookup park key={}", b.ino()));
        thread::scope(|scope| {
            // write(2) maps before it locks the folio: it has seen a hole.
            let write = scope.spawn(|| b.file.write(5 * PAGE + 100, &[1; 50]));
            s.command("wait da.after_lookup");
            b.file.store(5 * PAGE, &[2; 10]).expect("store");
            b.file.write_and_wait(0, u64::MAX);
            seen.reached(matches!(b.view(5), Some(View::Written { .. })));
            s.command("release da.after_lookup");
            seen.must(write.join().unwrap() == Ok(50), "the write fails");
        });
        seen.passed(s, "da.after_lookup");
        seen.must(
            matches!(b.view(5), Some(View::Written { .. })),
            "delayed over blocks that the file has",
        );
        let read = b.reread(5 * PAGE, 200);
        let whole = read.len() == 200 && read[..10] == [2; 10] && read[100..150] == [1; 50];
        seen.must(whole, "data is lost");
        b.end(&mut seen);
        seen
    });
}

#[test]
fn t_003_c_fallocate_against_a_store() {
    let race = Race {
        name: "T-003-C",
        mutant: Mutant::Seed003,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let b = Bench::new();
        let before = b.available();
        s.command(&format!("arm falloc.planned park key={}", b.ino()));
        thread::scope(|scope| {
            // It has blocks for a hole of 64 KiB.
            let allocate = scope.spawn(|| b.file.fallocate(FallocMode::Allocate, true, 0, 64 * KB));
            s.command("wait falloc.planned");
            b.file.store(5 * PAGE, &[2; 10]).expect("store");
            seen.reached(b.view(5) == Some(View::Delayed));
            s.command("release falloc.planned");
            seen.must(allocate.join().unwrap() == Ok(()), "fallocate fails");
        });
        seen.passed(s, "falloc.planned");
        seen.must(
            b.counts() == (0, 0),
            "delayed over blocks that the file has",
        );
        seen.must(
            b.available() + 16 == before,
            "the space reserved for a store is not used, or used twice",
        );
        seen.must(b.reread(5 * PAGE, 10) == [2; 10], "the store is lost");
        b.end(&mut seen);
        seen
    });
}

#[test]
fn t_003_d_write_and_store_into_one_block_reserve_once() {
    let race = Race {
        name: "T-003-D",
        mutant: Mutant::Seed003,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let b = Bench::new();
        let before = b.available();
        s.command(&format!("arm da.after_lookup park key={}", b.ino()));
        thread::scope(|scope| {
            let write = scope.spawn(|| b.file.write(5 * PAGE + 100, &[1; 50]));
            s.command("wait da.after_lookup");
            b.file.store(5 * PAGE, &[2; 10]).expect("store");
            seen.reached(b.view(5) == Some(View::Delayed));
            s.command("release da.after_lookup");
            seen.must(write.join().unwrap() == Ok(50), "the write fails");
        });
        seen.passed(s, "da.after_lookup");
        seen.must(b.counts() == (1, 0), "another number of delayed blocks");
        seen.must(
            b.available() + 1 == before,
            "one block is reserved more than once",
        );
        b.end(&mut seen);
        seen
    });
}

#[test]
fn t_003_e_no_memory_between_reservation_and_entry() {
    let race = Race {
        name: "T-003-E",
        mutant: Mutant::Seed003Reservation,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let b = Bench::new();
        let before = b.available();
        let nomem = Errno::NOMEM.raw();
        s.command(&format!(
            "arm da.reserved fail={nomem} key={} times=2",
            b.ino()
        ));
        seen.reached(b.file.store(5 * PAGE, &[2; 10]) == Err(Errno::NOMEM));
        seen.reached(b.file.write(0, &[1; 9000]) == Err(Errno::NOMEM));
        seen.passed(s, "da.reserved");
        seen.must(b.counts() == (0, 0), "something is delayed");
        seen.must(b.available() == before, "reserved space without an owner");
        seen.must(b.file.store(5 * PAGE, &[2; 10]) == Ok(()), "a store fails");
        b.end(&mut seen);
        seen
    });
}

#[test]
fn t_003_f_shrinker_against_delayed_extents() {
    let race = Race {
        name: "T-003-F",
        mutant: Mutant::Seed003Shrink,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let b = Bench::new();
        // Something that may go, so that the index is looked at piece by piece.
        b.file.write(0, &[1; 8192]).expect("write");
        b.file.fsync(0, 8191).expect("fsync");
        s.command(&format!("arm write.after_begin park key={}", b.ino()));
        thread::scope(|scope| {
            // Its blocks are delayed, and nothing is dirty yet.
            let write = scope.spawn(|| b.file.write(5 * PAGE, &[2; 8192]));
            s.command("wait write.after_begin");
            seen.reached(b.counts() == (2, 0));
            // The first time it only sees that the file is in use.
            for _ in 0..3 {
                file::reclaim(&b.fs.m, 1 << 12);
            }
            seen.must(b.counts() == (2, 0), "delayed blocks were dropped");
            seen.must(
                b.view(5) == Some(View::Delayed),
                "delayed blocks were dropped",
            );
            s.command("release write.after_begin");
            seen.must(write.join().unwrap() == Ok(8192), "the write fails");
        });
        seen.passed(s, "write.after_begin");
        seen.reached(hits("extents.shrink") != 0 && b.view(0).is_none());
        seen.must(b.reread(5 * PAGE, 8192) == [2; 8192], "data is lost");
        seen.must(b.reread(0, 8192) == [1; 8192], "data is lost");
        b.end(&mut seen);
        seen
    });
}
