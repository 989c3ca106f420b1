// SPDX-License-Identifier: GPL-2.0

//! One test for each kind of defect: planted into a sound image, it is found, and nothing else is.

#[path = "common/mod.rs"]
mod common;

#[path = "defects/attrs.rs"]
mod attrs;
#[path = "defects/dirs.rs"]
mod dirs;
#[path = "defects/inodes.rs"]
mod inodes;
#[path = "defects/maps.rs"]
mod maps;
#[path = "defects/space.rs"]
mod space;
#[path = "defects/superblock.rs"]
mod superblock;
#[path = "defects/trees.rs"]
mod trees;

use common::{finds, fsck, sample};

#[test]
fn sound() {
    let s = sample();
    finds(&s.image, &[]);
    let stats = fsck(&s.image).stats;
    assert_eq!(stats.inodes, 134);
    assert_eq!(stats.directories, 5);
    assert_eq!(stats.orphans, 1);
}
