// SPDX-License-Identifier: GPL-2.0

//! Files that a crash has left with data behind their size on disk.

mod common;

use common::{after_a_cut, fsck};
use latchfs_pagecache::Fs;

const KB: u64 = 1024;

/// Four blocks were appended and the last two reached the disk; after a crash the same again, and the
/// third block is the last one to be written. The size on disk waits for it.
#[test]
fn data_behind_the_recovered_size_does_not_come_back() {
    let fs = Fs::new(8192, None);
    let mut file = fs.create(b"file");
    file.folio_pages = 1;
    let ino = file.inode.ino;
    file.write(0, &[1; 16 * KB as usize]).expect("write");
    file.write_and_wait(8 * KB, 16 * KB - 1);
    fs.m.sync().expect("sync");
    let cut = after_a_cut(&fs.disk);
    file.close();

    let mut file = cut.open(ino);
    file.folio_pages = 1;
    assert_eq!(file.i_size(), 0);
    file.write(0, &[2; 16 * KB as usize]).expect("write");
    file.write_and_wait(0, 8 * KB - 1);
    file.write_and_wait(12 * KB, 16 * KB - 1);
    cut.m.sync().expect("sync");
    let again = after_a_cut(&cut.disk);
    file.close();

    let file = again.open(ino);
    let read = file.read(0, file.i_size()).expect("read");
    assert_eq!(read, [2; 8 * KB as usize], "{} bytes", read.len());
    file.close();
    fsck(&again);
}
