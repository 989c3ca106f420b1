// SPDX-License-Identifier: GPL-2.0

//! Tests of directories: against a model ([`model`]), names of one hash ([`collisions`]), readdir
//! under change ([`readdir`]), a large one ([`large`]), damaged ones ([`hostile`]).

mod collisions;
mod hostile;
mod large;
mod model;
mod readdir;

use super::*;
use crate::engine::{
    testing::Fixture,
    txn::TxnRes, //
};
use std::collections::BTreeMap;

/// With this seed all names hash to one of two values, so that thousands of names have one hash.
/// Real ones would take 2^44 trials to find.
pub(super) const SAME_HASH: u64 = 0x5a5a_0001;

/// The hash of a name under [`SAME_HASH`].
pub(super) fn forced_hash(seed: u64, name: &[u8]) -> Option<u32> {
    (seed == SAME_HASH).then(|| 77 + u32::from(name.first() == Some(&b'~')))
}

/// What the changes of these tests reserve: a removal and an insertion, as rename does.
const RES: TxnRes = TxnRes::new(INSERT_BLOCKS, INSERT_BUFS + REMOVE_BUFS).frees(REMOVE_FREES);

type Model = BTreeMap<Vec<u8>, DirEntry>;

/// A directory and its model.
struct TestDir {
    fx: Fixture,
    fork: Fork,
    ctx: Ctx,
    model: Model,
    /// Free blocks of the empty file system.
    free: u64,
}

impl TestDir {
    fn new(seed: u64) -> Self {
        let fx = Fixture::new(16384);
        Self {
            free: fx.free_blocks(),
            fx,
            fork: Fork::new(ForkFormat::InlineDir),
            ctx: Ctx {
                owner: Ino(1),
                seed,
                near: DiskBlock(64),
            },
            model: Model::new(),
        }
    }

    /// Any number as one of a legal inode.
    fn ino(n: u64) -> Ino {
        Ino(1 + n % 1000)
    }

    fn insert(&mut self, name: &[u8], ino: u64) {
        let ino = Self::ino(ino);
        let (fork, ctx) = (&mut self.fork, &self.ctx);
        let r = self.fx.change(RES, |m, txn| {
            insert(m, txn, fork, ctx, name, ino, FileType::Regular)
        });
        if self.model.contains_key(name) {
            assert!(r.unwrap_err().is(Errno::EXIST));
            return;
        }
        let entry = DirEntry {
            key: r.unwrap(),
            ino,
            ftype: FileType::Regular as u8,
        };
        self.model.insert(name.to_vec(), entry);
    }

    fn remove(&mut self, name: &[u8]) {
        let (fork, ctx) = (&mut self.fork, &self.ctx);
        let r = self
            .fx
            .change(RES, |m, txn| remove(m, txn, fork, ctx, name));
        match self.model.remove(name) {
            Some(entry) => assert_eq!(r.unwrap(), entry),
            None => assert!(r.unwrap_err().is(Errno::NOENT)),
        }
    }

    fn replace(&mut self, name: &[u8], ino: u64) {
        let ino = Self::ino(ino);
        let (fork, ctx) = (&mut self.fork, &self.ctx);
        let r = self.fx.change(RES, |m, txn| {
            replace(m, txn, fork, ctx, name, ino, FileType::Symlink)
        });
        match self.model.get_mut(name) {
            Some(entry) => {
                assert_eq!(r.unwrap(), *entry);
                entry.ino = ino;
                entry.ftype = FileType::Symlink as u8;
            }
            None => assert!(r.unwrap_err().is(Errno::NOENT)),
        }
    }

    fn look(&self, name: &[u8]) {
        let found = lookup(&self.fx.m, &self.fork, &self.ctx, name).unwrap();
        assert_eq!(found, self.model.get(name).copied());
    }

    /// Blocks a lookup reads when nothing is cached.
    fn cost(&mut self, name: &[u8]) -> u64 {
        self.fx.remount();
        let before = self.fx.reads();
        self.look(name);
        self.fx.reads() - before
    }

    /// All entries from a cookie on, through as many buffers as that takes.
    fn list(&self, from: u64) -> Vec<(Vec<u8>, DirEntry)> {
        let mut buffer = EntryBuf::try_new().unwrap();
        let mut list = Vec::new();
        let mut from = from;
        loop {
            read(&self.fx.m, &self.fork, &self.ctx, from, &mut buffer).unwrap();
            if buffer.is_empty() {
                return list;
            }
            for entry in buffer.iter() {
                assert!(entry.key >= from);
                from = entry.key + 1;
                list.push((entry.name.to_vec(), DirEntry::from(entry)));
            }
        }
    }

    /// Everything as in the model: names, inodes, types, and the keys they got when they came.
    fn check(&self) {
        let list = self.list(0);
        assert_eq!(list.len(), self.model.len());
        for (name, entry) in list {
            assert_eq!(self.model.get(&name), Some(&entry));
        }
        assert_eq!(is_empty(&self.fork), self.model.is_empty());
        let bytes: usize = self
            .model
            .keys()
            .map(|n| dirent::DIRENT_HEAD + n.len())
            .sum();
        match self.fork.format {
            ForkFormat::InlineDir => {
                assert_eq!(self.fork.inline.len(), bytes);
                assert_eq!(self.fork.root.blocks, 0);
            }
            _ => {
                assert!(self.fork.inline.is_empty());
                assert!(bytes > usize::from(self.fork.limit) / 2);
            }
        }
    }

    /// Writes everything, reads it back and removes it; no block may be left.
    fn empty(&mut self) {
        self.fx.remount();
        self.check();
        let names: Vec<_> = self.model.keys().cloned().collect();
        for name in names {
            self.remove(&name);
        }
        self.check();
        assert_eq!(self.fork.root.blocks, 0);
        assert_eq!(self.fork.format, ForkFormat::InlineDir);
        assert_eq!(self.fx.free_blocks(), self.free);
    }
}

#[test]
fn names_are_checked() {
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0b", b"/"] {
        assert!(check_name(name).unwrap_err().is(Errno::INVAL));
    }
    assert!(check_name(&[b'x'; 256]).unwrap_err().is(Errno::NAMETOOLONG));
    for name in [&b"..."[..], b" ", b".a", b"\xff\xfe\x01", &[b'x'; 255]] {
        check_name(name).unwrap();
    }
    let mut dir = TestDir::new(3);
    let (fork, ctx) = (&mut dir.fork, &dir.ctx);
    let r = dir.fx.change(RES, |m, txn| {
        Ok(insert(
            m,
            txn,
            fork,
            ctx,
            b"..",
            Ino(1),
            FileType::Directory,
        ))
    });
    assert!(r.unwrap().unwrap_err().is(Errno::INVAL));
}

/// A fork that is no directory.
#[test]
fn files_are_not_directories() {
    let dir = TestDir::new(3);
    let file = Fork::new(ForkFormat::InlineExtents);
    let r = lookup(&dir.fx.m, &file, &dir.ctx, b"a");
    assert!(r.unwrap_err().is(Errno::NOTDIR));
}

/// The entry that does not fit in the inode makes a tree; half of that room brings it back, with
/// the same keys.
#[test]
fn forms_change_and_keys_stay() {
    let mut dir = TestDir::new(11);
    for n in 0..10 {
        // 32 bytes each.
        dir.insert(format!("name-number-{n:02}").as_bytes(), n + 1);
        assert_eq!(dir.fork.format, ForkFormat::InlineDir);
    }
    assert_eq!(dir.fork.inline.len(), 320);
    let before = dir.list(0);
    dir.insert(b"x", 11);
    assert_eq!(dir.fork.format, ForkFormat::DirTree);
    assert_eq!(dir.fork.root.blocks, 1);
    dir.remove(b"x");
    assert_eq!(dir.fork.format, ForkFormat::DirTree);
    assert_eq!(dir.list(0), before);
    for n in 0..5 {
        dir.remove(format!("name-number-{n:02}").as_bytes());
    }
    assert_eq!(dir.fork.format, ForkFormat::InlineDir);
    dir.check();
    dir.empty();
}

/// Less room in the inode, as beside attributes.
#[test]
fn the_limit_of_the_fork_counts() {
    let mut dir = TestDir::new(11);
    dir.fork.limit = 64;
    for n in 0..3 {
        dir.insert(format!("name-number-{n:02}").as_bytes(), n + 1);
    }
    assert_eq!(dir.fork.format, ForkFormat::DirTree);
    dir.check();
    dir.empty();
}
