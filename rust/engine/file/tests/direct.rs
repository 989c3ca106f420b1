// SPDX-License-Identifier: GPL-2.0

//! Direct writes, callback by callback.

use super::super::*;
use crate::{
    engine::{
        alloc::Reservation,
        extents::Counts,
        inode::{self, InodeRef},
        namespace::{self, NewInode},
        testing::Fixture,
        Mount,
    },
    sys::{
        witness::{InvalidateExcl, IolockExcl, LockedFolio},
        Arc, Errno, Time,
    },
};

const KB: u64 = 1024;

struct File {
    f: Fixture,
    inode: InodeRef,
}

impl File {
    fn new(blocks: u64) -> Self {
        let f = Fixture::new(blocks);
        let root = inode::iget(&f.m, f.m.root_ino()).unwrap();
        let new = NewInode {
            mode: 0o100644,
            ..NewInode::default()
        };
        let inode = namespace::create(&f.m, &root, b"file", &new).unwrap();
        Self { f, inode }
    }

    /// A file of this size without blocks.
    fn sparse(blocks: u64, size: u64) -> Self {
        let file = Self::new(blocks);
        file.truncate(size);
        file
    }

    fn m(&self) -> &Arc<Mount> {
        &self.f.m
    }

    fn begin(&self, pos: u64, len: u64, how: DirectHow) -> crate::engine::error::Result<Bmap> {
        direct_write_begin(self.m(), &self.inode, None, pos, len, how)
    }

    fn begin_excl(&self, pos: u64, len: u64) -> crate::engine::error::Result<Bmap> {
        let lock = IolockExcl::assume(self.inode.ino.0);
        let how = DirectHow::default();
        direct_write_begin(self.m(), &self.inode, Some(&lock), pos, len, how)
    }

    fn direct(&self, pos: u64, len: u64) -> Bmap {
        self.begin(pos, len, DirectHow::default()).unwrap()
    }

    fn complete(&self, pos: u64, len: u64, error: Option<Errno>) {
        direct_write_complete(self.m(), &self.inode, pos, len, error).unwrap();
    }

    fn end(&self, pos: u64, len: u64, written: u64, new: bool) {
        direct_write_end(self.m(), &self.inode, pos, len, written, new);
    }

    fn read(&self, pos: u64) -> Bmap {
        bmap_read(self.m(), &self.inode, pos, 4 * KB).unwrap()
    }

    fn kind(&self, pos: u64) -> BmapKind {
        self.read(pos).kind
    }

    fn counts(&self) -> Counts {
        self.inode.ilock.read().index.counts()
    }

    fn disk_size(&self) -> u64 {
        self.inode.ilock.read().core.disk_size
    }

    /// The size users see, and that of the disk.
    fn sizes(&self) -> (u64, u64) {
        (self.inode.file.i_size(), self.disk_size())
    }

    fn blocks(&self) -> u64 {
        self.inode.attrs().blocks
    }

    fn truncate(&self, size: u64) {
        let ino = self.inode.ino.0;
        let (iolock, inval) = (IolockExcl::assume(ino), InvalidateExcl::assume(ino));
        let now = Time::default();
        let cut = Cut::begin(self.m(), &self.inode, &iolock, &inval).unwrap();
        truncate(self.m(), &self.inode, &iolock, &inval, cut, size, now).unwrap();
    }

    fn available(&self) -> u64 {
        self.m().alloc().available()
    }

    /// Somebody else has so much of the space that conversions are paid for in advance.
    fn hoard(&self) -> Reservation {
        self.m()
            .alloc()
            .reserve(self.available() - CONVERSION_MARGIN + 1)
            .unwrap()
    }

    /// A page is dirtied by a fault.
    fn fault(&self, pos: u64) -> Bmap {
        let folio = LockedFolio::assume(self.inode.ino.0, pos, 4 * KB);
        mkwrite_begin(self.m(), &self.inode, &folio, pos, 4 * KB).unwrap()
    }

    fn writeback(&self, pos: u64) -> Bmap {
        let folio = LockedFolio::assume(self.inode.ino.0, pos, 4 * KB);
        let mut wb = WbCtx::default();
        writeback_range(self.m(), &self.inode, &mut wb, &folio, pos, 4 * KB).unwrap()
    }
}

#[test]
fn a_write_into_a_hole_is_invisible_until_it_is_complete() {
    let file = File::sparse(16384, 1024 * KB);
    let before = file.available();
    let map = file.direct(64 * KB, 32 * KB);
    assert_eq!((map.kind, map.new), (BmapKind::Unwritten, true));
    assert_eq!((map.offset, map.len), (64 * KB, 32 * KB));
    assert_ne!(map.addr, NO_ADDR);
    assert_eq!(file.counts().in_flight, 8);
    // Nothing is on disk, nothing can be read, and nothing is dirty for the log.
    assert_eq!(file.blocks(), 0);
    assert_eq!(file.kind(64 * KB), BmapKind::Unwritten);
    let read = bmap_direct_read(file.m(), &file.inode, 64 * KB, 32 * KB, false).unwrap();
    assert_eq!(read.kind, BmapKind::Unwritten);
    file.end(64 * KB, 32 * KB, 32 * KB, map.new);
    assert_eq!(file.counts().in_flight, 8);

    let cookie_before = cookie(&file.inode);
    file.complete(64 * KB, 32 * KB, None);
    assert_ne!(cookie(&file.inode), cookie_before);
    assert_eq!(file.read(64 * KB).addr, map.addr);
    assert_eq!(file.kind(64 * KB), BmapKind::Mapped);
    assert_eq!(file.kind(60 * KB), BmapKind::Hole);
    assert_eq!(file.counts(), Counts::default());
    assert_eq!((file.blocks(), file.available()), (8, before - 8));
    assert_eq!(file.disk_size(), 1024 * KB);
    file.truncate(0);
    assert_eq!(file.available(), before);
}

#[test]
fn an_overwrite_changes_nothing_and_needs_no_completion() {
    let file = File::sparse(16384, 1024 * KB);
    let map = file.direct(0, 64 * KB);
    file.complete(0, 64 * KB, None);
    let seq = cookie(&file.inode);
    let again = file.direct(4 * KB, 512);
    assert_eq!((again.kind, again.new), (BmapKind::Mapped, false));
    assert_eq!((again.offset, again.addr), (map.offset, map.addr));
    assert_eq!(file.counts(), Counts::default());
    assert_eq!(cookie(&file.inode), seq);
    let needs =
        |end, unwritten, error| direct_write_needs_completion(&file.inode, end, unwritten, error);
    assert!(!needs(64 * KB, false, None));
    assert!(needs(64 * KB, true, None));
    assert!(needs(64 * KB, false, Some(Errno::IO)));
    assert!(needs(1024 * KB + 1, false, None));
}

#[test]
fn an_overwrite_is_clean_as_soon_as_the_log_has_the_extents() {
    // M7: iomap uses FUA instead of an fsync for what is not IOMAP_F_DIRTY.
    let file = File::sparse(16384, 64 * KB);
    file.direct(0, 16 * KB);
    file.complete(0, 16 * KB, None);
    assert!(file.direct(0, 4 * KB).dirty, "the record is in memory only");
    let upto = fsync_upto(&file.inode, 64 * KB - 1);
    fsync_metadata(file.m(), &file.inode, upto, true).unwrap();
    assert!(!file.direct(0, 4 * KB).dirty);
    // Times do not count, other changes do.
    let mut change = namespace::Change {
        mtime: Some(Time { secs: 9, nanos: 0 }),
        ..namespace::Change::default()
    };
    namespace::setattr(file.m(), &file.inode, &change).unwrap();
    assert!(!file.direct(0, 4 * KB).dirty);
    change.mode = Some(0o600);
    namespace::setattr(file.m(), &file.inode, &change).unwrap();
    assert!(file.direct(0, 4 * KB).dirty);
}

#[test]
fn who_cannot_wait_gets_overwrites_only() {
    let file = File::sparse(16384, 1024 * KB);
    let nowait = DirectHow {
        nowait: true,
        ..DirectHow::default()
    };
    let refused = |pos, len, how| file.begin(pos, len, how).is_err_and(|e| e.is(Errno::AGAIN));
    // Not cached, hole, in flight, unwritten: nothing of it was begun.
    assert!(refused(0, 4 * KB, nowait));
    file.direct(0, 16 * KB);
    assert!(refused(0, 4 * KB, nowait));
    assert!(refused(32 * KB, 4 * KB, nowait));
    file.complete(0, 16 * KB, None);
    let map = file.begin(0, 16 * KB, nowait).unwrap();
    assert_eq!((map.kind, map.new), (BmapKind::Mapped, false));
    // All of it or nothing.
    assert!(refused(8 * KB, 16 * KB, nowait));
    {
        let _inner = file.inode.ilock.write();
        assert!(refused(0, 4 * KB, nowait));
    }
    assert_eq!(file.counts(), Counts::default());

    let overwrite = DirectHow {
        overwrite_only: true,
        ..DirectHow::default()
    };
    assert!(file.begin(512, 512, overwrite).is_ok());
    assert!(refused(15 * KB, 2 * KB, overwrite));
    assert!(refused(512 * KB, 512, overwrite));
    assert_eq!(file.counts(), Counts::default());
}

#[test]
fn a_part_of_a_new_block_needs_the_exclusive_lock() {
    let file = File::sparse(16384, 1024 * KB);
    let shared = file.begin(512, 512, DirectHow::default());
    assert!(shared.is_err_and(|e| e.is(NOTBLK)));
    let tail = file.begin(4 * KB, 5 * KB, DirectHow::default());
    assert!(tail.is_err_and(|e| e.is(NOTBLK)));
    assert_eq!(file.counts(), Counts::default());
    let map = file.begin_excl(512, 8 * KB).unwrap();
    assert_eq!((map.offset, map.len, map.new), (0, 12 * KB, true));
    file.complete(512, 8 * KB, None);
    assert_eq!(file.kind(8 * KB), BmapKind::Mapped);
    // A lock of somebody else is none.
    let lock = IolockExcl::assume(file.inode.ino.0 + 1);
    let how = DirectHow::default();
    let other = direct_write_begin(file.m(), &file.inode, Some(&lock), 64 * KB, 512, how);
    assert!(other.is_err_and(|e| e.is(Errno::INVAL)));
}

#[test]
fn what_was_begun_and_not_submitted_becomes_unwritten() {
    let file = File::sparse(16384, 1024 * KB);
    let before = file.available();
    let map = file.direct(0, 64 * KB);
    // Two blocks and a bit were submitted; the third one is zeroed behind it.
    file.end(0, 64 * KB, 9 * KB, map.new);
    assert_eq!(file.counts().in_flight, 3);
    assert_eq!(file.kind(12 * KB), BmapKind::Unwritten);
    file.complete(0, 9 * KB, None);
    assert_eq!(file.kind(0), BmapKind::Mapped);
    assert_eq!(file.read(0).len, 12 * KB);
    assert_eq!(file.kind(12 * KB), BmapKind::Unwritten);
    assert_eq!(file.blocks(), 16);
    // The second try finds its blocks.
    let hoard = file.hoard();
    let rest = file.direct(12 * KB, 52 * KB);
    assert_eq!(rest.addr, map.addr + 12 * KB);
    assert_eq!(file.counts().converting, 13);
    drop(hoard);
    // Not a byte of it could be submitted.
    file.end(12 * KB, 52 * KB, 0, rest.new);
    assert_eq!(file.counts(), Counts::default());
    assert_eq!(file.kind(12 * KB), BmapKind::Unwritten);
    file.truncate(0);
    assert_eq!(file.available(), before);
}

#[test]
fn a_failed_write_shows_nothing_and_keeps_its_blocks() {
    let file = File::sparse(16384, 1024 * KB);
    file.direct(0, 32 * KB);
    // A page is dirtied over it while it is in flight: it takes no space.
    let available = file.available();
    assert_eq!(file.fault(8 * KB).kind, BmapKind::Unwritten);
    assert_eq!(file.available(), available);
    file.complete(0, 32 * KB, Some(Errno::IO));
    assert_eq!(file.kind(0), BmapKind::Unwritten);
    assert_eq!(file.counts(), Counts::default());
    // And has a place to go to (M13).
    let map = file.writeback(8 * KB);
    assert_eq!(map.kind, BmapKind::Unwritten);
    ioend_complete(file.m(), &file.inode, 8 * KB, 4 * KB, None).unwrap();
    assert_eq!(file.kind(8 * KB), BmapKind::Mapped);
    assert_eq!(file.kind(4 * KB), BmapKind::Unwritten);
}

#[test]
fn two_writes_to_the_same_blocks_complete_in_any_order() {
    let file = File::sparse(16384, 1024 * KB);
    let first = file.direct(0, 16 * KB);
    let second = file.direct(8 * KB, 16 * KB);
    // The second one uses the first one's blocks where they overlap (M14).
    assert_eq!((second.new, second.len), (false, 8 * KB));
    assert_eq!(second.addr, first.addr + 8 * KB);
    let rest = file.direct(16 * KB, 8 * KB);
    assert!(rest.new);
    // Its end undoes nothing of the first one's.
    file.end(8 * KB, 8 * KB, 0, second.new);
    assert_eq!(file.counts().in_flight, 6);
    file.complete(8 * KB, 16 * KB, None);
    assert_eq!(file.kind(8 * KB), BmapKind::Mapped);
    assert_eq!(file.kind(0), BmapKind::Unwritten);
    // The first one fails: what the second one wrote stays.
    file.complete(0, 16 * KB, Some(Errno::IO));
    assert_eq!(file.kind(0), BmapKind::Unwritten);
    assert_eq!(file.kind(8 * KB), BmapKind::Mapped);
    assert_eq!(file.counts(), Counts::default());
    assert_eq!(file.blocks(), 6);
}

#[test]
fn delayed_allocation_that_came_in_between_is_converted() {
    // T-004-F: a fault after the page cache was written and dropped.
    let file = File::sparse(16384, 1024 * KB);
    let before = file.available();
    assert_eq!(file.fault(4 * KB).kind, BmapKind::Delayed);
    let hole = file.direct(0, 12 * KB);
    assert_eq!((hole.kind, hole.len), (BmapKind::Unwritten, 4 * KB));
    let map = file.direct(4 * KB, 8 * KB);
    assert_eq!(
        (map.kind, map.len, map.new),
        (BmapKind::Unwritten, 4 * KB, true)
    );
    assert_eq!(delayed_blocks(&file.inode), 0);
    // The page is written while the direct write is in flight: the same blocks.
    assert_eq!(file.writeback(4 * KB).addr, map.addr);
    file.complete(0, 8 * KB, None);
    ioend_complete(file.m(), &file.inode, 4 * KB, 4 * KB, None).unwrap();
    assert_eq!(file.kind(4 * KB), BmapKind::Mapped);
    assert_eq!(file.counts(), Counts::default());
    file.truncate(0);
    assert_eq!(file.available(), before);
}

#[test]
fn the_size_grows_with_the_completion() {
    let file = File::new(16384);
    let map = file.begin_excl(0, 6 * KB).unwrap();
    assert_eq!(map.len, 8 * KB);
    assert!(map.dirty, "O_DSYNC has to log the size");
    assert_eq!(file.sizes(), (0, 0));
    file.complete(0, 6 * KB, None);
    assert_eq!(file.sizes(), (6 * KB, 6 * KB));
    // Into the block that is there.
    let map = file.begin_excl(6 * KB, KB).unwrap();
    assert_eq!((map.kind, map.new), (BmapKind::Mapped, false));
    let inode = &file.inode;
    assert!(direct_write_needs_completion(inode, 7 * KB, false, None));
    file.complete(6 * KB, KB, None);
    assert_eq!(file.sizes(), (7 * KB, 7 * KB));
    // A failed one does not move it.
    file.begin_excl(8 * KB, 8 * KB).unwrap();
    file.complete(8 * KB, 8 * KB, Some(Errno::IO));
    assert_eq!(file.sizes(), (7 * KB, 7 * KB));
}

#[test]
fn a_direct_write_in_flight_holds_no_size_back() {
    // M15 (6), M16.
    let file = File::sparse(16384, 64 * KB);
    file.direct(0, 8 * KB);
    write_begin(file.m(), &file.inode, 64 * KB, 4 * KB, false).unwrap();
    set_isize(&file.inode, 68 * KB);
    file.writeback(64 * KB);
    ioend_complete(file.m(), &file.inode, 64 * KB, 4 * KB, None).unwrap();
    assert_eq!(file.disk_size(), 68 * KB);
    let upto = fsync_upto(&file.inode, u64::MAX);
    fsync_metadata(file.m(), &file.inode, upto, false).unwrap();
    assert_eq!(file.counts().in_flight, 2);
    assert_eq!(file.blocks(), 1, "the log knows nothing of it");
    file.complete(0, 8 * KB, None);
}

#[test]
fn without_space_the_page_cache_is_asked() {
    let file = File::sparse(4096, 1 << 30);
    let before = file.available();
    let mut pos = 0;
    loop {
        match file.begin(pos, 256 * KB, DirectHow::default()) {
            Ok(map) => {
                file.complete(pos, map.len, None);
                pos += map.len;
            }
            Err(e) => {
                assert!(e.is(NOTBLK));
                break;
            }
        }
    }
    assert!(file.available() < 32, "{} left", file.available());
    assert!(pos / 4096 + 48 > before, "{pos} bytes in {before} blocks");
    assert_eq!(file.counts(), Counts::default());
    file.m().alloc().check(true).unwrap();
    // Freed space is busy until a checkpoint, which the next write makes.
    file.truncate(0);
    file.truncate(1 << 30);
    let map = file.direct(0, 256 * KB);
    assert!(map.new);
    file.complete(0, map.len, None);
    file.truncate(0);
    file.m().sync().unwrap();
    file.m().alloc().check(true).unwrap();
    assert_eq!(file.available(), before);
}

#[test]
fn memory_may_run_out_before_a_direct_write_and_not_after() {
    let file = File::sparse(16384, 1024 * KB);
    let before = file.available();
    for n in 0..8 {
        crate::sys::alloc::fail_after(Some(n));
        let map = file.begin(0, 64 * KB, DirectHow::default());
        crate::sys::alloc::fail_after(None);
        if map.is_ok() {
            break;
        }
        assert_eq!(file.available(), before, "a reservation leaked");
        assert_eq!(file.counts(), Counts::default());
        assert!(n < 7, "never succeeds");
    }
    crate::sys::alloc::fail_after(Some(0));
    file.end(0, 64 * KB, 32 * KB, true);
    file.complete(0, 32 * KB, None);
    crate::sys::alloc::fail_after(None);
    assert_eq!(file.kind(0), BmapKind::Mapped);
    assert_eq!(file.kind(32 * KB), BmapKind::Unwritten);
}

/// A file of unwritten blocks, 0 to `blocks`.
fn unwritten(volume: u64, blocks: u64) -> File {
    let file = File::sparse(volume, blocks * 4 * KB);
    let mut pos = 0;
    while pos < blocks * 4 * KB {
        let map = file.direct(pos, blocks * 4 * KB - pos);
        file.end(pos, map.len, 0, true);
        pos += map.len;
    }
    file
}

#[test]
fn who_guesses_wrong_what_a_completion_needs_looks_again() {
    let file = unwritten(16384, 256);
    let before = file.available();
    for n in 0..128 {
        let pos = n * 8 * KB;
        file.direct(pos, 4 * KB);
        match n % 3 {
            // Nothing; all that can be; what the last one left.
            0 => file.inode.file.set_likely_need(0),
            1 => file.inode.file.set_likely_need(20),
            _ => {}
        }
        file.complete(pos, 4 * KB, None);
    }
    assert!(
        file.inode.file.likely_need() > Some(1),
        "the map is no tree"
    );
    for n in 0..128 {
        assert_eq!(file.kind(n * 8 * KB), BmapKind::Mapped);
        assert_eq!(file.kind(n * 8 * KB + 4 * KB), BmapKind::Unwritten);
    }
    // The same again: not all of a guess is used, and all of that returns.
    file.m().sync().unwrap();
    file.m().alloc().check(true).unwrap();
    let tree = before - file.available();
    assert!(tree <= 4, "{tree} blocks");
    // With a guess, and nothing to do.
    file.complete(0, 4 * KB, None);
    assert_eq!(file.counts(), Counts::default());
}

#[test]
fn a_guess_needs_neither_space_nor_memory() {
    let file = unwritten(4096, 512);
    for n in 0..64 {
        file.direct(n * 8 * KB, 4 * KB);
    }
    for n in 0..32 {
        file.complete(n * 8 * KB, 4 * KB, None);
    }
    assert!(file.inode.file.likely_need().is_some());
    // The rest of the volume is somebody else's.
    let alloc = file.m().alloc();
    let mut space = Vec::new();
    while let Ok(one) = alloc.reserve(1) {
        space.push(one);
    }
    for n in 32..48 {
        file.complete(n * 8 * KB, 4 * KB, None);
    }
    drop(space);
    for n in 48..64 {
        crate::sys::alloc::fail_after(Some(0));
        file.complete(n * 8 * KB, 4 * KB, None);
        crate::sys::alloc::fail_after(None);
    }
    for n in 0..64 {
        assert_eq!(file.kind(n * 8 * KB), BmapKind::Mapped);
    }
    assert_eq!(file.counts(), Counts::default());
    file.m().sync().unwrap();
    file.m().alloc().check(true).unwrap();
}

#[test]
fn unwritten_blocks_stay_as_they_are_until_the_write_completes() {
    let file = unwritten(16384, 16);
    let seq = cookie(&file.inode);
    let map = file.direct(8 * KB, 4 * KB);
    assert_eq!((map.kind, map.new), (BmapKind::Unwritten, false));
    // A second one to the same block, and one that fails.
    file.direct(8 * KB, 8 * KB);
    file.direct(32 * KB, 4 * KB);
    assert_eq!(file.counts(), Counts::default());
    assert_eq!(cookie(&file.inode), seq);
    assert!(!file.inode.file.is_converting());
    file.complete(8 * KB, 4 * KB, None);
    assert_eq!(file.kind(8 * KB), BmapKind::Mapped);
    assert_eq!(file.kind(12 * KB), BmapKind::Unwritten);
    file.complete(8 * KB, 8 * KB, None);
    assert_eq!(file.kind(12 * KB), BmapKind::Mapped);
    file.complete(32 * KB, 4 * KB, Some(Errno::IO));
    assert_eq!(file.kind(32 * KB), BmapKind::Unwritten);
    // It needs no memory and no lock that somebody waits for.
    let nowait = DirectHow {
        nowait: true,
        ..DirectHow::default()
    };
    assert!(file.begin(32 * KB, 4 * KB, nowait).is_ok());
    let half = file.begin(12 * KB, 8 * KB, nowait);
    assert!(half.is_err_and(|e| e.is(Errno::AGAIN)));
}

#[test]
fn what_needs_more_than_a_conversion_is_in_flight() {
    let file = unwritten(16384, 16);
    // Zeroes around a part of a block: alone, and known to everybody who comes later.
    let shared = file.begin(512, 512, DirectHow::default());
    assert!(shared.is_err_and(|e| e.is(NOTBLK)));
    let map = file.begin_excl(512, 512).unwrap();
    assert!(map.new);
    assert_eq!(file.counts().converting, 1);
    file.complete(512, 512, None);
    // Only what is written already.
    let over = DirectHow {
        overwrite_only: true,
        ..DirectHow::default()
    };
    let refused = file.begin(8 * KB, 4 * KB, over);
    assert!(refused.is_err_and(|e| e.is(Errno::AGAIN)));
    // Space is short.
    let hoard = file.hoard();
    assert!(file.direct(8 * KB, 4 * KB).new);
    assert_eq!(file.counts().converting, 1);
    drop(hoard);
    file.complete(8 * KB, 4 * KB, None);
    // Behind the size on disk.
    file.inode.ilock.write().core.disk_size = 32 * KB;
    file.inode.file.set_disk_size(32 * KB);
    assert!(!file.direct(28 * KB, 4 * KB).new);
    assert!(file.direct(32 * KB, 4 * KB).new);
    file.complete(28 * KB, 8 * KB, None);
    assert_eq!(file.counts(), Counts::default());
}

#[test]
fn who_found_nothing_to_change_looks_shared_again() {
    let file = File::sparse(16384, 64 * KB);
    let over = || {
        let map = file.direct(0, 4 * KB);
        assert_eq!((map.kind, map.new), (BmapKind::Mapped, false));
        assert!(!file.inode.file.is_converting());
    };
    file.direct(0, 4 * KB);
    file.complete(0, 4 * KB, None);
    assert!(file.inode.file.is_converting());
    over();
    over();
    file.direct(8 * KB, 4 * KB);
    assert!(file.inode.file.is_converting());
    file.complete(8 * KB, 4 * KB, None);
}
