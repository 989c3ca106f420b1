// SPDX-License-Identifier: GPL-2.0

//! Seed 004: what a short write made is taken back, and mappings that are not valid any more.
//! T-004-A to T-004-F.

use super::*;
use crate::races::{hits, reproduce, Race};
use latchfs_host::sync_point::points::Mutant;
use latchfs_pagecache::{Errno, Ioends};
use std::{sync::atomic::Ordering, thread};

#[test]
fn t_004_a_undo_of_a_short_write_against_a_store() {
    let race = Race {
        name: "T-004-A",
        mutant: Mutant::Seed004,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let b = Bench::new();
        let until = "until=fault.blocked,fault.dirtied";
        s.command(&format!(
            "arm wend.before_punch park key={} {until}",
            b.ino()
        ));
        thread::scope(|scope| {
            // The first page of the buffer can be read, the second faults: 56 KiB were reserved for
            // nothing, and are found clean.
            let write = scope.spawn(|| b.file.write_from(PAGE, &[1; 60 * 1024], PAGE as usize));
            s.command("wait wend.before_punch");
            // A store in the middle of them. It waits for the undo, or, with the mutant, gets in
            // between scan and punch.
            let store = scope.spawn(|| b.file.store(32 * KB, &[9; 10]));
            seen.must(
                write.join().unwrap() == Ok(PAGE as usize),
                "the write fails",
            );
            seen.must(store.join().unwrap() == Ok(()), "the store fails");
        });
        seen.passed(s, "wend.before_punch");
        seen.reached(hits("fault.enter") != 0);
        seen.must(
            b.view(8) == Some(View::Delayed),
            "dirty data without a mapping",
        );
        seen.must(b.counts() == (2, 0), "another number of delayed blocks");
        let read = b.reread(32 * KB, 10);
        seen.must(read == [9; 10], "the store is lost");
        b.end(&mut seen);
        seen
    });
}

#[test]
fn t_004_b_mapping_of_a_write_against_writeback_and_reclaim() {
    let race = Race {
        name: "T-004-B",
        mutant: Mutant::Seed004Valid,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let b = Bench::new();
        b.file.write(0, &[1; 8192]).expect("write");
        s.command(&format!("arm write.after_begin park key={}", b.ino()));
        thread::scope(|scope| {
            // It was told that the block is delayed: what is not in the page cache reads as zeroes.
            let write = scope.spawn(|| b.file.write(5000, &[2; 100]));
            s.command("wait write.after_begin");
            b.file.write_and_wait(0, u64::MAX);
            b.file.reclaim(1);
            seen.reached(matches!(b.view(1), Some(View::Written { .. })));
            s.command("release write.after_begin");
            seen.must(write.join().unwrap() == Ok(100), "the write fails");
        });
        seen.passed(s, "write.after_begin");
        let mapped_again = b.file.stale.load(Ordering::Relaxed) != 0;
        seen.must(mapped_again, "a mapping that is not valid was used");
        let read = b.reread(0, 8192);
        let mut whole = vec![1; 8192];
        whole[5000..5100].fill(2);
        seen.must(read == whole, "written data was zeroed");
        b.end(&mut seen);
        seen
    });
}

#[test]
fn t_004_c_mapping_of_writeback_against_truncation() {
    let race = Race {
        name: "T-004-C",
        mutant: Mutant::Seed004Valid,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let b = Bench::new();
        b.file.write(0, &[1; 8192]).expect("write");
        b.file.fsync(0, 8191).expect("fsync");
        b.file.write(0, &[2; 8192]).expect("write");
        let ends = |b: &Bench| match b.view(1) {
            Some(View::Written { at }) => Some(at),
            _ => None,
        };
        let old = ends(&b);
        s.command(&format!("arm wb.mapped park key={}", b.ino()));
        let other = thread::scope(|scope| {
            // It has the first folio, and a mapping that goes on behind it.
            let writeback = scope.spawn(|| b.file.write_and_wait(0, u64::MAX));
            s.command("wait wb.mapped");
            b.file.truncate(4096).expect("truncate");
            b.fs.m.sync().expect("sync");
            // The freed block is somebody else's.
            let other = b.fs.create(b"other");
            other.write(0, &[7; 64 * 1024]).expect("write");
            other.fsync(0, u64::MAX - 1).expect("fsync");
            b.file.write(4096, &[3; 4096]).expect("write");
            s.command("release wb.mapped");
            writeback.join().unwrap();
            other
        });
        seen.passed(s, "wb.mapped");
        seen.reached(old.is_some());
        seen.must(ends(&b) != old, "written to blocks that were freed");
        seen.must(b.reread(4096, 4096) == [3; 4096], "data is lost");
        other.reclaim(1);
        let read = other.read(0, 64 * KB).unwrap_or_default();
        seen.must(read == [7; 64 * 1024], "data in another file");
        other.close();
        b.fs.unlink(b"other");
        b.end(&mut seen);
        seen
    });
}

#[test]
fn t_004_d_zeroing_of_dirty_data_over_unwritten_blocks() {
    let race = Race {
        name: "T-004-D",
        mutant: Mutant::Seed004Zero,
    };
    reproduce(&race, |_| {
        let mut seen = Seen::new();
        let mut b = Bench::new();
        b.file.truncate(0).expect("truncate");
        b.file.set_ioends(Ioends::Later(1));
        b.file.write(0, &[1; 100]).expect("write");
        b.file.writepages(0, u64::MAX, 1);
        // Behind the end of the file, in the page that its end is in.
        b.file.store(150, &[9; 50]).expect("store");
        seen.reached(matches!(b.view(0), Some(View::InFlight { .. })));
        // What lies between the old end and this must read as zeroes.
        seen.must(b.file.write(8192, &[2; 10]) == Ok(10), "the write fails");
        let read = b.file.read(0, 8202).unwrap_or_default();
        let mut whole = vec![0; 8202];
        whole[..100].fill(1);
        whole[8192..].fill(2);
        seen.must(read == whole, "zeroing passed over dirty data");
        seen.must(b.reread(0, 8202) == whole, "and it is on disk");
        b.end(&mut seen);
        seen
    });
}

#[test]
fn t_004_e_error_of_writeback() {
    let race = Race {
        name: "T-004-E",
        mutant: Mutant::Seed004Discard,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let b = Bench::new();
        let before = b.available();
        b.file.write(0, &[1; 12_288]).expect("write");
        let nospc = Errno::NOSPC.raw();
        s.command(&format!(
            "arm wb.range fail={nospc} key={} nth=2 times=1",
            b.ino()
        ));
        // The middle one of three folios.
        seen.must(
            b.file.fsync(0, u64::MAX - 1) == Err(Errno::NOSPC),
            "fsync does not tell",
        );
        seen.passed(s, "wb.range");
        seen.must(b.file.take_error() == Ok(()), "an error was told twice");
        seen.must(b.counts() == (0, 0), "delayed without dirty data");
        // iomap fails what it has gathered with the folio, too: those blocks stay, unwritten.
        let read = b.reread(0, 12_288);
        let zero = read.len() == 12_288 && read[4096..8192] == [0; 4096];
        seen.must(zero, "what could not be written does not read as zeroes");
        let foreign = read.iter().any(|b| *b > 1);
        seen.must(!foreign, "what the device had before");
        seen.must(b.available() + 3 >= before, "space is lost");
        b.file.write(0, &[2; 12_288]).expect("write");
        seen.must(
            b.file.fsync(0, u64::MAX - 1) == Ok(()),
            "it cannot be written again",
        );
        seen.must(b.reread(0, 12_288) == [2; 12_288], "data is lost");
        b.end(&mut seen);
        seen
    });
}

#[test]
fn t_004_f_direct_read_against_a_store() {
    let race = Race {
        name: "T-004-F",
        mutant: Mutant::Seed004Direct,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let b = Bench::new();
        s.command(&format!("arm dio.read.before_map park key={}", b.ino()));
        thread::scope(|scope| {
            let read = scope.spawn(|| b.file.read_direct(0, 64 * KB));
            s.command("wait dio.read.before_map");
            b.file.store(32 * KB, &[9; 10]).expect("store");
            seen.reached(b.view(8) == Some(View::Delayed));
            s.command("release dio.read.before_map");
            match read.join() {
                Ok(Ok(bytes)) => {
                    let zero = bytes.iter().all(|b| *b == 0);
                    seen.must(zero && bytes.len() == 64 * 1024, "foreign bytes");
                }
                Ok(Err(_)) => seen.must(false, "the read fails"),
                Err(e) => seen.must(false, &race_table::panic_text(&*e)),
            }
        });
        seen.passed(s, "dio.read.before_map");
        seen.must(b.reread(32 * KB, 10) == [9; 10], "the store is lost");
        b.end(&mut seen);
        seen
    });
}
