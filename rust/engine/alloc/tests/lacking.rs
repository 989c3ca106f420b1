// SPDX-License-Identifier: GPL-2.0

//! Searches in groups whose bitmap blocks are not there yet.

use crate::engine::{
    file,
    inode,
    namespace::{self, NewInode},
    testing::Fixture, //
};
use crate::format::{limits::MAX_EXTENT_LEN, units::BLOCK_SIZE, AgHeader, AgNumber, DiskBlock};
use crate::sys::witness::LockedFolio;

const BLOCK: u64 = BLOCK_SIZE as u64;
/// Three bitmap blocks.
const GROUP: u32 = 65536;

fn init(f: &Fixture) -> u32 {
    let header = f.m.ag(AgNumber(0)).unwrap().header(&f.m).unwrap();
    let n = AgHeader::of(&header.data()).bitmap_init.get();
    n
}

/// More data than any run can have, delayed as a whole: the search for its blocks finds that each
/// group lacks bitmap blocks, and there are more groups than times it would wait for a checkpoint.
#[test]
fn a_lot_of_data_gets_blocks() {
    let f = Fixture::with_groups(16 * u64::from(GROUP), Some(GROUP));
    let root = inode::iget(&f.m, f.m.root_ino()).unwrap();
    let new = NewInode {
        mode: 0o100644,
        ..NewInode::default()
    };
    let inode = namespace::create(&f.m, &root, b"file", &new).unwrap();
    let len = 6 * u64::from(MAX_EXTENT_LEN) * BLOCK;
    let mut at = 0;
    while at < len {
        let map = file::write_begin(&f.m, &inode, at, len - at, false).unwrap();
        at = map.offset + map.len;
    }
    file::set_isize(&inode, len);
    let mut wb = file::WbCtx::default();
    let mut extents = 0;
    let mut next = None;
    at = 0;
    while at < len {
        let part = (len - at).min(1 << 20);
        let folio = LockedFolio::assume(inode.ino.0, at, part);
        let map = file::writeback_range(&f.m, &inode, &mut wb, &folio, at, part).unwrap();
        extents += u32::from(next != Some(map.addr));
        next = Some(map.addr + map.len);
        at = map.offset + map.len;
    }
    file::writeback_submit(&f.m, &inode, &mut wb);
    file::ioend_complete(&f.m, &inode, 0, len, None).unwrap();
    assert!(extents <= 12, "in {extents} pieces");
    assert!(!f.m.is_shutdown() && f.m.check_writable().is_ok());
}

#[test]
fn blocks_behind_the_goal_are_not_passed_by() {
    let f = Fixture::with_groups(1_000_000, Some(1_000_000));
    let goal = DiskBlock(20_000);
    // The rest of this bitmap block is less than what is wanted, but it is where it is wanted.
    let claim = f.m.claim(goal, 32_000, 1).unwrap();
    assert_eq!(claim.range().start, goal);
    assert_eq!(init(&f), 1);
}

/// Those that are near have been looked at, and none has a long run: what they have is good enough,
/// and no reason to make all bitmap blocks of a large group.
#[test]
fn patience_ends_with_what_there_is() {
    let f = Fixture::with_groups(1_000_000, Some(1_000_000));
    let goal = DiskBlock(1);
    let mut held = Vec::new();
    // All of the whole ones, which is the first batch.
    for _ in 0..16 {
        let claim = f.m.claim(goal, MAX_EXTENT_LEN, 1).unwrap();
        held.push(claim);
    }
    let before = init(&f);
    assert_eq!(before, 17);
    for claim in held.iter_mut() {
        let mut front = claim.split_front(claim.len() / 2);
        core::mem::swap(claim, &mut front);
        // The second half goes back.
        drop(front);
    }
    let claim = f.m.claim(goal, MAX_EXTENT_LEN, 1).unwrap();
    assert!(claim.len() > MAX_EXTENT_LEN / 4);
    assert_eq!(init(&f), before);
}
