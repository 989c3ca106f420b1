// SPDX-License-Identifier: GPL-2.0

//! The states that a power failure can leave, out of a log of dm-log-writes.
//!
//! The log has the writes in the order in which they became durable: those before a flush are there
//! after it, those with FUA by themselves. Between two flushes the disk may or may not have written
//! anything, in any order, and of the write that it was at only some sectors.

use std::io;
use std::ops::Range;

use latchfs_vmtests::crash::dmlog::{Entry, Log};
use latchfs_vmtests::crash::verify::Acks;

use crate::disk::{patch_write, Base, Patch};
use crate::state::Checker;

/// Zeroes in the place of what was discarded.
fn data(log: &Log, entry: &Entry) -> io::Result<Vec<u8>> {
    if entry.is_discard() {
        Ok(vec![0; entry.len as usize])
    } else if entry.is_write() {
        log.data(entry)
    } else {
        Ok(Vec::new())
    }
}

/// Makes the entries of a range durable.
pub fn replay(base: &Base, log: &Log, range: Range<usize>) -> io::Result<()> {
    for entry in &log.entries[range] {
        base.write(entry.at, &data(log, entry)?);
    }
    Ok(())
}

/// Goes through the log and checks the states at `limit` of its flushes (0: at all). Acknowledged is
/// what the marks in the log say, unless `acks` are given.
pub fn check(
    checker: &mut Checker,
    base: &Base,
    log: &Log,
    limit: usize,
    acks: Option<&Acks>,
) -> io::Result<()> {
    let points = (0..log.entries.len()).filter(|n| log.entries[*n].is_point());
    let points: Vec<usize> = points.collect();
    println!(
        "   {} entries, {} flushes and FUA writes",
        log.entries.len(),
        points.len()
    );
    let step = match limit {
        0 => 1.0,
        limit => (points.len() as f64 / limit as f64).max(1.0),
    };
    let mut next = 0.0;
    // everything before is durable and in `base`
    let mut durable = 0;
    for (n, &point) in points.iter().enumerate() {
        let wanted = n as f64 >= next;
        if wanted {
            next += step;
            let known = log.acks(point);
            let known = acks.unwrap_or(&known);
            let what = format!("entry {point}, part of what was not flushed");
            let patch = in_between(checker, base, log, durable..point)?;
            checker.check(&what, base, patch, known);
            if log.entries[point].is_write() {
                let what = format!("entry {point}, torn");
                let patch = torn(checker, base, log, durable, point)?;
                checker.check(&what, base, patch, known);
            }
        }
        if log.entries[point].is_flush() {
            // the flush comes before the data
            replay(base, log, durable..point)?;
            durable = point;
        }
        if wanted {
            let patch = just_after(base, log, durable..point + 1)?;
            let after = log.next_point(point + 1).unwrap_or(log.entries.len());
            let known = log.acks(after);
            checker.check(
                &format!("entry {point}"),
                base,
                patch,
                acks.unwrap_or(&known),
            );
        }
        if checker.had_enough() {
            return Ok(());
        }
    }
    Ok(())
}

/// Nothing but what is durable: the writes with FUA of the range.
fn just_after(base: &Base, log: &Log, range: Range<usize>) -> io::Result<Patch> {
    let mut patch = Patch::new();
    for entry in log.entries[range].iter().filter(|e| e.is_fua()) {
        patch_write(base, &mut patch, entry.at, &data(log, entry)?, || true);
    }
    Ok(patch)
}

/// The writes with FUA, and of the others, just before their flush is over, some.
fn in_between(
    checker: &mut Checker,
    base: &Base,
    log: &Log,
    range: Range<usize>,
) -> io::Result<Patch> {
    let mut patch = Patch::new();
    for entry in &log.entries[range] {
        // whole, not at all, or torn
        let fate = checker.rng.below(5);
        let rng = &mut checker.rng;
        patch_write(base, &mut patch, entry.at, &data(log, entry)?, || {
            entry.is_fua() || fate < 2 || (fate == 2 && rng.below(2) == 0)
        });
    }
    Ok(patch)
}

/// A write with FUA that the disk was at. If it had a flush as well, that came first.
fn torn(
    checker: &mut Checker,
    base: &Base,
    log: &Log,
    durable: usize,
    point: usize,
) -> io::Result<Patch> {
    let entry = &log.entries[point];
    let mut patch = Patch::new();
    for before in &log.entries[durable..point] {
        if before.is_fua() || entry.is_flush() {
            patch_write(base, &mut patch, before.at, &data(log, before)?, || true);
        }
    }
    let rng = &mut checker.rng;
    let whole = rng.below(3);
    patch_write(base, &mut patch, entry.at, &data(log, entry)?, || {
        // mostly there: it is the last sectors that matter
        rng.below(8) > whole
    });
    Ok(patch)
}
