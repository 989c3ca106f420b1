// SPDX-License-Identifier: GPL-2.0

//! All short sequences: up to three operations out of a small set on a small tree, then fsync or
//! sync, with a crash at each event. "Application-level crash explorer" is the name that CrashMonkey
//! gave to this.

use crate::{
    check::check,
    crash::{Replay, Style},
    disk::SimDisk,
    image::{Base, BaseKind, Image},
    model::{Kind, Model, ObjId, NEVER, ROOT},
    world::{Setup, World, Write},
};
use latchfs_host::sim::Rng;
use latchfs_pagecache::FallocMode;
use std::{collections::HashSet, sync::Arc};

/// What is done, on the tree of [`Start`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A file a/n.
    Create,
    /// A directory a/d.
    Mkdir,
    /// A long symlink b/s.
    Symlink,
    /// a/f is b/l, too.
    Link,
    /// a/f goes.
    Unlink,
    /// b goes, if it is empty.
    Rmdir,
    /// a/f becomes a/r.
    Rename,
    /// a/f goes to b.
    Move,
    /// a/f takes the place of a/g.
    Replace,
    /// a/f and a/g change places.
    Exchange,
    /// b goes into a.
    MoveDir,
    /// a/f becomes empty.
    Empty,
    /// a/f loses its last part, in the middle of a block.
    Cut,
    /// a/f grows by a hole.
    Extend,
    /// The first block of a/f is overwritten, and the kernel writes it back.
    Overwrite,
    /// a/f grows by a few blocks.
    Append,
    /// a/n is written.
    WriteNew,
    /// fsync of a/f.
    Fsync,
    /// fsync of a.
    FsyncDir,
    /// Permissions of a/f.
    Chmod,
    /// a/n takes the place of a/f.
    ReplaceByNew,
    /// a/f grows by a few blocks, with O_DSYNC.
    AppendSync,
    /// A store to a/f through a mapping, across blocks.
    Store,
    /// fdatasync of a/f.
    Fdatasync,
    /// A direct write to a/f, inside and behind its end.
    Direct,
    /// A hole in a/f, a whole block and parts of two.
    Punch,
    /// Blocks of a/f are allocated, inside and behind its end.
    Allocate,
    /// Part of a/f becomes zeros.
    Zero,
    /// a/f gets an attribute that has blocks.
    SetAttribute,
    /// a/f loses the one that it had.
    RemoveAttribute,
}

/// The set.
pub const STEPS: [Step; 30] = [
    Step::Create,
    Step::Mkdir,
    Step::Symlink,
    Step::Link,
    Step::Unlink,
    Step::Rmdir,
    Step::Rename,
    Step::Move,
    Step::Replace,
    Step::Exchange,
    Step::MoveDir,
    Step::Empty,
    Step::Cut,
    Step::Extend,
    Step::Overwrite,
    Step::Append,
    Step::WriteNew,
    Step::Fsync,
    Step::FsyncDir,
    Step::Chmod,
    Step::ReplaceByNew,
    Step::AppendSync,
    Step::Store,
    Step::Fdatasync,
    Step::Direct,
    Step::Punch,
    Step::Allocate,
    Step::Zero,
    Step::SetAttribute,
    Step::RemoveAttribute,
];

/// What makes a sequence durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// fsync of a/f, and of a/n.
    Fsync,
    /// fsync of a.
    FsyncDir,
    /// sync.
    Sync,
}

/// All ends.
pub const LASTS: [Last; 3] = [Last::Fsync, Last::FsyncDir, Last::Sync];

const SETUP: Setup = Setup {
    late_ioends: false,
    folio_pages: 4,
    writers: true,
    background: false,
    faulty: false,
};

/// The tree that sequences begin with: a/f (10,000 bytes, and an attribute), a/g (5,000 bytes), b.
pub struct Start {
    image: Image,
    model: Model,
    tick: u64,
    a: ObjId,
    b: ObjId,
    f: ObjId,
}

/// What came of a sequence.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Crash states.
    pub states: u64,
    /// What was wrong.
    pub violation: Option<String>,
}

impl Default for Start {
    fn default() -> Self {
        Self::new()
    }
}

impl Start {
    /// Makes the tree.
    pub fn new() -> Self {
        let image = Image::new(Arc::new(Base::new(BaseKind::Empty)));
        let disk = Arc::new(SimDisk::new(image, 1, 0));
        let world = World::new(disk.clone(), SETUP).expect("a new file system mounts");
        let a = world.create(ROOT, b"a", Kind::Dir).expect("a");
        let b = world.create(ROOT, b"b", Kind::Dir).expect("b");
        let f = world.create(a, b"f", Kind::File).expect("f");
        let g = world.create(a, b"g", Kind::File).expect("g");
        assert!(world.write(f, 0, 10_000) && world.write(g, 0, 5_000));
        assert!(world.set_attribute(f, b"old", 3_000));
        assert!(world.unmount(), "{:?}", world.wrong());
        let tick = disk.tick();
        let model = std::mem::take(&mut *world.model());
        Self {
            image: disk.image(),
            model,
            tick,
            a,
            b,
            f,
        }
    }

    /// Does `steps`, then `last`, and crashes everywhere.
    pub fn explore(&self, steps: &[Step], last: Last) -> Tally {
        let mut tally = Tally::default();
        let disk = Arc::new(SimDisk::new(self.image.clone(), 1, 0));
        disk.start_clock(self.tick);
        let world = World::resume(disk.clone(), SETUP, self.model.clone());
        for step in steps {
            self.step(&world, *step);
        }
        match last {
            Last::Fsync => {
                world.fsync(self.f);
                if let Some(n) = self.find(&world, b"n") {
                    world.fsync(n);
                }
            }
            Last::FsyncDir => {
                world.fsync_dir(self.a);
            }
            Last::Sync => {
                world.sync();
            }
        }
        world.unmount();
        if let Some(wrong) = world.wrong().first() {
            tally.violation = Some(wrong.clone());
            return tally;
        }
        let model = std::mem::take(&mut *world.model());
        let trace = disk.take_trace();

        let mut rng = Rng::new(steps.len() as u64);
        let mut replay = Replay::new(&trace, self.image.clone());
        let mut seen = HashSet::new();
        loop {
            let styles = [Style::None, Style::All, Style::AllButOne, Style::Torn];
            for style in styles {
                let choice = replay.choose(style, &mut rng);
                // What was acknowledged makes a state another one.
                let promises = model.promises(replay.tick());
                if !seen.insert((replay.fingerprint(&choice), promises)) {
                    continue;
                }
                tally.states += 1;
                if let Err(violation) = check(&replay.image(&choice), &model, replay.tick()) {
                    tally.violation = Some(format!(
                        "{steps:?}, {last:?}: {violation}\n  crash before event {} of {}, {style:?}\n  {}",
                        replay.position(),
                        trace.events.len(),
                        replay.describe(&choice).replace('\n', "\n  "),
                    ));
                    return tally;
                }
            }
            if !replay.step() {
                return tally;
            }
        }
    }

    fn find(&self, world: &World, name: &[u8]) -> Option<ObjId> {
        world.model().lookup(self.a, name)
    }

    fn step(&self, world: &World, step: Step) {
        let (a, b, f) = (self.a, self.b, self.f);
        match step {
            Step::Create => drop(world.create(a, b"n", Kind::File)),
            Step::Mkdir => drop(world.create(a, b"d", Kind::Dir)),
            Step::Symlink => drop(world.create(b, b"s", Kind::Symlink(vec![b't'; 700]))),
            Step::Link => drop(world.link(f, b, b"l")),
            Step::Unlink => drop(world.remove(a, b"f")),
            Step::Rmdir => drop(world.remove(ROOT, b"b")),
            Step::Rename => drop(world.rename((a, b"f"), (a, b"r"), false)),
            Step::Move => drop(world.rename((a, b"f"), (b, b"f"), false)),
            Step::Replace => drop(world.rename((a, b"f"), (a, b"g"), false)),
            Step::Exchange => drop(world.rename((a, b"f"), (a, b"g"), true)),
            Step::MoveDir => drop(world.rename((ROOT, b"b"), (a, b"b"), false)),
            Step::Empty => drop(world.truncate(f, 0)),
            Step::Cut => drop(world.truncate(f, 5_000)),
            Step::Extend => drop(world.truncate(f, 20_000)),
            Step::Overwrite => {
                world.write(f, 0, 4096);
                world.writeback(f, 1);
            }
            Step::Append => {
                let size = world.model().objects[f].data.now().len();
                world.write(f, size, 6_000);
            }
            Step::WriteNew => {
                if let Some(n) = self.find(world, b"n") {
                    world.write(n, 0, 3_000);
                }
            }
            Step::Fsync => drop(world.fsync(f)),
            Step::FsyncDir => drop(world.fsync_dir(a)),
            Step::Chmod => drop(world.chmod(f, 0o600)),
            Step::ReplaceByNew => drop(world.rename((a, b"n"), (a, b"f"), false)),
            Step::AppendSync => {
                let how = Write {
                    len: 6_000,
                    dsync: true,
                    ..Write::default()
                };
                world.write_as(f, how);
            }
            Step::Store => {
                world.store(f, 3_000, 2_000);
                world.writeback(f, 2);
            }
            Step::Fdatasync => drop(world.fdatasync(f, (0, NEVER))),
            Step::Direct => {
                let how = Write {
                    pos: Some(8_192),
                    len: 12_288,
                    direct: true,
                    ..Write::default()
                };
                world.write_as(f, how);
            }
            Step::Punch => drop(world.fallocate(f, FallocMode::Punch, true, (3_000, 9_000))),
            Step::Allocate => {
                world.fallocate(f, FallocMode::Allocate, false, (6_000, 14_000));
            }
            Step::SetAttribute => drop(world.set_attribute(f, b"new", 9_000)),
            Step::RemoveAttribute => drop(world.remove_attribute(f, b"old")),
            Step::Zero => drop(world.fallocate(f, FallocMode::Zero, true, (4_096, 9_500))),
        }
    }
}

/// All sequences of up to `most` steps.
pub fn sequences(most: usize) -> Vec<Vec<Step>> {
    let mut all: Vec<Vec<Step>> = vec![Vec::new()];
    let mut from = 0;
    for _ in 0..most {
        let to = all.len();
        for n in from..to {
            for step in STEPS {
                let mut longer = all[n].clone();
                longer.push(step);
                all.push(longer);
            }
        }
        from = to;
    }
    all.remove(0);
    all
}
