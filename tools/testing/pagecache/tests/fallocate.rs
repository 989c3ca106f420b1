// SPDX-License-Identifier: GPL-2.0

//! fallocate(2) in all modes, mixed with everything else, against two models: the bytes of the file,
//! and for each block whether it has none, unwritten or written space on disk.

mod common;

use common::{after_a_cut, compare, fsck, Rng, POISON};
use latchfs_engine::{
    engine::{
        extents::disk::{self, ExtentCtx},
        file::BmapKind,
        txn::FreeKind,
    },
    format::{
        header::Owner,
        units::{DiskBlock, FileBlock},
    },
};
use latchfs_pagecache::{Errno, FallocMode, File, Fs, Ioends};
use std::{collections::BTreeMap, ops::ControlFlow};

const PAGE: u64 = 4096;

/// What the disk has of a file: for each block that has space, whether it is unwritten.
fn on_disk(fs: &Fs, file: &File) -> BTreeMap<u64, bool> {
    let ctx = ExtentCtx {
        owner: Owner::inode(file.inode.ino),
        near: DiskBlock(0),
        kind: FreeKind::Data,
    };
    let mut all = BTreeMap::new();
    let inner = file.inode.ilock.read();
    disk::scan(&fs.m, &ctx, &inner.data, FileBlock(0), |e| {
        for n in 0..u64::from(e.len) {
            all.insert(e.file.0 + n, e.unwritten);
        }
        ControlFlow::<()>::Continue(())
    })
    .expect("scan");
    all
}

/// A file as it should be.
#[derive(Default)]
struct Model {
    bytes: Vec<u8>,
    /// Blocks with space; whether unwritten.
    space: BTreeMap<u64, bool>,
}

impl Model {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        let end = at as usize + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at as usize..end].copy_from_slice(bytes);
        for block in at / PAGE..(end as u64).div_ceil(PAGE) {
            self.space.insert(block, false);
        }
    }

    fn truncate(&mut self, size: u64) {
        if size <= self.size() {
            self.space.split_off(&size.div_ceil(PAGE));
        }
        self.bytes.resize(size as usize, 0);
    }

    fn grow(&mut self, keep_size: bool, end: u64) {
        if !keep_size && end > self.size() {
            self.bytes.resize(end as usize, 0);
        }
    }

    fn zero(&mut self, at: u64, len: u64) {
        let end = (at + len).min(self.size());
        if at < end {
            self.bytes[at as usize..end as usize].fill(0);
        }
    }

    /// What the call should return, and the change if it succeeds.
    fn fallocate(&mut self, mode: FallocMode, keep_size: bool, at: u64, len: u64) -> bool {
        let inside = at.div_ceil(PAGE)..((at + len) / PAGE);
        let around = at / PAGE..(at + len).div_ceil(PAGE);
        match mode {
            FallocMode::Allocate => {}
            FallocMode::Punch => {
                self.zero(at, len);
                for block in inside {
                    self.space.remove(&block);
                }
                return true;
            }
            FallocMode::Zero => {
                self.zero(at, len);
                for block in inside {
                    self.space.insert(block, true);
                }
            }
            FallocMode::Collapse => {
                if !at.is_multiple_of(PAGE) || !len.is_multiple_of(PAGE) || at + len >= self.size()
                {
                    return false;
                }
                self.bytes.drain(at as usize..(at + len) as usize);
                let tail = self.space.split_off(&inside.start);
                let moved = tail.into_iter().filter(|(b, _)| *b >= inside.end);
                self.space.extend(moved.map(|(b, u)| (b - len / PAGE, u)));
                return true;
            }
            FallocMode::Insert => {
                if !at.is_multiple_of(PAGE) || !len.is_multiple_of(PAGE) || at >= self.size() {
                    return false;
                }
                let hole = std::iter::repeat_n(0, len as usize);
                self.bytes.splice(at as usize..at as usize, hole);
                let tail = self.space.split_off(&inside.start);
                self.space
                    .extend(tail.into_iter().map(|(b, u)| (b + len / PAGE, u)));
                return true;
            }
        }
        for block in around {
            self.space.entry(block).or_insert(true);
        }
        self.grow(keep_size, at + len);
        true
    }
}

/// What one case varies.
struct Case {
    seed: u64,
    ops: u32,
    /// Largest size of the file.
    most: u64,
    folio_pages: u64,
    ioends: Ioends,
}

fn place(rng: &mut Rng, most: u64) -> u64 {
    let at = rng.below(most);
    if rng.below(3) == 0 {
        at
    } else {
        at / PAGE * PAGE
    }
}

fn length(rng: &mut Rng) -> u64 {
    match rng.below(5) {
        0 => 1 + rng.below(5_000),
        1 => 1 + rng.below(40_000),
        _ => PAGE * (1 + rng.below(12)),
    }
}

const MODES: [FallocMode; 5] = [
    FallocMode::Allocate,
    FallocMode::Zero,
    FallocMode::Punch,
    FallocMode::Collapse,
    FallocMode::Insert,
];

fn random_fallocate(rng: &mut Rng, case: &Case, file: &File, model: &mut Model) {
    let mode = MODES[rng.below(5) as usize];
    let keep_size = mode == FallocMode::Punch
        || (rng.below(2) == 0 && matches!(mode, FallocMode::Allocate | FallocMode::Zero));
    let at = place(rng, case.most - 60_000);
    let len = length(rng);
    let too_long = mode == FallocMode::Insert && model.size() + len > case.most;
    if too_long {
        return;
    }
    let expected = model.fallocate(mode, keep_size, at, len);
    let result = file.fallocate(mode, keep_size, at, len);
    let what = format!("{mode:?} {at}+{len} keep {keep_size}");
    if expected {
        assert_eq!(result, Ok(()), "{what}");
    } else {
        assert_eq!(result, Err(Errno::INVAL), "{what}");
    }
}

/// SEEK_DATA passes over nothing but zeroes, and everything it calls a hole is one.
fn check_seek(file: &File, model: &Model, exact: bool) {
    let mut at = 0;
    loop {
        let found = file.seek_data(at).expect("seek");
        let end = found.map_or(model.size(), |(from, _)| from);
        let hole = &model.bytes[(at as usize).min(model.bytes.len())..end as usize];
        assert!(hole.iter().all(|b| *b == 0), "data in a hole at {at}");
        let Some((from, to)) = found else { break };
        if exact {
            for block in from / PAGE..to.div_ceil(PAGE) {
                assert_eq!(model.space.get(&block), Some(&false), "block {block}");
            }
        }
        at = to;
    }
}

/// Everything is written: the map on disk, FIEMAP and st_blocks are what they should be.
fn check_space(fs: &Fs, file: &File, model: &Model, exact: bool) {
    file.write_and_wait(0, u64::MAX);
    file.take_error().expect("no errors");
    let disk = on_disk(fs, file);
    if exact {
        assert_eq!(disk, model.space);
    } else {
        // Faults write whole folios, and large ones stay where their middle was punched.
        for (block, unwritten) in &model.space {
            let there = disk.get(block);
            assert!(there.is_some(), "block {block} has no space");
            assert!(*unwritten || there == Some(&false), "block {block}");
        }
    }
    let mut last = 0;
    for map in file.fiemap().expect("fiemap") {
        // A mapping may begin before the byte that was asked about.
        let from = map.offset.max(last);
        last = map.offset + map.len;
        assert!(last > from, "FIEMAP goes back");
        for block in from / PAGE..last.div_ceil(PAGE) {
            let unwritten = match map.kind {
                BmapKind::Mapped => false,
                BmapKind::Unwritten => true,
                other => panic!("block {block} is {other:?}"),
            };
            assert_eq!(disk.get(&block), Some(&unwritten), "block {block}");
        }
    }
    let inner = file.inode.ilock.read();
    assert_eq!(
        inner.index.counts(),
        Default::default(),
        "something is left"
    );
    assert!(inner.data.root.blocks >= disk.len() as u64);
}

fn run(case: &Case) {
    let mut rng = Rng(case.seed);
    let mut fs = Fs::new(8192, Some(POISON));
    let free = fs.available();
    let mut file = fs.create(b"file");
    let ino = file.inode.ino;
    file.folio_pages = case.folio_pages;
    file.set_ioends(case.ioends);
    file.opened();
    let mut model = Model::default();
    let exact = case.folio_pages == 1;

    for op in 0..case.ops {
        match rng.below(100) {
            0..=24 => {
                let at = place(&mut rng, case.most - 60_000);
                let len = length(&mut rng);
                let bytes = rng.bytes(len);
                assert_eq!(file.write(at, &bytes), Ok(bytes.len()));
                model.write(at, &bytes);
            }
            25..=34 => {
                if model.bytes.is_empty() {
                    continue;
                }
                let at = rng.below(model.size());
                let n = (1 + rng.below(9_000)).min(model.size() - at);
                let bytes = rng.bytes(n);
                file.store(at, &bytes).expect("store");
                model.write(at, &bytes);
            }
            35..=64 => random_fallocate(&mut rng, case, &file, &mut model),
            65..=69 => {
                if model.bytes.is_empty() {
                    continue;
                }
                let at = rng.below(model.size());
                let len = length(&mut rng).min(model.size() - at);
                let read = file.read(at, len).expect("read");
                assert!(
                    read == model.bytes[at as usize..(at + len) as usize],
                    "op {op}"
                );
            }
            70..=74 => {
                let size = match rng.below(4) {
                    0 => model.size() / 2,
                    1 => model.size(),
                    _ => place(&mut rng, case.most - 60_000),
                };
                file.truncate(size).expect("truncate");
                model.truncate(size);
            }
            75..=81 => {
                let at = place(&mut rng, case.most);
                file.writepages(at, at + 200_000, 1 + rng.below(3));
            }
            82..=85 => file.run_ioends(1 + rng.below(6) as usize),
            86..=88 => {
                let at = place(&mut rng, case.most);
                file.fsync(at, at + 100_000).expect("fsync");
            }
            89..=92 => file.reclaim(1 + rng.below(3)),
            93 | 94 => check_seek(&file, &model, false),
            95 => {
                check_space(&fs, &file, &model, exact);
                check_seek(&file, &model, false);
            }
            96 => {
                latchfs_engine::engine::file::reclaim(&fs.m, 1 + rng.below(300) as usize);
                fs.m.sync().expect("sync");
            }
            97 => {
                if rng.below(8) != 0 {
                    continue;
                }
                file.released();
                file.close();
                fs.remount();
                file = fs.open(ino);
                file.opened();
                file.folio_pages = case.folio_pages;
                file.set_ioends(case.ioends);
                compare(&file, &model.bytes, "remount");
            }
            _ => {
                file.check();
                compare(&file, &model.bytes, &format!("op {op}"));
            }
        }
        if op % 64 == 0 {
            file.check();
        }
    }
    compare(&file, &model.bytes, "end");
    check_space(&fs, &file, &model, exact);
    file.reclaim(1);
    check_seek(&file, &model, exact);
    compare(&file, &model.bytes, "end, from disk");
    file.released();
    file.close();
    fs.unlink(b"file");
    assert_eq!(fs.available(), free, "space leaked");
    fsck(&fs);
}

#[test]
fn small_folios_io_at_once() {
    for seed in 1..=3 {
        run(&Case {
            seed,
            ops: 5_000,
            most: 600_000,
            folio_pages: 1,
            ioends: Ioends::Now,
        });
    }
}

#[test]
fn small_folios_completions_in_any_order() {
    for seed in 11..=13 {
        run(&Case {
            seed,
            ops: 5_000,
            most: 1_500_000,
            folio_pages: 1,
            ioends: Ioends::Later(seed * 77),
        });
    }
}

#[test]
fn large_folios_completions_in_any_order() {
    for seed in 21..=23 {
        run(&Case {
            seed,
            ops: 5_000,
            most: 1_500_000,
            folio_pages: 16,
            ioends: Ioends::Later(seed * 77),
        });
    }
}

/// fallocate over delayed data takes the blocks that the data has reserved, once (T-003-C).
#[test]
fn delayed_data_gives_its_reservation_to_the_allocation() {
    let fs = Fs::new(8192, Some(POISON));
    let file = fs.create(b"file");
    let free = fs.available();
    let bytes = Rng(5).bytes(8 * PAGE);
    assert_eq!(file.write(4 * PAGE, &bytes), Ok(bytes.len()));
    assert_eq!(fs.m.alloc().available(), free - 8);
    file.fallocate(FallocMode::Allocate, true, 0, 64 * PAGE)
        .expect("fallocate");
    let inner = file.inode.ilock.read();
    let counts = inner.index.counts();
    assert_eq!((counts.delayed, counts.appended), (0, 8));
    drop(inner);
    // The conversion of 8 blocks stays inline, so nothing but the 64 blocks is gone.
    assert_eq!(fs.m.alloc().available(), free - 64);
    file.write_and_wait(0, u64::MAX);
    assert_eq!(fs.m.alloc().available(), free - 64);
    let mut model = Model::default();
    model.fallocate(FallocMode::Allocate, true, 0, 64 * PAGE);
    model.write(4 * PAGE, &bytes);
    check_space(&fs, &file, &model, true);
    file.reclaim(1);
    compare(&file, &model.bytes, "from disk");
    file.close();
    fs.unlink(b"file");
    fsck(&fs);
}

/// Allocation with the file system full returns ENOSPC, leaves what it allocated, and all of it comes
/// back.
#[test]
fn allocation_meets_the_end_of_space() {
    let fs = Fs::new(8192, Some(POISON));
    let free = fs.available();
    let file = fs.create(b"file");
    file.write(10, b"data").expect("write");
    let huge = 64 << 20;
    assert_eq!(
        file.fallocate(FallocMode::Allocate, false, 0, huge),
        Err(Errno::NOSPC)
    );
    assert_eq!(file.i_size(), 14, "the size is set last");
    assert!(
        fs.m.alloc().available() < 64,
        "{}",
        fs.m.alloc().available()
    );
    assert_eq!(&file.read(10, 4).expect("read"), b"data");
    // Data over what was allocated needs no space.
    assert_eq!(file.write(1 << 20, b"more"), Ok(4));
    assert_eq!(file.fsync(0, u64::MAX), Ok(()));
    // Punching needs none either.
    file.punch(8 << 20, 1 << 20).expect("punch");
    assert!(fs.available() >= 256);
    assert_eq!(&file.read(1 << 20, 4).expect("read"), b"more");
    file.truncate(14).expect("truncate");
    file.close();
    fs.unlink(b"file");
    assert_eq!(fs.available(), free);
    fsck(&fs);
}

/// A file that a punch has cut in a thousand pieces: collapse and insert go through many leaves.
#[test]
fn collapse_and_insert_of_a_tree() {
    let mut fs = Fs::new(16384, Some(POISON));
    let free = fs.available();
    let mut file = fs.create(b"file");
    let ino = file.inode.ino;
    let mut model = Model::default();
    let bytes = Rng(9).bytes(3_000 * PAGE);
    assert_eq!(file.write(0, &bytes), Ok(bytes.len()));
    model.write(0, &bytes);
    for n in 0..1_500 {
        file.punch(n * 2 * PAGE, PAGE).expect("punch");
        model.fallocate(FallocMode::Punch, true, n * 2 * PAGE, PAGE);
    }
    check_space(&fs, &file, &model, true);
    assert!(file.inode.ilock.read().data.root.depth >= 2);
    let mut rng = Rng(77);
    for n in 0..40 {
        let mode = MODES[3 + rng.below(2) as usize];
        let at = rng.below(2_000) * PAGE;
        let len = [1, 2, 7, 300][rng.below(4) as usize] * PAGE;
        let ok = model.fallocate(mode, false, at, len);
        let done = file.fallocate(mode, false, at, len);
        assert_eq!(done.is_ok(), ok, "{mode:?} {at} {len}: {done:?}");
        if n % 8 == 0 {
            check_space(&fs, &file, &model, true);
            compare(&file, &model.bytes, "shifted");
        }
    }
    file.close();
    fs.remount();
    file = fs.open(ino);
    compare(&file, &model.bytes, "remount");
    check_space(&fs, &file, &model, true);
    file.close();
    fs.unlink(b"file");
    assert_eq!(fs.available(), free);
    fsck(&fs);
}

/// A punch takes away the dirty block that holds the size on disk back: no completion comes after
/// that, but the size must.
#[test]
fn a_punch_lets_the_size_go() {
    let mut fs = Fs::new(8192, Some(POISON));
    for delayed in [false, true] {
        let name: &[u8] = if delayed { b"delayed" } else { b"written" };
        let file = fs.create(name);
        let ino = file.inode.ino;
        file.write(0, &[1; 4096]).expect("write");
        if !delayed {
            file.fsync(0, u64::MAX).expect("fsync");
            file.truncate(2048).expect("truncate");
        }
        file.write(2 * PAGE, &[2; 4096]).expect("write");
        file.writepages(2 * PAGE, 3 * PAGE - 1, 1);
        file.write_and_wait(2 * PAGE, 3 * PAGE - 1);
        assert!(
            file.inode.file.disk_size() < 3 * PAGE,
            "nothing holds it back"
        );
        file.punch(0, PAGE).expect("punch");
        assert_eq!(file.inode.file.disk_size(), 3 * PAGE);
        file.close();
        fs.remount();
        let file = fs.open(ino);
        assert_eq!(file.i_size(), 3 * PAGE);
        assert_eq!(file.read(2 * PAGE, 1).expect("read"), [2]);
        file.close();
    }
}

/// The size on disk follows data in order, so a crash may leave data behind it. That was never
/// acknowledged, and does not come back when the file grows.
#[test]
fn what_a_crash_cut_off_does_not_come_back() {
    let fs = Fs::new(8192, Some(POISON));
    let file = fs.create(b"file");
    let ino = file.inode.ino;
    file.write(0, &[1; 4096]).expect("write");
    file.fsync(0, u64::MAX).expect("fsync");
    file.write(PAGE, &vec![2; 15 * PAGE as usize])
        .expect("write");
    file.write_and_wait(10 * PAGE, 12 * PAGE - 1);
    fs.m.sync().expect("sync");
    for how in 0..4 {
        let copy = after_a_cut(&fs.disk);
        let file = copy.open(ino);
        assert_eq!(file.i_size(), PAGE, "only what is whole");
        assert!(
            on_disk(&copy, &file).contains_key(&10),
            "nothing is left behind"
        );
        match how {
            0 => file.truncate(20 * PAGE).expect("truncate"),
            1 => assert_eq!(file.write(18 * PAGE, &[3; 4096]), Ok(4096)),
            2 => file
                .fallocate(FallocMode::Allocate, false, 0, 20 * PAGE)
                .expect("fallocate"),
            _ => assert_eq!(file.write_direct(18 * PAGE, &[3; 4096]), Ok(4096)),
        }
        let zeroes = vec![0; 10 * PAGE as usize];
        assert!(
            file.read(5 * PAGE, 10 * PAGE).expect("read") == zeroes,
            "{how}"
        );
        file.fsync(0, u64::MAX).expect("fsync");
        file.reclaim(1);
        assert!(
            file.read(5 * PAGE, 10 * PAGE).expect("read") == zeroes,
            "{how}"
        );
        file.close();
        fsck(&copy);
    }
    file.close();
}

/// An insertion and a collapse of the same range leave the records that were there.
#[test]
fn insert_and_collapse_do_not_leave_more_records() {
    let fs = Fs::new(8192, Some(POISON));
    let file = fs.create(b"file");
    file.write(0, &Rng(3).bytes(100 * PAGE)).expect("write");
    file.fsync(0, u64::MAX).expect("fsync");
    let records = || file.inode.ilock.read().data.inline.len();
    let before = records();
    for n in 1..60 {
        file.fallocate(FallocMode::Insert, false, n * PAGE, 8 * PAGE)
            .expect("insert");
        file.fallocate(FallocMode::Collapse, false, n * PAGE, 8 * PAGE)
            .expect("collapse");
        assert_eq!(records(), before);
    }
    file.close();
    fsck(&fs);
}

#[test]
fn limits() {
    const MOST: u64 = i64::MAX as u64;
    let fs = Fs::new(8192, None);
    let file = fs.create(b"file");
    let free = fs.available();
    let err = |mode, at, len| file.fallocate(mode, mode == FallocMode::Punch, at, len);
    assert_eq!(err(FallocMode::Allocate, MOST, 1), Err(Errno::FBIG));
    assert_eq!(err(FallocMode::Punch, 0, 0), Err(Errno::INVAL));
    file.write(0, b"x").expect("write");
    assert_eq!(err(FallocMode::Collapse, 0, PAGE), Err(Errno::INVAL));
    assert_eq!(err(FallocMode::Insert, PAGE, PAGE), Err(Errno::INVAL));
    file.truncate(3 * PAGE).expect("truncate");
    assert_eq!(err(FallocMode::Collapse, 1, PAGE), Err(Errno::INVAL));
    assert_eq!(err(FallocMode::Collapse, PAGE, 1), Err(Errno::INVAL));
    assert_eq!(err(FallocMode::Collapse, PAGE, 2 * PAGE), Err(Errno::INVAL));
    assert_eq!(
        err(FallocMode::Insert, PAGE, MOST / PAGE * PAGE),
        Err(Errno::FBIG)
    );
    // The last block of the largest file.
    assert_eq!(err(FallocMode::Allocate, MOST - 1, 1), Ok(()));
    assert_eq!(file.i_size(), MOST);
    assert_eq!(err(FallocMode::Insert, 0, PAGE), Err(Errno::FBIG));
    assert_eq!(err(FallocMode::Punch, 0, MOST), Ok(()));
    assert_eq!(file.read(0, 4).expect("read"), [0; 4]);
    // Space behind the end stays with the file, and cannot be moved to where no file goes.
    file.truncate(2 * PAGE).expect("truncate");
    file.fallocate(FallocMode::Allocate, true, MOST - 1, 1)
        .expect("behind the end");
    assert_eq!(err(FallocMode::Insert, 0, PAGE), Err(Errno::INVAL));
    assert_eq!(file.i_size(), 2 * PAGE);
    file.truncate(0).expect("truncate");
    assert_eq!(fs.available(), free);
    file.close();
    fsck(&fs);
}

/// A large folio that cannot be split stays in the page cache, over a part of the range. If it stayed
/// dirty, writeback could put that in flight before the map changes (found by the simulator: EBUSY).
#[test]
fn nothing_stays_dirty_over_what_is_taken_away() {
    let range = 2 * PAGE as usize..4 * PAGE as usize;
    for mode in [FallocMode::Punch, FallocMode::Zero] {
        let fs = Fs::new(8192, Some(POISON));
        // Whether a folio can be split is up to chance.
        for seed in 0..20 {
            let mut file = fs.create(&[b'a' + seed as u8]);
            file.folio_pages = 8;
            file.set_ioends(Ioends::Later(Rng(seed + 1).next()));
            let mut bytes = Rng(seed + 1).bytes(8 * PAGE);
            assert_eq!(file.write(0, &bytes), Ok(bytes.len()));
            let (at, len) = (range.start as u64, range.len() as u64);
            file.fallocate(mode, true, at, len)
                .expect("nothing is in flight");
            bytes[range.clone()].fill(0);
            assert!(!file.is_dirty(at, at + len), "{mode:?}, seed {seed}");
            compare(&file, &bytes, "fallocate");
            file.close();
        }
        fsck(&fs);
    }
}
