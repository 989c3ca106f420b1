// SPDX-License-Identifier: GPL-2.0

use latchfs_engine::format::{
    AttrBlock, AttrSpace, BlockRange, Defect, DefectKind, DiskBlock, Ino, TreeBlock,
};
use latchfs_fsck::{check, repair, FileId, Name, Options, Problem};
use latchfs_image::copy;
use latchfs_tool::Volume;

use super::common::{finds, fsck, sample, Sample};

/// Names and values of an inode's attributes after a repair of a copy.
fn after_repair(s: &Sample, ino: Ino) -> Vec<(Vec<u8>, Vec<u8>)> {
    let copy = copy(&s.image.dev);
    let outcome = repair(&copy, &Options::default()).unwrap();
    assert!(outcome.last.is_clean(), "{:#?}", outcome.last.messages);
    attributes(Volume::open(copy).unwrap(), ino)
}

fn attributes(volume: Volume, ino: Ino) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (slot, defect) = volume.slot(ino).unwrap();
    assert_eq!(defect, None);
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = volume
        .attributes(ino, &slot)
        .unwrap()
        .iter()
        .map(|attr| {
            let value = volume.attribute_value(ino, attr).unwrap();
            (attr.full_name(), value)
        })
        .collect();
    all.sort();
    all
}

/// All but those of these names are as they were.
#[track_caller]
fn lost(s: &Sample, ino: Ino, names: &[&str]) {
    let mut before = attributes(Volume::open(copy(&sample().image.dev)).unwrap(), ino);
    before.retain(|(name, _)| !names.iter().any(|lost| lost.as_bytes() == name));
    assert_eq!(after_repair(s, ino), before);
}

fn name(name: &str) -> Name {
    Name(name.into())
}

#[test]
fn attr_blocks() {
    let s = sample();
    let ino = s.dir;
    let found = s.image.slot(ino).attr_blocks.get();
    s.image
        .edit_slot(ino, |slot| slot.attr_blocks.set(found - 1));
    let problem = Problem::AttrBlocks {
        ino,
        stored: u64::from(found - 1),
        found: u64::from(found),
    };
    finds(&s.image, &[problem]);
    lost(&s, ino, &[]);
}

#[test]
fn attr_hash() {
    let s = sample();
    // In the inode: the last one, which stays the last one; in a leaf.
    let last = |ino: Ino| {
        let volume = Volume::open(copy(&s.image.dev)).unwrap();
        let (slot, _) = volume.slot(ino).unwrap();
        volume.attributes(ino, &slot).unwrap().pop().unwrap()
    };
    for ino in [s.file, s.dir] {
        let attr = last(ino);
        let key = attr.key + (1 << 31);
        s.image.edit_attr(ino, &attr.name, |bytes| {
            bytes[..8].copy_from_slice(&key.to_le_bytes())
        });
        let problem = Problem::AttrHash {
            ino,
            key,
            name: Name(attr.full_name()),
        };
        assert_eq!(fsck(&s.image).problems[0], problem);
        if attr.here.is_some() {
            lost(&s, ino, &[]);
        }
        s.image.edit_attr(ino, &attr.name, |bytes| {
            bytes[..8].copy_from_slice(&attr.key.to_le_bytes());
        });
    }
}

#[test]
fn attr_duplicate() {
    let s = sample();
    s.image.edit_attr(s.dir, b"attribute 12", |bytes| {
        let at = bytes.len() - 12 * 7 - 1;
        bytes[at] = b'3';
    });
    let problems = fsck(&s.image).problems;
    let twice = |p: &&Problem| matches!(p, Problem::AttrDuplicate { .. });
    assert_eq!(problems.iter().filter(twice).count(), 1);
    // Which of the two it is depends on the order of keys.
    assert_eq!(after_repair(&s, s.dir).len(), 21);
}

#[test]
fn attr_value() {
    let s = sample();
    let (_, blocks) = s.image.attr_value(s.dir, b"large");
    let block = blocks[5];
    let problem = |defect| Problem::AttrValue {
        ino: s.dir,
        name: name("trusted.large"),
        block,
        defect,
    };
    // Only the checksum: the value is used.
    s.image.edit_raw(block, |data| data[5] ^= 1);
    let checksum = Defect::new("crc", DefectKind::Checksum);
    finds(&s.image, &[problem(checksum)]);
    lost(&s, s.dir, &[]);
    s.image.edit_raw(block, |data| data[5] ^= 1);

    let good = s.image.block(block);
    s.image.edit(block, |data| data[48] = 17);
    finds(
        &s.image,
        &[problem(Defect::new("index", DefectKind::Range))],
    );
    lost(&s, s.dir, &["trusted.large"]);
    s.image.put(block, &good);

    // Good blocks in the wrong order.
    let other = s.image.block(blocks[6]);
    s.image
        .edit(block, |data| data[40..].copy_from_slice(&other[40..]));
    assert_eq!(AttrBlock::of(&s.image.block(block)).index.get(), 6);
    let mismatch = Defect::new("key", DefectKind::Mismatch);
    finds(&s.image, &[problem(mismatch)]);
    lost(&s, s.dir, &["trusted.large"]);
}

#[test]
fn attr_acl() {
    let s = sample();
    let acl = AttrSpace::AclDefault.prefix();
    // Version; no entry for others; permission bits that there are not.
    for (at, byte) in [(16, 1), (16 + 20, 1), (16 + 6, 8)] {
        let mut old = 0;
        s.image.edit_attr(s.dir, b"", |bytes| {
            old = std::mem::replace(&mut bytes[at], byte)
        });
        let problems = fsck(&s.image).problems;
        let [Problem::AttrAcl { ino, name: n, .. }] = &problems[..] else {
            panic!("{problems:?}");
        };
        assert_eq!((*ino, n), (s.dir, &name(acl)));
        lost(&s, s.dir, &[acl]);
        s.image.edit_attr(s.dir, b"", |bytes| bytes[at] = old);
    }
}

#[test]
fn a_broken_tree() {
    let s = sample();
    let leaf = s.image.leaves(s.image.attr_tree(s.dir))[1];
    let there = TreeBlock::of(&s.image.block(leaf)).count();
    s.image.edit_node(leaf, |node| node.count.set(10_000));
    let problem = Problem::NodeDamaged {
        file: FileId::Attrs(s.dir),
        block: leaf,
        defect: Defect::new("count", DefectKind::Range),
    };
    assert_eq!(fsck(&s.image).problems[0], problem);
    assert_eq!(after_repair(&s, s.dir).len(), 22 - there);
}

/// Two attributes that have the same blocks, and one that has those of a file.
#[test]
fn blocks_of_somebody_else() {
    let s = sample();
    let (_, blocks) = s.image.attr_value(s.dir, b"middle");
    let stolen = s.image.slot(s.file).extents()[0].unpack().disk;
    s.image.edit_attr(s.dir, b"middle", |bytes| {
        let at = 16 + b"middle".len();
        bytes[at..at + 6].copy_from_slice(&stolen.0.to_le_bytes()[..6]);
    });
    let report = check(&s.image.dev, &Options::default()).unwrap();
    for wanted in [FileId::Attrs(s.dir), FileId::Inode(s.file)] {
        let shared = report.problems.iter().any(|problem| {
            matches!(problem, Problem::BlockShared { file, range }
                if *file == wanted && range.contains(stolen))
        });
        assert!(shared, "{:#?}", report.messages);
    }
    let leaked = Problem::BlocksLeaked {
        range: BlockRange::new(DiskBlock(blocks[0].0), 1),
    };
    assert!(report.problems.contains(&leaked), "{:#?}", report.messages);
    fsck(&s.image);
    lost(&s, s.dir, &["trusted.middle"]);
}

/// Fields of the slot: what of the attributes is legal stays, and the file in any case.
#[test]
fn fork_in_the_slot() {
    let s = sample();
    type Damage = fn(&mut latchfs_engine::format::InodeSlot);
    let damages: &[(&str, Damage, &[&str])] = &[
        ("attr_format", |i| i.attr_format = 1, &[]),
        ("attr_format", |i| i.attr_format = 7, &[]),
        (
            "attr_off",
            |i| i.attr_off.set(0),
            &["user.mime", "security.capability"],
        ),
        (
            "attr_len",
            |i| i.attr_len.set(0),
            &["user.mime", "security.capability"],
        ),
        (
            "attr.space",
            |i| i.literal[usize::from(i.attr_off.get()) + 12] = 9,
            &["?"],
        ),
    ];
    for (field, damage, gone) in damages {
        let s = sample();
        s.image.edit_slot(s.file, damage);
        let problems = fsck(&s.image).problems;
        let Problem::InodeDamaged { ino, .. } = &problems[0] else {
            panic!("{field}: {problems:?}");
        };
        assert_eq!(*ino, s.file);
        let left = after_repair(&s, s.file);
        let most = 2 - gone.len().min(2);
        assert!(left.len() >= most.min(1) || !gone.is_empty(), "{field}");
        let copy = copy(&s.image.dev);
        repair(&copy, &Options::default()).unwrap();
        let (slot, _) = Volume::open(copy).unwrap().slot(s.file).unwrap();
        assert_eq!(slot.extents().len(), 3, "{field}");
    }
    // A tree whose root cannot be.
    s.image.edit_slot(s.dir, |slot| slot.attr_block.set(3));
    assert!(matches!(
        fsck(&s.image).problems[0],
        Problem::InodeDamaged { .. }
    ));
    assert!(after_repair(&s, s.dir).is_empty());
}
