// SPDX-License-Identifier: GPL-2.0

//! The size on disk: it gets to the size that users see when all data is written, whatever order
//! things happen in, and it does not get there before.

use super::{
    super::*,
    calls::{File, KB},
};
use crate::sys::{
    witness::{CleanRange, InvalidateExcl, IolockExcl},
    Errno, Time,
};

impl File {
    fn falloc(&self, mode: FallocMode, pos: u64, len: u64) {
        let ino = self.inode.ino.0;
        let (iolock, inval) = (IolockExcl::assume(ino), InvalidateExcl::assume(ino));
        let op = Falloc {
            mode,
            pos,
            len,
            keep_size: true,
        };
        let (m, now) = (self.m(), Time::default());
        fallocate(m, &self.inode, &iolock, Some(&inval), &op, now).unwrap();
    }

    /// write(2) of which `written` bytes come.
    fn write_short(&self, pos: u64, len: u64, written: u64) {
        let mut at = pos;
        loop {
            let left = pos + written - at;
            let map = write_begin(self.m(), &self.inode, at, pos + len - at, false).unwrap();
            let one = (map.offset + map.len).min(pos + len) - at;
            self.end_of_write(&map, at, one, left.min(one));
            at += one;
            if left <= one {
                break;
            }
        }
    }

    fn end_of_write(&self, map: &Bmap, pos: u64, len: u64, written: u64) {
        if written > 0 {
            set_isize(&self.inode, self.inode.file.i_size().max(pos + written));
        }
        let undo = write_end(self.m(), &self.inode, pos, len, written, map.new);
        if let Some((from, to)) = undo {
            let lock = InvalidateExcl::assume(self.inode.ino.0);
            let clean = CleanRange::assume(self.inode.ino.0, from, to);
            punch_delayed(self.m(), &self.inode, &lock, &clean);
        }
    }

    /// Writes blocks back of which bytes `pos .. end` belong to the file.
    fn write_back(&self, pos: u64, end: u64) {
        let len = end.next_multiple_of(4 * KB) - pos;
        self.submit(&mut WbCtx::default(), pos, len);
        self.complete(pos, end - pos, None);
    }

    fn fail_to_write(&self, pos: u64, end: u64) {
        let len = end.next_multiple_of(4 * KB) - pos;
        self.submit(&mut WbCtx::default(), pos, len);
        self.complete(pos, end - pos, Some(Errno::IO));
    }

    fn discard(&self, pos: u64, len: u64) {
        writeback_discard(self.m(), &self.inode, &self.folio(pos, len), pos);
    }

    fn appended(&self) -> u64 {
        self.inode.ilock.read().index.counts().appended
    }
}

/// An empty file with unwritten blocks behind its end.
fn allocated() -> File {
    let file = File::new(16384);
    file.falloc(FallocMode::Allocate, 0, 64 * KB);
    assert_eq!((file.kind(0), file.disk_size()), (BmapKind::Unwritten, 0));
    file
}

/// [`allocated`], with three blocks of data appended, of which the last is on disk.
fn appended_and_last_written() -> File {
    let file = allocated();
    file.write(0, 8 * KB);
    file.write(8 * KB, 4 * KB);
    assert_eq!(file.appended(), 3);
    file.write_back(8 * KB, 12 * KB);
    assert_eq!((file.appended(), file.disk_size()), (2, 0));
    file
}

/// Three written blocks, cut in the middle of the second one.
fn cut_in_the_second_block() -> File {
    let file = File::new(16384);
    file.write(0, 12 * KB);
    file.submit(&mut WbCtx::default(), 0, 12 * KB);
    file.complete(0, 12 * KB, None);
    file.truncate(6 * KB);
    assert_eq!(file.disk_size(), 6 * KB);
    file
}

/// Both completions of a write come before the engine is told of its size, which the page cache had
/// since before they were submitted.
#[test]
fn the_size_does_not_depend_on_when_the_engine_is_told_of_it() {
    let file = cut_in_the_second_block();
    // write(2) at 8 KiB: the rest of the second block is zeroed in the page cache.
    write_begin(file.m(), &file.inode, 8 * KB, 4 * KB, false).unwrap();
    let mut wb = WbCtx::default();
    file.submit(&mut wb, 4 * KB, 4 * KB);
    file.submit(&mut wb, 8 * KB, 4 * KB);
    file.complete(8 * KB, 4 * KB, None);
    assert_eq!(file.disk_size(), 6 * KB);
    file.complete(4 * KB, 4 * KB, None);
    assert_eq!(file.disk_size(), 12 * KB);
    set_isize(&file.inode, 12 * KB);
    assert_eq!(
        write_end(file.m(), &file.inode, 8 * KB, 4 * KB, 4 * KB, true),
        None
    );
    assert_eq!(file.disk_size(), 12 * KB);
}

#[test]
fn data_appended_above_unwritten_blocks_holds_the_size_back() {
    let file = appended_and_last_written();
    file.write_back(4 * KB, 8 * KB);
    assert_eq!(file.disk_size(), 0);
    file.write_back(0, 4 * KB);
    assert_eq!((file.appended(), file.disk_size()), (0, 12 * KB));
}

#[test]
fn data_above_unwritten_blocks_inside_of_the_file_does_not() {
    let file = allocated();
    file.truncate(32 * KB);
    file.falloc(FallocMode::Allocate, 0, 64 * KB);
    file.write(0, 8 * KB);
    // One write across the end: what is in front of it is not marked, in whatever order.
    file.write(28 * KB, 4 * KB);
    file.write(32 * KB, 4 * KB);
    assert_eq!(file.appended(), 1);
    file.write_back(32 * KB, 36 * KB);
    assert_eq!(file.disk_size(), 36 * KB);
    let map = write_begin(file.m(), &file.inode, 8 * KB, 56 * KB, false).unwrap();
    assert_eq!((map.kind, map.len), (BmapKind::Unwritten, 32 * KB));
}

#[test]
fn data_lost_does_not_hold_the_size_back() {
    let file = appended_and_last_written();
    file.fail_to_write(0, 4 * KB);
    assert_eq!(file.disk_size(), 4 * KB);
    file.discard(4 * KB, 4 * KB);
    assert_eq!((file.appended(), file.disk_size()), (0, 12 * KB));
}

/// As before, of data without blocks.
#[test]
fn delayed_data_lost_does_not_hold_the_size_back() {
    let file = File::new(16384);
    file.write(0, 8 * KB);
    file.write(8 * KB, 4 * KB);
    file.write_back(8 * KB, 12 * KB);
    assert_eq!(file.disk_size(), 0);
    file.discard(0, 8 * KB);
    assert_eq!(file.disk_size(), 12 * KB);
}

#[test]
fn a_hole_punched_does_not_hold_the_size_back() {
    let file = appended_and_last_written();
    file.falloc(FallocMode::Punch, 0, 4 * KB);
    assert_eq!(file.disk_size(), 4 * KB);
    file.falloc(FallocMode::Zero, 4 * KB, 4 * KB);
    assert_eq!((file.appended(), file.disk_size()), (0, 12 * KB));
}

#[test]
fn what_a_truncation_cuts_off_does_not_hold_the_size_back() {
    let file = allocated();
    file.write(0, 12 * KB);
    file.write_back(0, 4 * KB);
    file.truncate(4 * KB);
    assert_eq!((file.appended(), file.disk_size()), (0, 4 * KB));
    file.write(8 * KB, 4 * KB);
    file.write_back(8 * KB, 12 * KB);
    assert_eq!(file.disk_size(), 12 * KB);
}

/// What a short write did not write is behind the end of the file. Whatever is promised there.
#[test]
fn a_short_write_above_unwritten_blocks_leaves_no_mark() {
    let file = allocated();
    file.write_short(0, 16 * KB, 5000);
    assert_eq!(file.appended(), 2);
    file.write_back(0, 5000);
    assert_eq!((file.appended(), file.disk_size()), (0, 5000));
    file.write_short(5000, 16 * KB, 0);
    assert_eq!(file.appended(), 0);
    // Behind a gap.
    file.write_short(12 * KB, 4 * KB, 4 * KB);
    assert_eq!(file.appended(), 1);
    file.write_back(12 * KB, 16 * KB);
    assert_eq!(file.disk_size(), 16 * KB);
    // What is promised already and has no mark gets one.
    file.write_short(16 * KB, 32 * KB, 1);
    file.write_back(16 * KB, 16 * KB + 1);
    file.write_short(20 * KB, 4 * KB, 4 * KB);
    file.write_short(24 * KB, 4 * KB, 4 * KB);
    assert_eq!(file.appended(), 2);
    file.write_back(24 * KB, 28 * KB);
    assert_eq!(file.disk_size(), 20 * KB);
    file.write_back(20 * KB, 24 * KB);
    assert_eq!(file.disk_size(), 28 * KB);
}

/// fallocate(2) gives delayed data blocks; it still has to be written.
#[test]
fn delayed_data_that_was_given_blocks_holds_the_size_back() {
    let file = File::new(16384);
    file.write(0, 8 * KB);
    file.falloc(FallocMode::Allocate, 0, 4 * KB);
    assert_eq!(file.appended(), 1);
    file.write_back(4 * KB, 8 * KB);
    assert_eq!(file.disk_size(), 0);
    file.write_back(0, 4 * KB);
    assert_eq!(file.disk_size(), 8 * KB);
}

/// The last block is unwritten, the file ends inside of it, and more is appended in it.
#[test]
fn data_appended_in_an_unwritten_block_holds_the_size_back() {
    let file = allocated();
    file.truncate(1000);
    file.falloc(FallocMode::Allocate, 0, 64 * KB);
    file.write_short(1000, 7192, 7192);
    assert_eq!(file.appended(), 1);
    file.write_back(4 * KB, 8 * KB);
    assert_eq!(file.disk_size(), 1000);
    file.write_back(0, 4 * KB);
    assert_eq!(file.disk_size(), 8 * KB);
}

/// A write into a hole fails; while it was at work the size on disk waited for it.
#[test]
fn a_short_write_lets_the_size_go() {
    let file = File::new(16384);
    file.write(0, 4 * KB);
    file.write(60 * KB, 4 * KB);
    file.write_back(60 * KB, 64 * KB);
    assert_eq!(file.disk_size(), 0);
    let map = write_begin(file.m(), &file.inode, 16 * KB, 16 * KB, false).unwrap();
    assert!(map.new);
    file.write_back(0, 4 * KB);
    assert_eq!(file.disk_size(), 16 * KB);
    let undo = write_end(file.m(), &file.inode, 16 * KB, 16 * KB, 0, true);
    assert_eq!(undo, Some((16 * KB, 32 * KB)));
    let lock = InvalidateExcl::assume(file.inode.ino.0);
    let clean = CleanRange::assume(file.inode.ino.0, 16 * KB, 32 * KB);
    punch_delayed(file.m(), &file.inode, &lock, &clean);
    assert_eq!(file.disk_size(), 64 * KB);
}

/// The block that the size on disk ends inside of has to be written before the size leaves it, but if
/// that fails, what came behind it must not be lost as well.
#[test]
fn a_last_block_that_cannot_be_written_lets_the_size_go() {
    for discard in [false, true] {
        let file = cut_in_the_second_block();
        file.write_short(6 * KB, 6 * KB, 6 * KB);
        file.write_back(8 * KB, 12 * KB);
        assert_eq!(file.disk_size(), 6 * KB);
        if discard {
            file.discard(4 * KB, 4 * KB);
        } else {
            file.fail_to_write(4 * KB, 8 * KB);
        }
        assert_eq!(file.disk_size(), 12 * KB);
    }
}

/// A write of a block fails when more has been appended in it since: that is still to be written.
#[test]
fn what_was_appended_since_is_not_lost_with_what_failed() {
    let file = File::new(16384);
    file.write_short(0, 1000, 1000);
    file.submit(&mut WbCtx::default(), 0, 4 * KB);
    file.write_short(1000, 7192, 7192);
    file.complete(0, 1000, Some(Errno::IO));
    file.write_back(4 * KB, 8 * KB);
    assert_eq!(file.disk_size(), 1000);
    file.write_back(0, 4 * KB);
    assert_eq!(file.disk_size(), 8 * KB);
}

/// An fsync that has seen to its data does not wait for what was truncated away meanwhile, and does
/// not log a size that goes with it.
#[test]
fn an_fsync_does_not_bring_a_truncated_size_back() {
    let file = File::new(16384);
    file.write(0, 12 * KB);
    let upto = fsync_upto(&file.inode, u64::MAX);
    file.write_back(0, 12 * KB);
    file.truncate(4 * KB);
    fsync_metadata(file.m(), &file.inode, upto, false).unwrap();
    assert_eq!(file.disk_size(), 4 * KB);
    // What the VFS has cut off and the engine has not yet.
    file.write(4 * KB, 8 * KB);
    file.write_back(8 * KB, 12 * KB);
    let upto = fsync_upto(&file.inode, u64::MAX).min(4 * KB);
    fsync_metadata(file.m(), &file.inode, upto, false).unwrap();
    assert_eq!(file.disk_size(), 4 * KB);
}

/// Nor if the file has grown again since: not all of that is on disk.
#[test]
fn an_fsync_does_not_bring_the_size_to_data_it_has_not_seen() {
    let file = File::new(16384);
    file.write(0, 12 * KB);
    let upto = fsync_upto(&file.inode, u64::MAX);
    file.write_back(0, 12 * KB);
    file.truncate(4 * KB);
    file.write(4 * KB, 4 * KB);
    file.write(8 * KB, 4 * KB);
    file.write_back(8 * KB, 12 * KB);
    fsync_metadata(file.m(), &file.inode, upto, false).unwrap();
    assert_eq!(file.disk_size(), 4 * KB);
    file.write_back(4 * KB, 8 * KB);
    assert_eq!(file.disk_size(), 12 * KB);
}

/// A write across the end of the file fails before it gets there: nothing has been appended in the
/// last block, and nobody waits for it.
#[test]
fn a_write_that_fails_in_front_of_the_last_block_appends_nothing() {
    // One of the first two blocks has data, so they are two mappings.
    for hole in [false, true] {
        let file = File::new(16384);
        let at = if hole { 0 } else { 4 * KB };
        file.write(at, 4 * KB);
        file.write_back(at, at + 4 * KB);
        file.truncate(6 * KB);
        let free = file.available();
        file.write_short(0, 8 * KB, 0);
        assert_eq!((delayed_blocks(&file.inode), file.available()), (0, free));
        // Behind the end, with the last block rewritten by the zeroing if it has data.
        file.write(8 * KB, 4 * KB);
        file.write_back(8 * KB, 12 * KB);
        if !hole {
            file.write_back(4 * KB, 8 * KB);
        }
        assert_eq!(file.disk_size(), 12 * KB);
        // One that succeeds.
        file.truncate(10 * KB);
        file.write_short(5 * KB, 7 * KB, 7 * KB);
        file.write_back(4 * KB, 8 * KB);
        assert_eq!(file.disk_size(), 10 * KB);
        file.write_back(8 * KB, 12 * KB);
        assert_eq!(file.disk_size(), 12 * KB);
    }
}

/// Between the page cache and the map an fsync could say that data is there which is in neither; and
/// writeback could put in flight what is about to go.
#[test]
fn what_is_punched_or_zeroed_is_written_first() {
    let file = File::new(16384);
    file.write(0, 16 * KB);
    for mode in [FallocMode::Punch, FallocMode::Zero] {
        let op = Falloc {
            mode,
            pos: 4 * KB,
            len: 8 * KB,
            keep_size: true,
        };
        let plan = falloc_plan(file.m(), &file.inode, &op).unwrap();
        assert_eq!(
            (plan.flush, plan.forget),
            (plan.forget, Some((4 * KB, 12 * KB)))
        );
    }
}
