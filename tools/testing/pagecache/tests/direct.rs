// SPDX-License-Identifier: GPL-2.0

//! Direct writes beside everything else: what is visible when, errors, space, threads.

mod common;

use common::{fsck, Rng, POISON};
use latchfs_engine::{
    engine::{extents::View, file},
    format::FileBlock,
};
use latchfs_pagecache::{hoard, DioEnd, Direct, Errno, File, Fs, Ioends};
use std::sync::{
    atomic::{AtomicBool, Ordering},
    Arc,
};

const KB: u64 = 1024;

fn new(ioends: Ioends) -> (Fs, File) {
    let fs = Fs::new(8192, Some(POISON));
    let mut file = fs.create(b"file");
    file.folio_pages = 1;
    file.set_ioends(ioends);
    (fs, file)
}

fn view(file: &File, block: u64) -> Option<View> {
    let inner = file.inode.ilock.read();
    inner.index.lookup(FileBlock(block)).map(|p| p.view)
}

fn queued(submitted: latchfs_pagecache::Result<Direct>) -> Arc<DioEnd> {
    match submitted.expect("submit") {
        Direct::Queued(end) => end,
        Direct::Done(n) => panic!("over, with {n} bytes"),
    }
}

#[test]
fn in_flight_means_zeroes_to_everybody() {
    for prior in ["hole", "unwritten", "unwritten, space is short"] {
        let (fs, file) = new(Ioends::Later(1));
        file.truncate(256 * KB).expect("truncate");
        if prior != "hole" {
            // A direct write that fails leaves unwritten blocks.
            file.fail.data_writes.store(true, Ordering::Relaxed);
            assert_eq!(file.write_direct(0, &[1; 131072]), Err(Errno::IO));
            file.fail.data_writes.store(false, Ordering::Relaxed);
            assert!(matches!(view(&file, 0), Some(View::Unwritten { .. })));
        }
        let hoard = prior.ends_with("short").then(|| hoard(&fs.m));
        let end = queued(file.submit_direct(64 * KB, &[7; 65536]));
        let stays = prior == "unwritten";
        assert!(match view(&file, 16) {
            Some(View::InFlight { .. }) => !stays,
            Some(View::Unwritten { .. }) => stays,
            _ => false,
        });
        // One of its bios is on the device.
        assert!(file.run_direct_one());
        assert_eq!(end.result(), None);
        let cached = file.read(64 * KB, 64 * KB).expect("read");
        assert!(cached.iter().all(|b| *b == 0), "{prior}");
        let direct = file.read_direct(64 * KB, 64 * KB).expect("read");
        assert!(direct.iter().all(|b| *b == 0), "{prior}");
        // fsync does not wait for it (M16), and leaves no trace of it in the log.
        file.fsync(0, u64::MAX - 1).expect("fsync");
        assert_eq!(end.result(), None);

        while end.result().is_none() {
            assert!(file.run_direct_one());
        }
        assert_eq!(end.result(), Some(Ok(65536)));
        // What the reads put into the page cache is gone.
        assert_eq!(file.read(64 * KB, 64 * KB).expect("read"), vec![7; 65536]);
        assert_eq!(file.read(0, 64 * KB).expect("read"), vec![0; 65536]);
        drop(hoard);
        file.close();
        fsck(&fs);
    }
}

#[test]
fn a_page_dirtied_over_a_write_in_flight_survives_its_failure() {
    // M13, M14: the same blocks, twice in flight; the first one fails before or after the second.
    for fails_first in [true, false] {
        let (fs, file) = new(Ioends::Later(3));
        file.truncate(64 * KB).expect("truncate");
        let end = queued(file.submit_direct(0, &[1; 16384]));
        file.store(4 * KB, &[9; 100]).expect("store");
        if !fails_first {
            file.fsync(0, u64::MAX - 1).expect("fsync");
        }
        file.fail.data_writes.store(true, Ordering::Relaxed);
        file.dio_wait();
        file.fail.data_writes.store(false, Ordering::Relaxed);
        assert_eq!(end.result(), Some(Err(Errno::IO)));
        // The error is the caller's alone (M17).
        file.fsync(0, u64::MAX - 1).expect("fsync");
        file.reclaim(1);
        assert_eq!(file.read(4 * KB, 100).expect("read"), [9; 100]);
        assert!(!file.read(0, 64 * KB).expect("read").contains(&POISON));
        file.close();
        fsck(&fs);
    }
}

#[test]
fn truncation_waits_for_direct_writes() {
    let (fs, file) = new(Ioends::Later(5));
    let free = fs.available();
    file.truncate(256 * KB).expect("truncate");
    let ends: Vec<_> = (0..4)
        .map(|n| queued(file.submit_direct(n * 64 * KB, &[n as u8 + 1; 65536])))
        .collect();
    file.truncate(96 * KB).expect("truncate");
    assert!(ends.iter().all(|end| end.result() == Some(Ok(65536))));
    assert_eq!(file.read(64 * KB, 32 * KB).expect("read"), [2; 32768]);
    file.close();
    fs.unlink(b"file");
    assert_eq!(fs.available(), free);
    fsck(&fs);
}

#[test]
fn the_direct_path_is_taken() {
    // Aligned, unaligned, appending: never through the page cache.
    let (fs, file) = new(Ioends::Later(7));
    let dirty = |file: &File| file.inode.ilock.read().index.counts().delayed;
    let mut at = 0;
    for len in [4096, 512, 512, 3072, 8192, 1024, 65536] {
        assert_eq!(file.write_direct(at, &vec![3; len]), Ok(len));
        assert_eq!(dirty(&file), 0);
        at += len as u64;
        assert_eq!(file.i_size(), at);
        assert_eq!(file.inode.ilock.read().core.disk_size, at);
    }
    assert_eq!(file.write_direct(100, &[1; 512]), Err(Errno::INVAL));
    // Into the middle of a block, of a hole, behind a gap.
    assert_eq!(file.write_direct(512, &[4; 1024]), Ok(1024));
    assert_eq!(file.write_direct(1024 * KB + 1024, &[5; 512]), Ok(512));
    assert_eq!(file.write_direct(512 * KB + 512, &[6; 8192]), Ok(8192));
    let read = file.read_direct(1024 * KB, 4 * KB).expect("read");
    assert_eq!(read.len(), 1536);
    assert!(read[..1024].iter().all(|b| *b == 0) && read[1024..].iter().all(|b| *b == 5));
    let read = file.read_direct(512 * KB, 12 * KB).expect("read");
    assert!(read[..512].iter().all(|b| *b == 0) && read[8704..].iter().all(|b| *b == 0));
    file.close();
    fsck(&fs);
}

#[test]
fn a_full_file_system_is_filled_to_the_last_block() {
    let fs = Fs::new(4096, Some(POISON));
    let free = fs.available();
    let mut file = fs.create(b"file");
    file.set_ioends(Ioends::Later(9));
    let mut size = 0;
    let bytes = vec![1; 128 * 1024];
    loop {
        match file.write_direct(size, &bytes) {
            Ok(n) => size += n as u64,
            Err(e) => {
                assert_eq!(e, Errno::NOSPC);
                break;
            }
        }
        if size % 4096 != 0 {
            break;
        }
    }
    assert!(size / 4096 + 16 > free, "{size} bytes in {free} blocks");
    file.fsync(0, u64::MAX - 1).expect("fsync");
    file.truncate(0).expect("truncate");
    // Freed space is busy until a checkpoint.
    assert_eq!(file.write_direct(0, &bytes), Ok(bytes.len()));
    file.close();
    fs.unlink(b"file");
    assert_eq!(fs.available(), free);
    fsck(&fs);
}

/// iomap hands a write that the page cache has to do to the end of direct writes, with no bytes: the
/// file is not larger by the hole in front of it.
#[test]
fn what_has_no_space_leaves_the_size() {
    let (fs, file) = new(Ioends::Now);
    let alloc = fs.m.alloc();
    let rest = alloc.reserve(alloc.available()).expect("space");
    assert_eq!(file.write_direct(64 * KB, &[1; 8192]), Err(Errno::NOSPC));
    assert_eq!(file.i_size(), 0);
    drop(rest);
    assert_eq!(file.write_direct(64 * KB, &[1; 8192]), Ok(8192));
    assert_eq!(file.i_size(), 72 * KB);
    file.close();
    fsck(&fs);
}

/// Bytes of the region of one writer: its bytes are its number, or zero.
const REGION: u64 = 32 * KB;

fn writer(file: &File, who: u64, stop: &AtomicBool) {
    let mut rng = Rng(who + 11);
    let base = who * REGION;
    while !stop.load(Ordering::Relaxed) {
        let unit = [512, 4096][rng.below(2) as usize];
        let at = base + rng.below(REGION / unit - 1) * unit;
        let most = (base + REGION - at) / unit;
        let bytes = vec![who as u8 + 1; ((1 + rng.below(most)) * unit) as usize];
        match rng.below(4) {
            0 => {
                let resident = rng.below(bytes.len() as u64) as usize;
                let n = file.write_direct_from(at, &bytes, resident);
                assert_eq!(n, Ok(bytes.len()));
            }
            1 => {
                file.submit_direct(at, &bytes).expect("direct write");
            }
            2 => {
                file.write(at, &bytes).expect("write");
            }
            _ => {
                let _ = file.store(at, &bytes[..512]);
            }
        }
    }
}

fn helper(file: &File, seed: u64, stop: &AtomicBool) {
    let mut rng = Rng(seed);
    while !stop.load(Ordering::Relaxed) {
        match rng.below(8) {
            0 => file.writepages(rng.below(REGION * 4), u64::MAX, 1 + rng.below(2)),
            1 | 2 => {
                file.run_ioends(4);
                file.run_direct_one();
            }
            3 => file.reclaim(1 + rng.below(2)),
            4 => file.fsync(0, u64::MAX - 1).expect("fsync"),
            5 => file.truncate(rng.below(REGION * 4)).expect("truncate"),
            _ => {
                let at = rng.below(REGION) * 4 / 4096 * 4096;
                let read = if rng.below(2) == 0 {
                    file.read(at, 20_000).expect("read")
                } else {
                    file.read_direct(at, 20_480).expect("read")
                };
                assert!(!read.contains(&POISON), "what the device had before");
            }
        }
    }
}

#[test]
fn direct_writes_against_everything() {
    for (ioends, folio_pages) in [(Ioends::Now, 1), (Ioends::Later(5), 8)] {
        let fs = Fs::new(8192, Some(POISON));
        let free = fs.available();
        let mut file = fs.create(b"file");
        file.set_ioends(ioends);
        file.folio_pages = folio_pages;
        let stop = AtomicBool::new(false);
        std::thread::scope(|s| {
            for who in 0..3 {
                let (file, stop) = (&file, &stop);
                s.spawn(move || writer(file, who, stop));
            }
            for n in 0..2 {
                let (file, stop) = (&file, &stop);
                s.spawn(move || helper(file, 91 + n, stop));
            }
            std::thread::sleep(std::time::Duration::from_secs(3));
            stop.store(true, Ordering::Relaxed);
        });
        file.dio_wait();
        file.write_and_wait(0, u64::MAX);
        file.check();
        for who in 0..3 {
            let read = file.read(who * REGION, REGION).expect("read");
            assert!(
                read.iter().all(|b| *b == who as u8 + 1 || *b == 0),
                "foreign bytes"
            );
        }
        let upto = file::fsync_upto(&file.inode, u64::MAX);
        file::fsync_metadata(&fs.m, &file.inode, upto, false).expect("fsync");
        file.close();
        fs.unlink(b"file");
        assert_eq!(fs.available(), free, "space leaked");
        fsck(&fs);
    }
}

/// The file is long because of what is delayed far behind; the disk knows less. Blocks that a direct
/// write made are written over there, and an fsync of just that has the size on disk follow.
#[test]
fn an_overwrite_behind_the_size_on_disk_counts() {
    let (_fs, file) = new(Ioends::Now);
    file.write(86_016, &[1; 211]).expect("write");
    assert_eq!(file.write_direct(64 * KB, &[2; 5632]), Ok(5632));
    let (at, end) = (64 * KB + 5632, 72 * KB);
    assert!(file.inode.file.disk_size() < end);
    assert_eq!(file.write_direct(at, &[3; 2560]), Ok(2560));
    file.fdatasync(at, end - 1).expect("fdatasync");
    assert!(file.inode.file.disk_size() >= end);
}
