// SPDX-License-Identifier: GPL-2.0

//! The whole allocator, with transactions, checkpoints, remounts and memory pressure, against one
//! state for each block: at least 10,000 operations a case.

use crate::engine::{
    alloc::{Claim, Reservation},
    log::space::Who,
    testing::Fixture,
    txn::{FreeKind, Txn, TxnRes},
    Mount,
    Result, //
};
use crate::format::{
    limits::BITMAP_BITS, AgNumber, BitmapBlock, BlockKind, BlockRange, DiskBlock, Ino, Owner,
};
use crate::sys::Errno;
use proptest::prelude::*;

const OPS: usize = 10_000;

/// What the oracle knows of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Never free: static metadata, and what mkfs put there.
    Fixed,
    Free,
    Claimed,
    Used,
    Busy,
}

struct World {
    f: Fixture,
    blocks: Vec<State>,
    claims: Vec<Claim>,
    reservations: Vec<Reservation>,
    /// Runs in use, each as it was committed or what is left of it.
    used: Vec<BlockRange>,
    ag_blocks: u64,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Claim(u32, u32, u32),
    Drop(u32),
    Split(u32, u32),
    Use(u32, u32),
    Free(u32, u32, u32),
    Meta(u32),
    Reserve(u32),
    Unreserve(u32),
    FromReservation(u32, u32),
    Checkpoint,
    Shrink,
    Remount,
    Check,
}

impl World {
    fn new(blocks: u64, ag_blocks: u32) -> Self {
        let f = Fixture::with_groups(blocks, Some(ag_blocks));
        let used = bits(&f);
        let blocks = used
            .into_iter()
            .map(|used| if used { State::Fixed } else { State::Free })
            .collect();
        Self {
            f,
            blocks,
            claims: Vec::new(),
            reservations: Vec::new(),
            used: Vec::new(),
            ag_blocks: u64::from(ag_blocks),
        }
    }

    fn count(&self, state: State) -> u64 {
        self.blocks.iter().filter(|s| **s == state).count() as u64
    }

    fn expect(&mut self, range: BlockRange, from: State, to: State) {
        for b in range.start.get()..range.end().get() {
            let state = &mut self.blocks[b as usize];
            assert_eq!(*state, from, "block {b} of {range:?} becoming {to:?}");
            *state = to;
        }
    }

    /// The longest free run that could be one claim.
    fn longest(&self) -> u32 {
        let mut best = 0;
        let mut run = 0;
        for (b, state) in self.blocks.iter().enumerate() {
            let inside = b as u64 % self.ag_blocks % u64::from(BITMAP_BITS);
            if inside == 0 || (b as u64).is_multiple_of(self.ag_blocks) {
                run = 0;
            }
            run = if *state == State::Free { run + 1 } else { 0 };
            best = best.max(run);
        }
        best
    }

    fn apply(&mut self, op: Op) {
        let total = self.blocks.len() as u64;
        let alloc = self.f.m.alloc().clone();
        match op {
            Op::Claim(goal, want, min) => {
                let goal = DiskBlock(u64::from(goal) % total);
                let available = alloc.available();
                let mut got = alloc.claim(goal, want, min);
                while got.as_ref().is_err_and(|e| e.is(Errno::AGAIN)) && self.bitmaps() {
                    got = alloc.claim(goal, want, min);
                }
                match got {
                    Ok(claim) => {
                        let r = claim.range();
                        assert!(r.len >= min.min(want) && r.len <= want);
                        assert!(self.f.m.geo().check_range(r, "claim").is_ok());
                        self.expect(r, State::Free, State::Claimed);
                        self.claims.push(claim);
                    }
                    Err(e) if e.is(Errno::NOSPC) => {
                        let min = min.min(want);
                        assert!(
                            available < u64::from(min) || self.longest() < min,
                            "want {want} min {min}: {available} available, {} in a row",
                            self.longest()
                        );
                    }
                    Err(e) => {
                        assert!(e.is(Errno::AGAIN), "{e}");
                        assert!(self.count(State::Busy) > 0);
                        assert!(self.longest() < min.min(want));
                    }
                }
            }
            Op::Drop(i) if !self.claims.is_empty() => {
                let claim = self.claims.swap_remove(i as usize % self.claims.len());
                self.expect(claim.range(), State::Claimed, State::Free);
            }
            Op::Split(i, n) if !self.claims.is_empty() => {
                let i = i as usize % self.claims.len();
                let front = self.claims[i].split_front(n);
                if !front.is_empty() {
                    self.claims.push(front);
                }
                if self.claims[i].is_empty() {
                    drop(self.claims.swap_remove(i));
                }
            }
            Op::Use(i, n) if !self.claims.is_empty() => {
                let n = (n % 4 + 1).min(self.claims.len() as u32);
                let m = self.f.m.clone();
                let mut txn = self.begin(&m, TxnRes::new(0, 0).frees(n)).unwrap();
                for _ in 0..n {
                    let claim = self.claims.swap_remove(i as usize % self.claims.len());
                    let r = txn.use_claim(claim).unwrap();
                    self.used.push(r);
                    self.expect(r, State::Claimed, State::Used);
                }
                txn.commit().unwrap();
            }
            Op::Free(i, from, n) if !self.used.is_empty() => {
                let i = i as usize % self.used.len();
                let r = self.used.swap_remove(i);
                let from = from % r.len;
                let n = (n % (r.len - from)) + 1;
                let part = BlockRange::new(r.start.saturating_add(u64::from(from)), n);
                if from > 0 {
                    self.used.push(BlockRange::new(r.start, from));
                }
                if from + n < r.len {
                    self.used
                        .push(BlockRange::new(part.end(), r.len - from - n));
                }
                let m = self.f.m.clone();
                let mut txn = self.begin(&m, TxnRes::new(0, 0).frees(1)).unwrap();
                txn.free(part, FreeKind::Meta).unwrap();
                txn.commit().unwrap();
                self.expect(part, State::Used, State::Busy);
            }
            Op::Meta(n) => self.meta(n % 4 + 1),
            Op::Reserve(n) => {
                let before = alloc.available();
                match alloc.reserve(u64::from(n)) {
                    Ok(r) => self.reservations.push(r),
                    Err(_) => assert!(before < u64::from(n)),
                }
            }
            Op::Unreserve(i) if !self.reservations.is_empty() => {
                let i = i as usize % self.reservations.len();
                drop(self.reservations.swap_remove(i));
            }
            Op::FromReservation(i, want) if !self.reservations.is_empty() => {
                let i = i as usize % self.reservations.len();
                let before = self.reservations[i].blocks();
                if before == 0 {
                    return;
                }
                // A promise is always kept, if need be after a checkpoint.
                let mut r = self.reservations.swap_remove(i);
                let mut again = alloc.claim_reserved(&mut r, DiskBlock(0), want.max(1));
                while again.as_ref().is_err_and(|e| e.is(Errno::AGAIN)) && self.bitmaps() {
                    again = alloc.claim_reserved(&mut r, DiskBlock(0), want.max(1));
                }
                if again.as_ref().is_err_and(|e| e.is(Errno::AGAIN)) {
                    self.checkpoint();
                    again = alloc.claim_reserved(&mut r, DiskBlock(0), want.max(1));
                }
                let claim = again.unwrap();
                assert_eq!(r.blocks() + u64::from(claim.len()), before);
                self.expect(claim.range(), State::Free, State::Claimed);
                self.claims.push(claim);
                self.reservations.push(r);
            }
            Op::Checkpoint => self.checkpoint(),
            Op::Shrink => {
                alloc.shrink();
            }
            Op::Remount => {
                self.claims.clear();
                self.reservations.clear();
                for s in self.blocks.iter_mut() {
                    if matches!(*s, State::Claimed | State::Busy) {
                        *s = State::Free;
                    }
                }
                self.f.remount();
                self.check();
            }
            Op::Check => self.check(),
            _ => {}
        }
    }

    /// A transaction with new metadata blocks, one of which is given back in it.
    fn meta(&mut self, n: u32) {
        let owner = Owner::inode(Ino(99));
        let m = self.f.m.clone();
        let opened = self.begin(&m, TxnRes::new(n + 1, n + 1));
        let mut txn = match opened {
            Ok(txn) => txn,
            Err(e) => {
                assert!(e.is(Errno::NOSPC), "{e}");
                return;
            }
        };
        let context = *self.f.m.context();
        let mut new = Vec::new();
        for _ in 0..n {
            let buf = txn
                .new_meta(DiskBlock(0), BlockKind::Symlink, owner)
                .unwrap();
            txn.modify(&buf, |b| {
                let at = b.block();
                crate::format::SymlinkBlock::format(b.whole(), &context, at, owner, 0, b"t");
            });
            new.push(buf.block());
        }
        let back = txn
            .new_meta(DiskBlock(0), BlockKind::Symlink, owner)
            .unwrap();
        let back = BlockRange::new(back.block(), 1);
        txn.free(back, FreeKind::Meta).unwrap();
        txn.commit().unwrap();
        for at in new {
            let r = BlockRange::new(at, 1);
            self.expect(r, State::Free, State::Used);
            self.used.push(r);
        }
    }

    /// Opens a transaction. That may make a checkpoint.
    fn begin<'m>(&mut self, m: &'m Mount, res: TxnRes) -> Result<Txn<'m>> {
        let checkpoints = m.stats().checkpoints();
        let opened = m.begin(res);
        if m.stats().checkpoints() != checkpoints {
            self.busy_is_free();
        }
        opened
    }

    /// Makes bitmap blocks, if it is for them that a claim failed.
    fn bitmaps(&mut self) -> bool {
        let m = self.f.m.clone();
        let checkpoints = m.stats().checkpoints();
        let made = m.make_bitmaps(Who::Begin).unwrap();
        if m.stats().checkpoints() != checkpoints {
            self.busy_is_free();
        }
        made
    }

    fn busy_is_free(&mut self) {
        for s in self.blocks.iter_mut() {
            if *s == State::Busy {
                *s = State::Free;
            }
        }
    }

    fn checkpoint(&mut self) {
        self.f.m.checkpoint().unwrap();
        self.busy_is_free();
    }

    fn check(&self) {
        let alloc = self.f.m.alloc();
        alloc.check(true).unwrap();
        let free = self.count(State::Free) + self.count(State::Busy);
        let claimed = self.count(State::Claimed);
        assert_eq!(alloc.free(), free + claimed);
        let reserved: u64 = self.reservations.iter().map(Reservation::blocks).sum();
        assert_eq!(alloc.available() + alloc.hidden() + reserved, free);
        for (b, used) in bits(&self.f).into_iter().enumerate() {
            let state = self.blocks[b];
            let want = matches!(state, State::Fixed | State::Used);
            assert_eq!(used, want, "bit of block {b}, which is {state:?}");
        }
    }
}

/// The bits of all bitmap blocks, those that are not on disk included.
fn bits(f: &Fixture) -> Vec<bool> {
    let m = &f.m;
    let geometry = *m.geo();
    let mut all = vec![true; geometry.block_count() as usize];
    for ag in geometry.ags() {
        let init = crate::format::AgHeader::of(&m.ag(ag).unwrap().header(m).unwrap().data())
            .bitmap_init
            .get();
        for map in 0..geometry.bitmap_count(ag) {
            one_map(f, ag, map, map < init, &mut all);
        }
    }
    all
}

fn one_map(f: &Fixture, ag: AgNumber, map: u32, on_disk: bool, all: &mut [bool]) {
    let geometry = *f.m.geo();
    let coverage = geometry.bitmap_coverage(ag, map);
    let first = geometry.disk_block(ag, coverage.start).unwrap().get() as usize;
    let mut scratch = [0; 4096];
    if on_disk {
        let at = geometry.bitmap_block(ag, map).unwrap();
        let buf =
            f.m.buf()
                .read(at, BlockKind::Bitmap, Owner::ag(ag))
                .unwrap();
        scratch = *buf.data();
    } else {
        BitmapBlock::format(&mut scratch, f.m.context(), ag, map).unwrap();
    }
    let bitmap = BitmapBlock::of(&scratch);
    for bit in 0..coverage.len {
        all[first + bit as usize] = bitmap.is_used(bit);
    }
}

fn any_op() -> impl Strategy<Value = Op> {
    let a = any::<u32>;
    let len = || prop_oneof![5 => 1..8_u32, 3 => 1..300_u32, 1 => 1..40_000_u32];
    prop_oneof![
        30 => (a(), len(), len()).prop_map(|(g, w, m)| Op::Claim(g, w, m.min(w))),
        12 => a().prop_map(Op::Drop),
        6 => (a(), len()).prop_map(|(i, n)| Op::Split(i, n)),
        14 => (a(), a()).prop_map(|(i, n)| Op::Use(i, n)),
        14 => (a(), a(), a()).prop_map(|(i, f, n)| Op::Free(i, f, n)),
        8 => a().prop_map(Op::Meta),
        3 => len().prop_map(Op::Reserve),
        3 => a().prop_map(Op::Unreserve),
        5 => (a(), len()).prop_map(|(i, w)| Op::FromReservation(i, w)),
        3 => Just(Op::Checkpoint),
        2 => Just(Op::Shrink),
    ]
}

fn play(blocks: u64, ag_blocks: u32, ops: impl Iterator<Item = Op>) {
    let mut w = World::new(blocks, ag_blocks);
    let mut n = 0;
    for op in ops {
        w.apply(op);
        n += 1;
        if n % 1000 == 0 {
            w.apply(Op::Check);
        }
        if n % 4000 == 0 {
            w.apply(Op::Remount);
        }
    }
    assert!(n >= OPS);
    // Delete all: everything comes back.
    w.apply(Op::Remount);
    while !w.used.is_empty() {
        w.apply(Op::Free(0, 0, u32::MAX - 1));
        if w.used.len().is_multiple_of(64) {
            w.checkpoint();
        }
    }
    w.apply(Op::Remount);
    let fixed = w.count(State::Fixed);
    assert_eq!(w.f.m.alloc().free(), blocks - fixed);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 200, ..Default::default() })]

    #[test]
    fn small_groups(ops in proptest::collection::vec(any_op(), OPS)) {
        play(12_288, 4096, ops.into_iter());
    }

    #[test]
    fn several_bitmap_blocks_in_a_group(ops in proptest::collection::vec(any_op(), OPS)) {
        play(150_000, 75_000, ops.into_iter());
    }

    #[test]
    fn nearly_full(ops in proptest::collection::vec(any_op(), OPS)) {
        // One large claim after the other first, so that the rest fights for what is left.
        let fill = (0..40).flat_map(|i| [Op::Claim(i * 997, 4000, 1), Op::Use(0, 0)]);
        play(12_288, 4096, fill.chain(ops));
    }
}

#[test]
fn ascending_and_descending() {
    let claim = |goal| [Op::Claim(goal, 3, 1), Op::Use(0, 0)];
    let up = (0..2500).flat_map(move |i| claim(i * 4));
    let down = (0..2500).rev().flat_map(move |i| claim(i * 4));
    let free = (0..4000).flat_map(|i| [Op::Free(i, 1, 0), Op::Shrink]);
    play(12_288, 4096, up.chain(down).chain(free));
}
