// SPDX-License-Identifier: GPL-2.0

use latchfs_engine::format::{AgNumber, Defect, DefectKind, Ino};
use latchfs_fsck::Problem;

use super::common::{finds, fsck, sample};

#[test]
fn inode_damaged_checksum() {
    let s = sample();
    for ino in [s.file, s.many, s.short, s.long, s.root] {
        let block = s.image.slot_block(ino);
        s.image
            .edit_raw(block, |data| data[ino.slot_offset() + 5] ^= 1);
        let problem = Problem::InodeDamaged {
            ino,
            block,
            defect: Defect::new("crc", DefectKind::Checksum),
        };
        finds(&s.image, &[problem]);
        s.image
            .edit_raw(block, |data| data[ino.slot_offset() + 5] ^= 1);
    }
}

#[test]
fn inode_damaged_content() {
    let s = sample();
    s.image.edit_slot(s.device, |slot| slot.flags2.set(1));
    let problem = Problem::InodeDamaged {
        ino: s.device,
        block: s.image.slot_block(s.device),
        defect: Defect::new("flags2", DefectKind::Range),
    };
    finds(&s.image, &[problem]);
}

#[test]
fn free_slot_damaged() {
    let s = sample();
    let ino = Ino::new(AgNumber(1), 60);
    s.image.edit_slot(ino, |slot| slot.ino.set(7));
    let problem = Problem::FreeSlotDamaged {
        ino,
        block: s.image.slot_block(ino),
        defect: Defect::new("ino", DefectKind::Misplaced),
    };
    finds(&s.image, &[problem]);
}

#[test]
fn inode_not_allocated() {
    let s = sample();
    let ino = Ino::new(AgNumber(1), 60);
    s.image.edit_slot(ino, |slot| slot.mode.set(0o100644));
    finds(&s.image, &[Problem::InodeNotAllocated { ino }]);
}

#[test]
fn inode_empty() {
    let s = sample();
    let ino = s.orphan;
    let blocks = s.image.slot(ino).extents()[0].unpack().range();
    s.image.edit_slot(ino, |slot| slot.mode.set(0));
    let leaked = Problem::BlocksLeaked { range: blocks };
    let problems = fsck(&s.image).problems;
    assert_eq!(problems[..2], [Problem::InodeEmpty { ino }, leaked]);
}

#[test]
fn inode_zero() {
    let s = sample();
    s.image.edit_map(0, 0, |map| {
        map.masks[0].alloc.set(map.masks[0].alloc.get() & !1)
    });
    let problems = fsck(&s.image).problems;
    assert!(problems.contains(&Problem::InodeZero { ag: AgNumber(0) }));
}

#[test]
fn inode_blocks() {
    let s = sample();
    for ino in [s.file, s.big, s.many, s.long, s.device] {
        let found = s.image.slot(ino).blocks.get();
        s.image.edit_slot(ino, |slot| slot.blocks.set(found + 1));
        let problem = Problem::InodeBlocks {
            ino,
            stored: found + 1,
            found,
        };
        finds(&s.image, &[problem]);
        s.image.edit_slot(ino, |slot| slot.blocks.set(found));
    }
}

#[test]
fn inode_not_orphan() {
    let s = sample();
    let ino = s.orphan;
    s.image.edit_map(0, ino.chunk() / 250, |map| {
        map.masks[ino.chunk() as usize].orphan.set(0);
    });
    s.image.edit_header(0, |header| header.orphans.set(0));
    s.image.edit_superblock(|sb| sb.orphans.set(0));
    finds(&s.image, &[Problem::InodeNotOrphan { ino }]);
}

/// Orphans are normal: fsck -n after a crash finds nothing.
#[test]
fn orphans_are_normal() {
    let s = sample();
    s.image.edit_superblock(|sb| sb.state.set(0));
    finds(&s.image, &[]);
}

#[test]
fn symlink_damaged() {
    let s = sample();
    let block = s.image.slot(s.long).extents()[0].unpack().disk;
    s.image.edit_raw(block, |data| data[1000] = 0);
    let damaged = |defect| Problem::SymlinkDamaged {
        ino: s.long,
        block,
        defect,
    };
    let crc = Defect::new("crc", DefectKind::Checksum);
    finds(&s.image, &[damaged(crc)]);
    s.image.edit(block, |_| {});
    let target = Defect::new("target", DefectKind::Range);
    finds(&s.image, &[damaged(target)]);
}

#[test]
fn symlink_length() {
    let s = sample();
    s.image.edit_slot(s.long, |slot| slot.size.set(4000));
    let problem = Problem::SymlinkLength {
        ino: s.long,
        stored: 4000,
        found: 4095,
    };
    finds(&s.image, &[problem]);
}

#[test]
fn root_missing() {
    let s = sample();
    s.image.edit_slot(s.root, |slot| slot.parent.set(u64::MAX));
    let problems = fsck(&s.image).problems;
    assert!(problems.contains(&Problem::RootMissing { ino: s.root }));
}
