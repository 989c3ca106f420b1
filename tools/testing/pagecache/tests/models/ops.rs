// SPDX-License-Identifier: GPL-2.0

//! What the threads of a schedule do, and what the file may be afterwards.

use crate::world::{World, CELL, CELLS};
use latchfs_pagecache::{FallocMode, File, EFAULT};
use shuttle::rand::{thread_rng, Rng};

/// An operation on the file. Where it is not said, a few cells anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// write(2).
    Write,
    /// write(2) from a buffer that cannot be read to its end.
    Short,
    /// A store through a mapping.
    Mkwrite,
    /// truncate(2), down or up.
    Truncate,
    /// Writeback of dirty folios, some or all.
    Writeback,
    /// fsync(2) of everything.
    Fsync,
    /// Reads, through the page cache.
    Read,
    /// I/O ends, and memory is reclaimed.
    Background,
    /// Everything is written, and memory is reclaimed.
    Flush,
    /// fallocate(2).
    Allocate,
    /// fallocate(2) that punches a hole.
    Punch,
    /// fallocate(2) that zeroes.
    Zero,
    /// write(2) with O_DIRECT, of whole blocks.
    Direct,
}

/// Cells that were written, and the value they got.
pub type Effects = Vec<(u64, u8)>;

/// Up to three cells in a row.
fn cells() -> (u64, u64) {
    let at = thread_rng().gen_range(0..CELLS);
    (at, thread_rng().gen_range(1..=3).min(CELLS - at))
}

fn wrote(at: u64, n: u64, value: u8) -> Effects {
    (at..at + n).map(|cell| (cell, value)).collect()
}

impl Op {
    /// Carries it out; what it writes is `value`.
    pub fn run(self, file: &File, value: u8) -> Effects {
        match self {
            Op::Write => {
                let (at, n) = cells();
                let bytes = vec![value; (n * CELL) as usize];
                let done = file.write(at * CELL, &bytes).expect("write") as u64;
                assert_eq!(done, n * CELL);
                wrote(at, n, value)
            }
            Op::Short => {
                let (at, n) = (thread_rng().gen_range(0..2), 4);
                let bytes = vec![value; (n * CELL) as usize];
                let readable = thread_rng().gen_range(0..n) * CELL;
                match file.write_from(at * CELL, &bytes, readable as usize) {
                    Ok(done) => wrote(at, done as u64 / CELL, value),
                    Err(e) => {
                        assert_eq!(e, EFAULT);
                        Effects::new()
                    }
                }
            }
            Op::Mkwrite => {
                let at = thread_rng().gen_range(0..CELLS);
                match file.store(at * CELL, &[value; CELL as usize]) {
                    Ok(()) => wrote(at, 1, value),
                    Err(e) => {
                        assert_eq!(e, EFAULT, "behind the end of the file only");
                        Effects::new()
                    }
                }
            }
            Op::Truncate => {
                let size = thread_rng().gen_range(0..=CELLS);
                file.truncate(size * CELL).expect("truncate");
                wrote(size, CELLS - size, 0)
            }
            Op::Writeback => {
                file.writepages(0, u64::MAX, thread_rng().gen_range(1..=2));
                Effects::new()
            }
            Op::Fsync => {
                file.fsync(0, u64::MAX - 1).expect("fsync");
                Effects::new()
            }
            Op::Read => {
                World::cells(file);
                Effects::new()
            }
            Op::Background => {
                file.run_ioends(2);
                file.run_direct_one();
                file.reclaim(2);
                Effects::new()
            }
            Op::Flush => {
                file.write_and_wait(0, u64::MAX);
                file.reclaim(1);
                Effects::new()
            }
            Op::Allocate => {
                let (at, n) = cells();
                let done = file.fallocate(FallocMode::Allocate, true, at * CELL, n * CELL);
                done.expect("fallocate");
                Effects::new()
            }
            Op::Punch => {
                let (at, n) = cells();
                file.punch(at * CELL, n * CELL).expect("punch");
                wrote(at, n, 0)
            }
            Op::Zero => {
                let (at, n) = cells();
                let done = file.fallocate(FallocMode::Zero, true, at * CELL, n * CELL);
                done.expect("zero range");
                wrote(at, n, 0)
            }
            Op::Direct => {
                let at = thread_rng().gen_range(0..CELLS / 2) * 2;
                let bytes = [value; 2 * CELL as usize];
                let done = file.write_direct(at * CELL, &bytes).expect("direct write");
                assert_eq!(done, bytes.len());
                wrote(at, 2, value)
            }
        }
    }
}

/// Whether the file can be as it is: each cell has the value that some thread wrote to it last, or
/// if nobody wrote to it the one it had at first.
///
/// Where stores meet direct writes, Linux promises less: the page that was stored to may be written
/// over the block with what it had before. Then a cell (`weak`) has a value that it was given some
/// time.
pub fn judge(cells: &[u8], first: &[u8], threads: &[Vec<Effects>], weak: bool) {
    for (at, value) in cells.iter().enumerate() {
        let mut may = Vec::new();
        for thread in threads {
            let mut to_cell = thread
                .iter()
                .flatten()
                .filter(|(cell, _)| *cell == at as u64);
            match (weak, to_cell.next_back()) {
                (_, None) => {}
                (false, Some((_, last))) => may.push(*last),
                (true, Some((_, last))) => {
                    may.extend(to_cell.map(|(_, value)| *value));
                    may.extend([*last, first[at]]);
                }
            }
        }
        if may.is_empty() {
            may.push(first[at]);
        }
        assert!(
            may.contains(value),
            "lost write: cell {at} is {value}, may be {may:?}"
        );
    }
}
