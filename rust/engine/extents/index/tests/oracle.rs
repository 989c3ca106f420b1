// SPDX-License-Identifier: GPL-2.0

//! Random changes of an index, block by block.

use super::super::*;
use crate::engine::{error::Result, extents::OrderedKind, testing::Fixture};

const BLOCKS: u64 = 400;

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

    fn range(&mut self, within: &Range<u64>) -> Range<u64> {
        let len = within.end - within.start;
        let from = within.start + self.below(len);
        let most = [1, 4, len][self.below(3) as usize].min(within.end - from);
        from..from + 1 + self.below(most)
    }
}

/// What one block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum One {
    Unknown,
    Hole,
    Written(u64),
    Unwritten(u64),
    Promised(u64, bool),
    Delayed,
    InFlight(u64, Prior),
}

fn expand(index: &ExtentIndex) -> Vec<One> {
    let mut all = vec![One::Unknown; BLOCKS as usize];
    for piece in index.pieces() {
        for n in 0..piece.len {
            let one = match piece.view.skip(n) {
                View::Hole => One::Hole,
                View::Delayed => One::Delayed,
                View::Written { at } => One::Written(at.0),
                View::Unwritten {
                    at,
                    promised: false,
                    ..
                } => One::Unwritten(at.0),
                View::Unwritten { at, appended, .. } => One::Promised(at.0, appended),
                View::InFlight { at, prior, .. } => One::InFlight(at.0, prior),
            };
            all[(piece.file.0 + n) as usize] = one;
        }
    }
    all
}

fn run_of(model: &[One], at: u64, same: impl Fn(One) -> bool) -> Range<u64> {
    let mut end = at;
    while end < BLOCKS && same(model[end as usize]) {
        end += 1;
    }
    at..end
}

fn blocks(range: &Range<u64>) -> Range<FileBlock> {
    FileBlock(range.start)..FileBlock(range.end)
}

fn put(model: &mut [One], range: &Range<u64>, f: impl Fn(u64) -> One) {
    for b in range.clone() {
        model[b as usize] = f(b - range.start);
    }
}

/// One random change of both. Says whether it applied.
fn change(f: &Fixture, index: &mut ExtentIndex, model: &mut [One], rng: &mut Rng) -> Result<bool> {
    let at = rng.below(BLOCKS);
    let now = model[at as usize];
    index.must_reserve(2 * CHANGE_NODES);
    match rng.below(12) {
        // What the disk has, into a gap.
        0..=3 => {
            let gap = run_of(model, at, |o| o == One::Unknown);
            if gap.is_empty() {
                return Ok(false);
            }
            let range = gap.start..gap.start + 1 + rng.below(gap.end - gap.start);
            let disk = 10_000 + rng.below(5) * 3_000 + range.start;
            let (what, one): (_, &dyn Fn(u64) -> One) = match rng.below(4) {
                0 | 1 => (Cached::Hole, &|_| One::Hole),
                2 => (Cached::Unwritten(DiskBlock(disk)), &move |n| {
                    One::Unwritten(disk + n)
                }),
                _ => (Cached::Written(DiskBlock(disk)), &move |n| {
                    One::Written(disk + n)
                }),
            };
            index.fill(blocks(&range), what)?;
            for b in range.clone() {
                model[b as usize] = one(b - range.start);
            }
        }
        // A hole, or a part of it, gets data.
        4 | 5 => {
            let hole = run_of(model, at, |o| o == One::Hole);
            if hole.is_empty() {
                return Ok(false);
            }
            let range = hole.start..hole.start + 1 + rng.below(hole.end - hole.start);
            let space = f.m.alloc().reserve(range.end - range.start)?;
            let old = index.lookup(FileBlock(at)).expect("is cached");
            let was = index.replace(
                &old,
                blocks(&range),
                Mapping::Owned(Owned::Delayed(Delayed::new(space))),
            )?;
            assert!(matches!(was.mapping, Mapping::Cached(Cached::Hole)));
            put(model, &range, |_| One::Delayed);
        }
        // An unwritten extent gets data, appended or not, or more, or less of it.
        6 => {
            let (One::Unwritten(disk) | One::Promised(disk, _)) = now else {
                return Ok(false);
            };
            let old = index.lookup(FileBlock(at)).expect("is cached");
            let range = at..at + 1 + rng.below(old.end().0 - at);
            let appended = rng.below(2) == 0;
            let what = Mapping::Owned(Owned::Promised(Promised {
                at: DiskBlock(disk),
                appended,
            }));
            index.replace(&old, blocks(&range), what)?;
            put(model, &range, |n| One::Promised(disk + n, appended));
        }
        // Data goes in flight: delayed data with blocks of its own, or over an unwritten extent.
        7 => {
            let (disk, prior) = match now {
                One::Promised(disk, _) => (disk, Prior::Unwritten),
                One::Delayed => (50_000 + at, Prior::Hole),
                _ => return Ok(false),
            };
            let old = index.lookup(FileBlock(at)).expect("is cached");
            let range = at..at + 1 + rng.below(old.end().0 - at);
            let io = OrderedExtent::new(OrderedKind::Buffered);
            let flight = InFlight {
                at: DiskBlock(disk),
                prior,
                io,
            };
            index.replace(
                &old,
                blocks(&range),
                Mapping::Owned(Owned::InFlight(flight)),
            )?;
            put(model, &range, |n| One::InFlight(disk + n, prior));
        }
        // A range goes.
        8 => {
            let range = rng.range(&(0..BLOCKS));
            let mut gone = 0;
            index.remove(blocks(&range), |_, e| gone += e.len)?;
            let there = range.clone().filter(|b| model[*b as usize] != One::Unknown);
            assert_eq!(gone, there.count() as u64);
            for b in range {
                model[b as usize] = One::Unknown;
            }
        }
        // Something ends: a part of an entry, or of several, becomes what the disk has.
        9 | 10 => {
            let known = run_of(model, at, |o| o != One::Unknown);
            if known.is_empty() {
                return Ok(false);
            }
            let most = match rng.below(4) {
                0 => known.end,
                _ => index.lookup(FileBlock(at)).map_or(known.end, |p| p.end().0),
            };
            let end = [at + 1, at + 1 + rng.below(most - at), most][rng.below(3) as usize];
            let range = match (rng.below(3), index.lookup(FileBlock(at))) {
                (0, Some(piece)) => piece.file.0..end,
                _ => at..end,
            };
            let disk = 10_000 + rng.below(5) * 3_000 + range.start;
            match rng.below(3) {
                0 => {
                    index.settle(blocks(&range), Cached::Hole)?;
                    put(model, &range, |_| One::Hole);
                }
                1 => {
                    index.settle(blocks(&range), Cached::Unwritten(DiskBlock(disk)))?;
                    put(model, &range, |n| One::Unwritten(disk + n));
                }
                _ => {
                    index.settle(blocks(&range), Cached::Written(DiskBlock(disk)))?;
                    put(model, &range, |n| One::Written(disk + n));
                }
            }
        }
        // What is only cached goes, now and then.
        _ => {
            if rng.below(40) != 0 {
                return Ok(false);
            }
            index.drop_cached([1, 7, u32::MAX][rng.below(3) as usize]);
            for (one, now) in model.iter_mut().zip(expand(index)) {
                if *one != now {
                    // Delayed, in flight and promised stay (T-003-F).
                    assert_eq!(now, One::Unknown);
                    assert!(matches!(
                        one,
                        One::Hole | One::Written(_) | One::Unwritten(_)
                    ));
                    *one = One::Unknown;
                }
            }
        }
    }
    Ok(true)
}

#[test]
fn random_changes_against_blocks() {
    for seed in 1..=6 {
        let f = Fixture::new(8192);
        let before = f.m.alloc().available();
        let mut rng = Rng(seed);
        let mut index = ExtentIndex::new();
        let mut model = vec![One::Unknown; BLOCKS as usize];
        let mut done = 0;
        while done < 12_000 {
            if !change(&f, &mut index, &mut model, &mut rng).expect("a legal change") {
                continue;
            }
            done += 1;
            // A block, its neighbours and the counts each time, everything now and then.
            let at = rng.below(BLOCKS);
            let known = index.lookup(FileBlock(at)).is_some();
            assert_eq!(known, model[at as usize] != One::Unknown, "block {at}");
            if !known {
                let gap = index.gap(FileBlock(at));
                let end = run_of(&model, at, |o| o == One::Unknown).end;
                assert!(gap.end.0 == end || end == BLOCKS && gap.end.0 >= BLOCKS);
            }
            if done % 16 == 0 {
                index.check();
                assert_eq!(expand(&index), model, "seed {seed}, change {done}");
                let from = rng.below(BLOCKS);
                let unsettled = |b: &u64| {
                    matches!(
                        model[*b as usize],
                        One::Delayed | One::InFlight(..) | One::Promised(_, true)
                    )
                };
                let unsettled = (from..BLOCKS).find(unsettled);
                assert_eq!(
                    index.first_unsettled(FileBlock(from)).map(|b| b.0),
                    unsettled
                );
            }
        }
        // All promises come back with the entries.
        drop(index);
        assert_eq!(f.m.alloc().available(), before);
    }
}

#[test]
fn an_entry_is_never_overwritten() {
    let f = Fixture::new(8192);
    let mut index = ExtentIndex::new();
    index.must_reserve(16);
    let hole = FileBlock(0)..FileBlock(100);
    index.fill(hole.clone(), Cached::Hole).unwrap();
    let seen = index.lookup(FileBlock(10)).unwrap();

    // Seed 003: somebody allocates between the look and the act.
    let range = FileBlock(10)..FileBlock(20);
    index
        .replace(
            &seen,
            range.clone(),
            Mapping::Cached(Cached::Unwritten(DiskBlock(900))),
        )
        .unwrap();
    let space = f.m.alloc().reserve(10).unwrap();
    let delayed = Mapping::Owned(Owned::Delayed(Delayed::new(space)));
    assert!(index.replace(&seen, range.clone(), delayed).is_err());
    assert!(index.fill(range, Cached::Hole).is_err());
    assert_eq!(
        index
            .lookup(FileBlock(15))
            .map(|p| p.view.skip(15 - p.file.0)),
        Some(View::Unwritten {
            at: DiskBlock(905),
            promised: false,
            appended: false,
        })
    );
    index.check();
}

#[test]
fn an_entry_is_at_most_64_bytes() {
    assert!(super::super::tree::node_size::<Entry>() <= 64);
}
