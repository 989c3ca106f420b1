// SPDX-License-Identifier: GPL-2.0

//! One test for each thing that iomap 7.3 demands (races.md section 7) and each seed race that the
//! data path is about, forced into its interleaving by hand.

mod common;

use common::{fsck, POISON};
use latchfs_engine::{
    engine::{
        extents::View,
        file::{self, BmapKind, WbCtx},
    },
    format::FileBlock,
};
use latchfs_host::LockedFolio;
use latchfs_pagecache::{File, Fs, Ioends};
use std::sync::atomic::Ordering;

const KB: u64 = 1024;

fn new() -> (Fs, File) {
    let fs = Fs::new(8192, Some(POISON));
    let mut file = fs.create(b"file");
    file.folio_pages = 1;
    (fs, file)
}

fn view(file: &File, block: u64) -> Option<View> {
    let inner = file.inode.ilock.read();
    inner.index.lookup(FileBlock(block)).map(|p| p.view)
}

fn counts(file: &File) -> (u64, u64) {
    let counts = file.inode.ilock.read().index.counts();
    (counts.delayed, counts.in_flight)
}

#[test]
fn write_7_1_a_mapping_that_changed_is_mapped_again() {
    // xfs/559, T-004-B: the writer has a mapping; before it locks the folio, writeback and reclaim
    // convert what is under it and drop the folio. Zeroing by the old mapping would lose data.
    let (fs, file) = new();
    file.write(0, &[1; 8192]).expect("write");
    let map = file::write_begin(&fs.m, &file.inode, 5000, 100, false).expect("begin");
    assert_eq!(map.kind, BmapKind::Delayed);
    file.write_and_wait(0, u64::MAX);
    file.reclaim(1);
    assert_ne!(file::cookie(&file.inode), map.seq, "the mapping is stale");
    let map = file::write_begin(&fs.m, &file.inode, 5000, 100, false).expect("begin");
    assert_eq!(map.kind, BmapKind::Mapped);
    file.write(5000, &[2; 100]).expect("write");
    let read = file.read(0, 8192).expect("read");
    assert_eq!(read[..5000], [1; 5000]);
    assert_eq!(read[5100..], [1; 3092]);
    file.close();
    fsck(&fs);
}

#[test]
fn write_7_1_a_streaming_write_does_not_map_for_each_folio() {
    // The cookie moves only where a mapping that was handed out can be wrong (races.md 10.10).
    let (_fs, file) = new();
    let before = file::cookie(&file.inode);
    file.write(0, &vec![1; 1 << 20]).expect("write");
    assert_eq!(file::cookie(&file.inode), before);
    assert_eq!(counts(&file), (256, 0));
    file.close();
}

#[test]
fn write_7_1_a_short_write_keeps_what_a_fault_has_dirtied() {
    // Seed 004, T-004-A.
    let (fs, file) = new();
    file.truncate(64 * KB).expect("truncate");
    file.store(32 * KB, &[9; 10]).expect("store");
    // The fault's block is delayed; a write over all of it comes out short.
    let n = file.write_from(0, &[1; 65536], 5000).expect("write");
    assert_eq!(n, 5000);
    assert_eq!(view(&file, 8), Some(View::Delayed));
    assert_eq!(counts(&file).0, 3, "two blocks written, one of the fault");
    file.check();
    file.fsync(0, u64::MAX - 1).expect("fsync");
    file.reclaim(1);
    assert_eq!(file.read(32 * KB, 10).expect("read"), [9; 10]);
    file.close();
    fsck(&fs);
}

#[test]
fn mkwrite_7_2_two_faults_in_one_hole_reserve_once() {
    // Seed 003, T-003-D: check and act are one step under the ILOCK.
    let (fs, file) = new();
    file.truncate(64 * KB).expect("truncate");
    let before = fs.m.alloc().available();
    file.store(20 * KB, &[1]).expect("store");
    file.store(20 * KB + 1, &[2]).expect("store");
    assert_eq!(counts(&file).0, 1);
    assert_eq!(fs.m.alloc().available(), before - 1);
    file.close();
    fsck(&fs);
}

#[test]
fn writeback_7_3_only_what_is_submitted_is_in_flight() {
    // M11: one folio of a large delayed extent.
    let (fs, mut file) = new();
    file.set_ioends(Ioends::Later(3));
    file.write(0, &vec![1; 256 * 1024]).expect("write");
    file.writepages(128 * KB, 128 * KB, 1);
    assert_eq!(counts(&file), (63, 1));
    // fsync of another range does not wait for it, and it does not for the rest.
    assert!(matches!(view(&file, 32), Some(View::InFlight { .. })));
    file.run_ioends(1);
    assert_eq!(counts(&file), (63, 0));
    file.close();
    fsck(&fs);
}

#[test]
fn writeback_7_3_neighbours_on_disk_in_spite_of_separate_calls() {
    let (fs, file) = new();
    file.write(0, &vec![1; 1 << 20]).expect("write");
    // Every page a call of its own, two files at once.
    let other = fs.create(b"other");
    other.write(0, &vec![2; 1 << 20]).expect("write");
    for page in 0..256 {
        file.writepages(page * 4 * KB, page * 4 * KB, 1);
        other.writepages(page * 4 * KB, page * 4 * KB, 1);
    }
    for file in [&file, &other] {
        assert_eq!(file.fiemap().expect("fiemap").len(), 1, "fragmented");
        assert_eq!(file.inode.ilock.read().data.inline.len(), 16);
    }
    file.close();
    other.close();
    fsck(&fs);
}

#[test]
fn in_flight_is_unwritten_to_everybody() {
    // M12, races.md 7.7: the device has something else there until the write is complete.
    let (fs, mut file) = new();
    file.set_ioends(Ioends::Later(5));
    file.write(0, &[1; 16384]).expect("write");
    file.writepages(0, u64::MAX, 1);
    let map = file::bmap_read(&fs.m, &file.inode, 0, 4096).expect("bmap");
    assert_eq!(map.kind, BmapKind::Unwritten);
    assert_ne!(map.addr, file::NO_ADDR);
    // SEEK_DATA asks the page cache and does not pass over it.
    assert_eq!(file.seek_data(0), Ok(Some((0, 16384))));
    // Zeroing must not skip it either: iomap writes back and asks again.
    let zero = file::zero_begin(&fs.m, &file.inode, 0, 4096).expect("bmap");
    assert_eq!(zero.kind, BmapKind::Unwritten);
    file.truncate(100).expect("truncate");
    assert_eq!(file.read(0, 200).expect("read"), [1; 100]);
    file.truncate(8192).expect("truncate");
    assert!(file.read(100, 8092).expect("read").iter().all(|b| *b == 0));
    file.close();
    fsck(&fs);
}

#[test]
fn folio_writeback_ends_after_the_completion() {
    // So fsync, which waits for writeback, finds the extent recorded and the size right.
    let (fs, mut file) = new();
    file.set_ioends(Ioends::Later(5));
    file.write(0, &[1; 5000]).expect("write");
    file.fsync(0, 4999).expect("fsync");
    assert_eq!(counts(&file), (0, 0));
    assert_eq!(file.inode.ilock.read().core.disk_size, 5000);
    file.close();
    fsck(&fs);
}

#[test]
fn an_append_inside_a_written_block_moves_the_size() {
    // M15 (1): no mapping changes, so no ordered extent; the size has to be logged all the same.
    let (mut fs, file) = new();
    let ino = file.inode.ino;
    file.write(0, b"first").expect("write");
    file.fsync(0, u64::MAX - 1).expect("fsync");
    file.write(5, b" second").expect("write");
    file.fsync(0, u64::MAX - 1).expect("fsync");
    assert_eq!(file.inode.ilock.read().core.disk_size, 12);
    file.close();
    fs.remount();
    let file = fs.open(ino);
    assert_eq!(file.read(0, 100).expect("read"), b"first second");
    file.close();
    fsck(&fs);
}

#[test]
fn fsync_of_a_range_brings_what_is_before_it() {
    // M15 (2): B beyond A, only B is fsync'ed.
    let (_fs, file) = new();
    file.write(0, &[1; 4096]).expect("write");
    file.write(1024 * KB, &[2; 4096]).expect("write");
    file.fsync(1024 * KB, 1028 * KB - 1).expect("fsync");
    assert_eq!(file.inode.ilock.read().core.disk_size, 1028 * KB);
    file.close();
}

#[test]
fn growing_does_not_leave_null_bytes_behind() {
    // M15 (3): truncate up logs a size; data below it goes to disk first.
    let (fs, file) = new();
    file.write(0, &[1; 6000]).expect("write");
    file.truncate(1 << 20).expect("truncate");
    assert_eq!(counts(&file), (0, 0));
    let map = file::bmap_read(&fs.m, &file.inode, 0, 8192).expect("bmap");
    assert_eq!(map.kind, BmapKind::Mapped);
    assert_eq!(file.inode.ilock.read().core.disk_size, 1 << 20);
    file.close();
    fsck(&fs);
}

#[test]
fn what_is_stored_behind_the_end_is_not_seen_later() {
    let (fs, file) = new();
    file.write(0, &[1; 100]).expect("write");
    file.store(50, &[7; 4000]).expect("store");
    assert_eq!(file.i_size(), 100);
    file.truncate(4096).expect("truncate");
    assert!(file.read(100, 3996).expect("read").iter().all(|b| *b == 0));
    file.truncate(100).expect("truncate");
    file.store(50, &[7; 4000]).expect("store");
    file.write(3000, &[2; 10]).expect("write");
    assert!(file.read(100, 2900).expect("read").iter().all(|b| *b == 0));
    file.close();
    fsck(&fs);
}

#[test]
fn pure_overwrite_needs_nothing() {
    // P1.
    let (fs, file) = new();
    file.write(0, &[1; 65536]).expect("write");
    file.fsync(0, u64::MAX - 1).expect("fsync");
    let before = fs.m.stats().commits();
    for n in 0..100_u64 {
        file.write(n % 16 * 4096, &[n as u8; 4096]).expect("write");
        file.write_and_wait(0, u64::MAX);
        assert_eq!(counts(&file), (0, 0));
    }
    assert_eq!(
        fs.m.stats().commits(),
        before,
        "an overwrite made a transaction"
    );
    file.close();
    fsck(&fs);
}

#[test]
fn two_ios_over_one_mapping_are_completed_by_range() {
    // M14: an I/O in flight, and a second one over a part of its blocks.
    let (fs, mut file) = new();
    file.set_ioends(Ioends::Later(8));
    file.write(0, &[1; 16384]).expect("write");
    file.writepages(0, u64::MAX, 1);
    let folio = LockedFolio::assume(file.inode.ino.0, 4096, 4096);
    let mut wb = WbCtx::default();
    let first = file::bmap_read(&fs.m, &file.inode, 0, 1).expect("bmap");
    let second =
        file::writeback_range(&fs.m, &file.inode, &mut wb, &folio, 4096, 4096).expect("writeback");
    assert_eq!((second.kind, second.len), (BmapKind::Unwritten, 4096));
    assert_eq!(second.addr, first.addr + 4096, "the same blocks");
    // The second one ends first; the first one fails. What the second wrote stays.
    file::ioend_complete(&fs.m, &file.inode, 4096, 4096, None).expect("completion");
    file.fail.data_writes.store(true, Ordering::Relaxed);
    file.run_ioends(10);
    file.fail.data_writes.store(false, Ordering::Relaxed);
    assert!(matches!(view(&file, 0), Some(View::Unwritten { .. })));
    assert!(matches!(view(&file, 1), Some(View::Written { .. })));
    assert!(matches!(view(&file, 2), Some(View::Unwritten { .. })));
    assert!(file.take_error().is_err());
    file.close();
    fsck(&fs);
}

#[test]
fn a_gap_in_the_index_is_not_a_hole() {
    // M19: what was forgotten is read from disk before a hole is claimed.
    let (fs, file) = new();
    let ino = file.inode.ino;
    file.write(0, &[1; 65536]).expect("write");
    file.close();
    let file = fs.open(ino);
    assert_eq!(view(&file, 3), None);
    let map = file::write_begin(&fs.m, &file.inode, 12288, 4096, false).expect("begin");
    assert_eq!((map.kind, map.new), (BmapKind::Mapped, false));
    assert_eq!(counts(&file), (0, 0));
    file.close();
    fsck(&fs);
}
