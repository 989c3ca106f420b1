// SPDX-License-Identifier: GPL-2.0

//! Figures, not assertions: `cargo test --release -- --ignored figures --nocapture`.

use super::super::*;
use super::check::{
    TestTree, //
};
use super::pages::Page;
use crate::engine::{
    dir::{
        self,
        Ctx, //
    },
    fork::{
        Fork,
        ForkFormat, //
    },
    testing::Fixture,
    txn::TxnRes, //
};
use crate::format::{
    dirent::{
        Dirent,
        FileType, //
    },
    hash::{
        first_key,
        name_hash, //
    },
    units::Ino, //
};
/// Nanoseconds this thread has run: other load on the machine does not count.
fn cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = stat.split(' ').next();
    first.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// A permutation of `0..n`.
fn shuffled(n: u64) -> Vec<u64> {
    let mut v: Vec<u64> = (0..n).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for i in (1..v.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        v.swap(i, ((state >> 33) % (i as u64 + 1)) as usize);
    }
    v
}

fn extents(name: &str, keys: &[u64]) {
    let mut tree = TestTree::<Extents>::new();
    let start = cpu();
    for key in keys {
        tree.insert(*key, 2);
    }
    let inserted = cpu() - start;
    let census = tree.check();
    let start = cpu();
    for key in keys {
        tree.tree
            .lookup(&tree.fx.m, &tree.root, *key, |_| ())
            .unwrap();
    }
    let looked = cpu() - start;
    let start = cpu();
    for key in keys {
        tree.remove(*key);
    }
    let removed = cpu() - start;
    let n = keys.len() as u64;
    println!(
        "extents, {name:10}: {n} records, {} leaves, {} interior, fill {} %, \
         insert {} ns, lookup {} ns, remove {} ns (with the transaction each)",
        census.leaves,
        census.interior,
        census.fill(),
        inserted / n,
        looked / n,
        removed / n,
    );
}

#[test]
#[ignore = "prints figures"]
fn figures_of_trees() {
    const N: u64 = 100_000;
    extents("ascending", &(0..N).collect::<Vec<_>>());
    extents("descending", &(0..N).rev().collect::<Vec<_>>());
    let mut streams: Vec<u64> = (0..N).collect();
    streams.sort_by_key(|k| (k % (N / 4), *k));
    extents("4 streams", &streams);
    extents("random", &shuffled(N));
}

/// Blocks a lookup reads, with nothing cached, and the fill of the leaves.
#[test]
#[ignore = "prints figures"]
fn figures_of_directories() {
    const RES: TxnRes = TxnRes::new(dir::INSERT_BLOCKS, dir::INSERT_BUFS);
    const LEAVE: TxnRes = TxnRes::new(0, dir::REMOVE_BUFS).frees(dir::REMOVE_FREES);
    for n in [1_000_u64, 10_000, 100_000, 1_000_000] {
        let mut fx = Fixture::new(65536);
        let mut fork = Fork::new(ForkFormat::InlineDir);
        let ctx = Ctx {
            owner: Ino(1),
            seed: 99,
            near: DiskBlock(64),
        };
        let name = |i: u64| format!("some-file-{i:07}.txt").into_bytes();
        let start = cpu();
        for i in 0..n {
            fx.change(RES, |m, txn| {
                dir::insert(
                    m,
                    txn,
                    &mut fork,
                    &ctx,
                    &name(i),
                    Ino(1 + i % 900),
                    FileType::Regular,
                )
            })
            .unwrap();
        }
        let inserted = (cpu() - start) / n;

        let (mut most, mut sum, mut count) = (0, 0, 0);
        for i in (0..n).step_by((n / 100) as usize) {
            fx.remount();
            let before = fx.reads();
            dir::lookup(&fx.m, &fork, &ctx, &name(i)).unwrap().unwrap();
            let blocks = fx.reads() - before;
            most = most.max(blocks);
            sum += blocks;
            count += 1;
        }
        let start = cpu();
        for i in 0..n {
            dir::lookup(&fx.m, &fork, &ctx, &name(i)).unwrap().unwrap();
        }
        let looked = (cpu() - start) / n;

        let depth = fork.root.depth;
        let bytes = n * (18 + name(0).len() as u64 + 2);
        let fill = bytes * 100 / (fork.root.blocks * page::CAPACITY as u64);
        let start = cpu();
        for i in 0..n {
            fx.change(LEAVE, |m, txn| {
                dir::remove(m, txn, &mut fork, &ctx, &name(i))
            })
            .unwrap();
            if i == n / 2 {
                let left = (n - i) * (18 + name(0).len() as u64 + 2);
                let fill = left * 100 / (fork.root.blocks * page::CAPACITY as u64);
                print!("half removed: fill {fill} %; ");
            }
        }
        let removed = (cpu() - start) / n;
        println!(
            "{n} names: depth {}, fill {fill} %, cold lookup {}.{:02} blocks (at most {most}), \
             insert {inserted} ns, lookup {looked} ns, remove {removed} ns",
            depth,
            sum / count,
            sum * 100 / count % 100,
        );
        assert_eq!(fork.root.blocks, 0);
    }
}

fn entry(key: u64, name: &[u8]) -> Vec<u8> {
    let entry = Dirent {
        key,
        ino: Ino(1),
        ftype: 1,
        name,
    };
    let mut bytes = vec![0; entry.len()];
    entry.encode(&mut bytes).unwrap();
    bytes
}

/// 128-byte chunks that an insertion dirties in a leaf of a directory, which is what it logs.
#[test]
#[ignore = "prints figures"]
fn figures_of_logging() {
    let shape = Dirents::SHAPE;
    let mut page = Page::new(shape);
    let (mut chunks, mut inserts, mut splits) = (0, 0, 0);
    for i in shuffled(60_000) {
        let name = format!("some-file-{i:07}.txt");
        let record = entry(first_key(name_hash(5, name.as_bytes())), name.as_bytes());
        let node = View::new(&page.bytes, shape).unwrap();
        let Err(index) = node.search(page::key_of(&record).unwrap()).unwrap() else {
            continue;
        };
        let full = edit::fit(&node, record.len()).unwrap() == edit::Fit::No;
        if full {
            let cut = split::plan(&node, index, record.len()).unwrap();
            let mut right = Page::new(shape);
            page.clean();
            split::apply(&mut page, &mut right, shape, cut, index, &record).unwrap();
            chunks += page.chunks() + right.chunks();
            splits += 1;
        } else {
            page.clean();
            split::insert(&mut page, shape, index, &record).unwrap();
            chunks += page.chunks();
        }
        inserts += 1;
    }
    println!(
        "{inserts} random inserts of {}-byte entries, {splits} splits: {} bytes logged each",
        18 + 21,
        chunks * 128 / inserts
    );
}
