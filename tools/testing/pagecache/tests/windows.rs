// SPDX-License-Identifier: GPL-2.0

//! Blocks kept for files that grow, and the memory of extent indexes.

mod common;

use common::{fsck, Rng, POISON};
use latchfs_engine::engine::file;
use latchfs_pagecache::{Errno, FallocMode, File, Fs};

const PAGE: u64 = 4096;

/// Runs of blocks that are together on disk, by what FIEMAP says.
fn runs(file: &File) -> usize {
    let mut runs = 0;
    let mut end = 0;
    for map in file.fiemap().expect("fiemap") {
        runs += usize::from(map.addr != end);
        end = map.addr + map.len;
    }
    runs
}

fn append(file: &File, rng: &mut Rng, len: u64) {
    let at = file.i_size();
    let bytes = rng.bytes(len);
    assert_eq!(file.write(at, &bytes), Ok(bytes.len()));
    file.fsync(at, u64::MAX).expect("fsync");
}

/// Four files that grow side by side, 8 KiB at a time.
fn grow(fs: &Fs, open: bool) -> usize {
    let mut rng = Rng(4);
    let names: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
    let files: Vec<_> = names.iter().map(|name| fs.create(name)).collect();
    for file in files.iter().filter(|_| open) {
        file.opened();
    }
    for _ in 0..100 {
        for file in &files {
            append(file, &mut rng, 2 * PAGE);
        }
    }
    let most = files.iter().map(runs).max();
    let blocks: Vec<_> = files.iter().map(|f| f.inode.attrs().blocks).collect();
    assert!(blocks.iter().all(|b| *b >= 200 && *b < 210), "{blocks:?}");
    for file in files {
        if open {
            file.released();
        }
        file.close();
    }
    most.unwrap_or(0)
}

#[test]
fn files_that_grow_side_by_side_stay_in_one_piece() {
    let fs = Fs::new(32768, Some(POISON));
    let taking_turns = grow(&fs, false);
    let fs2 = Fs::new(32768, Some(POISON));
    let free = fs2.available();
    let with_windows = grow(&fs2, true);
    println!("{taking_turns} runs without windows, {with_windows} with");
    assert!(with_windows * 8 <= taking_turns);
    for name in [b"a", b"b", b"c", b"d"] {
        fs2.unlink(name);
    }
    assert_eq!(fs2.available(), free);
    fsck(&fs);
    fsck(&fs2);
}

/// Not in st_blocks, gone after the last close, and never on disk.
#[test]
fn a_window_is_seen_by_nobody() {
    let mut fs = Fs::new(32768, Some(POISON));
    let free = fs.available();
    let file = fs.create(b"file");
    let inodes = free - fs.available();
    file.opened();
    file.opened();
    append(&file, &mut Rng(1), 100 * PAGE);
    let window = free - inodes - 100 - fs.available();
    assert!(window >= 16, "{window} blocks kept");
    assert_eq!(file.inode.attrs().blocks, 100);
    file.released();
    assert_eq!(fs.available(), free - inodes - 100 - window);
    file.released();
    assert_eq!(fs.available(), free - inodes - 100);
    // Writeback after the close keeps nothing either.
    let at = file.i_size();
    file.write(at, &[7; 4096]).expect("write");
    file.write_and_wait(0, u64::MAX);
    assert_eq!(fs.available(), free - inodes - 101);
    // A file that is cut has no use for what was kept behind its old end.
    file.opened();
    append(&file, &mut Rng(2), 50 * PAGE);
    assert!(fs.available() < free - inodes - 151);
    file.truncate(101 * PAGE).expect("truncate");
    assert_eq!(fs.available(), free - inodes - 101);
    // A crash forgets it.
    append(&file, &mut Rng(3), 50 * PAGE);
    fs.m.sync().expect("sync");
    let crashed = Fs::mount(&fs.disk);
    assert_eq!(crashed.alloc().available(), free - inodes - 151);
    drop(crashed);
    file.released();
    file.close();
    fs.remount();
    assert_eq!(fs.available(), free - inodes - 151);
    fsck(&fs);
}

/// Whoever needs the last blocks gets them.
#[test]
fn windows_make_way_for_data() {
    let fs = Fs::new(32768, Some(POISON));
    let grower = fs.create(b"grower");
    let other = fs.create(b"other");
    grower.opened();
    append(&grower, &mut Rng(1), 200 * PAGE);
    let free = fs.available();
    grower.released();
    let all = fs.available();
    assert!(all > free);
    grower.opened();
    append(&grower, &mut Rng(2), 8 * PAGE);
    assert!(fs.available() < all - 8);
    // All there is, the window included.
    other
        .fallocate(FallocMode::Allocate, false, 0, (all - 8 - 4) * PAGE)
        .expect("there is space");
    assert!(fs.available() <= 4);
    append(&grower, &mut Rng(3), PAGE);
    let huge = vec![1; 16 << 12];
    let written = grower.write(grower.i_size(), &huge);
    assert!(
        written == Err(Errno::NOSPC) || written.is_ok_and(|n| n < huge.len()),
        "{written:?}"
    );
    grower.released();
    grower.close();
    other.close();
    fsck(&fs);
}

/// Time takes windows of files that are open and do not grow.
#[test]
fn windows_age() {
    let fs = Fs::new(32768, Some(POISON));
    let file = fs.create(b"file");
    file.opened();
    append(&file, &mut Rng(1), 50 * PAGE);
    let free = fs.available();
    let mut passes = 1;
    while fs.m.alloc().age_windows() {
        passes += 1;
        assert!(passes < 20, "it never goes");
    }
    assert!(passes > 2, "it goes at once");
    assert!(fs.available() > free);
    // And the next append begins a new one.
    let free = fs.available();
    append(&file, &mut Rng(2), PAGE);
    assert!(fs.available() < free - 1);
    file.released();
    file.close();
    fsck(&fs);
}

/// The shrinker takes what is on disk, and of files in use only when they were not used for a round.
#[test]
fn the_shrinker_drops_what_the_disk_has() {
    let fs = Fs::new(32768, Some(POISON));
    let names: Vec<_> = (0..40).map(|n| format!("file {n}").into_bytes()).collect();
    let files: Vec<_> = names.iter().map(|name| fs.create(name)).collect();
    for file in &files {
        for n in 0..20 {
            file.write(n * 3 * PAGE, &[1; 4096]).expect("write");
        }
        file.write_and_wait(0, u64::MAX);
        file.write(100 * PAGE, &[2; 4096]).expect("write");
    }
    let delayed = || files.iter().map(|f| f.inode.file.delayed()).sum::<u64>();
    assert_eq!(delayed(), 40);
    let before = file::cached(&fs.m);
    assert!(before > 40 * 40);
    // First round: all have been in use. Not more than was asked for at a time.
    for _ in 0..200 {
        assert!(file::reclaim(&fs.m, 50) <= 50);
    }
    assert_eq!(delayed(), 40, "delayed extents stay");
    assert_eq!(file::cached(&fs.m), 40, "and nothing else");
    for file in &files {
        assert_eq!(file.read(3 * PAGE, 1).expect("read"), [1]);
        file.reclaim(1);
        assert_eq!(file.read(57 * PAGE, 1).expect("read"), [1]);
        assert_eq!(file.read(58 * PAGE, 1).expect("read"), [0]);
    }
    // Files without anything in memory only are dropped as a whole.
    for file in files {
        file.write_and_wait(0, u64::MAX);
        file.check();
        for _ in 0..200 {
            file::reclaim(&fs.m, 1);
        }
        file.close();
    }
    assert_eq!(file::cached(&fs.m), 0);
    fsck(&fs);
}
