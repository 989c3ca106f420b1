// SPDX-License-Identifier: GPL-2.0

//! Callbacks one by one.

use super::super::*;
use crate::{
    engine::{
        extents::View,
        inode::{self, InodeRef},
        namespace::{self, NewInode},
        testing::Fixture,
        Mount,
    },
    sys::{
        witness::{CleanRange, InvalidateExcl, IolockExcl, LockedFolio},
        Arc, Errno, Time,
    },
};

pub(super) const KB: u64 = 1024;

pub(super) struct File {
    pub(super) f: Fixture,
    pub(super) inode: InodeRef,
}

impl File {
    pub(super) fn new(blocks: u64) -> Self {
        let f = Fixture::new(blocks);
        let root = inode::iget(&f.m, f.m.root_ino()).unwrap();
        let new = NewInode {
            mode: 0o100644,
            ..NewInode::default()
        };
        let inode = namespace::create(&f.m, &root, b"file", &new).unwrap();
        Self { f, inode }
    }

    pub(super) fn m(&self) -> &Arc<Mount> {
        &self.f.m
    }

    pub(super) fn write(&self, pos: u64, len: u64) -> Bmap {
        let map = write_begin(self.m(), &self.inode, pos, len, false).unwrap();
        set_isize(&self.inode, self.inode.file.i_size().max(pos + len));
        map
    }

    pub(super) fn folio(&self, pos: u64, len: u64) -> LockedFolio<'static> {
        LockedFolio::assume(self.inode.ino.0, pos, len)
    }

    pub(super) fn submit(&self, wb: &mut WbCtx, pos: u64, len: u64) -> Bmap {
        let folio = self.folio(pos, len);
        writeback_range(self.m(), &self.inode, wb, &folio, pos, len).unwrap()
    }

    pub(super) fn complete(&self, pos: u64, len: u64, error: Option<Errno>) {
        ioend_complete(self.m(), &self.inode, pos, len, error).unwrap();
    }

    pub(super) fn read(&self, pos: u64) -> Bmap {
        bmap_read(self.m(), &self.inode, pos, 4 * KB).unwrap()
    }

    pub(super) fn kind(&self, pos: u64) -> BmapKind {
        self.read(pos).kind
    }

    pub(super) fn disk_size(&self) -> u64 {
        self.inode.ilock.read().core.disk_size
    }

    pub(super) fn truncate(&self, size: u64) {
        let ino = self.inode.ino.0;
        let (iolock, inval) = (IolockExcl::assume(ino), InvalidateExcl::assume(ino));
        let now = Time::default();
        let cut = Cut::begin(self.m(), &self.inode, &iolock, &inval).unwrap();
        truncate(self.m(), &self.inode, &iolock, &inval, cut, size, now).unwrap();
    }

    pub(super) fn available(&self) -> u64 {
        self.m().alloc().available()
    }
}

#[test]
fn written_data_goes_through_its_life() {
    let file = File::new(16384);
    let before = file.available();
    assert_eq!(file.kind(0), BmapKind::Hole);

    let map = file.write(0, 64 * KB);
    assert!(map.new && map.kind == BmapKind::Delayed);
    assert_eq!((map.offset, map.len), (0, 64 * KB));
    assert_eq!(file.available(), before - 16);
    assert_eq!(delayed_blocks(&file.inode), 16);
    assert_eq!(file.kind(0), BmapKind::Delayed);
    let direct = bmap_direct_read(file.m(), &file.inode, 0, KB, false).unwrap();
    assert_eq!((direct.kind, direct.addr), (BmapKind::Unwritten, NO_ADDR));

    // Exactly what is submitted is in flight, and unwritten to everybody (M11, M12).
    let mut wb = WbCtx::default();
    let map = file.submit(&mut wb, 0, 16 * KB);
    assert_eq!((map.kind, map.len), (BmapKind::Unwritten, 16 * KB));
    assert_eq!(file.kind(0), BmapKind::Unwritten);
    assert_ne!(file.read(0).addr, NO_ADDR);
    assert_eq!(file.kind(16 * KB), BmapKind::Delayed);
    // The next call goes on behind it on disk.
    let next = file.submit(&mut wb, 16 * KB, 48 * KB);
    assert_eq!(next.addr, map.addr + 16 * KB);
    writeback_submit(file.m(), &file.inode, &mut wb);
    assert!(ioend_needs_completion(&file.inode, true, 64 * KB));

    let cookie_before = cookie(&file.inode);
    file.complete(0, 64 * KB, None);
    assert_ne!(cookie(&file.inode), cookie_before);
    let map = file.read(0);
    assert_eq!((map.kind, map.len), (BmapKind::Mapped, 64 * KB));
    assert_eq!(file.disk_size(), 64 * KB);
    assert_eq!(delayed_blocks(&file.inode), 0);
    assert_eq!(file.inode.attrs().blocks, 16);
    assert_eq!(file.available(), before - 16);

    file.truncate(0);
    assert_eq!(file.inode.attrs().blocks, 0);
    assert_eq!(file.kind(0), BmapKind::Hole);
    assert_eq!(file.available(), before);
}

#[test]
fn an_overwrite_needs_no_ordered_extent_and_no_transaction() {
    let file = File::new(16384);
    file.write(0, 64 * KB);
    let mut wb = WbCtx::default();
    file.submit(&mut wb, 0, 64 * KB);
    file.complete(0, 64 * KB, None);

    let map = write_begin(file.m(), &file.inode, 8 * KB, 4 * KB, false).unwrap();
    assert!(!map.new && map.kind == BmapKind::Mapped);
    let mut wb = WbCtx::default();
    let map = file.submit(&mut wb, 8 * KB, 4 * KB);
    assert_eq!(map.kind, BmapKind::Mapped);
    assert_eq!(file.inode.ilock.read().index.counts().in_flight, 0);
    assert!(!ioend_needs_completion(&file.inode, false, 12 * KB));
    // A write that ends beyond the size on disk does, even over written blocks (M15).
    assert!(ioend_needs_completion(&file.inode, false, 64 * KB + 1));
}

#[test]
fn the_index_of_a_small_file_is_one_small_chunk() {
    let file = File::new(16384);
    let chunks = || file.inode.ilock.read().index.room().1;
    file.write(0, 4 * KB);
    assert_eq!(chunks(), 1, "written");
    file.submit(&mut WbCtx::default(), 0, 4 * KB);
    file.complete(0, 4 * KB, None);
    assert_eq!(chunks(), 1, "on disk");
    evict(file.m(), &file.inode);
    assert_eq!(file.kind(0), BmapKind::Mapped);
    assert_eq!(chunks(), 1, "read again");
}

#[test]
fn a_failed_write_commits_unwritten_blocks() {
    let file = File::new(16384);
    let before = file.available();
    file.write(0, 32 * KB);
    let mut wb = WbCtx::default();
    file.submit(&mut wb, 0, 32 * KB);
    file.complete(0, 32 * KB, Some(Errno::IO));
    assert_eq!(file.kind(0), BmapKind::Unwritten);
    assert_eq!(file.disk_size(), 0);
    assert_eq!(file.inode.attrs().blocks, 8);

    // The page was dirtied meanwhile: it can still be written.
    let map = write_begin(file.m(), &file.inode, 4 * KB, 8 * KB, false).unwrap();
    assert!(!map.new && map.kind == BmapKind::Unwritten);
    assert_eq!(file.inode.ilock.read().index.counts().promised, 2);
    let mut wb = WbCtx::default();
    file.submit(&mut wb, 4 * KB, 8 * KB);
    file.complete(4 * KB, 8 * KB, None);
    assert_eq!(file.kind(0), BmapKind::Unwritten);
    assert_eq!(file.kind(4 * KB), BmapKind::Mapped);
    assert_eq!(file.kind(12 * KB), BmapKind::Unwritten);
    assert_eq!(file.disk_size(), 12 * KB);
    file.truncate(0);
    assert_eq!(file.available(), before);
}

#[test]
fn completions_in_any_order_move_the_size_in_file_order() {
    let file = File::new(16384);
    file.write(0, 12 * KB);
    let mut wb = WbCtx::default();
    for at in [0, 4 * KB, 8 * KB] {
        file.submit(&mut wb, at, 4 * KB);
    }
    file.complete(8 * KB, 4 * KB, None);
    assert_eq!(file.disk_size(), 0);
    file.complete(0, 4 * KB, None);
    assert_eq!(file.disk_size(), 4 * KB);
    assert_eq!(file.kind(4 * KB), BmapKind::Unwritten);
    file.complete(4 * KB, 4 * KB, None);
    assert_eq!(file.disk_size(), 12 * KB);
    assert_eq!(file.read(0).len, 12 * KB);
    // One record, whatever the order.
    assert_eq!(file.inode.ilock.read().data.inline.len(), 16);
}

#[test]
fn size_waits_for_delayed_data_before_it() {
    let file = File::new(16384);
    file.write(0, 4 * KB);
    file.write(1024 * KB, 4 * KB);
    let mut wb = WbCtx::default();
    file.submit(&mut wb, 1024 * KB, 4 * KB);
    file.complete(1024 * KB, 4 * KB, None);
    assert_eq!(file.disk_size(), 0);
    // So fsync of the second range begins with the first (M15).
    assert_eq!(fsync_from(&file.inode, 1024 * KB, 1028 * KB - 1), 0);
    file.submit(&mut wb, 0, 4 * KB);
    file.complete(0, 4 * KB, None);
    assert_eq!(file.disk_size(), 1028 * KB);
}

#[test]
fn a_hole_that_is_filled_holds_no_size_back() {
    let file = File::new(16384);
    let mut wb = WbCtx::default();
    // Data behind a hole; while it is on its way, somebody fills the hole.
    file.write(1024 * KB, 4 * KB);
    file.submit(&mut wb, 1024 * KB, 4 * KB);
    let upto = fsync_upto(&file.inode, u64::MAX);
    file.write(0, 4 * KB);
    file.complete(1024 * KB, 4 * KB, None);
    assert_eq!(file.disk_size(), 1028 * KB);

    // The same between two parts of an append: fsync does not wait for it.
    file.write(2048 * KB, 4 * KB);
    file.write(3072 * KB, 4 * KB);
    file.submit(&mut wb, 3072 * KB, 4 * KB);
    file.complete(3072 * KB, 4 * KB, None);
    assert_eq!(file.disk_size(), 2048 * KB);
    let all = fsync_upto(&file.inode, u64::MAX);
    file.write(2560 * KB, 4 * KB);
    file.submit(&mut wb, 2048 * KB, 4 * KB);
    file.complete(2048 * KB, 4 * KB, None);
    assert_eq!(file.disk_size(), 2560 * KB);
    fsync_metadata(file.m(), &file.inode, upto, false).unwrap();
    assert_eq!(file.disk_size(), 2560 * KB);
    fsync_metadata(file.m(), &file.inode, all, false).unwrap();
    assert_eq!(file.disk_size(), 3076 * KB);
}

#[test]
fn the_size_does_not_leave_a_last_block_that_is_to_be_rewritten() {
    let file = File::new(16384);
    let mut wb = WbCtx::default();
    file.write(0, 4 * KB);
    file.submit(&mut wb, 0, 4 * KB);
    file.complete(0, 4 * KB, None);
    file.truncate(KB);
    assert_eq!(file.disk_size(), KB);
    // A write behind a gap: the page cache has zeroed what is behind the end, the disk has not.
    file.write(64 * KB, 4 * KB);
    file.submit(&mut wb, 64 * KB, 4 * KB);
    file.complete(64 * KB, 4 * KB, None);
    assert_eq!(file.disk_size(), KB);
    // Now it has; the end of that I/O is told although it changes nothing in the map.
    assert!(ioend_needs_completion(&file.inode, false, KB));
    file.complete(0, KB, None);
    assert_eq!(file.disk_size(), 68 * KB);
    assert!(!ioend_needs_completion(&file.inode, false, 64 * KB));
}

#[test]
fn a_short_write_gives_its_blocks_back() {
    let file = File::new(16384);
    let before = file.available();
    let map = write_begin(file.m(), &file.inode, 0, 64 * KB, false).unwrap();
    assert!(map.new);
    let (from, to) = write_end(file.m(), &file.inode, 0, 64 * KB, 5000, map.new).unwrap();
    assert_eq!((from, to), (8 * KB, 64 * KB));
    let ino = file.inode.ino.0;
    let lock = InvalidateExcl::assume(ino);
    // A fault has dirtied the block at 32 K: the page cache scan leaves it out (seed 004).
    for (start, end) in [(from, 32 * KB), (36 * KB, to)] {
        let clean = CleanRange::assume(ino, start, end);
        punch_delayed(file.m(), &file.inode, &lock, &clean);
    }
    assert_eq!(file.kind(4 * KB), BmapKind::Delayed);
    assert_eq!(file.kind(8 * KB), BmapKind::Hole);
    assert_eq!(file.kind(32 * KB), BmapKind::Delayed);
    assert_eq!(file.kind(36 * KB), BmapKind::Hole);
    assert_eq!(file.available(), before - 3);
    assert_eq!(
        write_end(file.m(), &file.inode, 0, 64 * KB, 64 * KB, true),
        None
    );
    assert_eq!(write_end(file.m(), &file.inode, 0, 64 * KB, 0, false), None);
}

#[test]
fn a_short_write_keeps_the_block_that_the_file_ends_in() {
    let file = File::new(16384);
    file.write(0, 10 * KB);
    assert_eq!(delayed_blocks(&file.inode), 3);
    // The last page is dirty up to the end of the file; iomap calls the rest of it clean.
    let lock = InvalidateExcl::assume(file.inode.ino.0);
    let clean = CleanRange::assume(file.inode.ino.0, 10 * KB, 12 * KB);
    punch_delayed(file.m(), &file.inode, &lock, &clean);
    assert_eq!(delayed_blocks(&file.inode), 3);
    let clean = CleanRange::assume(file.inode.ino.0, 4 * KB, 12 * KB);
    punch_delayed(file.m(), &file.inode, &lock, &clean);
    assert_eq!(delayed_blocks(&file.inode), 1);
}

#[test]
fn a_range_that_got_no_ioend_does_not_stay_in_flight() {
    let file = File::new(16384);
    file.write(0, 16 * KB);
    let mut wb = WbCtx::default();
    let folio = file.folio(0, 16 * KB);
    writeback_range(file.m(), &file.inode, &mut wb, &folio, 0, 4 * KB).unwrap();
    writeback_undo(file.m(), &file.inode, &folio, 0, 4 * KB);
    writeback_discard(file.m(), &file.inode, &folio, 4 * KB);
    let counts = file.inode.ilock.read().index.counts();
    assert_eq!(counts, Default::default());
    assert_eq!(file.kind(0), BmapKind::Unwritten);
    assert_eq!(file.kind(4 * KB), BmapKind::Hole);
}

#[test]
fn the_wrong_witness_is_refused() {
    let file = File::new(16384);
    file.write(0, 16 * KB);
    let other = LockedFolio::assume(file.inode.ino.0 + 1, 0, 16 * KB);
    let mut wb = WbCtx::default();
    let e = writeback_range(file.m(), &file.inode, &mut wb, &other, 0, 4 * KB);
    assert!(e.is_err_and(|e| e.is(Errno::INVAL)));
    let folio = file.folio(0, 4 * KB);
    let e = writeback_range(file.m(), &file.inode, &mut wb, &folio, 4 * KB, 4 * KB);
    assert!(e.is_err_and(|e| e.is(Errno::INVAL)));
    let lock = InvalidateExcl::assume(1);
    let clean = CleanRange::assume(1, 0, 16 * KB);
    punch_delayed(file.m(), &file.inode, &lock, &clean);
    assert_eq!(delayed_blocks(&file.inode), 4);
}

#[test]
fn positions_beyond_the_largest_file_are_refused() {
    let file = File::new(16384);
    let last = MAX_BYTES - 1;
    let e = write_begin(file.m(), &file.inode, MAX_BYTES, 1, false);
    assert!(e.is_err_and(|e| e.is(Errno::FBIG)));
    let e = write_begin(file.m(), &file.inode, last, 2, false);
    assert!(e.is_err_and(|e| e.is(Errno::FBIG)));
    let map = write_begin(file.m(), &file.inode, last, 1, false).unwrap();
    assert_eq!(map.kind, BmapKind::Delayed);
    assert_eq!(map.offset + map.len, MAX_BYTES);
    set_isize(&file.inode, MAX_BYTES);
    let mut wb = WbCtx::default();
    let folio = file.folio(last / 4096 * 4096, 4 * KB);
    writeback_range(file.m(), &file.inode, &mut wb, &folio, last, 1).unwrap();
    file.complete(last, 1, None);
    assert_eq!(file.disk_size(), MAX_BYTES);
    file.truncate(0);
}

#[test]
fn every_block_of_a_full_file_system_can_be_written_back() {
    // Promise 2: ENOSPC at write time only.
    let file = File::new(4096);
    let before = file.available();
    let mut blocks = Vec::new();
    // Every other block: the worst for the map.
    for n in 0.. {
        match write_begin(file.m(), &file.inode, n * 8 * KB, 4 * KB, false) {
            Ok(_) => blocks.push(n * 8 * KB),
            Err(e) => {
                assert!(e.is(Errno::NOSPC));
                break;
            }
        }
    }
    set_isize(&file.inode, blocks.last().unwrap() + 4 * KB);
    assert!(blocks.len() > 1000, "{}", blocks.len());
    // Backwards, then the completions in another order.
    for pos in blocks.iter().rev() {
        file.submit(&mut WbCtx::default(), *pos, 4 * KB);
    }
    for half in 0..2 {
        for pos in blocks.iter().skip(half).step_by(2) {
            file.complete(*pos, 4 * KB, None);
        }
    }
    for pos in &blocks {
        assert_eq!(file.kind(*pos), BmapKind::Mapped);
        assert_eq!(file.kind(*pos + 4 * KB), BmapKind::Hole);
    }
    assert!(file.inode.ilock.read().index.meta.is_none());
    file.m().sync().unwrap();
    file.m().alloc().check(true).unwrap();
    file.truncate(0);
    file.m().sync().unwrap();
    file.m().alloc().check(true).unwrap();
    assert_eq!(file.available(), before);
}

#[test]
fn memory_may_run_out_before_a_write_and_not_after() {
    let file = File::new(16384);
    let before = file.available();
    for n in 0..6 {
        crate::sys::alloc::fail_after(Some(n));
        let map = write_begin(file.m(), &file.inode, 0, 64 * KB, false);
        crate::sys::alloc::fail_after(None);
        if map.is_ok() {
            break;
        }
        assert_eq!(file.available(), before, "a reservation leaked");
        assert!(n < 5, "never succeeds");
    }
    set_isize(&file.inode, 64 * KB);
    // Writeback and completion allocate with must_* (M18).
    crate::sys::alloc::fail_after(Some(0));
    file.submit(&mut WbCtx::default(), 0, 64 * KB);
    file.complete(0, 64 * KB, None);
    crate::sys::alloc::fail_after(None);
    let piece = file
        .inode
        .ilock
        .read()
        .index
        .lookup(crate::format::FileBlock(0));
    assert!(piece.is_some_and(|p| matches!(p.view, View::Written { .. })));
}

#[test]
fn a_long_truncate_leaves_no_orphan() {
    let file = File::new(16384);
    let before = file.f.free_blocks();
    for n in 0..1000 {
        file.write(n * 8 * KB, 4 * KB);
        file.submit(&mut WbCtx::default(), n * 8 * KB, 4 * KB);
        file.complete(n * 8 * KB, 4 * KB, None);
    }
    let orphans = || {
        file.m()
            .counts()
            .orphans
            .load(crate::sys::atomic::Ordering::Relaxed)
    };
    assert_eq!(orphans(), 0);
    file.truncate(10_000);
    assert_eq!(orphans(), 0);
    assert_eq!(file.disk_size(), 10_000);
    assert_eq!(file.inode.attrs().blocks, 2);
    file.truncate(0);
    assert_eq!(file.f.free_blocks(), before);
}

#[test]
fn delayed_data_reserves_little_more_than_itself() {
    let file = File::new(65536);
    let before = file.available();
    let mut pos = 0;
    while pos < 64 * 1024 * KB {
        pos += file.write(pos, 64 * 1024 * KB - pos).len;
    }
    let reserved = before - file.available();
    assert!(
        (16384..16384 + 164).contains(&reserved),
        "{reserved} blocks"
    );
    file.truncate(0);
    assert_eq!(file.available(), before);
}

#[test]
fn the_size_does_not_pass_what_was_appended_in_a_block_and_not_written() {
    let file = File::new(16384);
    let append = |pos, len| {
        file.write(pos, len);
        write_end(file.m(), &file.inode, pos, len, len, false);
    };
    let write_back = |pos, len, end| {
        file.submit(&mut WbCtx::default(), pos, len);
        file.complete(pos, end - pos, None);
    };
    append(0, 100);
    write_back(0, 4 * KB, 100);
    assert_eq!(file.disk_size(), 100);
    // The end of the first block comes to the page cache, and the second block to the disk.
    append(100, 5000);
    write_back(4 * KB, 4 * KB, 5100);
    assert_eq!(file.disk_size(), 100);
    write_back(0, 4 * KB, 4 * KB);
    assert_eq!(file.disk_size(), 5100);

    // A write behind a gap appends nothing to the last block, though it is zeroed once more.
    append(64 * KB, 100);
    write_back(4 * KB, 4 * KB, 5100);
    write_back(64 * KB, 4 * KB, 64 * KB + 100);
    assert_eq!(file.disk_size(), 64 * KB + 100);

    // Half of what was to be appended came.
    let end = 64 * KB + 100;
    write_begin(file.m(), &file.inode, end, 200, false).unwrap();
    set_isize(&file.inode, end + 100);
    write_end(file.m(), &file.inode, end, 200, 100, false);
    append(128 * KB, 4 * KB);
    write_back(128 * KB, 4 * KB, 132 * KB);
    assert_eq!(file.disk_size(), end);
    write_back(64 * KB, 4 * KB, end + 100);
    assert_eq!(file.disk_size(), 132 * KB);

    // What failed to be written is not waited for.
    append(132 * KB, 100);
    write_back(132 * KB, 4 * KB, 132 * KB + 100);
    append(132 * KB + 100, 4 * KB);
    write_back(136 * KB, 4 * KB, 136 * KB + 100);
    assert_eq!(file.disk_size(), 132 * KB + 100);
    file.submit(&mut WbCtx::default(), 132 * KB, 4 * KB);
    file.complete(132 * KB, 4 * KB, Some(Errno::IO));
    assert_eq!(file.disk_size(), 136 * KB + 100);
}

#[test]
fn a_truncation_that_cannot_read_a_bitmap_is_not_half_forgotten() {
    let file = File::new(16384);
    file.write(0, 64 * KB);
    file.submit(&mut WbCtx::default(), 0, 64 * KB);
    file.complete(0, 64 * KB, None);
    let File { mut f, inode } = file;
    let ino = inode.ino;
    drop(inode);
    // No bitmap is cached then.
    f.remount();
    let inode = inode::iget(&f.m, ino).unwrap();
    let file = File { f, inode };
    assert_eq!(file.kind(0), BmapKind::Mapped);

    file.f.disk.fail_reads(true);
    let (iolock, inval) = (IolockExcl::assume(ino.0), InvalidateExcl::assume(ino.0));
    let (m, inode) = (file.m(), &file.inode);
    let cut = Cut::begin(m, inode, &iolock, &inval).unwrap();
    let result = truncate(m, inode, &iolock, &inval, cut, 0, Time::default());
    file.f.disk.fail_reads(false);
    assert_eq!(result.unwrap_err().errno(), Errno::IO);
    // The extents were out of memory by then. Nothing of that may get to the disk: not with the
    // next change of the inode, which would free nothing.
    assert!(file.m().is_shutdown());
    let File { mut f, inode } = file;
    drop(inode);
    assert!(f.m.unmount().is_err());
    f.remount_only();
    let inode = inode::iget(&f.m, ino).unwrap();
    let file = File { f, inode };
    assert_eq!(file.inode.attrs().blocks, 16);
    assert_eq!(
        (file.disk_size(), file.kind(0)),
        (64 * KB, BmapKind::Mapped)
    );
}
