// SPDX-License-Identifier: GPL-2.0

use latchfs_engine::format::{
    AgNumber, BlockRange, Defect, DefectKind, DiskBlock, Extent, ExtentRecord, FileBlock,
    TreeBlock, TreeKind,
};
use latchfs_fsck::{FileId, Problem};
use zerocopy::IntoBytes;

use super::common::{finds, fsck, sample, Sample};

/// Root, first child of the root and first leaf of a tree.
fn nodes(s: &Sample, at: DiskBlock) -> [DiskBlock; 3] {
    let child = |at| {
        let block = s.image.block(at);
        DiskBlock(TreeBlock::of(&block).entries()[0].child.get())
    };
    let second = child(at);
    [at, second, child(second)]
}

#[test]
fn node_damaged_checksum() {
    // The content is sound: the tree is used, nothing else follows.
    let s = sample();
    for (ino, at) in [(s.big, s.image.tree(s.big)), (s.many, s.image.tree(s.many))] {
        for block in nodes(&s, at) {
            s.image.edit_raw(block, |data| data[5] ^= 1);
            let problem = Problem::NodeDamaged {
                file: FileId::Inode(ino),
                block,
                defect: Defect::new("crc", DefectKind::Checksum),
            };
            finds(&s.image, &[problem]);
            s.image.edit_raw(block, |data| data[5] ^= 1);
        }
    }
}

#[test]
fn node_damaged_content() {
    let s = sample();
    let [_, _, leaf] = nodes(&s, s.image.tree(s.big));
    s.image.edit_node(leaf, |node| node.count.set(10_000));
    let problem = Problem::NodeDamaged {
        file: FileId::Inode(s.big),
        block: leaf,
        defect: Defect::new("count", DefectKind::Range),
    };
    // The blocks that the leaf had are nobody's now.
    assert_eq!(fsck(&s.image).problems[0], problem);
}

/// Two records that share bytes, and as many bytes that no record has.
#[test]
fn records_overlap() {
    let s = sample();
    let leaf = s.image.leaves(s.image.tree(s.many))[0];
    s.image.edit_node(leaf, |node| {
        // The name of the record at the lower address ends 3 bytes later, in the next record.
        let mut slots: Vec<usize> = (0..node.count()).filter_map(|n| node.slot(n)).collect();
        slots.sort_unstable();
        // Its key begins with a disambiguator: not zeroes, which no name may have.
        node.body[slots[0] - 64 + 17] += 3;
        node.body[slots[1] - 64..slots[1] - 64 + 3].fill(1);
        // What is counted too much is counted too little at the start of the heap.
        node.heap_start.set(node.heap_start.get() - 3);
    });
    let problem = Problem::NodeDamaged {
        file: FileId::Inode(s.many),
        block: leaf,
        defect: Defect::new("slot", DefectKind::Mismatch),
    };
    assert_eq!(fsck(&s.image).problems[0], problem);
}

#[test]
fn node_level() {
    let s = sample();
    let [_, second, leaf] = nodes(&s, s.image.tree(s.big));
    // The root points at a leaf where a node of level 1 should be.
    s.image.edit_slot(s.big, |slot| {
        slot.literal[..8].copy_from_slice(&second.0.to_le_bytes())
    });
    let problem = Problem::NodeLevel {
        file: FileId::Inode(s.big),
        block: second,
        found: 1,
        expected: 2,
    };
    assert_eq!(fsck(&s.image).problems[0], problem);
    let _ = leaf;
}

#[test]
fn node_kind() {
    let s = sample();
    let [_, second, _] = nodes(&s, s.image.tree(s.big));
    s.image
        .edit_node(second, |node| node.kind = TreeKind::Dirents as u8);
    let problem = Problem::NodeKind {
        file: FileId::Inode(s.big),
        block: second,
    };
    assert_eq!(fsck(&s.image).problems[0], problem);
}

#[test]
fn node_keys() {
    let s = sample();
    let [root, ..] = nodes(&s, s.image.tree(s.many));
    let mut child = DiskBlock(0);
    // The second child begins later than its first key.
    s.image.edit_node(root, |node| {
        let entry = node.entries()[1];
        child = DiskBlock(entry.child.get());
        node.body[16..24].copy_from_slice(&(entry.key.get() + 1).to_le_bytes());
    });
    let problem = Problem::NodeKeys {
        file: FileId::Inode(s.many),
        block: child,
    };
    assert_eq!(fsck(&s.image).problems[0], problem);
}

/// A child that is its own ancestor: the walk ends.
#[test]
fn cycle() {
    let s = sample();
    let [root, second, _] = nodes(&s, s.image.tree(s.big));
    s.image.edit_node(second, |node| {
        node.body[8..16].copy_from_slice(&root.0.to_le_bytes());
    });
    let problem = Problem::BlockShared {
        file: FileId::Inode(s.big),
        range: BlockRange::new(root, 1),
    };
    assert_eq!(fsck(&s.image).problems[0], problem);
}

#[test]
fn block_shared() {
    let s = sample();
    let stolen = s.image.slot(s.file).extents()[1];
    let range = stolen.unpack().range();
    let freed = s.image.slot(s.inner);
    assert!(freed.extents().is_empty());
    s.image.edit_slot(s.inner, |slot| {
        assert!(slot.set_data(slot.data_format().unwrap(), 0, stolen.as_bytes()));
        slot.blocks.set(2);
    });
    let shared = |ino| Problem::BlockShared {
        file: FileId::Inode(ino),
        range,
    };
    // Whoever comes second is found first; then the other one is named, too.
    finds(&s.image, &[shared(s.inner), shared(s.file)]);
}

#[test]
fn extent_overlap() {
    let s = sample();
    // Within a node the verifier sees it; across leaves only the walk does.
    let leaf = s.image.leaves(s.image.tree(s.big))[0];
    let mut longer = Extent {
        file: FileBlock(0),
        disk: DiskBlock(0),
        len: 1,
        unwritten: false,
    };
    s.image.edit_node(leaf, |node| {
        let last = node.extents().len() - 1;
        longer = node.extents()[last].unpack();
        longer.len = 4;
        // Blocks that nobody uses, so that nothing else is wrong.
        longer.disk = DiskBlock(2 * 4096 + 100);
        let record: ExtentRecord = longer.pack().unwrap();
        node.body[last * 16..last * 16 + 16].copy_from_slice(record.as_bytes());
    });
    let next = s.image.leaves(s.image.tree(s.big))[1];
    let block = s.image.block(next);
    let at = TreeBlock::of(&block).extents()[0].unpack().file;
    let problem = Problem::ExtentOverlap {
        file: FileId::Inode(s.big),
        at,
    };
    assert_eq!(fsck(&s.image).problems[0], problem);
}

#[test]
fn extent_unwritten() {
    let s = sample();
    s.image
        .edit_header(1, |header| header.inode_map.area[15] |= 0x80);
    let problem = Problem::ExtentUnwritten {
        file: FileId::InodeMap(AgNumber(1)),
        at: FileBlock(0),
    };
    finds(&s.image, &[problem]);

    let s = sample();
    s.image.edit_slot(s.long, |slot| slot.literal[15] |= 0x80);
    let problem = Problem::ExtentUnwritten {
        file: FileId::Inode(s.long),
        at: FileBlock(0),
    };
    finds(&s.image, &[problem]);
}
