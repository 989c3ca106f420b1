// SPDX-License-Identifier: GPL-2.0

//! Where blocks are put, and the rules about promises.

use crate::engine::{
    testing::Fixture,
    txn::{FreeKind, TxnRes}, //
};
use crate::format::{AgNumber, BlockRange, DiskBlock, Geometry};
use crate::sys::Errno;

/// A transaction that uses up a claim of `want` blocks at `goal`.
fn use_blocks(f: &Fixture, goal: DiskBlock, want: u32) -> BlockRange {
    let claim = f.m.claim(goal, want, 1).unwrap();
    f.change(TxnRes::new(0, 0).frees(1), |_, txn| txn.use_claim(claim))
        .unwrap()
}

fn free_blocks(f: &Fixture, range: BlockRange) {
    f.change(TxnRes::new(0, 0).frees(1), |_, txn| {
        txn.free(range, FreeKind::Data)
    })
    .unwrap();
}

#[test]
fn a_file_grows_contiguously() {
    let f = Fixture::new(32_768);
    // In the third group; the log is in the second.
    let goal = DiskBlock(17_000);
    let first = use_blocks(&f, goal, 10);
    assert_eq!(first.start, goal);
    let mut end = first.end();
    for _ in 0..50 {
        let next = use_blocks(&f, end, 10);
        assert_eq!(next.start, end);
        end = next.end();
    }
}

#[test]
fn a_large_request_is_one_run() {
    let f = Fixture::with_groups(200_000, Some(100_000));
    // Holes of seven blocks around the goal.
    let mut at = DiskBlock(5000);
    for _ in 0..100 {
        let r = use_blocks(&f, at, 8);
        at = r.end().saturating_add(7);
    }
    let claim = f.m.claim(DiskBlock(5008), 10_000, 5000).unwrap();
    assert_eq!(claim.len(), 10_000);
}

#[test]
fn no_run_crosses_a_bitmap_block() {
    let f = Fixture::with_groups(100_000, Some(100_000));
    let mut claims = Vec::new();
    while let Ok(claim) = f.m.claim(DiskBlock(0), 40_000, 1) {
        let r = claim.range();
        let (_, start) = f.m.geo().locate(r.start).unwrap();
        let (_, last) = f.m.geo().locate(DiskBlock(r.end().get() - 1)).unwrap();
        assert_eq!(
            Geometry::bitmap_position(start).0,
            Geometry::bitmap_position(last).0
        );
        claims.push(claim);
    }
    // All but the hidden pool.
    assert_eq!(f.m.alloc().available(), 0);
    assert!(f.m.alloc().hidden() > 0);
}

#[test]
fn bitmap_blocks_are_made_in_order_when_they_are_needed() {
    let f = Fixture::with_groups(200_000, Some(200_000));
    let init = || {
        let header = f.m.ag(AgNumber(0)).unwrap().header(&f.m).unwrap();
        let n = crate::format::AgHeader::of(&header.data())
            .bitmap_init
            .get();
        n
    };
    assert_eq!(init(), 1);
    // A goal behind the watermark is no reason to make bitmap blocks, a long run is.
    use_blocks(&f, DiskBlock(150_000), 4);
    assert_eq!(init(), 1);
    let r = use_blocks(&f, DiskBlock(150_000), 32_000);
    assert_eq!(r.start, DiskBlock(150_000));
    assert_eq!(init(), 7, "all of a small group at once");
    f.m.checkpoint().unwrap();
    f.m.alloc().check(true).unwrap();
}

#[test]
fn freed_blocks_are_busy_until_a_checkpoint() {
    let f = Fixture::new(8192);
    let r = use_blocks(&f, DiskBlock(2000), 16);
    f.m.checkpoint().unwrap();
    let before = f.m.alloc().available();
    free_blocks(&f, r);
    assert_eq!(
        f.m.alloc().available(),
        before + 16,
        "free for the counters"
    );
    let e = f.m.alloc().claim_exact(r).unwrap_err();
    assert!(e.is(Errno::NOSPC), "not to be had: {e}");
    f.m.checkpoint().unwrap();
    assert_eq!(f.m.alloc().claim_exact(r).unwrap().range(), r);
}

#[test]
fn blocks_stay_busy_when_the_log_fails() {
    let f = Fixture::new(8192);
    let r = use_blocks(&f, DiskBlock(2000), 16);
    f.m.checkpoint().unwrap();
    free_blocks(&f, r);
    f.disk.fail_writes(true);
    assert!(f.m.checkpoint().is_err());
    assert!(f.m.alloc().claim_exact(r).is_err());
    f.disk.fail_writes(false);
    assert!(f.m.is_shutdown());
    assert!(f.m.checkpoint().is_err());
    assert!(f.m.alloc().claim_exact(r).is_err());
    assert!(f.m.unmount().is_err());
}

#[test]
fn a_promise_is_kept_on_a_full_file_system() {
    let f = Fixture::new(8192);
    let mut r = f.m.alloc().reserve(100).unwrap();
    let mut claims = Vec::new();
    while let Ok(claim) = f.m.claim(DiskBlock(0), 500, 1) {
        claims.push(claim);
    }
    assert!(f.m.alloc().reserve(1).is_err());
    let mut got = 0;
    while r.blocks() > 0 {
        got += f.m.claim_reserved(&mut r, DiskBlock(0), 100).unwrap().len();
    }
    assert_eq!(got, 100);
}

#[test]
fn busy_blocks_are_waited_for_before_enospc() {
    let f = Fixture::new(8192);
    let mut used = Vec::new();
    while let Ok(claim) = f.m.claim(DiskBlock(0), 500, 1) {
        let r = f
            .change(TxnRes::new(0, 0).frees(1), |_, txn| txn.use_claim(claim))
            .unwrap();
        used.push(r);
    }
    f.m.checkpoint().unwrap();
    // Take the hidden pool's blocks out of the way, too.
    let hidden = f.m.alloc().reserve_pool(f.m.alloc().hidden()).unwrap();
    let mut rest = hidden;
    let mut held = Vec::new();
    while rest.blocks() > 0 {
        held.push(f.m.claim_reserved(&mut rest, DiskBlock(0), 500).unwrap());
    }
    free_blocks(&f, used[0]);
    let e = f.m.alloc().claim(DiskBlock(0), 1, 1).unwrap_err();
    // What was freed went to the hidden pool first.
    assert!(e.is(Errno::NOSPC) || e.is(Errno::AGAIN), "{e}");
    let before = f.m.stats().checkpoints();
    let mut promise = f.m.alloc().reserve_pool(1).unwrap();
    let claim = f.m.claim_reserved(&mut promise, DiskBlock(0), 1).unwrap();
    assert_eq!(claim.len(), 1);
    assert_eq!(f.m.stats().checkpoints(), before + 1);
}

#[test]
fn transactions_that_free_work_on_a_full_file_system() {
    let f = Fixture::new(8192);
    let hidden = f.m.alloc().hidden();
    assert!(hidden > 100);
    let mut used = Vec::new();
    while let Ok(claim) = f.m.claim(DiskBlock(0), 500, 1) {
        let r = f
            .change(TxnRes::new(0, 0).frees(1), |_, txn| txn.use_claim(claim))
            .unwrap();
        used.push(r);
    }
    let e = f.m.begin(TxnRes::new(4, 4)).map(drop).unwrap_err();
    assert!(e.is(Errno::NOSPC));
    let mut txn = f.m.begin(TxnRes::new(4, 4).frees(1).from_pool()).unwrap();
    txn.free(used[0], FreeKind::Data).unwrap();
    txn.commit().unwrap();
    assert_eq!(f.m.alloc().hidden(), hidden, "refilled first");
}

#[test]
fn freeing_what_is_not_in_use_is_corruption() {
    for (what, range) in [
        ("free", BlockRange::new(DiskBlock(3000), 4)),
        ("static", BlockRange::new(DiskBlock(2), 1)),
        ("outside", BlockRange::new(DiskBlock(1 << 40), 1)),
        ("across the end", BlockRange::new(DiskBlock(8190), 8)),
    ] {
        let f = Fixture::new(8192);
        let r = f.change(TxnRes::new(0, 0).frees(1), |_, txn| {
            txn.free(range, FreeKind::Data)
        });
        assert!(r.unwrap_err().is(Errno::UCLEAN), "{what}");
    }
    // Twice, in one transaction and in two.
    let f = Fixture::new(8192);
    let r = use_blocks(&f, DiskBlock(3000), 4);
    let e = f
        .change(TxnRes::new(0, 0).frees(2), |_, txn| {
            txn.free(r, FreeKind::Data)?;
            txn.free(r, FreeKind::Data)
        })
        .unwrap_err();
    assert!(e.is(Errno::UCLEAN));
    assert!(f.m.is_shutdown());
}

#[test]
fn threads_share_the_space_exactly() {
    let f = Fixture::with_groups(40_000, Some(10_000));
    let before = f.m.alloc().available();
    std::thread::scope(|s| {
        for t in 0..4_u64 {
            let m = &f.m;
            s.spawn(move || {
                let mut held = Vec::new();
                for i in 0..2000_u64 {
                    let goal = DiskBlock((t * 10_000 + i * 37) % 40_000);
                    if let Ok(claim) = m.claim(goal, (i % 50 + 1) as u32, 1) {
                        held.push(claim);
                    }
                    if i % 3 == 0 {
                        if let Some(claim) = held.pop() {
                            let mut txn = m.begin(TxnRes::new(1, 1).frees(1)).unwrap();
                            let r = txn.use_claim(claim).unwrap();
                            txn.commit().unwrap();
                            let mut txn = m.begin(TxnRes::new(0, 0).frees(1)).unwrap();
                            txn.free(r, FreeKind::Data).unwrap();
                            txn.commit().unwrap();
                        }
                    }
                    if i % 500 == 0 {
                        m.checkpoint().unwrap();
                    }
                    if i % 100 == 0 {
                        held.clear();
                        m.alloc().shrink();
                    }
                }
            });
        }
    });
    f.m.checkpoint().unwrap();
    f.m.alloc().check(true).unwrap();
    assert_eq!(f.m.alloc().available(), before);
}
