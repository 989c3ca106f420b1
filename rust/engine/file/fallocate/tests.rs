// SPDX-License-Identifier: GPL-2.0

//! Crashes between the transactions of one call. What the calls do as a whole is tested with the
//! model page cache (tools/testing/pagecache/tests/fallocate.rs).

use super::*;
use crate::{
    engine::{
        extents::{disk, inode_ctx},
        file::{fallocate::shift::Shift, truncate},
        inode::iget,
        namespace::{self, NewInode},
        testing::{check, Fixture},
    },
    format::units::Ino,
    sys::device::{Backend as _, MemDisk},
};
use core::ops::ControlFlow;
use std::collections::BTreeMap;

/// File block to (disk block, unwritten).
type Map = BTreeMap<u64, (u64, bool)>;

const BLOCKS: u64 = 16384;

struct File {
    f: Fixture,
    inode: InodeRef,
}

fn map_of(m: &Arc<Mount>, inode: &Inode) -> Map {
    let mut map = Map::new();
    let inner = inode.ilock.read();
    disk::scan(m, &inode_ctx(m, inode), &inner.data, FileBlock(0), |e| {
        for n in 0..u64::from(e.len) {
            map.insert(e.file.0 + n, (e.disk.0 + n, e.unwritten));
        }
        ControlFlow::<()>::Continue(())
    })
    .unwrap();
    map
}

impl File {
    /// A file of `blocks` blocks, every second one allocated: as many extents as that.
    fn new(blocks: u64) -> Self {
        let f = Fixture::new(BLOCKS);
        let root = iget(&f.m, f.m.root_ino()).unwrap();
        let new = NewInode {
            mode: 0o100644,
            ..NewInode::default()
        };
        let inode = namespace::create(&f.m, &root, b"file", &new).unwrap();
        let file = Self { f, inode };
        for n in (0..blocks).step_by(2) {
            let range = FileBlock(n)..FileBlock(n + 1);
            file.change().allocate(range).unwrap();
        }
        let (iolock, invalidate) = (IolockExcl::assume(2), InvalidateExcl::assume(2));
        assert_eq!(file.inode.ino.0, iolock.ino(), "the first inode");
        let (m, now) = (&file.f.m, Time::default());
        let size = blocks * BLOCK;
        let cut = crate::engine::file::Cut::begin(m, &file.inode, &iolock, &invalidate).unwrap();
        truncate(m, &file.inode, &iolock, &invalidate, cut, size, now).unwrap();
        file
    }

    fn change(&self) -> Change<'_> {
        Change {
            m: &self.f.m,
            inode: &self.inode,
            now: Some(Time::default()),
        }
    }

    fn map(&self) -> Map {
        map_of(&self.f.m, &self.inode)
    }

    /// The file and the file system as a crash now leaves them, everything committed durable.
    fn crash(&self, expected: &Map, size: u64) {
        self.f.m.sync().unwrap();
        let disk = Arc::new(MemDisk::new(BLOCKS));
        for (at, block) in self.f.disk.snapshot() {
            disk.write(at, &block).unwrap();
        }
        let m = Fixture::mount(&disk);
        let inode = iget(&m, Ino(self.inode.ino.0)).unwrap();
        assert_eq!(inode.ilock.read().core.disk_size, size);
        assert!(map_of(&m, &inode) == *expected);
        drop(inode);
        m.unmount().unwrap();
        check::check(&crate::sys::Device::new(disk, true), false).unwrap();
    }
}

/// `map` with the blocks of `range` moved.
fn moved(map: &Map, range: core::ops::Range<u64>, way: crate::engine::btree::Way, by: u64) -> Map {
    map.iter()
        .map(|(at, to)| {
            let at = if range.contains(at) {
                way.apply(*at, by).unwrap()
            } else {
                *at
            };
            (at, *to)
        })
        .collect()
}

/// Moves the extents of a file leaf by leaf, with a crash after each.
fn shift(from: u64, by: u64, way: crate::engine::btree::Way) {
    let file = File::new(3_000);
    if way == crate::engine::btree::Way::Down {
        let hole = FileBlock(from - by)..FileBlock(from);
        file.change().clear(hole, Clear::Punch).unwrap();
    }
    let before = file.map();
    let end = crate::format::limits::MAX_FILE_BLOCKS;
    let mut work = Shift {
        left: FileBlock(from)..FileBlock(end),
        by,
        way,
        from: FileBlock(from.min(from.saturating_sub(by))),
    };
    let mut steps = 0;
    loop {
        let done = file.change().shift_step(&mut work, |_, _| {}).unwrap();
        steps += 1;
        let gone = match way {
            crate::engine::btree::Way::Down => from..work.left.start.0,
            crate::engine::btree::Way::Up => work.left.end.0..end,
        };
        let all = from..end;
        let now = moved(&before, if done { all } else { gone }, way, by);
        assert!(file.map() == now, "step {steps}");
        file.crash(&now, 3_000 * BLOCK);
        if done {
            break;
        }
    }
    assert!(steps > 2, "{steps} steps are no chain");
}

#[test]
fn extents_move_down_leaf_by_leaf() {
    shift(701, 1, crate::engine::btree::Way::Down);
    shift(1_200, 900, crate::engine::btree::Way::Down);
}

#[test]
fn extents_move_up_leaf_by_leaf() {
    shift(601, 1, crate::engine::btree::Way::Up);
    shift(40, 1_000_003, crate::engine::btree::Way::Up);
}

/// The size on disk goes with the last step of a collapse and with the first one of an insert.
#[test]
fn sizes_of_whole_calls() {
    let file = File::new(3_000);
    let before = file.map();
    file.change()
        .insert(FileBlock(301)..FileBlock(311))
        .unwrap();
    let inserted = moved(&before, 301..u64::MAX, crate::engine::btree::Way::Up, 10);
    assert!(file.map() == inserted);
    file.crash(&inserted, 3_010 * BLOCK);
    file.change()
        .collapse(FileBlock(301)..FileBlock(311))
        .unwrap();
    assert!(file.map() == before);
    file.crash(&before, 3_000 * BLOCK);
}
