// SPDX-License-Identifier: GPL-2.0

//! Random changes of several inodes against maps. A crash leaves what the last checkpoint had, and
//! everything on the device adds up.

use super::*;
use crate::sys::device::{Backend, MemDisk};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Set {
        file: u8,
        name: u8,
        len: u32,
    },
    Remove {
        file: u8,
        name: u8,
    },
    /// The file is deleted and made again.
    Delete {
        file: u8,
    },
    Checkpoint,
    Push(u8),
    Crash,
}

const FILES: u8 = 4;

/// Attributes by file and name; a file that is not there has none.
type State = [Values; FILES as usize];

struct World {
    f: Fixture,
    now: State,
    /// The newest durable state is one of these: an operation may be several transactions.
    durable: Vec<State>,
    seq: u64,
    seed: u8,
}

fn name_of(n: u8) -> (AttrSpace, Vec<u8>) {
    let space = AttrSpace::ALL[usize::from(n) % 5];
    if space.is_acl() {
        return (space, Vec::new());
    }
    (
        space,
        format!("{n}{}", "x".repeat(usize::from(n) % 50)).into_bytes(),
    )
}

fn path(file: u8) -> Vec<u8> {
    vec![b'a' + file]
}

fn copy_of(disk: &MemDisk) -> Arc<MemDisk> {
    let copy = MemDisk::new(disk.blocks());
    for (at, block) in disk.snapshot() {
        copy.write(at, &block).unwrap();
    }
    Arc::new(copy)
}

impl World {
    fn new() -> Self {
        let f = Fixture::new(16384);
        for n in 0..FILES {
            drop(file(&f.m, &path(n)));
        }
        f.m.checkpoint().unwrap();
        Self {
            now: State::default(),
            durable: vec![State::default()],
            seq: f.m.log().durable_seq(),
            f,
            seed: 0,
        }
    }

    fn inode(&self, n: u8) -> InodeRef {
        let found = namespace::lookup(&self.f.m, &root(&self.f.m), &path(n));
        found.unwrap().unwrap()
    }

    fn apply(&mut self, op: &Op) {
        let before = self.now.clone();
        let mut between = Vec::new();
        let m = self.f.m.clone();
        match *op {
            Op::Set { file, name, len } => {
                self.seed = self.seed.wrapping_add(1);
                let (space, name) = name_of(name);
                let value = pattern(len as usize, self.seed);
                put_attr(&m, &self.inode(file), Name::new(space, &name), &value).unwrap();
                self.now[usize::from(file)].insert((space, name), value);
            }
            Op::Remove { file, name } => {
                let (space, name) = name_of(name);
                let removed = del_attr(&m, &self.inode(file), Name::new(space, &name));
                let had = self.now[usize::from(file)].remove(&(space, name));
                assert_eq!(removed.is_ok(), had.is_some());
            }
            Op::Delete { file: n } => {
                let inode = self.inode(n);
                unlink(&m, &path(n), inode);
                self.now[usize::from(n)].clear();
                between.push(self.now.clone());
                drop(file(&m, &path(n)));
            }
            Op::Checkpoint => m.checkpoint().unwrap(),
            Op::Push(n) => {
                let log = m.log().space();
                let (tail, head) = (log.tail().get(), log.head().get());
                let goal = tail + (head - tail) * u64::from(n) / 255;
                m.push_ail(crate::format::Lsn(goal)).unwrap();
            }
            Op::Crash => self.crash(),
        }
        let seq = m.log().durable_seq();
        if seq != self.seq {
            self.seq = seq;
            self.durable = if matches!(op, Op::Checkpoint) {
                Vec::new()
            } else {
                between.push(before);
                between
            };
            self.durable.push(self.now.clone());
        }
        for (n, values) in (0_u8..).zip(&self.now) {
            if matches!(*op, Op::Set { file, .. } | Op::Remove { file, .. } if file == n) {
                assert_eq!(&all(&m, &self.inode(n)), values);
            }
        }
    }

    fn crash(&self) {
        let disk = copy_of(&self.f.disk);
        let m = Fixture::mount(&disk);
        namespace::recover_orphans(&m).unwrap();
        m.sync().unwrap();
        let mut there = State::default();
        for n in 0..FILES {
            let found = namespace::lookup(&m, &root(&m), &path(n)).unwrap();
            if let Some(inode) = found {
                there[usize::from(n)] = all(&m, &inode);
            }
        }
        m.unmount().unwrap();
        check::check(&Device::new(disk, false), false).unwrap();
        assert!(self.durable.contains(&there), "no state that was durable");
    }
}

fn ops(n: usize) -> impl Strategy<Value = Vec<Op>> {
    let len = prop_oneof![
        6 => 0_u32..100,
        3 => 100_u32..2100,
        2 => 2100_u32..20_000,
        1 => Just(65536_u32),
    ];
    let op = prop_oneof![
        20 => (0..FILES, 0_u8..40, len).prop_map(|(file, name, len)| Op::Set { file, name, len }),
        14 => (0..FILES, 0_u8..40).prop_map(|(file, name)| Op::Remove { file, name }),
        1 => (0..FILES).prop_map(|file| Op::Delete { file }),
        3 => Just(Op::Checkpoint),
        2 => any::<u8>().prop_map(Op::Push),
        1 => Just(Op::Crash),
    ];
    proptest::collection::vec(op, n)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        max_shrink_iters: 100,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_crash_leaves_the_last_checkpoint(ops in ops(300)) {
        let mut w = World::new();
        for op in &ops {
            w.apply(op);
        }
        w.crash();
        w.f.m.unmount().unwrap();
        check::check(&Device::new(w.f.disk.clone(), false), false).unwrap();
    }
}
