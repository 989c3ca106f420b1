// SPDX-License-Identifier: GPL-2.0

//! The largest file.

use super::super::*;
use crate::{
    engine::{
        inode,
        namespace::{self, NewInode},
        testing::Fixture,
    },
    sys::{witness::LockedFolio, Errno},
};

#[test]
fn the_last_block_of_the_largest_file_is_a_whole_block() {
    let f = Fixture::new(16384);
    let root = inode::iget(&f.m, f.m.root_ino()).unwrap();
    let new = NewInode {
        mode: 0o100644,
        ..NewInode::default()
    };
    let inode = namespace::create(&f.m, &root, b"file", &new).unwrap();
    let e = write_begin(&f.m, &inode, MAX_BYTES, 1, false).unwrap_err();
    assert!(e.is(Errno::FBIG), "{e}");

    write_begin(&f.m, &inode, MAX_BYTES - 1, 1, false).unwrap();
    set_isize(&inode, MAX_BYTES);
    let pos = MAX_BYTES / BLOCK * BLOCK;
    let folio = LockedFolio::assume(inode.ino.0, pos, BLOCK);
    let mut wb = WbCtx::default();
    let map = writeback_range(&f.m, &inode, &mut wb, &folio, pos, BLOCK).unwrap();
    assert_eq!((map.offset, map.len), (pos, BLOCK));
    writeback_submit(&f.m, &inode, &mut wb);
    // What iomap passes ends with the file.
    ioend_complete(&f.m, &inode, pos, BLOCK - 1, None).unwrap();
    assert_eq!(inode.ilock.read().core.disk_size, MAX_BYTES);
    let map = bmap_read(&f.m, &inode, MAX_BYTES - 1, 1).unwrap();
    assert_eq!((map.kind, map.offset), (BmapKind::Mapped, pos));
    let map = bmap_read(&f.m, &inode, 0, MAX_BYTES).unwrap();
    assert_eq!((map.kind, map.len), (BmapKind::Hole, pos));
}
