// SPDX-License-Identifier: GPL-2.0

//! The set of free runs against an array of bits: at least 10,000 operations a case.

use super::super::extents::{Extents, Run};
use crate::format::limits::BITMAP_BITS;
use proptest::prelude::*;

const OPS: usize = 10_000;

/// The oracle: one bool for each block.
struct Bits(Vec<bool>);

impl Bits {
    fn new() -> Self {
        Self(vec![false; BITMAP_BITS as usize])
    }

    fn all(&self, run: Run, value: bool) -> bool {
        let range = run.start as usize..run.end() as usize;
        self.0[range].iter().all(|b| *b == value)
    }

    fn set(&mut self, run: Run, value: bool) {
        self.0[run.start as usize..run.end() as usize].fill(value);
    }

    /// All maximal runs.
    fn runs(&self) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut start = None;
        for at in 0..=self.0.len() {
            let here = self.0.get(at).copied().unwrap_or(false);
            match (here, start) {
                (true, None) => start = Some(at as u32),
                (false, Some(s)) => {
                    runs.push(Run {
                        start: s,
                        len: at as u32 - s,
                    });
                    start = None;
                }
                _ => {}
            }
        }
        runs
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Insert(u32, u32),
    Remove(u32, u32),
    Subtract(u32, u32),
    Find(u32),
    Fit(u32),
}

fn run(start: u32, len: u32) -> Run {
    let start = start % BITMAP_BITS;
    Run {
        start,
        len: len.clamp(1, BITMAP_BITS - start),
    }
}

/// Applies `op` to both and compares what they say.
fn apply(set: &mut Extents, bits: &mut Bits, op: Op) {
    match op {
        Op::Insert(start, len) => {
            let r = run(start, len);
            let ok = bits.all(r, false);
            assert_eq!(set.insert(r), ok, "{op:?}");
            if ok {
                bits.set(r, true);
            }
        }
        Op::Remove(start, len) => {
            let r = run(start, len);
            let ok = bits.all(r, true);
            assert_eq!(set.remove(r), ok, "{op:?}");
            if ok {
                bits.set(r, false);
            }
        }
        Op::Subtract(start, len) => {
            let r = run(start, len);
            set.subtract(r);
            bits.set(r, false);
        }
        Op::Find(at) => {
            let at = at % BITMAP_BITS;
            let first = (at..BITMAP_BITS).find(|b| bits.0[*b as usize]);
            let found = set.at_or_after(at);
            assert_eq!(found.is_some(), first.is_some());
            if let (Some(found), Some(first)) = (found, first) {
                assert!(found.start <= first && first < found.end());
                assert!(first == at || found.start == first);
            }
        }
        Op::Fit(len) => {
            let best = bits.runs().into_iter().filter(|r| r.len >= len);
            let best = best.min_by_key(|r| (r.len, r.start));
            assert_eq!(set.fit(len), best);
        }
    }
}

fn compare(set: &Extents, bits: &Bits) {
    let runs = bits.runs();
    assert_eq!(set.iter().collect::<Vec<_>>(), runs);
    assert_eq!(set.count() as usize, runs.len());
    assert_eq!(set.blocks(), runs.iter().map(|r| r.len).sum::<u32>());
    assert_eq!(
        set.largest(),
        runs.into_iter().max_by_key(|r| (r.len, r.start))
    );
}

fn check(ops: impl Iterator<Item = Op>, key: u32) {
    let mut set = Extents::new(true, key);
    let mut bits = Bits::new();
    let mut n = 0;
    for op in ops {
        apply(&mut set, &mut bits, op);
        n += 1;
        if n % 500 == 0 {
            compare(&set, &bits);
        }
    }
    assert!(n >= OPS);
    compare(&set, &bits);
    // Delete all.
    for r in bits.runs() {
        assert!(set.remove(r));
    }
    assert_eq!((set.count(), set.blocks()), (0, 0));
    assert_eq!(set.largest(), None);
}

fn any_op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![4 => 1..8_u32, 2 => 1..200_u32, 1 => 1..5000_u32];
    prop_oneof![
        5 => (any::<u32>(), len.clone()).prop_map(|(s, l)| Op::Insert(s, l)),
        4 => (any::<u32>(), len.clone()).prop_map(|(s, l)| Op::Remove(s, l)),
        1 => (any::<u32>(), len).prop_map(|(s, l)| Op::Subtract(s, l)),
        2 => any::<u32>().prop_map(Op::Find),
        1 => (1..3000_u32).prop_map(Op::Fit),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 2000, ..Default::default() })]

    #[test]
    fn random(key in any::<u32>(), ops in proptest::collection::vec(any_op(), OPS)) {
        check(ops.into_iter(), key);
    }

    #[test]
    fn ascending(key in any::<u32>(), len in 1..3_u32, gap in 0..2_u32) {
        let step = len + gap;
        let n = BITMAP_BITS / step;
        let put = (0..n).map(|i| Op::Insert(i * step, len));
        let take = (0..n).step_by(2).map(|i| Op::Remove(i * step, len));
        let find = (0..OPS as u32).map(Op::Find);
        check(put.chain(take).chain(find), key);
    }

    #[test]
    fn descending(key in any::<u32>(), len in 1..3_u32, gap in 0..2_u32) {
        let step = len + gap;
        let n = BITMAP_BITS / step;
        let put = (0..n).rev().map(|i| Op::Insert(i * step, len));
        let take = (0..n).rev().step_by(3).map(|i| Op::Remove(i * step, len));
        let fit = (0..OPS as u32).map(|i| Op::Find(i * 3));
        check(put.chain(take).chain(fit), key);
    }

    #[test]
    fn one_run_taken_apart_and_put_together(key in any::<u32>(), order in any::<u64>()) {
        // Every block leaves a full set in a scattered order and comes back in another one.
        let n = BITMAP_BITS;
        let scatter = |i: u32, by: u64| {
            (u64::from(i).wrapping_mul(by | 1).wrapping_mul(2 * 7919 + 1) % u64::from(n)) as u32
        };
        let all = core::iter::once(Op::Insert(0, n));
        let take = (0..n).map(|i| Op::Remove(scatter(i, order), 1));
        let back = (0..n).map(|i| Op::Insert(scatter(i, order >> 8), 1));
        check(all.chain(take).chain(back), key);
    }
}

#[test]
fn depth_is_logarithmic_for_every_other_block() {
    // 16,128 runs in ascending order: a tree without balance would need a second, not a millisecond.
    let mut set = Extents::new(true, 0x1234_5678);
    for i in 0..BITMAP_BITS / 2 {
        assert!(set.insert(Run {
            start: i * 2,
            len: 1
        }));
    }
    assert_eq!(set.count(), BITMAP_BITS / 2);
    assert!(set.depth() < 64, "depth {}", set.depth());
}
