// SPDX-License-Identifier: GPL-2.0

//! Random operations, and how a seed chooses a run.

use crate::{
    disk::Faults,
    image::BaseKind,
    model::{Kind, ObjId, NEVER, ROOT},
    world::{Setup, World, Write},
};
use latchfs_engine::format::limits::MIN_LOG_BLOCKS;
use latchfs_host::sim::Rng;
use latchfs_pagecache::FallocMode;

/// Everything a seed decides before a run begins.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The file system it begins with.
    pub base: BaseKind,
    /// Threads at work.
    pub threads: usize,
    /// Operations of each of them in each phase.
    pub ops: u64,
    /// Phases; between two of them everything is unmounted and mounted again.
    pub phases: u64,
    /// Which operations, see [`Mix`].
    pub mix: Mix,
    /// How the world is set up.
    pub setup: Setup,
    /// What fails.
    pub faults: Faults,
    /// One in so many points is a switch.
    pub preempt: u32,
    /// Longest delay of a request, in switches.
    pub slow: u64,
    /// Nanoseconds between two looks of the flusher, about; 0: there is none.
    pub flusher: u64,
    /// Blocks of the log's body in front of where the log begins: most runs come to its end.
    pub log_at: u64,
}

/// Weights of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Of everything something.
    Even,
    /// Names, in large directories.
    Names,
    /// Data.
    Data,
    /// Data at the end of files.
    Append,
    /// Mostly fsync, so that the log goes round.
    Log,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mix = match rng.below(12) {
            0..=2 => Mix::Even,
            3 | 4 => Mix::Names,
            5..=8 => Mix::Data,
            9 | 10 => Mix::Append,
            _ => Mix::Log,
        };
        let faults = faults(&mut rng);
        let full = rng.one_in(6);
        let threads = 1 + rng.below(4) as usize;
        let ops = match mix {
            Mix::Log => 200 + rng.below(300),
            _ => 20 + rng.below(80),
        };
        Self {
            base: if full {
                BaseKind::Full
            } else {
                BaseKind::Empty
            },
            threads,
            ops: ops / threads as u64 + 1,
            phases: 1 + rng.below(3),
            mix,
            setup: Setup {
                late_ioends: rng.one_in(2),
                folio_pages: 1 << rng.below(4),
                writers: !rng.one_in(3),
                background: !rng.one_in(4),
                faulty: faults.any(),
            },
            faults,
            preempt: [1, 4, 16, 64][rng.below(4) as usize],
            slow: [0, 2, 8, 32][rng.below(4) as usize],
            flusher: [0, 20_000, 100_000, 500_000][rng.below(4) as usize],
            log_at: match rng.below(4) {
                0 => 0,
                _ => u64::from(MIN_LOG_BLOCKS) - 1 - rng.below(200),
            },
        }
    }
}

fn faults(rng: &mut Rng) -> Faults {
    let mut faults = Faults::default();
    let often = [3, 10, 40][rng.below(3) as usize];
    match rng.below(16) {
        0 => faults.metadata = often,
        1 => faults.data = often,
        2 => faults.reads = often * 4,
        3 => faults.log = often * 4,
        4 => faults.dead_after = 20 + rng.below(400),
        5 => {
            faults.flushes = often * 4;
            faults.thin = true;
            faults.metadata = often;
        }
        _ => {}
    }
    faults
}

/// Largest file.
const MOST: u64 = 96 * 1024;

/// One user of the file system: `ops` random operations.
pub fn user(world: &World, mix: Mix, ops: u64, rng: &mut Rng) {
    for _ in 0..ops {
        one(world, mix, rng);
        if world.model().failed != crate::model::NEVER && rng.one_in(8) {
            // Something failed for good: the rest would fail, too.
            return;
        }
    }
}

/// A live object of a kind.
fn pick(world: &World, rng: &mut Rng, wanted: impl Fn(&Kind) -> bool) -> Option<ObjId> {
    let model = world.model();
    let of = |(id, o): (ObjId, &crate::model::Object)| {
        let fits = wanted(&o.kind) && o.is_linked() && !o.foreign;
        (fits && o.unknown == crate::model::NEVER).then_some(id)
    };
    let all: Vec<ObjId> = model.objects.iter().enumerate().filter_map(of).collect();
    if all.is_empty() {
        return None;
    }
    Some(all[rng.below(all.len() as u64) as usize])
}

fn dir(world: &World, rng: &mut Rng) -> ObjId {
    pick(world, rng, |k| *k == Kind::Dir).unwrap_or(ROOT)
}

fn file(world: &World, rng: &mut Rng) -> Option<ObjId> {
    pick(world, rng, |k| *k == Kind::File)
}

/// A name that may or may not exist.
fn name(mix: Mix, rng: &mut Rng) -> Vec<u8> {
    let names = if mix == Mix::Names { 60 } else { 12 };
    let n = rng.below(names);
    let mut name = format!("n{n}").into_bytes();
    if mix == Mix::Names && !n.is_multiple_of(3) {
        // Long ones, so that directories become trees.
        name.resize(120 + n as usize, b'x');
    }
    name
}

/// A name that exists, mostly.
fn entry(world: &World, dir: ObjId, mix: Mix, rng: &mut Rng) -> Vec<u8> {
    let model = world.model();
    let entries = &model.objects[dir].now().entries;
    let ours = |(_, id): &(&Vec<u8>, &ObjId)| !model.objects[**id].foreign;
    let count = entries.iter().filter(ours).count() as u64;
    let at = rng.below(count) as usize;
    let found = entries.iter().filter(ours).nth(at).map(|(n, _)| n.clone());
    drop(model);
    found.unwrap_or_else(|| name(mix, rng))
}

fn one(world: &World, mix: Mix, rng: &mut Rng) {
    // (up to, what): create, mkdir, symlink, link, remove, rename, exchange, chmod, truncate,
    // write, store, fsync, fsync of a directory, sync, writeback, page cache, read, fdatasync,
    // direct write, fallocate, extended attribute
    let weights: [u64; 21] = match mix {
        Mix::Even => [
            8, 3, 2, 4, 6, 8, 3, 3, 4, 14, 3, 5, 3, 1, 4, 5, 3, 2, 3, 4, 8,
        ],
        Mix::Names => [
            24, 4, 4, 6, 14, 12, 4, 2, 1, 2, 0, 3, 3, 1, 1, 1, 0, 0, 0, 0, 4,
        ],
        Mix::Data => [
            4, 1, 0, 1, 3, 3, 1, 1, 6, 24, 8, 6, 1, 1, 8, 8, 6, 6, 10, 12, 1,
        ],
        Mix::Append => [
            4, 0, 0, 0, 2, 5, 1, 1, 1, 56, 2, 3, 1, 1, 6, 6, 2, 4, 4, 2, 1,
        ],
        Mix::Log => [
            10, 2, 1, 3, 8, 6, 2, 6, 4, 8, 2, 30, 10, 2, 6, 3, 0, 4, 1, 2, 6,
        ],
    };
    let mut at = rng.below(weights.iter().sum());
    let mut what = 0;
    while at >= weights[what] {
        at -= weights[what];
        what += 1;
    }
    match what {
        0..=2 => {
            let kind = match what {
                0 => Kind::File,
                1 => Kind::Dir,
                _ => Kind::Symlink(vec![b't'; 1 + rng.below(600) as usize]),
            };
            world.create(dir(world, rng), &name(mix, rng), kind);
        }
        3 => {
            if let Some(id) = file(world, rng) {
                world.link(id, dir(world, rng), &name(mix, rng));
            }
        }
        4 => {
            let dir = dir(world, rng);
            world.remove(dir, &entry(world, dir, mix, rng));
        }
        5 | 6 => {
            let from = dir(world, rng);
            let to = if rng.one_in(2) { from } else { dir(world, rng) };
            let old = entry(world, from, mix, rng);
            let new = if what == 6 || rng.one_in(2) {
                entry(world, to, mix, rng)
            } else {
                name(mix, rng)
            };
            world.rename((from, &old), (to, &new), what == 6);
        }
        7 => {
            if let Some(id) = pick(world, rng, |k| !matches!(k, Kind::Symlink(_))) {
                world.chmod(id, rng.below(0o777) as u16);
            }
        }
        13 => {
            world.sync();
        }
        20 => {
            if let Some(id) = pick(world, rng, |_| true) {
                attribute(world, id, rng);
            }
        }
        12 => {
            world.fsync_dir(dir(world, rng));
        }
        _ => {
            if let Some(id) = file(world, rng) {
                on_file(world, id, mix, what, rng);
            }
        }
    }
}

/// Sets or removes an attribute. The lengths are those of all the places that one can be in: inode,
/// record of the tree, blocks.
fn attribute(world: &World, id: ObjId, rng: &mut Rng) {
    let n = rng.below(8);
    let mut name = format!("a{n}").into_bytes();
    if n % 4 == 3 {
        name.resize(200, b'a');
    }
    if rng.one_in(4) {
        world.remove_attribute(id, &name);
        return;
    }
    let most = [30, 200, 1500, 6000, 65_537][rng.below(5) as usize];
    world.set_attribute(id, &name, rng.below(most) as usize);
}

/// A place: mostly at a block or sector, sometimes anywhere.
fn place(rng: &mut Rng, most: u64) -> usize {
    let at = rng.below(most);
    let aligned = match rng.below(4) {
        0 | 1 => at / 4096 * 4096,
        2 => at / 512 * 512,
        _ => at,
    };
    aligned as usize
}

fn on_file(world: &World, id: ObjId, mix: Mix, what: usize, rng: &mut Rng) {
    let size = world.model().objects[id].data.now().len() as u64;
    match what {
        8 => {
            let size = if rng.one_in(4) { MOST } else { size + 1 };
            world.truncate(id, place(rng, size));
        }
        9 => {
            world.write_as(id, write(mix, size, rng));
        }
        10 => {
            let pos = place(rng, size.max(1));
            world.store(id, pos, 1 + rng.below(9000) as usize);
        }
        11 => {
            world.fsync(id);
        }
        14 => {
            world.writeback(id, 1 + rng.below(3));
        }
        15 => {
            world.page_cache(id);
        }
        17 => {
            // All of it, or some.
            let all = rng.one_in(3);
            let from = if all { 0 } else { place(rng, size + 1) as u64 };
            let to = if all {
                NEVER
            } else {
                from + 1 + rng.below(20_000)
            };
            world.fdatasync(id, (from, to));
        }
        18 => {
            world.write_as(id, direct(mix, size, rng));
        }
        19 => fallocate(world, id, size, rng),
        _ => {
            world.read(id, rng.one_in(3));
        }
    }
}

/// A direct write: in whole sectors.
fn direct(mix: Mix, size: u64, rng: &mut Rng) -> Write {
    let how = write(mix, size, rng);
    let unit = if rng.one_in(3) { 512 } else { 4096 };
    let pos = how.pos.unwrap_or(size as usize) / unit * unit;
    Write {
        pos: Some(pos),
        len: how.len.next_multiple_of(unit),
        faults: if rng.one_in(12) { how.len / 2 } else { 0 },
        direct: true,
        ..how
    }
}

/// One of the modes.
fn fallocate(world: &World, id: ObjId, size: u64, rng: &mut Rng) {
    let mode = match rng.below(10) {
        0..=2 => FallocMode::Allocate,
        3 | 4 => FallocMode::Zero,
        5..=7 => FallocMode::Punch,
        8 => FallocMode::Collapse,
        _ => FallocMode::Insert,
    };
    let mut from = place(rng, (size + 20_000).min(MOST * 2));
    let mut to = from + 1 + rng.below(30_000) as usize;
    if matches!(mode, FallocMode::Collapse | FallocMode::Insert) {
        from = from / 4096 * 4096;
        to = to.next_multiple_of(4096);
        // What a failed write has left somewhere would be anywhere.
        let lossy = world.model().data_errors;
        if lossy || (mode == FallocMode::Insert && size > MOST * 2) {
            return;
        }
    }
    let keep_size = mode == FallocMode::Punch || rng.one_in(2);
    world.fallocate(id, mode, keep_size, (from, to));
}

/// A write to a file of `size` bytes.
fn write(mix: Mix, size: u64, rng: &mut Rng) -> Write {
    let pos = match rng.below(if mix == Mix::Append { 16 } else { 4 }) {
        1 => Some(place(rng, size + 1)),
        2 => Some(place(rng, MOST)),
        // At what was the end a moment ago.
        3 => Some(size as usize),
        _ => None,
    };
    // Files stay small: what is behind that is written over.
    let pos = if size < MOST * 2 {
        pos
    } else {
        Some(place(rng, MOST))
    };
    let len = 1 + match rng.below(3) {
        0 => rng.below(600),
        1 => rng.below(5000),
        _ => rng.below(30_000),
    };
    let end = pos.map_or(size, |pos| pos as u64);
    let len = len.min((2 * MOST).saturating_sub(end)).max(1) as usize;
    Write {
        pos,
        len,
        faults: if rng.one_in(12) {
            1 + rng.below(len as u64) as usize
        } else {
            0
        },
        dsync: rng.one_in(10),
        direct: false,
    }
}
