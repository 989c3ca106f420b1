// SPDX-License-Identifier: GPL-2.0

//! The newest checkpoint, without reading the whole log.
//!
//! A mount begins an epoch at the position in the superblock, and its checkpoints are written one
//! behind the other, each when the one before is durable. So what a crash leaves of the epoch is,
//! from the position in the superblock or, if the body was gone round, one lap before the head on:
//! complete checkpoints up to the head, at most one that was torn, and nothing. The edge is found
//! by bisection over the first blocks of pieces, as XFS finds its head by the cycle numbers in its
//! sectors. The bisection may end at any edge inside the torn checkpoint; from there it is at most
//! one checkpoint back.
//!
//! A damaged block looks like an edge, too, and to stop there would lose what is behind it without
//! a word. What comes behind the head that was found is therefore looked at, up to a piece without
//! any block of the epoch, and in a few places of the rest: a block there that is not part of the
//! checkpoint torn at the head means that this is not what a crash leaves, and everything is read.

use super::scan::{Found, Scan};
use crate::{
    engine::Result,
    format::{
        log::next_block,
        units::{Lsn, BLOCK_SIZE}, //
    },
};

/// Places behind the head that are looked at.
const WITNESSES: u32 = 8;

/// How a search ends.
enum Search {
    /// With the newest checkpoint, or with none.
    Found(Option<Found>),
    /// The log is not what a crash leaves.
    Unclear,
}

/// Position `blocks` blocks behind `lsn`.
fn behind(lsn: Lsn, blocks: u32) -> Lsn {
    lsn.saturating_add(u64::from(blocks).saturating_mul(BLOCK_SIZE as u64))
}

/// The newest complete checkpoint of the epoch that `scan` is about; [`None`] if there is none.
///
/// May sleep. Errors: EIO.
pub(super) fn newest(scan: &mut Scan<'_>) -> Result<Option<Found>> {
    match search(scan)? {
        Search::Found(newest) => Ok(newest),
        Search::Unclear => {
            scan.rest()?;
            Ok(scan.map().newest())
        }
    }
}

fn search(scan: &mut Scan<'_>) -> Result<Search> {
    let first = scan.probe(scan.lower())?;
    if first.lsn.get() == 0 {
        // Nothing was written, or the first checkpoint of all was torn.
        scan.range(scan.lower(), scan.piece())?;
        return Ok(match scan.map().is_empty() {
            true => Search::Found(None),
            false => Search::Unclear,
        });
    }
    let last = edge(scan, first.lsn)?;
    let Some((newest, end)) = before(scan, last)? else {
        return Ok(Search::Unclear);
    };
    Ok(match ends_at(scan, end)? {
        true => Search::Found(newest),
        false => Search::Unclear,
    })
}

/// The last block in front of an edge, searched for in the lap that begins at `base`, where there
/// is a block.
fn edge(scan: &mut Scan<'_>, base: Lsn) -> Result<Lsn> {
    let piece = scan.piece();
    // INVARIANT: there is a block `low` pieces behind `base`, and none `high` pieces behind it; at
    // the end of the lap is the block at `base` itself.
    let (mut low, mut high) = (0, scan.body().div_ceil(piece.max(1)));
    while high.saturating_sub(low) > 1 {
        let middle = low.saturating_add(high.saturating_sub(low) / 2);
        let lsn = behind(base, middle.saturating_mul(piece));
        if scan.probe(lsn)?.lsn == lsn {
            low = middle;
        } else {
            high = middle;
        }
    }
    let mut last = behind(base, low.saturating_mul(piece));
    scan.range(last, piece)?;
    while scan.map().at(next_block(last)).is_some() {
        last = next_block(last);
    }
    Ok(last)
}

/// The newest complete checkpoint that does not end behind the block at `last`, and where the next
/// one begins. [`None`]: there are two that are incomplete.
fn before(scan: &mut Scan<'_>, last: Lsn) -> Result<Option<(Option<Found>, Lsn)>> {
    let Some(torn) = checkpoint_of(scan, last)? else {
        return Ok(None);
    };
    let start = match torn {
        Ok(found) => return Ok(Some((Some(found), found.end()))),
        Err(start) => start,
    };
    if start == scan.lower() {
        return Ok(Some((None, start)));
    }
    let last = Lsn(start.get().saturating_sub(BLOCK_SIZE as u64));
    scan.range(last, 1)?;
    Ok(match checkpoint_of(scan, last)? {
        Some(Ok(found)) if found.end() == start => Some((Some(found), start)),
        _ => None,
    })
}

/// The checkpoint that the block at `last` is part of, or where it would begin if it were complete.
/// [`None`]: there is no such block.
fn checkpoint_of(
    scan: &mut Scan<'_>,
    last: Lsn,
) -> Result<Option<core::result::Result<Found, Lsn>>> {
    let Some(seen) = scan.map().at(last).copied() else {
        return Ok(None);
    };
    scan.range(seen.start(), seen.count())?;
    Ok(Some(
        scan.map().checkpoint(seen.start()).ok_or(seen.start()),
    ))
}

/// Whether everything at `end` and behind it is part of one checkpoint that begins there.
fn ends_at(scan: &mut Scan<'_>, end: Lsn) -> Result<bool> {
    let (piece, body) = (scan.piece(), scan.body());
    let newer = |seen: super::scan::Seen| seen.lsn >= end;
    let mut done = 0;
    loop {
        let from = behind(end, done);
        scan.range(from, piece)?;
        let mut any = false;
        for n in 0..piece {
            let seen = scan.map().in_place_of(behind(from, n));
            if newer(seen) && seen.start() != end {
                return Ok(false);
            }
            any |= newer(seen);
        }
        done = done.saturating_add(piece);
        if !any || done >= body {
            break;
        }
    }
    for n in 1..=WITNESSES {
        let there = body / WITNESSES.saturating_add(1);
        let seen = scan.probe(behind(end, there.saturating_mul(n)))?;
        if newer(seen) && seen.start() != end {
            return Ok(false);
        }
    }
    Ok(true)
}
