// SPDX-License-Identifier: GPL-2.0

//! Many threads on one file and on many files: writers, stores by mmap, readers, writeback,
//! truncation, reclaim. The host's locks check the order of every acquisition.

mod common;

use common::{fsck, Rng, POISON};
use latchfs_pagecache::{Errno, File, Fs, Ioends};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// How long each test runs.
const TIME: Duration = Duration::from_secs(3);

/// Bytes of the region of one writer: its bytes are its number, or zero.
const REGION: u64 = 40_000;

fn writer(file: &File, who: u64, seed: u64, stop: &AtomicBool) {
    let mut rng = Rng(seed + who * 1_000 + 1);
    let base = who * REGION;
    while !stop.load(Ordering::Relaxed) {
        let at = rng.below(REGION - 1);
        let len = 1 + rng.below(REGION - at - 1);
        let bytes = vec![who as u8 + 1; len as usize];
        match rng.below(3) {
            0 => {
                let readable = rng.below(len + 1) as usize;
                let _ = file.write_from(base + at, &bytes, readable);
            }
            1 => {
                let _ = file.store(base + at, &bytes[..(len as usize).min(5_000)]);
            }
            _ => {
                let n = file.write(base + at, &bytes).expect("write");
                assert_eq!(n as u64, len);
                // Nobody else writes here, but somebody may truncate.
                let read = file.read(base + at, len).expect("read");
                assert!(
                    read.iter().all(|b| *b == who as u8 + 1 || *b == 0),
                    "foreign bytes"
                );
            }
        }
    }
}

fn helper(file: &File, seed: u64, truncates: bool, stop: &AtomicBool) {
    let mut rng = Rng(seed);
    while !stop.load(Ordering::Relaxed) {
        match rng.below(8) {
            0..=2 => file.writepages(rng.below(REGION * 4), u64::MAX, 1 + rng.below(2)),
            3 => file.run_ioends(4),
            4 => file.reclaim(1 + rng.below(2)),
            5 => file.fsync(0, u64::MAX - 1).expect("fsync"),
            6 if truncates => file.truncate(rng.below(REGION * 4)).expect("truncate"),
            _ => {
                let read = file.read(rng.below(REGION * 4), 20_000).expect("read");
                assert!(!read.contains(&POISON), "what the device had before");
            }
        }
    }
}

fn storm(truncates: bool, ioends: Ioends, folio_pages: u64) {
    let fs = Fs::new(8192, Some(POISON));
    let free = fs.available();
    let mut file = fs.create(b"file");
    file.folio_pages = folio_pages;
    file.set_ioends(ioends);
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        for who in 0..3 {
            let (file, stop) = (&file, &stop);
            s.spawn(move || writer(file, who, 7, stop));
        }
        for n in 0..2 {
            let (file, stop) = (&file, &stop);
            s.spawn(move || helper(file, 91 + n, truncates, stop));
        }
        let end = Instant::now() + TIME;
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
    });
    file.write_and_wait(0, u64::MAX);
    file.check();
    for who in 0..3 {
        let read = file.read(who * REGION, REGION).expect("read");
        assert!(
            read.iter().all(|b| *b == who as u8 + 1 || *b == 0),
            "foreign bytes"
        );
    }
    file.close();
    fs.unlink(b"file");
    assert_eq!(fs.available(), free, "space leaked");
    fsck(&fs);
}

#[test]
fn writers_stores_and_writeback() {
    storm(false, Ioends::Now, 4);
}

#[test]
fn with_truncation_and_late_completions() {
    storm(true, Ioends::Later(5), 16);
}

#[test]
fn many_files_on_a_full_file_system() {
    let fs = Fs::new(4096, None);
    let free = fs.available();
    let stop = AtomicBool::new(false);
    let full = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|s| {
        for who in 0..4_u64 {
            let (fs, stop, full) = (&fs, &stop, &full);
            s.spawn(move || {
                let mut rng = Rng(who + 1);
                let name = [b'a' + who as u8];
                while !stop.load(Ordering::Relaxed) {
                    let mut file = match fs.try_create(&name) {
                        Ok(file) => file,
                        Err(e) => {
                            assert_eq!(e, Errno::NOSPC);
                            continue;
                        }
                    };
                    file.folio_pages = 8;
                    loop {
                        let at = rng.below(6_000) * 4096;
                        match file.write(at, &[1; 30_000]) {
                            Ok(_) => {}
                            Err(e) => {
                                assert_eq!(e, Errno::NOSPC);
                                full.fetch_add(1, Ordering::Relaxed);
                                break;
                            }
                        }
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                    file.fsync(0, u64::MAX - 1)
                        .expect("what write took can be written");
                    file.close();
                    fs.unlink(&name);
                }
            });
        }
        std::thread::sleep(TIME);
        stop.store(true, Ordering::Relaxed);
    });
    assert!(full.load(Ordering::Relaxed) > 0, "never full");
    assert_eq!(fs.available(), free);
    fsck(&fs);
}
