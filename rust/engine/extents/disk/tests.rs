// SPDX-License-Identifier: GPL-2.0

//! The map on disk against a model that knows each block.

use super::*;
use crate::{
    engine::testing::Fixture,
    format::{limits::BITMAP_BITS, units::Ino},
};
use std::collections::BTreeMap;

/// xorshift64*: a test is its seed.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

const CTX: ExtentCtx = ExtentCtx {
    owner: Owner::inode(Ino(77)),
    near: DiskBlock(100),
    kind: FreeKind::Data,
};

/// File block to (disk block, unwritten).
type Model = BTreeMap<u64, (u64, bool)>;

/// A map and what it should be.
struct Both {
    f: Fixture,
    fork: Fork,
    model: Model,
}

impl Both {
    fn new(blocks: u64, fork: Fork) -> Self {
        Self {
            f: Fixture::new(blocks),
            fork,
            model: Model::new(),
        }
    }

    /// First mapped block at or behind `at`.
    fn next(&self, at: u64) -> Option<u64> {
        self.model.range(at..).next().map(|(b, _)| *b)
    }

    fn insert(&mut self, at: u64, want: u32, goal: u64, unwritten: bool) {
        if self.model.contains_key(&at) {
            return;
        }
        let room = self.next(at).map_or(u64::MAX, |n| n - at);
        let want = u64::from(want).min(room) as u32;
        let Ok(claim) = self.f.m.claim(DiskBlock(goal), want, 1) else {
            return;
        };
        let range = claim.range();
        let extent = Extent {
            file: FileBlock(at),
            disk: range.start,
            len: range.len,
            unwritten,
        };
        let fork = &mut self.fork;
        self.f
            .change(change_res(1).frees(1), |m, txn| {
                txn.use_claim(claim)?;
                insert(m, txn, &CTX, fork, extent)
            })
            .unwrap();
        for n in 0..u64::from(range.len) {
            self.model.insert(at + n, (range.start.0 + n, unwritten));
        }
    }

    /// The record that covers the first mapped block from `at` on.
    fn record(&self, at: u64) -> Option<Extent> {
        let at = FileBlock(self.next(at)?);
        last_le(&self.f.m, &CTX, &self.fork, at).unwrap()
    }

    fn unmap(&mut self, rng: &mut Rng) {
        let Some(record) = self.record(rng.below(2_000)) else {
            return;
        };
        let (from, to) = inside(rng, &record);
        let beyond = beyond(rng, &record, to);
        let fork = &mut self.fork;
        self.f
            .change(change_res(1).frees(1), |m, txn| {
                let gone = unmap(m, txn, &CTX, fork, from..beyond)?;
                assert_eq!((gone.file, gone.end()), (from, to));
                txn.free(gone.range(), FreeKind::Data)
            })
            .unwrap();
        for b in from.0..to.0 {
            self.model.remove(&b);
        }
    }

    fn write(&mut self, rng: &mut Rng) {
        let to_unwritten = rng.below(4) == 0;
        let Some(record) = self.record(rng.below(2_000)) else {
            return;
        };
        let (from, to) = inside(rng, &record);
        let beyond = beyond(rng, &record, to);
        let fork = &mut self.fork;
        let end = self
            .f
            .change(change_res(2), |m, txn| {
                if to_unwritten {
                    set_unwritten(m, txn, &CTX, fork, from..beyond)
                } else {
                    set_written(m, txn, &CTX, fork, from..beyond)
                }
            })
            .unwrap();
        assert_eq!(end, to);
        for b in from.0..to.0 {
            if let Some((_, unwritten)) = self.model.get_mut(&b) {
                *unwritten = to_unwritten;
            }
        }
    }

    /// Unmaps `[at, at + len)` and moves what is behind it there.
    fn collapse(&mut self, at: u64, len: u64) {
        while let Some(record) = self.record(at).filter(|e| e.file.0 < at + len) {
            let from = record.file.0.max(at);
            let to = record.end().0.min(at + len);
            let fork = &mut self.fork;
            self.f
                .change(change_res(1).frees(1), |m, txn| {
                    let gone = unmap(m, txn, &CTX, fork, FileBlock(from)..FileBlock(to))?;
                    txn.free(gone.range(), FreeKind::Data)
                })
                .unwrap();
            for b in from..to {
                self.model.remove(&b);
            }
        }
        self.shift(at + len, len, btree::Way::Down);
        let fork = &mut self.fork;
        self.f
            .change(change_res(1), |m, txn| {
                join_at(m, txn, &CTX, fork, FileBlock(at))
            })
            .unwrap();
        let tail = self.model.split_off(&at);
        self.model
            .extend(tail.into_iter().map(|(b, to)| (b - len, to)));
    }

    /// Makes a hole of `len` blocks at `at`.
    fn insert_hole(&mut self, at: u64, len: u64) {
        let fork = &mut self.fork;
        self.f
            .change(change_res(1), |m, txn| {
                split_at(m, txn, &CTX, fork, FileBlock(at))
            })
            .unwrap();
        self.shift(at, len, btree::Way::Up);
        let tail = self.model.split_off(&at);
        self.model
            .extend(tail.into_iter().map(|(b, to)| (b + len, to)));
    }

    fn shift(&mut self, from: u64, by: u64, way: btree::Way) {
        let mut left = FileBlock(from)..FileBlock(MAX_FILE_BLOCKS);
        while any_in(&self.f.m, &CTX, &self.fork, &left).unwrap() {
            let fork = &mut self.fork;
            let range = left.clone();
            left = self
                .f
                .change(shift_res(), |m, txn| {
                    shift_step(m, txn, &CTX, fork, range, by, way)
                })
                .unwrap();
        }
    }

    fn truncate(&mut self, from: u64) {
        let fork = &mut self.fork;
        loop {
            let step = self
                .f
                .change(step_res(), |m, txn| {
                    truncate_step(m, txn, &CTX, fork, FileBlock(from))
                })
                .unwrap();
            assert!(step.freed.iter().count() <= STEP_RECORDS);
            if step.done {
                break;
            }
        }
        self.model.split_off(&from);
    }

    fn check(&self) {
        let m = &self.f.m;
        let mut seen = Model::new();
        let mut last: Option<Extent> = None;
        scan(m, &CTX, &self.fork, FileBlock(0), |e| {
            if let Some(l) = &last {
                assert!(l.end() <= e.file, "order");
                assert!(!joins(m.geo(), l, &e), "not merged: {l:?} {e:?}");
            }
            let (_, at) = m.geo().locate(e.disk).unwrap();
            assert!(
                at.0 % BITMAP_BITS + e.len <= BITMAP_BITS,
                "crosses a bitmap block"
            );
            for n in 0..u64::from(e.len) {
                seen.insert(e.file.0 + n, (e.disk.0 + n, e.unwritten));
            }
            last = Some(e);
            ControlFlow::<()>::Continue(())
        })
        .unwrap();
        assert_eq!(seen, self.model);
        assert!(self.fork.root.blocks >= self.model.len() as u64);
        for at in (0..2_100).step_by(7) {
            let piece = lookup(m, &CTX, &self.fork, FileBlock(at)).unwrap();
            assert!(piece.file.0 <= at && at < piece.end().0);
            let expected = self.model.get(&at).map(|(b, _)| *b);
            assert_eq!(piece.map(FileBlock(at)).map(|b| b.0), expected);
            if expected.is_none() {
                let end = self.next(at).unwrap_or(MAX_FILE_BLOCKS);
                assert_eq!(piece.end().0, end, "hole");
            }
        }
    }

    /// Everything freed: the free space is what it was.
    fn finish(mut self, free: u64) {
        self.truncate(0);
        assert_eq!(self.fork.format, ForkFormat::InlineExtents);
        assert_eq!(self.fork.root.blocks, 0);
        assert!(self.fork.inline.is_empty());
        self.check();
        assert_eq!(self.f.free_blocks(), free);
        self.f.m.alloc().check(true).unwrap();
    }
}

/// Where a request ends whose part up to `to` is in `record`: behind it, if that is all of the rest.
fn beyond(rng: &mut Rng, record: &Extent, to: FileBlock) -> FileBlock {
    let more = if to == record.end() { rng.below(9) } else { 0 };
    to.saturating_add(more)
}

fn inside(rng: &mut Rng, record: &Extent) -> (FileBlock, FileBlock) {
    let len = u64::from(record.len);
    let from = rng.below(len);
    let to = from + 1 + rng.below(len - from);
    if rng.below(3) == 0 {
        return (record.file, record.end());
    }
    (
        record.file.saturating_add(from),
        record.file.saturating_add(to),
    )
}

fn random(seed: u64, fork: Fork, ops: u32, most: u32) {
    let mut both = Both::new(16384, fork);
    let free = both.f.free_blocks();
    let mut rng = Rng(seed);
    let mut trees = 0;
    for op in 0..ops {
        match rng.below(20) {
            0..=10 => {
                let want = 1 + rng.below(u64::from(most)) as u32;
                let goal = rng.below(16_000);
                both.insert(rng.below(2_000), want, goal, rng.below(2) == 0);
            }
            11..=14 => both.unmap(&mut rng),
            15..=18 => both.write(&mut rng),
            19 if rng.below(8) == 0 => {
                let (at, len) = (rng.below(2_000), 1 + rng.below(40));
                if rng.below(2) == 0 {
                    both.collapse(at, len);
                } else if both
                    .model
                    .keys()
                    .next_back()
                    .is_none_or(|b| b + len < 2_000)
                {
                    both.insert_hole(at, len);
                }
            }
            _ if rng.below(60) == 0 => both.truncate(rng.below(2_000)),
            _ => {}
        }
        trees += u32::from(both.fork.format == ForkFormat::ExtentTree);
        if op % 100 == 0 {
            both.check();
        }
        if op % 1_000 == 999 {
            both.f.m.sync().unwrap();
        }
    }
    both.check();
    assert!(trees > 0, "never a tree");
    both.finish(free);
}

#[test]
fn random_changes_against_blocks_in_an_inode() {
    random(1, Fork::new(ForkFormat::InlineExtents), 10_000, 12);
}

#[test]
fn random_changes_of_single_blocks() {
    random(2, Fork::new(ForkFormat::InlineExtents), 10_000, 1);
}

#[test]
fn random_changes_against_blocks_in_a_hidden_file() {
    random(3, Fork::hidden(), 10_000, 5);
}

#[test]
fn a_file_written_in_order_is_one_record_a_bitmap_block() {
    let mut both = Both::new(80_000, Fork::new(ForkFormat::InlineExtents));
    let free = both.f.free_blocks();
    let mut at = 0;
    let mut goal = 2_000;
    while at < 60_000 {
        let before = both.model.len() as u64;
        both.insert(at, 500, goal, false);
        let got = both.model.len() as u64 - before;
        assert!(got > 0);
        at += got;
        goal = both.model[&(at - 1)].0 + 1;
    }
    let records = both.fork.inline.len() / crate::format::extent::EXTENT_SIZE;
    // Two or three bitmap blocks for each of the groups the file runs through, and the log.
    assert!(records <= 10, "{records} records");
    both.finish(free);
}

#[test]
fn a_map_that_contradicts_its_user_is_an_error() {
    let mut both = Both::new(8192, Fork::new(ForkFormat::InlineExtents));
    both.insert(10, 4, 3_000, false);
    let claim = both.f.m.claim(DiskBlock(5_000), 2, 2).unwrap();
    let extent = Extent {
        file: FileBlock(12),
        disk: claim.range().start,
        len: 2,
        unwritten: false,
    };
    let fork = &mut both.fork;
    let res = change_res(1).frees(1);
    let e = both
        .f
        .change(res, |m, txn| insert(m, txn, &CTX, fork, extent));
    assert!(e.is_err_and(|e| e.is(Errno::UCLEAN)));
    let fork = &mut both.fork;
    let e = both.f.change(res, |m, txn| {
        unmap(m, txn, &CTX, fork, FileBlock(8)..FileBlock(12)).map(|_| ())
    });
    assert!(e.is_err_and(|e| e.is(Errno::UCLEAN)));
    both.check();
}

/// A transaction for several changes is not larger than the largest that any log takes.
#[test]
fn changes_fit_every_log() {
    let mut fork = Fork::new(ForkFormat::InlineExtents);
    assert!(changes(&fork, 1, 8).count > 1);
    fork.format = ForkFormat::ExtentTree;
    for depth in 1..=btree::MAX_DEPTH {
        fork.root.depth = depth as u8;
        for (least, most) in [(1, 1), (1, 4), (2, 16)] {
            let changes = changes(&fork, least, most);
            assert!(changes.count >= least && changes.count <= most);
            let _ = changes
                .res
                .and(TxnRes::new(0, 0).frees(changes.count))
                .joins(1)
                .checked();
            assert!(changes.fits(&fork));
        }
    }
    fork.root.depth = 2;
    let seen = changes(&fork, 1, 4);
    fork.root.depth = 3;
    assert!(!seen.fits(&fork));
}
