// SPDX-License-Identifier: GPL-2.0

//! Full file systems, and where the space goes.

use super::*;
use crate::sys::Errno;
use std::vec::Vec;

/// Creates files in `dir` until there is no space; returns how many.
fn fill(m: &Arc<Mount>, dir: &InodeRef) -> u32 {
    let mut n = 0;
    loop {
        match create(m, dir, format!("file-{n}").as_bytes(), &new_file()) {
            Ok(inode) => put(m, inode),
            Err(e) => {
                assert_eq!(e.errno(), Errno::NOSPC, "{e}");
                return n;
            }
        }
        n += 1;
    }
}

fn empty(m: &Arc<Mount>, dir: &InodeRef, n: u32) {
    for i in 0..n {
        let name = format!("file-{i}");
        let inode = lookup(m, dir, name.as_bytes()).unwrap().unwrap();
        unlink(m, dir, name.as_bytes(), &inode, at(1)).unwrap();
        put(m, inode);
    }
}

#[test]
fn filled_and_emptied_it_is_as_empty_as_before() {
    let mut f = Fixture::with_groups(6144, Some(2048));
    let root = root(&f.m);
    f.m.sync().unwrap();
    let before = f.m.statfs();
    let mut counts = Vec::new();
    for _ in 0..2 {
        let n = fill(&f.m, &root);
        counts.push(n);
        empty(&f.m, &root, n);
        f.m.sync().unwrap();
        assert_eq!(f.m.statfs(), before);
    }
    // Nearly everything became inodes, each time about as many: a few gaps between blocks of the
    // directory are too short for a chunk.
    assert!(counts[0] > 20_000, "{counts:?}");
    assert!(
        counts
            .iter()
            .all(|n| n.abs_diff(counts[0]) < counts[0] / 10),
        "{counts:?}"
    );
    drop(root);
    let sum = remount(&mut f);
    assert_eq!(sum.slots.len(), 1);
    assert_eq!(sum.inodes, 64);
}

#[test]
fn a_full_file_system_can_be_emptied() {
    let mut f = Fixture::with_groups(4096, None);
    let root = root(&f.m);
    let n = fill(&f.m, &root);
    f.m.sync().unwrap();
    assert_eq!(errno(create(&f.m, &root, b"x", &new_file())), Errno::NOSPC);
    // Deleting works without a free block, and makes room at once.
    let inode = lookup(&f.m, &root, b"file-7").unwrap().unwrap();
    unlink(&f.m, &root, b"file-7", &inode, at(1)).unwrap();
    put(&f.m, inode);
    empty(&f.m, &root, 7);
    f.m.sync().unwrap();
    let again = create(&f.m, &root, b"file-7", &new_file()).unwrap();
    drop(again);
    drop(root);
    let sum = remount(&mut f);
    assert_eq!(sum.slots.len() as u32, n - 7 + 1);
}

#[test]
fn numbers_are_reused_with_another_generation() {
    let f = Fixture::new(16384);
    let root = root(&f.m);
    let mut seen = std::collections::BTreeMap::new();
    for i in 0..500 {
        let inode = create(&f.m, &root, b"x", &new_file()).unwrap();
        let (ino, generation) = (inode.ino.0, inode.generation());
        if let Some(old) = seen.insert(ino, generation) {
            assert_ne!(old, generation);
        }
        unlink(&f.m, &root, b"x", &inode, at(1)).unwrap();
        put(&f.m, inode);
        inodegc_flush(&f.m).unwrap();
        if i % 50 == 0 {
            f.m.sync().unwrap();
        }
    }
    // A loop of create and delete stays in the first chunk.
    assert!(seen.len() <= 64, "{}", seen.len());
}

#[test]
fn directories_spread_and_files_stay_near() {
    let f = Fixture::with_groups(65536, Some(8192));
    let root = root(&f.m);
    let mut groups = std::collections::BTreeSet::new();
    for i in 0..16 {
        let d = create(&f.m, &root, format!("d{i}").as_bytes(), &new_dir()).unwrap();
        groups.insert(d.ino.ag());
        for k in 0..100 {
            let file = create(&f.m, &d, format!("f{k}").as_bytes(), &new_file()).unwrap();
            assert_eq!(file.ino.ag(), d.ino.ag());
        }
    }
    assert_eq!(groups.len(), 8);
}

#[test]
fn the_inode_file_has_few_extents() {
    let mut f = Fixture::new(65536);
    let root = root(&f.m);
    for i in 0..20_000 {
        let file = create(&f.m, &root, format!("f{i}").as_bytes(), &new_file()).unwrap();
        put(&f.m, file);
    }
    drop(root);
    let sum = remount(&mut f);
    assert_eq!(sum.slots.len(), 20_001);
    // More than one map block.
    assert!(sum.inodes > 16_000);
    // The part of the group that is left to inodes is too small here, so there are a few more.
    assert!(
        sum.file_extents.iter().all(|n| *n <= 8),
        "{:?}",
        sum.file_extents
    );
}

#[test]
fn directories_and_inodes_do_not_mix_on_disk() {
    let mut f = Fixture::with_groups(65536, Some(8192));
    let root = root(&f.m);
    let dirs: Vec<InodeRef> = (0..16)
        .map(|i| create(&f.m, &root, format!("d{i}").as_bytes(), &new_dir()).unwrap())
        .collect();
    for k in 0..1500 {
        for d in &dirs {
            let file = create(&f.m, d, format!("file-number-{k}").as_bytes(), &new_file()).unwrap();
            put(&f.m, file);
        }
    }
    drop((dirs, root));
    let sum = remount(&mut f);
    assert!(sum.inodes > 24_000);
    assert!(
        sum.file_extents.iter().all(|n| *n <= 4),
        "{:?}",
        sum.file_extents
    );
}
