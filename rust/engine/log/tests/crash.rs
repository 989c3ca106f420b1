// SPDX-License-Identifier: GPL-2.0

//! Commit, checkpoint, crash, recovery: whatever was done since the last checkpoint is gone, and
//! everything before is there. With a log so small that it wraps and fills up.

use crate::engine::{
    inode::{iget, InodeRef},
    namespace::{
        create, inactivate_later, inodegc_flush, lookup, rename, unlink, NewInode, RenameArgs,
        RenameFlags,
    },
    testing::{check, Fixture},
    Mount,
};
use crate::format::Lsn;
use crate::sys::{
    device::{Backend, MemDisk},
    Arc, Device, Time,
};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::vec::Vec;

#[derive(Clone, Copy, Debug)]
enum Op {
    Create(u8),
    Unlink(u8),
    Rename(u8, u8),
    Checkpoint,
    /// The pusher writes some of what is durable.
    Push(u8),
    /// What is on the disk now is recovered.
    Crash,
}

type Names = BTreeSet<Vec<u8>>;

fn name(n: u8) -> Vec<u8> {
    format!(
        "a name that fills its directory soon {n:03} {}",
        "x".repeat(usize::from(n) % 100)
    )
    .into_bytes()
}

fn root(m: &Arc<Mount>) -> InodeRef {
    iget(m, m.root_ino()).unwrap()
}

fn copy_of(disk: &MemDisk) -> Arc<MemDisk> {
    let copy = MemDisk::new(disk.blocks());
    for (at, block) in disk.snapshot() {
        copy.write(at, &block).unwrap();
    }
    Arc::new(copy)
}

struct World {
    f: Fixture,
    names: Names,
    /// The newest durable state: one of these, because an operation may be several transactions,
    /// with a checkpoint in between.
    durable: Vec<Names>,
    seq: u64,
}

impl World {
    fn new(blocks: u64) -> Self {
        let f = Fixture::new(blocks);
        Self {
            durable: vec![Names::new()],
            names: Names::new(),
            seq: f.m.log().durable_seq(),
            f,
        }
    }

    fn apply(&mut self, op: Op) {
        let before = self.names.clone();
        let m = self.f.m.clone();
        match op {
            Op::Create(n) => {
                if self.names.insert(name(n)) {
                    let new = NewInode {
                        mode: 0o100644,
                        ..NewInode::default()
                    };
                    create(&m, &root(&m), &name(n), &new).unwrap();
                }
            }
            Op::Unlink(n) => {
                if self.names.remove(&name(n)) {
                    let dir = root(&m);
                    let inode = lookup(&m, &dir, &name(n)).unwrap().unwrap();
                    unlink(&m, &dir, &name(n), &inode, Time::default()).unwrap();
                    inactivate_later(&m, inode);
                    inodegc_flush(&m).unwrap();
                }
            }
            Op::Rename(from, to) => {
                if from != to && self.names.contains(&name(from)) {
                    self.names.remove(&name(from));
                    self.names.insert(name(to));
                    let dir = root(&m);
                    let inode = lookup(&m, &dir, &name(from)).unwrap().unwrap();
                    let target = lookup(&m, &dir, &name(to)).unwrap();
                    let args = RenameArgs {
                        old_dir: &dir,
                        old_name: &name(from),
                        new_dir: &dir,
                        new_name: &name(to),
                        inode: &inode,
                        target: target.as_ref(),
                        flags: RenameFlags::default(),
                        uid: 0,
                        gid: 0,
                        now: Time::default(),
                    };
                    rename(&m, &args).unwrap();
                    if let Some(target) = target {
                        inactivate_later(&m, target);
                        inodegc_flush(&m).unwrap();
                    }
                }
            }
            Op::Checkpoint => m.checkpoint().unwrap(),
            Op::Push(n) => {
                let log = m.log().space();
                let (tail, head) = (log.tail().get(), log.head().get());
                let goal = tail + (head - tail) * u64::from(n) / 255;
                m.push_ail(Lsn(goal)).unwrap();
            }
            Op::Crash => self.crash(),
        }
        let seq = m.log().durable_seq();
        if seq != self.seq {
            self.seq = seq;
            let exact = matches!(op, Op::Checkpoint) || before == self.names;
            self.durable = if exact {
                vec![self.names.clone()]
            } else {
                vec![before, self.names.clone()]
            };
        }
    }

    fn crash(&self) {
        let disk = copy_of(&self.f.disk);
        let m = Fixture::mount(&disk);
        crate::engine::namespace::recover_orphans(&m).unwrap();
        m.sync().unwrap();
        let root = root(&m);
        let there: Names = (0..=255_u8)
            .map(name)
            .filter(|name| lookup(&m, &root, name).unwrap().is_some())
            .collect();
        assert!(
            self.durable.contains(&there),
            "{} names, expected {:?}",
            there.len(),
            self.durable.iter().map(BTreeSet::len).collect::<Vec<_>>()
        );
        drop(root);
        m.unmount().unwrap();
        let sum = check::check(&Device::new(disk, false), false).unwrap();
        assert_eq!(sum.slots.len(), there.len() + 1);
    }
}

fn ops(n: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        12 => any::<u8>().prop_map(Op::Create),
        8 => any::<u8>().prop_map(Op::Unlink),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Op::Rename(a, b)),
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
        let mut w = World::new(8192);
        for op in ops {
            w.apply(op);
        }
        w.crash();
        w.f.m.unmount().unwrap();
    }
}

#[test]
fn a_log_that_wraps_many_times_keeps_what_matters() {
    let mut w = World::new(8192);
    let body = w.f.m.log().space().body();
    let first = w.f.m.log().head().get();
    let mut n = 0_u32;
    while w.f.m.log().head().get() < first + 3 * body {
        n += 1;
        let k = (n.wrapping_mul(2_654_435_761) >> 24) as u8;
        w.apply(if n.is_multiple_of(3) {
            Op::Unlink(k)
        } else {
            Op::Create(k)
        });
        if n.is_multiple_of(7) {
            w.apply(Op::Checkpoint);
        }
        if n.is_multiple_of(1000) {
            w.crash();
        }
    }
    assert!(w.f.m.stats().log_waits() > 0, "it was never full");
    w.crash();
    w.f.m.unmount().unwrap();
}
