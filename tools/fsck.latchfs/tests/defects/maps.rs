// SPDX-License-Identifier: GPL-2.0

use latchfs_engine::format::{AgNumber, Defect, DefectKind, ExtentRecord, FileBlock, Ino};
use latchfs_fsck::{FileId, Problem};
use zerocopy::IntoBytes;

use super::common::{finds, fsck, sample};

#[test]
fn ag_header_damaged() {
    let s = sample();
    let block = s.image.header_block(2);
    s.image.edit_raw(block, |data| data[2000] ^= 1);
    let problem = Problem::AgHeaderDamaged {
        ag: AgNumber(2),
        block,
        defect: Defect::new("crc", DefectKind::Checksum),
    };
    finds(&s.image, &[problem]);

    s.image.edit_header(2, |header| header.length.set(5));
    let problem = Problem::AgHeaderDamaged {
        ag: AgNumber(2),
        block,
        defect: Defect::new("length", DefectKind::Mismatch),
    };
    assert_eq!(fsck(&s.image).problems[0], problem);
}

#[test]
fn ag_count() {
    let s = sample();
    for (field, offset) in [("inodes", 0), ("free_inodes", 1), ("orphans", 2)] {
        let mut before = 0;
        s.image.edit_header(0, |header| {
            let count = match offset {
                0 => &mut header.inodes,
                1 => &mut header.free_inodes,
                _ => &mut header.orphans,
            };
            before = count.get();
            count.set(before + if offset == 0 { 64 } else { 1 });
        });
        let stored = before + if offset == 0 { 64 } else { 1 };
        let problem = Problem::AgCount {
            ag: AgNumber(0),
            field,
            stored,
            found: before,
        };
        finds(&s.image, &[problem]);
        s.image.edit_header(0, |header| match offset {
            0 => header.inodes.set(before),
            1 => header.free_inodes.set(before),
            _ => header.orphans.set(before),
        });
    }
    s.image.edit_header(0, |header| header.map_blocks.set(2));
    let problem = Problem::AgCount {
        ag: AgNumber(0),
        field: "map_blocks",
        stored: 2,
        found: 1,
    };
    finds(&s.image, &[problem]);
}

#[test]
fn map_block_damaged() {
    let s = sample();
    let block = s.image.map_block(1, 0);
    let damaged = |defect| Problem::MapBlockDamaged {
        ag: AgNumber(1),
        index: 0,
        block,
        defect,
    };
    s.image.edit_raw(block, |data| data[3000] ^= 1);
    let crc = Defect::new("crc", DefectKind::Checksum);
    // The content is no longer sound, either: a mask of a chunk that does not exist.
    assert_eq!(fsck(&s.image).problems[0], damaged(crc));
    s.image.edit_raw(block, |data| data[3000] ^= 1);
    s.image.edit_raw(block, |data| data[5] ^= 1);
    finds(&s.image, &[damaged(crc)]);
    s.image.edit_raw(block, |data| data[5] ^= 1);

    s.image.edit(block, |data| data[44] ^= 1);
    let free = Defect::new("free", DefectKind::Mismatch);
    let problems = fsck(&s.image).problems;
    // Nothing is said of the inodes of that block: not that entries dangle, not that counts differ.
    assert_eq!(problems[0], damaged(free));
    assert!(!problems
        .iter()
        .any(|p| matches!(p, Problem::DirentDangling { .. })));
}

#[test]
fn map_block_index() {
    let s = sample();
    let block = s.image.map_block(1, 0);
    s.image.edit_map(1, 0, |map| map.index.set(1));
    let problem = Problem::MapBlockIndex {
        ag: AgNumber(1),
        index: 0,
        block,
        found: 1,
    };
    assert_eq!(fsck(&s.image).problems[0], problem);
}

#[test]
fn map_block_missing() {
    let s = sample();
    s.image.edit_header(1, |header| {
        header.inode_map.area[0] = 2;
        header.map_blocks.set(3);
    });
    let missing = |index| Problem::MapBlockMissing {
        ag: AgNumber(1),
        index,
    };
    let problems = fsck(&s.image).problems;
    assert_eq!(problems[..2], [missing(0), missing(1)]);
}

#[test]
fn chunk_missing() {
    let s = sample();
    // Chunk 1 of group 1 is in the map and nowhere else.
    s.image.edit_map(1, 0, |map| map.set_chunk(1, true));
    s.image.edit_header(1, |header| {
        header.inodes.set(128);
        header.free_inodes.set(header.free_inodes.get() + 64);
    });
    s.image.edit_superblock(|sb| {
        sb.inodes.set(sb.inodes.get() + 64);
        sb.free_inodes.set(sb.free_inodes.get() + 64);
    });
    let problem = Problem::ChunkMissing {
        ag: AgNumber(1),
        chunk: 1,
    };
    finds(&s.image, &[problem]);
}

#[test]
fn chunk_scattered() {
    let s = sample();
    s.image.edit_header(1, |header| {
        let mut extents = header.inode_file.extents().to_vec();
        let mut first = extents[0].unpack();
        let mut second = first;
        first.len = 4;
        second.len = 4;
        second.file = FileBlock(4);
        // Where nothing is.
        second.disk = second.disk.saturating_add(1000);
        extents[0] = first.pack().unwrap();
        extents.push(second.pack().unwrap());
        let bytes: Vec<u8> = extents
            .iter()
            .flat_map(|e: &ExtentRecord| e.as_bytes().to_vec())
            .collect();
        assert!(header.inode_file.set(
            latchfs_engine::format::ForkFormat::InlineExtents,
            0,
            &bytes
        ));
    });
    let problem = Problem::ChunkScattered {
        ag: AgNumber(1),
        chunk: 0,
    };
    assert_eq!(fsck(&s.image).problems[0], problem);
}

#[test]
fn chunk_unlisted() {
    let s = sample();
    s.image.edit_map(1, 0, |map| {
        map.masks[0].alloc.set(0);
        map.set_chunk(0, false);
    });
    let problems = fsck(&s.image).problems;
    let unlisted = Problem::ChunkUnlisted {
        ag: AgNumber(1),
        at: FileBlock(0),
    };
    assert_eq!(problems[0], unlisted);
    let _ = (FileId::InodeFile(AgNumber(1)), Ino(0));
}
