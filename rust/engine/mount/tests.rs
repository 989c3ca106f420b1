// SPDX-License-Identifier: GPL-2.0

//! Mount, sync, remount, unmount: what is refused, what is remembered.

use super::*;
use crate::engine::testing::Fixture;
use crate::engine::txn::{FreeKind, TxnRes};
use crate::format::{BlockRange, DiskBlock, SymlinkBlock};
use crate::sys::device::{Backend, MemDisk};
use crate::sys::Device;
use zerocopy::little_endian::{U16, U64};

const OWNER: Owner = Owner::inode(Ino(77));

fn open(disk: &Arc<MemDisk>, read_only: bool) -> Result<Arc<Mount>> {
    let opts = MountOpts {
        read_only,
        ..MountOpts::default()
    };
    Mount::open(Device::new(disk.clone(), false), opts)
}

fn read_super(disk: &MemDisk, at: u64) -> Superblock {
    let mut block = [0; 4096];
    disk.read(at, &mut block).unwrap();
    *Superblock::of(&block).unwrap()
}

/// Changes the superblock on the disk and seals it.
fn edit_super(disk: &MemDisk, change: impl FnOnce(&mut Superblock)) {
    let mut sb = read_super(disk, 0);
    change(&mut sb);
    sb.seal(DiskBlock(0));
    let mut block = [0; 4096];
    sb.store(&mut block);
    disk.write(0, &block).unwrap();
}

fn new_block(f: &Fixture) -> DiskBlock {
    f.change(TxnRes::new(1, 1), |m, txn| {
        let buf = txn.new_meta(DiskBlock(0), BlockKind::Symlink, OWNER)?;
        let context = *m.context();
        txn.modify(&buf, |b| {
            let at = b.block();
            SymlinkBlock::format(b.whole(), &context, at, OWNER, 0, b"x");
        });
        Ok(buf.block())
    })
    .unwrap()
}

#[test]
fn a_block_is_allocated_written_found_and_freed() {
    let mut f = Fixture::new(8192);
    let before = f.m.statfs();
    let at = new_block(&f);
    assert_eq!(f.m.statfs().free, before.free - 1);
    f.m.sync().unwrap();
    f.remount();
    assert_eq!(f.m.statfs().free, before.free - 1);
    let buf = f.m.buf().read(at, BlockKind::Symlink, OWNER).unwrap();
    assert_eq!(SymlinkBlock::of(&buf.data()).bytes(), b"x");
    drop(buf);
    f.change(TxnRes::new(0, 0).frees(1), |_, txn| {
        txn.free(BlockRange::new(at, 1), FreeKind::Meta)
    })
    .unwrap();
    f.remount();
    assert_eq!(f.m.statfs().free, before.free);
}

#[test]
fn the_clean_flag_and_the_counters_are_true() {
    let f = Fixture::new(8192);
    assert!(!read_super(&f.disk, 0).is_clean(), "mounted");
    let free = read_super(&f.disk, 0).free_blocks.get();
    new_block(&f);
    f.m.sync().unwrap();
    assert!(!read_super(&f.disk, 0).is_clean(), "still mounted");
    f.m.unmount().unwrap();
    let sb = read_super(&f.disk, 0);
    assert!(sb.is_clean());
    assert_eq!(sb.free_blocks.get(), free - 1);
    assert_eq!(sb.mount_count.get(), 1);
    assert_eq!(f.m.unmount().map_err(Error::errno), Ok(()), "twice is once");
}

#[test]
fn a_read_only_mount_changes_nothing() {
    let disk = Fixture::disk(8192, None);
    let before = disk.snapshot();
    let m = open(&disk, true).unwrap();
    assert!(m
        .begin(TxnRes::new(0, 0))
        .map(drop)
        .unwrap_err()
        .is(Errno::ROFS));
    m.sync().unwrap();
    m.statfs();
    m.unmount().unwrap();
    assert!(disk.snapshot() == before);
}

#[test]
fn what_is_not_clean_is_recovered() {
    let disk = Fixture::disk(8192, None);
    edit_super(&disk, |sb| sb.state = U16::new(0));
    let before = disk.snapshot();
    // A device that cannot be written: refused, unless asked for.
    let dev = || Device::new(disk.clone(), true);
    let opts = MountOpts {
        read_only: true,
        ..MountOpts::default()
    };
    assert!(Mount::open(dev(), opts)
        .map(drop)
        .unwrap_err()
        .is(Errno::ROFS));
    let opts = MountOpts {
        norecovery: true,
        ..opts
    };
    let m = Mount::open(dev(), opts).unwrap();
    assert!(m.set_read_only(false).unwrap_err().is(Errno::ROFS));
    m.unmount().unwrap();
    // The same on a device that can; and only so.
    let dev = || Device::new(disk.clone(), false);
    let m = Mount::open(dev(), opts).unwrap();
    assert!(m.set_read_only(false).unwrap_err().is(Errno::ROFS));
    m.unmount().unwrap();
    let opts = MountOpts {
        read_only: false,
        ..opts
    };
    assert!(Mount::open(dev(), opts)
        .map(drop)
        .unwrap_err()
        .is(Errno::INVAL));
    assert!(disk.snapshot() == before);
    // A read-only mount recovers.
    let m = open(&disk, true).unwrap();
    assert!(read_super(&disk, 0).is_clean());
    assert!(m.recovered().commit.is_none());
    m.set_read_only(false).unwrap();
    assert!(!read_super(&disk, 0).is_clean());
    m.unmount().unwrap();
}

#[test]
fn remounting_read_only_and_back() {
    let f = Fixture::new(8192);
    new_block(&f);
    f.m.set_read_only(true).unwrap();
    assert!(read_super(&f.disk, 0).is_clean());
    assert!(f
        .m
        .begin(TxnRes::new(0, 0))
        .map(drop)
        .unwrap_err()
        .is(Errno::ROFS));
    f.m.set_read_only(false).unwrap();
    assert!(!read_super(&f.disk, 0).is_clean());
    new_block(&f);
}

#[test]
fn what_is_no_latchfs_or_another_revision_is_refused() {
    let empty = Arc::new(MemDisk::new(8192));
    assert!(open(&empty, false).map(drop).unwrap_err().is(Errno::INVAL));

    let disk = Fixture::disk(8192, None);
    let rev = read_super(&disk, 0).format_rev.get();
    for other in [rev - 1, rev + 1] {
        edit_super(&disk, |sb| sb.format_rev = U16::new(other));
        for read_only in [false, true] {
            let e = open(&disk, read_only).map(drop).unwrap_err();
            assert!(e.is(Errno::INVAL), "revision {other}");
        }
    }
    edit_super(&disk, |sb| {
        sb.format_rev = U16::new(rev);
        sb.incompat = U64::new(1 << 40);
    });
    assert!(open(&disk, true).map(drop).unwrap_err().is(Errno::INVAL));
    edit_super(&disk, |sb| {
        sb.incompat = U64::new(0);
        sb.ro_compat = U64::new(1 << 40);
    });
    assert!(open(&disk, false).map(drop).unwrap_err().is(Errno::ROFS));
    open(&disk, true).unwrap().unmount().unwrap();
}

#[test]
fn a_device_that_was_cut_short_is_refused() {
    let disk = Fixture::disk(8192, None);
    let short = Arc::new(MemDisk::new(8000));
    for (at, block) in disk.snapshot() {
        if at < 8000 {
            short.write(at, &block).unwrap();
        }
    }
    assert!(open(&short, true).map(drop).unwrap_err().is(Errno::INVAL));
}

#[test]
fn a_damaged_superblock_has_copies_for_reading() {
    let disk = Fixture::disk(32_768, None);
    let mut block = [0; 4096];
    disk.read(0, &mut block).unwrap();
    block[300] ^= 0x40;
    disk.write(0, &block).unwrap();
    assert!(open(&disk, false).map(drop).unwrap_err().is(Errno::BADMSG));
    open(&disk, true).unwrap().unmount().unwrap();
    // Overwritten by something else altogether.
    disk.write(0, &[0x55; 4096]).unwrap();
    assert!(open(&disk, false).is_err());
    open(&disk, true).unwrap().unmount().unwrap();
}

#[test]
fn errors_are_recorded_and_stop_changes() {
    let mut f = Fixture::new(8192);
    let at = new_block(&f);
    f.remount();
    let mut block = [0; 4096];
    f.disk.read(at.get(), &mut block).unwrap();
    block[100] ^= 1;
    f.disk.write(at.get(), &block).unwrap();
    let e = f.m.buf().read(at, BlockKind::Symlink, OWNER).unwrap_err();
    assert!(e.is(Errno::BADMSG));
    f.m.set_on_error(OnError::Continue);
    f.m.begin(TxnRes::new(0, 0)).map(drop).unwrap();
    f.m.set_on_error(OnError::ReadOnly);
    let e = f.m.begin(TxnRes::new(0, 0)).map(drop).unwrap_err();
    assert!(e.is(Errno::ROFS));
    f.m.unmount().unwrap();
    let sb = read_super(&f.disk, 0);
    assert_eq!(sb.error_count.get(), 1);
    assert_eq!(sb.first_error.block.get(), at.get());
    assert_eq!(sb.first_error.errno.get(), 74);
    assert!(!sb.is_clean());
    let again = open(&f.disk, false).unwrap();
    again.unmount().unwrap();
    assert_eq!(read_super(&f.disk, 0).error_count.get(), 1);
}

#[test]
fn a_failing_device_does_not_hold_up_unmount() {
    let f = Fixture::new(8192);
    new_block(&f);
    f.disk.fail_writes(true);
    assert!(f.m.sync().unwrap_err().is(Errno::IO));
    assert!(f.m.unmount().is_err());
    f.disk.fail_writes(false);
    assert!(!read_super(&f.disk, 0).is_clean());
}

#[test]
fn a_log_that_cannot_be_written_is_the_end() {
    let mut f = Fixture::new(8192);
    let old = new_block(&f);
    f.m.sync().unwrap();
    let free = f.m.statfs().free;
    f.disk.fail_writes(true);
    let new = new_block(&f);
    assert!(f.m.sync().is_err());
    assert!(f.m.is_shutdown());
    f.disk.fail_writes(false);
    assert!(f.m.checkpoint().is_err());
    assert!(f.m.unmount().is_err(), "something was lost");
    // What was durable is there, what was not is not.
    f.m = Fixture::mount(&f.disk);
    assert_eq!(f.m.statfs().free, free);
    assert!(f.m.buf().read(old, BlockKind::Symlink, OWNER).is_ok());
    assert!(f.m.buf().read(new, BlockKind::Symlink, OWNER).is_err());
}

#[test]
fn mounting_reads_two_blocks_whatever_the_size() {
    let disk = Fixture::disk(1 << 28, None);
    let before = disk.io_counts().0;
    let m = open(&disk, true).unwrap();
    assert_eq!(disk.io_counts().0 - before, 2);
    m.unmount().unwrap();
}

#[test]
fn the_label_is_in_all_copies() {
    let mut f = Fixture::with_groups(8192, Some(2048));
    assert_eq!(&f.m.label().unwrap()[..5], b"test\0");
    let error = |r: Result| r.unwrap_err().errno();
    assert_eq!(error(f.m.set_label(&[b'x'; 65])), Errno::INVAL);
    assert_eq!(error(f.m.set_label(b"a\0b")), Errno::INVAL);
    f.m.set_label(&[b'y'; 64]).unwrap();
    f.m.set_label(b"new").unwrap();
    let geometry = *f.m.geo();
    let mut copies = 0;
    for ag in geometry.ags() {
        if let Some(at) = geometry.superblock_copy(ag) {
            let sb = read_super(&f.disk, at.0);
            assert_eq!(sb.label(), b"new");
            sb.verify(at).unwrap();
            copies += 1;
        }
    }
    assert!(copies > 2, "{copies}");
    f.remount();
    assert_eq!(&f.m.label().unwrap()[..4], b"new\0");
    f.m.set_read_only(true).unwrap();
    assert_eq!(error(f.m.set_label(b"no")), Errno::ROFS);
}
