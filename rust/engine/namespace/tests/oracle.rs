// SPDX-License-Identifier: GPL-2.0

//! Random operations on the engine and on the model: same answers, same trees.

use super::model::{Fault, Kind, Model, ROOT};
use super::*;
use crate::engine::dir::EntryBuf;
use crate::engine::Result;
use crate::sys::Errno;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec::Vec;

/// An operation; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Op {
    Create(u16, u16, u8),
    Symlink(u16, u16, u16),
    Link(u16, u16, u16, u16),
    Unlink(u16, u16),
    Rmdir(u16, u16),
    Rename(u16, u16, u16, u16, bool),
    Exchange(u16, u16, u16, u16),
    Whiteout(u16, u16, u16, u16),
    Tmpfile(u16, u16, bool),
    Setattr(u16, u16, u16, u32),
    Lookup(u16, u16),
    Sync,
    Remount,
    Reclaim,
}

fn ops(n: usize) -> impl Strategy<Value = Vec<Op>> {
    let d = any::<u16>;
    // Few names in most directories, so that operations meet; many in some, so that trees grow.
    let name = || prop_oneof![3 => 0_u16..12, 1 => 0_u16..400];
    let op = prop_oneof![
        12 => (d(), name(), any::<u8>()).prop_map(|(a, b, c)| Op::Create(a, b, c)),
        2 => (d(), name(), 1_u16..4095).prop_map(|(a, b, c)| Op::Symlink(a, b, c)),
        3 => (d(), name(), d(), name()).prop_map(|(a, b, c, d)| Op::Link(a, b, c, d)),
        7 => (d(), name()).prop_map(|(a, b)| Op::Unlink(a, b)),
        3 => (d(), name()).prop_map(|(a, b)| Op::Rmdir(a, b)),
        6 => (d(), name(), d(), name(), any::<bool>())
            .prop_map(|(a, b, c, d, e)| Op::Rename(a, b, c, d, e)),
        2 => (d(), name(), d(), name()).prop_map(|(a, b, c, d)| Op::Exchange(a, b, c, d)),
        1 => (d(), name(), d(), name()).prop_map(|(a, b, c, d)| Op::Whiteout(a, b, c, d)),
        1 => (d(), name(), any::<bool>()).prop_map(|(a, b, c)| Op::Tmpfile(a, b, c)),
        3 => (d(), name(), any::<u16>(), any::<u32>())
            .prop_map(|(a, b, c, d)| Op::Setattr(a, b, c, d)),
        4 => (d(), name()).prop_map(|(a, b)| Op::Lookup(a, b)),
    ];
    let rare = prop_oneof![
        400 => op,
        2 => Just(Op::Sync),
        1 => Just(Op::Remount),
        1 => Just(Op::Reclaim),
    ];
    prop::collection::vec(rare, n)
}

/// Name number `n`: short, long, and odd ones.
fn name(n: u16) -> Vec<u8> {
    match n % 12 {
        3 => {
            let mut v = std::vec![b'L'; 250];
            v.extend(format!("{n}").bytes());
            v
        }
        5 => format!("\u{1f980} {n}\n").into_bytes(),
        7 => {
            let mut v = std::vec![0xff, 0x80];
            v.extend(format!("{n}").bytes());
            v
        }
        _ => format!("n{n}").into_bytes(),
    }
}

fn fault(e: Errno) -> Option<Fault> {
    Some(match e {
        Errno::EXIST => Fault::Exist,
        Errno::NOENT => Fault::NoEnt,
        Errno::NOTDIR => Fault::NotDir,
        Errno::ISDIR => Fault::IsDir,
        Errno::NOTEMPTY => Fault::NotEmpty,
        Errno::PERM => Fault::Perm,
        _ => return None,
    })
}

struct World {
    f: Fixture,
    model: Model,
    /// Model node to inode number.
    inos: BTreeMap<usize, u64>,
    clock: i64,
}

impl World {
    fn new(blocks: u64, ag_blocks: Option<u32>) -> Self {
        let f = Fixture::with_groups(blocks, ag_blocks);
        let ino = f.m.root_ino().0;
        let mut model = Model::new();
        if let Some(root) = model.nodes.get_mut(&ROOT) {
            // As mkfs has made it.
            root.mtime = 1_000_000_000;
            root.ctime = 1_000_000_000;
        }
        Self {
            f,
            model,
            inos: BTreeMap::from([(ROOT, ino)]),
            clock: 2_000_000_000,
        }
    }

    fn get(&self, id: usize) -> InodeRef {
        inode::iget(&self.f.m, crate::format::units::Ino(self.inos[&id])).unwrap()
    }

    fn dir(&self, n: u16) -> usize {
        let dirs = self.model.dirs();
        dirs[n as usize % dirs.len()]
    }

    /// Engine and model must agree on success, or on the fault.
    fn agree<T, U>(
        &self,
        op: &Op,
        engine: Result<T>,
        model: std::result::Result<U, Fault>,
    ) -> Option<(T, U)> {
        match (engine, model) {
            (Ok(t), Ok(u)) => Some((t, u)),
            (Err(e), Err(f)) => {
                assert_eq!(fault(e.errno()), Some(f), "{op:?}: {e}");
                None
            }
            (Ok(_), Err(f)) => panic!("{op:?}: works, the model says {f:?}"),
            (Err(e), Ok(_)) => panic!("{op:?}: {e}, the model says that it works"),
        }
    }

    fn named(&self, dir: usize, n: u16) -> Option<usize> {
        self.model.find(dir, &name(n))
    }

    fn run(&mut self, op: &Op) {
        self.clock += 1;
        let now = self.clock;
        let m = self.f.m.clone();
        match *op {
            Op::Create(d, n, k) => {
                let dir = self.dir(d);
                let (kind, mode) = match k % 8 {
                    0..=3 => (Kind::File, 0o100000),
                    4..=5 => (Kind::Dir, 0o040000),
                    6 => (Kind::Other(0o010000), 0o010000),
                    _ => (Kind::Other(0o020000), 0o020000),
                };
                let perm = u16::from(k) * 2;
                let new = NewInode {
                    mode: mode | perm,
                    uid: u32::from(d),
                    now: at(now),
                    ..NewInode::default()
                };
                let parent = self.get(dir);
                let r = create(&m, &parent, &name(n), &new);
                let q = self
                    .model
                    .create(dir, &name(n), kind, perm, u32::from(d), now);
                if let Some((inode, id)) = self.agree(op, r, q) {
                    self.inos.insert(id, inode.ino.0);
                    put(&m, inode);
                }
            }
            Op::Symlink(d, n, len) => {
                let dir = self.dir(d);
                let target: Vec<u8> = (0..len).map(|i| (i % 250) as u8 + 1).collect();
                let new = NewInode {
                    uid: 1,
                    now: at(now),
                    ..NewInode::default()
                };
                let r = symlink(&m, &self.get(dir), &name(n), &new, &target);
                let q = self
                    .model
                    .create(dir, &name(n), Kind::Symlink, 0o777, 1, now);
                if let Some((inode, id)) = self.agree(op, r, q) {
                    self.inos.insert(id, inode.ino.0);
                    self.model.set_target(id, target);
                    put(&m, inode);
                }
            }
            Op::Link(d, n, to, as_name) => {
                let (dir, to) = (self.dir(d), self.dir(to));
                let Some(id) = self.named(dir, n) else { return };
                if id == to {
                    return;
                }
                let inode = self.get(id);
                let r = link(&m, &inode, &self.get(to), &name(as_name), at(now));
                let q = self.model.link(id, to, &name(as_name), now);
                self.agree(op, r, q);
            }
            Op::Unlink(d, n) | Op::Rmdir(d, n) => {
                let dir = self.dir(d);
                let Some(id) = self.named(dir, n) else { return };
                let inode = self.get(id);
                let parent = self.get(dir);
                let (r, q) = if matches!(op, Op::Unlink(..)) {
                    let r = unlink(&m, &parent, &name(n), &inode, at(now));
                    (r, self.model.unlink(dir, &name(n), now))
                } else {
                    let r = rmdir(&m, &parent, &name(n), &inode, at(now));
                    (r, self.model.rmdir(dir, &name(n), now))
                };
                self.agree(op, r, q);
                put(&m, inode);
            }
            Op::Rename(d, n, e, o, no_replace) => {
                self.rename(op, (d, n), (e, o), no_replace, false)
            }
            Op::Whiteout(d, n, e, o) => self.rename(op, (d, n), (e, o), false, true),
            Op::Exchange(d, n, e, o) => {
                let (from, to) = (self.dir(d), self.dir(e));
                let (Some(x), Some(y)) = (self.named(from, n), self.named(to, o)) else {
                    return;
                };
                // The VFS refuses loops.
                if self.model.is_below(to, x) || self.model.is_below(from, y) {
                    return;
                }
                let (old_dir, new_dir) = (self.get(from), self.get(to));
                let (inode, target) = (self.get(x), self.get(y));
                let args = RenameArgs {
                    old_dir: &old_dir,
                    old_name: &name(n),
                    inode: &inode,
                    new_dir: &new_dir,
                    new_name: &name(o),
                    target: Some(&target),
                    flags: RenameFlags {
                        exchange: true,
                        ..RenameFlags::default()
                    },
                    uid: 0,
                    gid: 0,
                    now: at(now),
                };
                let r = rename(&m, &args);
                let q = self.model.exchange((from, &name(n)), (to, &name(o)), now);
                self.agree(op, r, q);
            }
            Op::Tmpfile(d, n, keep) => {
                let dir = self.dir(d);
                let parent = self.get(dir);
                let new = NewInode {
                    mode: 0o100600,
                    now: at(now),
                    ..NewInode::default()
                };
                let inode = tmpfile(&m, &parent, &new).unwrap();
                if keep {
                    let r = link(&m, &inode, &parent, &name(n), at(now));
                    let q = self.model.create(dir, &name(n), Kind::File, 0o600, 0, now);
                    if let Some(((), id)) = self.agree(op, r, q) {
                        self.inos.insert(id, inode.ino.0);
                    }
                }
                put(&m, inode);
            }
            Op::Setattr(d, n, mode, uid) => {
                let dir = self.dir(d);
                let Some(id) = self.named(dir, n) else { return };
                let inode = self.get(id);
                let version = inode.attrs().version;
                let change = Change {
                    mode: Some(mode & 0o7777),
                    uid: Some(uid),
                    mtime: Some(at(i64::from(uid) - 5_000_000)),
                    ctime: Some(at(now)),
                    ..Change::default()
                };
                setattr(&m, &inode, &change).unwrap();
                assert!(inode.attrs().version > version);
                self.model
                    .setattr(id, mode & 0o7777, uid, i64::from(uid) - 5_000_000, now);
            }
            Op::Lookup(d, n) => {
                let dir = self.dir(d);
                let found = lookup(&m, &self.get(dir), &name(n)).unwrap();
                let want = self.named(dir, n).map(|id| self.inos[&id]);
                assert_eq!(found.map(|i| i.ino.0), want);
            }
            Op::Sync => m.sync().unwrap(),
            Op::Reclaim => {
                inode::reclaim(&m, 1000);
                inode::reclaim(&m, 1000);
                m.buf().reclaim(1000);
            }
            Op::Remount => {
                drop(m);
                self.remount();
            }
        }
    }

    fn rename(
        &mut self,
        op: &Op,
        from: (u16, u16),
        to: (u16, u16),
        no_replace: bool,
        whiteout: bool,
    ) {
        let now = self.clock;
        let (n, o) = (name(from.1), name(to.1));
        let (from, to) = (self.dir(from.0), self.dir(to.0));
        let Some(id) = self.model.find(from, &n) else {
            return;
        };
        let target = self.model.find(to, &o);
        // The VFS refuses loops.
        if self.model.is_below(to, id) || target.is_some_and(|t| self.model.is_below(from, t)) {
            return;
        }
        let m = self.f.m.clone();
        let (old_dir, new_dir, inode) = (self.get(from), self.get(to), self.get(id));
        let target_inode = target.map(|t| self.get(t));
        let args = RenameArgs {
            old_dir: &old_dir,
            old_name: &n,
            inode: &inode,
            new_dir: &new_dir,
            new_name: &o,
            target: target_inode.as_ref(),
            flags: RenameFlags {
                no_replace,
                whiteout,
                ..RenameFlags::default()
            },
            uid: 9,
            gid: 9,
            now: at(now),
        };
        let r = rename(&m, &args);
        let same = target == Some(id);
        let q = self.model.rename((from, &n), (to, &o), no_replace, now);
        let done = self.agree(op, r, q).is_some();
        if done && whiteout && !same {
            let w = lookup(&m, &old_dir, &n).unwrap().unwrap();
            let kind = Kind::Other(0o020000);
            let id = self.model.create(from, &n, kind, 0, 9, now).unwrap();
            self.inos.insert(id, w.ino.0);
        }
        if let Some(t) = target_inode {
            put(&m, t);
        }
    }

    /// Unmounts, compares what is on the disk with the model, mounts again.
    fn remount(&mut self) {
        let sum = super::remount(&mut self.f);
        assert_eq!(sum.slots.len(), self.model.nodes.len());
        for (id, node) in &self.model.nodes {
            let slot = &sum.slots[&self.inos[id]];
            let kind = match node.kind {
                Kind::File => 0o100000,
                Kind::Dir => 0o040000,
                Kind::Symlink => 0o120000,
                Kind::Other(mode) => mode,
            };
            assert_eq!(slot.mode.get(), kind | node.perm);
            assert_eq!(slot.nlink.get(), node.nlink);
            assert_eq!(slot.uid.get(), node.uid);
            assert_eq!(slot.mtime.get(), node.mtime);
            assert_eq!(slot.ctime.get(), node.ctime);
            if node.kind == Kind::Dir {
                let found: BTreeMap<_, _> = sum.dirs[&self.inos[id]].iter().cloned().collect();
                let want: BTreeMap<_, _> = node
                    .names
                    .iter()
                    .map(|(n, c)| (n.clone(), self.inos[c]))
                    .collect();
                assert_eq!(found, want);
            }
        }
    }

    /// Compares through the interface, everything in memory or not.
    fn walk(&self) {
        let m = &self.f.m;
        let mut buf = EntryBuf::try_new().unwrap();
        for (id, node) in &self.model.nodes {
            let inode = self.get(*id);
            let a = inode.attrs();
            assert_eq!(
                (a.nlink, a.uid, a.mode & 0o7777),
                (node.nlink, node.uid, node.perm)
            );
            if node.kind == Kind::Symlink {
                let mut out = [0; 4096];
                let len = readlink(m, &inode, &mut out).unwrap();
                assert_eq!(&out[..len], &node.target[..]);
            }
            if node.kind == Kind::Dir {
                let mut found = BTreeMap::new();
                let mut from = 0;
                loop {
                    readdir(m, &inode, from, &mut buf).unwrap();
                    if buf.is_empty() {
                        break;
                    }
                    for e in buf.iter() {
                        found.insert(e.name.to_vec(), e.ino.0);
                        from = e.key + 1;
                    }
                }
                let want: BTreeMap<_, _> = node
                    .names
                    .iter()
                    .map(|(n, c)| (n.clone(), self.inos[c]))
                    .collect();
                assert_eq!(found, want);
                assert_eq!(parent(m, &inode).unwrap().ino.0, self.inos[&node.parent]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 8,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_operations_do_what_the_model_does(ops in ops(2500)) {
        let mut w = World::new(16384, Some(4096));
        for op in &ops {
            w.run(op);
        }
        w.walk();
        w.remount();
        w.walk();
    }
}

#[test]
fn ten_thousand_operations_in_one_life() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let ops = ops(15_000).new_tree(&mut runner).unwrap().current();
    let mut w = World::new(32768, Some(4096));
    for op in &ops {
        w.run(op);
    }
    w.walk();
    w.remount();
    w.walk();
}
