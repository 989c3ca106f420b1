// SPDX-License-Identifier: GPL-2.0

//! I/O errors and full file systems: data may be lost only with an error, and space never.

mod common;

use common::{fsck, Rng, POISON};
use latchfs_pagecache::{Errno, File, Fs, Ioends};
use std::sync::atomic::Ordering;

/// Each byte of the file is what was written last, something written before, or zero; never what
/// the device had before.
fn no_foreign_bytes(file: &File, what: &str) {
    let read = file.read(0, file.i_size()).expect("read");
    if let Some(at) = read.iter().position(|b| *b == POISON) {
        panic!("{what}: byte {at} shows what the device had before");
    }
}

#[test]
fn random_writes_with_io_errors() {
    for seed in 1..=4 {
        let mut rng = Rng(seed);
        let mut fs = Fs::new(8192, Some(POISON));
        let free = fs.available();
        let mut file = fs.create(b"file");
        let ino = file.inode.ino;
        file.folio_pages = 16;
        file.set_ioends(Ioends::Later(seed));
        let mut errors = 0;
        for op in 0..10_000_u64 {
            match rng.below(20) {
                0..=5 => {
                    let len = 1 + rng.below(50_000);
                    let bytes = rng.bytes(len);
                    // The zeroing of a gap writes back, and meets earlier errors.
                    if let Err(e) = file.write(rng.below(500_000), &bytes) {
                        assert_eq!(e, Errno::IO);
                    }
                }
                6..=8 if file.i_size() > 0 => {
                    let bytes = rng.bytes(100);
                    let at = rng.below(file.i_size());
                    let room = (file.i_size() - at).min(100) as usize;
                    file.store(at, &bytes[..room]).expect("store");
                }
                9 => {
                    let _ = file.truncate(rng.below(500_000));
                }
                10..=12 => file.writepages(rng.below(400_000), u64::MAX, 1 + rng.below(2)),
                13..=15 => {
                    let on = rng.below(4) == 0;
                    file.fail.data_writes.store(on, Ordering::Relaxed);
                    file.run_ioends(1 + rng.below(5) as usize);
                    file.fail.data_writes.store(false, Ordering::Relaxed);
                }
                16 => {
                    file.fail.add_to_ioend.store(true, Ordering::Relaxed);
                    file.writepages(rng.below(500_000), u64::MAX, 2);
                    file.fail.add_to_ioend.store(false, Ordering::Relaxed);
                }
                17 => errors += u32::from(file.fsync(0, u64::MAX - 1).is_err()),
                18 => file.reclaim(2),
                _ if rng.below(30) == 0 => {
                    file.write_and_wait(0, u64::MAX);
                    // Each error is reported once (M17).
                    let _ = file.take_error();
                    assert_eq!(file.take_error(), Ok(()));
                    file.close();
                    fs.remount();
                    file = fs.open(ino);
                    file.folio_pages = 16;
                    file.set_ioends(Ioends::Later(seed + op));
                    no_foreign_bytes(&file, "remount");
                }
                _ => no_foreign_bytes(&file, "read"),
            }
        }
        assert!(errors > 10, "no errors were met");
        file.close();
        fs.unlink(b"file");
        assert_eq!(fs.available(), free, "space leaked");
        fsck(&fs);
    }
}

#[test]
fn data_written_behind_a_failed_write_is_not_lost() {
    // M13: the page is dirtied again while its first write is in flight; that one fails, the second
    // one must find a place.
    let fs = Fs::new(8192, Some(POISON));
    let mut file = fs.create(b"file");
    file.set_ioends(Ioends::Later(1));
    file.folio_pages = 1;
    file.write(0, &[1; 8192]).expect("write");
    file.writepages(0, u64::MAX, 1);
    file.write(100, &[2; 3000]).expect("write");
    file.fail.data_writes.store(true, Ordering::Relaxed);
    file.run_ioends(100);
    file.fail.data_writes.store(false, Ordering::Relaxed);
    assert_eq!(file.take_error(), Err(Errno::IO));
    file.fsync(0, 8191).expect("the second write works");
    file.reclaim(1);
    let read = file.read(0, 8192).expect("read");
    assert_eq!(read[..100], [1; 100]);
    assert_eq!(read[100..3100], [2; 3000]);
    assert_eq!(read[3100..4096], [1; 996]);
    // The second page's write failed and nobody wrote it again: zeroes, with an error.
    assert!(read[4096..].iter().all(|b| *b == 0));
    file.close();
    fsck(&fs);
}

#[test]
fn a_full_file_system_is_reported_by_write_and_only_there() {
    for folio_pages in [1, 16] {
        let fs = Fs::new(4096, None);
        let free = fs.available();
        let mut file = fs.create(b"file");
        file.folio_pages = folio_pages;
        let bytes = vec![7; 100_000];
        let mut size = 0;
        loop {
            match file.write(size, &bytes) {
                Ok(n) => size += n as u64,
                Err(e) => {
                    assert_eq!(e, Errno::NOSPC);
                    break;
                }
            }
        }
        // Nearly all of it can be used; the inode, its chunk and the last reservation cannot.
        assert!(size / 4096 + 16 > free, "{size} bytes in {free} blocks");
        file.fsync(0, u64::MAX - 1)
            .expect("writeback has the space it needs");
        file.check();
        let read = file.read(0, size).expect("read");
        assert!(read.iter().all(|b| *b == 7));

        // Overwriting works, growing does not.
        assert_eq!(file.write(4096, &[8; 8192]), Ok(8192));
        assert_eq!(
            file.write(size.next_multiple_of(4096), &[1]),
            Err(Errno::NOSPC)
        );
        file.fsync(0, u64::MAX - 1).expect("fsync");

        // Freed space can be used again at once, although it is busy until a checkpoint.
        file.truncate(size / 2).expect("truncate");
        assert_eq!(file.write(size / 2, &bytes), Ok(bytes.len()));
        file.fsync(0, u64::MAX - 1).expect("fsync");
        file.close();
        fs.unlink(b"file");
        assert_eq!(fs.available(), free);
        fsck(&fs);
    }
}

#[test]
fn a_full_file_system_with_a_hole_in_every_file() {
    // Fragmented files in tree form, filled backwards, to the last block.
    let fs = Fs::new(4096, None);
    let free = fs.available();
    let mut rng = Rng(9);
    let mut files = Vec::new();
    for n in 0..4_u8 {
        let mut file = fs.create(&[b'a' + n]);
        file.folio_pages = 4;
        file.set_ioends(Ioends::Later(u64::from(n) + 1));
        files.push(file);
    }
    let mut full = 0;
    while full < 8 {
        let file = &files[rng.below(4) as usize];
        let at = rng.below(40_000) * 4096;
        match file.write(at, &[3; 4096]) {
            Ok(n) => assert_eq!(n, 4096),
            Err(e) => {
                assert_eq!(e, Errno::NOSPC);
                full += 1;
            }
        }
        if rng.below(10) == 0 {
            file.writepages(0, u64::MAX, 2);
        }
    }
    assert!(
        fs.m.alloc().available() < 64,
        "{} left",
        fs.m.alloc().available()
    );
    for file in &files {
        file.fsync(0, u64::MAX - 1).expect("fsync");
        file.check();
    }
    for (n, file) in files.into_iter().enumerate() {
        file.close();
        fs.unlink(&[b'a' + n as u8]);
    }
    assert_eq!(fs.available(), free);
    fsck(&fs);
}
