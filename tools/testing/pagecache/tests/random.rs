// SPDX-License-Identifier: GPL-2.0

//! Whole files against a vector of bytes: everything that user space can do to a file, in random
//! order, with writeback, completions in random order and memory reclaim in between.

mod common;

use common::{compare, fsck, Rng, POISON};
use latchfs_pagecache::{Direct, Fs, Ioends};

/// What one case varies.
struct Case {
    seed: u64,
    ops: u32,
    /// Largest size of the file.
    most: u64,
    folio_pages: u64,
    ioends: Ioends,
}

/// Sizes and offsets that like block boundaries.
fn length(rng: &mut Rng, most: u64) -> u64 {
    let n = match rng.below(4) {
        0 => 1 + rng.below(64),
        1 => 4096 * (1 + rng.below(16)),
        2 => 1 + rng.below(20_000),
        _ => 4096 * (1 + rng.below(8)) + rng.below(3) - 1,
    };
    n.clamp(1, most)
}

fn offset(rng: &mut Rng, most: u64) -> u64 {
    let at = rng.below(most);
    if rng.below(3) == 0 {
        at / 4096 * 4096
    } else {
        at
    }
}

fn run(case: &Case) {
    let mut rng = Rng(case.seed);
    let mut fs = Fs::new(8192, Some(POISON));
    let free = fs.available();
    let mut file = fs.create(b"file");
    let ino = file.inode.ino;
    file.folio_pages = case.folio_pages;
    file.set_ioends(case.ioends);
    let mut model: Vec<u8> = Vec::new();
    // Direct writes in flight: their ranges, in largest folios.
    let mut in_flight: Vec<(u64, u64)> = Vec::new();

    for op in 0..case.ops {
        let kind = rng.below(100);
        // Others may be at work while direct writes are in flight; what looks at data may not.
        let looks = !matches!(kind, 30..=36 | 65..=92);
        if looks && !in_flight.is_empty() {
            file.dio_wait();
            in_flight.clear();
        }
        match kind {
            // write(2), now and then from a buffer that faults.
            0..=29 => {
                let at = offset(&mut rng, case.most - 70_000);
                let bytes = {
                    let n = length(&mut rng, 66_000);
                    rng.bytes(n)
                };
                let readable = if rng.below(8) == 0 {
                    rng.below(bytes.len() as u64) as usize
                } else {
                    bytes.len()
                };
                let done = file.write_from(at, &bytes, readable).unwrap_or(0);
                assert!(done <= readable && (readable < bytes.len() || done == bytes.len()));
                // A write behind the end zeroes the gap even if nothing is copied; the size stays.
                if done > 0 {
                    let end = at as usize + done;
                    if model.len() < end {
                        model.resize(end, 0);
                    }
                    model[at as usize..end].copy_from_slice(&bytes[..done]);
                }
            }
            // write(2) with O_DIRECT: sectors or blocks, from a buffer that is not in memory, or
            // without waiting for the end.
            30..=36 => {
                let unit = if rng.below(3) == 0 { 512 } else { 4096 };
                let at = offset(&mut rng, case.most - 70_000) / unit * unit;
                let len = length(&mut rng, 66_000).next_multiple_of(unit);
                let bytes = rng.bytes(len);
                let folio = case.folio_pages * 4096;
                let touched = (at / folio, (at + len).div_ceil(folio));
                if in_flight.iter().any(|r| r.0 < touched.1 && touched.0 < r.1) {
                    file.dio_wait();
                    in_flight.clear();
                }
                if rng.below(2) == 0 {
                    match file.submit_direct(at, &bytes).expect("direct write") {
                        Direct::Done(n) => assert_eq!(n, bytes.len()),
                        Direct::Queued(_) => in_flight.push(touched),
                    }
                } else {
                    let resident = match rng.below(4) {
                        0 => rng.below(len + 1),
                        _ => len,
                    };
                    let done = file.write_direct_from(at, &bytes, resident as usize);
                    assert_eq!(done, Ok(bytes.len()));
                }
                let end = (at + len) as usize;
                if model.len() < end {
                    model.resize(end, 0);
                }
                model[at as usize..end].copy_from_slice(&bytes);
            }
            // Stores through a mapping.
            37..=44 => {
                if model.is_empty() {
                    continue;
                }
                let at = offset(&mut rng, model.len() as u64);
                let len = length(&mut rng, 9_000);
                let bytes = rng.bytes(len);
                // The last page can be stored to behind the end; that never is part of the file.
                let last = (model.len() as u64).next_multiple_of(4096);
                let bytes = &bytes[..bytes.len().min((last - at) as usize)];
                file.store(at, bytes).expect("store");
                for (n, b) in bytes.iter().enumerate() {
                    if let Some(to) = model.get_mut(at as usize + n) {
                        *to = *b;
                    }
                }
            }
            45..=54 => {
                if model.is_empty() {
                    continue;
                }
                let at = offset(&mut rng, model.len() as u64);
                let len = length(&mut rng, 70_000).min(model.len() as u64 - at);
                let read = file.read(at, len).expect("read");
                assert!(
                    read == model[at as usize..(at + len) as usize],
                    "op {op}: read at {at}"
                );
            }
            55..=58 => {
                let at = offset(&mut rng, case.most) / 4096 * 4096;
                let len = length(&mut rng, 70_000).next_multiple_of(4096);
                let read = file.read_direct(at, len).expect("direct read");
                let end = (at + len).min(model.len() as u64).max(at);
                let expected = model.get(at as usize..end as usize).unwrap_or_default();
                assert!(read == expected, "op {op}: direct read at {at}");
            }
            // Truncation both ways.
            59..=64 => {
                let size = match rng.below(6) {
                    0 => 0,
                    1 => model.len() as u64 / 2,
                    2 => model.len() as u64 / 4096 * 4096,
                    _ => offset(&mut rng, case.most),
                };
                file.truncate(size).expect("truncate");
                model.resize(size as usize, 0);
            }
            65..=74 => {
                let at = offset(&mut rng, case.most);
                let one_in = 1 + rng.below(3);
                let last = if rng.below(2) == 0 {
                    u64::MAX
                } else {
                    at + 100_000
                };
                file.writepages(at, last, one_in);
            }
            75..=79 => {
                file.run_ioends(1 + rng.below(6) as usize);
                for _ in 0..rng.below(6) {
                    file.run_direct_one();
                }
            }
            80..=84 => {
                let at = offset(&mut rng, case.most);
                file.fsync(at, at + length(&mut rng, 200_000))
                    .expect("fsync");
            }
            85..=92 => file.reclaim(1 + rng.below(3)),
            93..=96 => {
                // SEEK_DATA passes over nothing but zeroes, and what FIEMAP leaves out is zero.
                let mut at = 0;
                while let Some((from, to)) = file.seek_data(at).expect("seek") {
                    let hole = &model[at as usize..from as usize];
                    assert!(
                        hole.iter().all(|b| *b == 0),
                        "op {op}: data in a hole at {at}"
                    );
                    at = to;
                }
                let hole = &model[(at as usize).min(model.len())..];
                assert!(
                    hole.iter().all(|b| *b == 0),
                    "op {op}: data in the last hole"
                );
            }
            97 => {
                // sync, and everything is still there without page cache.
                file.write_and_wait(0, u64::MAX);
                fs.m.sync().expect("sync");
                file.reclaim(1);
                compare(&file, &model, "sync");
            }
            98 => {
                if rng.below(12) != 0 {
                    continue;
                }
                file.close();
                fs.remount();
                file = fs.open(ino);
                file.folio_pages = case.folio_pages;
                file.set_ioends(case.ioends);
                compare(&file, &model, "remount");
            }
            _ => {
                file.check();
                compare(&file, &model, "compare");
            }
        }
        if op % 64 == 0 {
            file.dio_wait();
            file.check();
        }
    }
    compare(&file, &model, "end");
    file.close();
    let file = fs.open(ino);
    compare(&file, &model, "reopened");
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
            ops: 10_000,
            most: 600_000,
            folio_pages: 1,
            ioends: Ioends::Now,
        });
    }
}

#[test]
fn large_folios_io_at_once() {
    for seed in 11..=13 {
        run(&Case {
            seed,
            ops: 10_000,
            most: 900_000,
            folio_pages: 16,
            ioends: Ioends::Now,
        });
    }
}

#[test]
fn small_folios_completions_in_any_order() {
    for seed in 21..=23 {
        run(&Case {
            seed,
            ops: 10_000,
            most: 600_000,
            folio_pages: 1,
            ioends: Ioends::Later(seed * 77),
        });
    }
}

#[test]
fn large_folios_completions_in_any_order() {
    for seed in 31..=33 {
        run(&Case {
            seed,
            ops: 10_000,
            most: 2_000_000,
            folio_pages: 32,
            ioends: Ioends::Later(seed * 77),
        });
    }
}

#[test]
fn sparse_and_huge() {
    let mut fs = Fs::new(8192, Some(POISON));
    let free = fs.available();
    let file = fs.create(b"sparse");
    let ino = file.inode.ino;
    let places = [
        0,
        1 << 20,
        1 << 32,
        (1 << 43) + 5,
        (1 << 62) + 4095,
        i64::MAX as u64 - 9,
    ];
    for at in places {
        assert_eq!(file.write(at, b"somewhere"), Ok(9));
    }
    assert_eq!(file.i_size(), i64::MAX as u64);
    file.close();
    fs.remount();
    let file = fs.open(ino);
    assert_eq!(file.i_size(), i64::MAX as u64);
    for at in places {
        assert_eq!(file.read(at, 9).expect("read"), b"somewhere");
        if at > 0 {
            assert_eq!(file.read(at - 16, 8).expect("read"), [0; 8]);
        }
        let (from, _) = file
            .seek_data(at / 4096 * 4096)
            .expect("seek")
            .expect("data");
        assert_eq!(from, at / 4096 * 4096);
    }
    file.truncate(1).expect("truncate");
    assert_eq!(file.read(0, 10).expect("read"), b"s");
    file.truncate(0).expect("truncate");
    file.close();
    fs.unlink(b"sparse");
    assert_eq!(fs.available(), free);
    fsck(&fs);
}
