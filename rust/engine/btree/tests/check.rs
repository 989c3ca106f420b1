// SPDX-License-Identifier: GPL-2.0

//! A tree in a test: with its root, its model, and a full check of its structure.

use super::super::*;
use crate::engine::{
    testing::Fixture,
    txn::{
        Txn,
        TxnRes, //
    },
    Result, //
};
use crate::format::{
    dirent::{
        Dirent,
        DIRENT_HEAD, //
    },
    extent::{
        Extent,
        EXTENT_SIZE, //
    },
    hash::KEY_MIN,
    header::Owner,
    units::{
        FileBlock,
        Ino, //
    },
};
use std::collections::{
    BTreeMap,
    HashSet, //
};
use zerocopy::IntoBytes;

/// Owner of the trees of these tests.
pub(crate) const OWNER: Owner = Owner::inode(Ino(1));
/// Where they begin.
pub(crate) const NEAR: DiskBlock = DiskBlock(64);

/// What the changes of these tests reserve: an update, or a step of a destruction.
pub(crate) const RES: TxnRes =
    TxnRes::new(INSERT_BLOCKS, INSERT_BUFS + REMOVE_BUFS).frees(REMOVE_FREES + 40);

/// A kind whose records a test can make from a number.
pub(crate) trait TestKind: TreeKind {
    /// The legal key for a small number; ascending.
    fn key(n: u64) -> u64;
    /// A legal record of this key; `salt` decides the rest and the length.
    fn make(key: u64, salt: u64) -> Vec<u8>;
}

impl TestKind for Extents {
    fn key(n: u64) -> u64 {
        n
    }

    fn make(key: u64, salt: u64) -> Vec<u8> {
        let extent = Extent {
            file: FileBlock(key),
            disk: DiskBlock(2000 + salt % 64),
            len: 1,
            unwritten: salt & 1 == 0,
        };
        let record = extent.pack().unwrap();
        assert_eq!(record.as_bytes().len(), EXTENT_SIZE);
        record.as_bytes().to_vec()
    }
}

impl TestKind for Dirents {
    fn key(n: u64) -> u64 {
        KEY_MIN + n
    }

    fn make(key: u64, salt: u64) -> Vec<u8> {
        // Mostly usual lengths, sometimes any.
        let len = match salt % 8 {
            0 => 1 + (salt >> 8) % 255,
            _ => 4 + (salt >> 8) % 20,
        };
        let name: Vec<u8> = (0..len).map(|i| b'a' + ((key + i) % 26) as u8).collect();
        let entry = Dirent {
            key,
            ino: Ino(1),
            ftype: 1 + (salt % 7) as u8,
            name: &name,
        };
        let mut bytes = vec![0; DIRENT_HEAD + name.len()];
        assert_eq!(entry.encode(&mut bytes), Some(bytes.len()));
        bytes
    }
}

/// What the walk over a tree found.
#[derive(Debug, Default)]
pub(crate) struct Census {
    pub(crate) leaves: u64,
    pub(crate) interior: u64,
    pub(crate) leaf_bytes: u64,
    pub(crate) records: u64,
}

impl Census {
    /// Bytes in use of those the leaves have, in percent.
    pub(crate) fn fill(&self) -> u64 {
        self.leaf_bytes * 100 / (self.leaves * page::CAPACITY as u64).max(1)
    }
}

/// A tree, its root and its model.
pub(crate) struct TestTree<K: TestKind> {
    pub(crate) fx: Fixture,
    pub(crate) tree: Tree<K>,
    pub(crate) root: TreeRoot,
    pub(crate) model: BTreeMap<u64, Vec<u8>>,
    /// Free blocks of the empty file system.
    free: u64,
}

impl<K: TestKind> TestTree<K> {
    pub(crate) fn new() -> Self {
        let fx = Fixture::new(16384);
        Self {
            free: fx.free_blocks(),
            fx,
            tree: Tree::new(OWNER),
            root: TreeRoot::default(),
            model: BTreeMap::new(),
        }
    }

    fn change<R>(
        &mut self,
        f: impl FnOnce(&Tree<K>, &Mount, &mut Txn<'_>, &mut TreeRoot) -> Result<R>,
    ) -> Result<R> {
        let (tree, root) = (self.tree, &mut self.root);
        self.fx.change(RES, |m, txn| f(&tree, m, txn, root))
    }

    pub(crate) fn insert(&mut self, key: u64, salt: u64) {
        let record = K::make(key, salt);
        let r = self.change(|t, m, txn, root| t.insert(m, txn, root, NEAR, &record));
        match self.model.entry(key) {
            std::collections::btree_map::Entry::Vacant(v) => {
                r.unwrap();
                v.insert(record);
            }
            std::collections::btree_map::Entry::Occupied(_) => {
                assert!(r.unwrap_err().is(crate::sys::Errno::EXIST));
            }
        }
    }

    pub(crate) fn remove(&mut self, key: u64) {
        let found = self
            .change(|t, m, txn, root| t.remove(m, txn, root, key))
            .unwrap();
        assert_eq!(found, self.model.remove(&key).is_some());
    }

    pub(crate) fn update(&mut self, old: u64, key: u64, salt: u64) {
        let record = K::make(key, salt);
        let r = self.change(|t, m, txn, root| t.update(m, txn, root, NEAR, old, &record));
        if !self.model.contains_key(&old) {
            assert!(r.unwrap_err().is(crate::sys::Errno::NOENT));
        } else if key != old && self.model.contains_key(&key) {
            assert!(r.unwrap_err().is(crate::sys::Errno::EXIST));
        } else {
            r.unwrap();
            self.model.remove(&old);
            self.model.insert(key, record);
        }
    }

    pub(crate) fn destroy_step(&mut self, max: u32, mut take: u64) -> Progress {
        let model = &mut self.model;
        let (tree, root) = (self.tree, &mut self.root);
        let before = root.blocks;
        let progress = self
            .fx
            .change(RES, |m, txn| {
                tree.destroy_step(m, txn, root, max, |_| {
                    if take == 0 {
                        return false;
                    }
                    take -= 1;
                    model.pop_last().unwrap();
                    true
                })
            })
            .unwrap();
        assert!(before - self.root.blocks <= u64::from(max.max(MAX_DEPTH as u32)));
        progress
    }

    /// Compares the reading functions with the model around `key`.
    pub(crate) fn look(&self, key: u64) {
        let (m, root) = (&*self.fx.m, &self.root);
        let found = self.tree.lookup(m, root, key, |_| ()).unwrap();
        assert_eq!(found.is_some(), self.model.contains_key(&key));

        let at = |cursor: &Cursor<K>| {
            let key = cursor.key().unwrap();
            cursor.read(|_| ()).unwrap();
            key
        };
        let mut up = self.model.range(key..).map(|(k, _)| *k);
        match self.tree.seek_ge(m, root, key).unwrap() {
            None => assert_eq!(up.next(), None),
            Some(mut cursor) => {
                for step in 0..4 {
                    assert_eq!(Some(at(&cursor)), up.next(), "step {step}");
                    if !cursor.next(m).unwrap() {
                        assert_eq!(up.next(), None);
                        break;
                    }
                }
            }
        }
        let mut down = self.model.range(..=key).rev().map(|(k, _)| *k);
        match self.tree.seek_le(m, root, key).unwrap() {
            None => assert_eq!(down.next(), None),
            Some(mut cursor) => {
                for step in 0..4 {
                    assert_eq!(Some(at(&cursor)), down.next(), "step {step}");
                    if !cursor.prev(m).unwrap() {
                        assert_eq!(down.next(), None);
                        break;
                    }
                }
            }
        }
    }

    /// Writes everything to the disk, through the verifiers, and reads it back.
    pub(crate) fn check_disk(&mut self) {
        self.fx.remount();
        self.check();
    }

    /// The tree is empty, and every block it had is free again.
    pub(crate) fn check_gone(&self) {
        assert_eq!(self.root, TreeRoot::default());
        assert_eq!(self.fx.free_blocks(), self.free);
    }

    /// The blocks of the tree, sorted.
    pub(crate) fn blocks(&self) -> Vec<u64> {
        let (_, seen) = self.census();
        let mut blocks: Vec<u64> = seen.into_iter().collect();
        blocks.sort_unstable();
        blocks
    }

    /// Walks every node: levels, ranges, order, nothing empty, no block twice, none lost, and all
    /// records as in the model.
    pub(crate) fn check(&self) -> Census {
        self.census().0
    }

    fn census(&self) -> (Census, HashSet<u64>) {
        let mut census = Census::default();
        let mut seen = HashSet::new();
        let mut records = Vec::new();
        if let Some(level) = usize::from(self.root.depth).checked_sub(1) {
            self.walk(
                self.root.block,
                level,
                Range::ALL,
                &mut census,
                &mut seen,
                &mut records,
            );
        }
        assert_eq!(seen.len() as u64, self.root.blocks);
        assert_eq!(records.len(), self.model.len());
        for (record, (key, expected)) in records.iter().zip(&self.model) {
            assert_eq!(page::key_of(record).unwrap(), *key);
            assert_eq!(record, expected);
        }
        (census, seen)
    }

    fn walk(
        &self,
        block: DiskBlock,
        level: usize,
        range: Range,
        census: &mut Census,
        seen: &mut HashSet<u64>,
        records: &mut Vec<Vec<u8>>,
    ) {
        assert!(seen.insert(block.0), "block {block} twice");
        let (buf, ()) = self
            .tree
            .raw
            .read(&self.fx.m, block, level, range, |_| Ok(()))
            .unwrap();
        let copy = *buf.data();
        let node = View::new(&copy, self.tree.raw.shape(level)).unwrap();
        node.verify().unwrap();
        if level == 0 {
            census.leaves += 1;
            census.leaf_bytes += node.used().unwrap() as u64;
            census.records += node.count() as u64;
            records.extend((0..node.count()).map(|i| node.record(i).unwrap().to_vec()));
            return;
        }
        census.interior += 1;
        for i in 0..node.count() {
            let high = if i + 1 < node.count() {
                Some(node.key(i + 1).unwrap())
            } else {
                range.high
            };
            let low = node.key(i).unwrap();
            let child = DiskBlock(node.child(i).unwrap());
            self.walk(child, level - 1, Range { low, high }, census, seen, records);
        }
    }
}
