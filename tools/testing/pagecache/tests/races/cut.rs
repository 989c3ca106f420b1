// SPDX-License-Identifier: GPL-2.0

//! A truncation between the page cache and the map: what it has cut off is in neither, and whoever
//! says that data is durable has to wait for it.

use super::*;
use latchfs_host::sync_point::{table::State, Session};
use std::thread;

/// Block 3 has one thing on disk and another in memory, and a truncation takes it away while `sync`
/// runs. What a power cut leaves after that must not be the first.
fn sync_beside_a_truncation(point: &str, sync: impl Fn(&Bench) + Sync) {
    let s = Session::begin(None);
    let b = Bench::new();
    let ino = b.file.inode.ino;
    b.file.write(0, &[1; 16 * KB as usize]).expect("write");
    b.file.fsync(0, u64::MAX - 1).expect("fsync");
    b.file.write(12 * KB, &[2; 4 * KB as usize]).expect("write");
    s.command(&format!("arm trunc.before_txn park until={point}"));
    thread::scope(|scope| {
        let cut = scope.spawn(|| b.file.truncate(4 * KB));
        s.command("wait trunc.before_txn");
        sync(&b);
        let after = after_a_cut(&b.fs.disk);
        let file = after.open(ino);
        let read = file.read(12 * KB, 4 * KB).expect("read");
        assert!(!read.contains(&1), "acknowledged data is older than it was");
        file.close();
        cut.join().unwrap().expect("truncate");
    });
    assert!(s.state("trunc.before_txn") == State::Passed);
    let Bench { fs, file, .. } = b;
    file.close();
    fsck(&fs);
}

#[test]
fn an_fsync_waits_for_a_truncation() {
    sync_beside_a_truncation("fsync.cut", |b| {
        b.file.fsync(0, u64::MAX - 1).expect("fsync");
    });
}

#[test]
fn a_sync_waits_for_truncations() {
    sync_beside_a_truncation("sync.cut", |b| {
        b.file.write_and_wait(0, u64::MAX);
        b.fs.m.sync().expect("sync");
    });
}
