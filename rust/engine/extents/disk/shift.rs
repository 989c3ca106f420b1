// SPDX-License-Identifier: GPL-2.0

//! Moving extents to other blocks of the file: collapse and insert.
//!
//! The map is never rewritten as a whole: a step moves the extents of one leaf in place, needs no
//! blocks and is a transaction of its own. After each step the map is valid; the extents that have
//! moved and those that have not are told apart by the hole between them.

use super::{
    check_format, contradiction, del, first_ge, joins, last_le, put, set, slots, tree, DiskPiece,
    ExtentCtx,
};
use crate::{
    engine::{
        btree::{Way, SHIFT_BUFS},
        error::Result,
        fork::Fork,
        mount::Mount,
        txn::{Txn, TxnRes},
    },
    format::{extent::Extent, limits::MAX_FILE_BLOCKS, units::FileBlock},
};
use core::ops::Range;

/// What a transaction needs for one [`shift_step`]; no blocks.
pub const fn shift_res() -> TxnRes {
    TxnRes::new(0, SHIFT_BUFS)
}

/// Whether there is an extent that begins in `range`.
pub fn any_in(m: &Mount, ctx: &ExtentCtx, fork: &Fork, range: &Range<FileBlock>) -> Result<bool> {
    let next = first_ge(m, ctx, fork, range.start)?;
    Ok(next.is_some_and(|e| e.file < range.end))
}

/// The last extent of the map.
pub fn last(m: &Mount, ctx: &ExtentCtx, fork: &Fork) -> Result<Option<DiskPiece>> {
    let last = last_le(m, ctx, fork, FileBlock(MAX_FILE_BLOCKS))?;
    Ok(last.map(|e| DiskPiece::of(&e)))
}

/// Moves extents that begin in `range` by `by` blocks: those of the first leaf of it
/// ([`Way::Down`]) or of the last one ([`Way::Up`]). No extent reaches into `range` from before it,
/// and where they go there is a hole. Returns what of `range` is left to do, empty at the end.
///
/// Needs [`shift_res`]. Owner's lock held exclusively to the commit. May sleep. EUCLEAN, and nothing
/// has changed, if there is no such hole.
pub fn shift_step(
    m: &Mount,
    txn: &mut Txn<'_>,
    ctx: &ExtentCtx,
    fork: &mut Fork,
    range: Range<FileBlock>,
    by: u64,
    way: Way,
) -> Result<Range<FileBlock>> {
    if !check_gap(m, ctx, fork, &range, by, way)? {
        return Ok(range.end..range.end);
    }
    if !check_format(ctx, fork)? {
        move_inline(txn, fork, &range, by, way)?;
        return Ok(range.end..range.end);
    }
    let keys = range.start.0..range.end.0;
    let left = tree(ctx).shift_leaf(m, txn, &fork.root, keys, by, way)?;
    Ok(match left {
        Some(keys) => FileBlock(keys.start)..FileBlock(keys.end),
        None => range.end..range.end,
    })
}

/// Whether there is anything to move; EUCLEAN if it cannot go where it should.
fn check_gap(
    m: &Mount,
    ctx: &ExtentCtx,
    fork: &Fork,
    range: &Range<FileBlock>,
    by: u64,
    way: Way,
) -> Result<bool> {
    let fits = match way {
        Way::Down => {
            let next = first_ge(m, ctx, fork, range.start)?;
            let Some(next) = next.filter(|e| e.file < range.end) else {
                return Ok(false);
            };
            let before = match next.file.checked_sub(1) {
                Some(file) => last_le(m, ctx, fork, file)?,
                None => None,
            };
            let end = before.map_or(FileBlock(0), |e| e.end());
            next.file.0.checked_sub(by).is_some_and(|to| to >= end.0)
        }
        Way::Up => {
            let before = match range.end.checked_sub(1) {
                Some(file) => last_le(m, ctx, fork, file)?,
                None => None,
            };
            let Some(before) = before.filter(|e| e.file >= range.start) else {
                return Ok(false);
            };
            let next = first_ge(m, ctx, fork, before.file.saturating_add(1))?;
            let limit = next.map_or(FileBlock(MAX_FILE_BLOCKS), |e| e.file);
            before
                .end()
                .0
                .checked_add(by)
                .is_some_and(|to| to <= limit.0)
        }
    };
    if fits {
        Ok(true)
    } else {
        Err(contradiction(ctx, range.start, "no room to move extents"))
    }
}

/// Moves the records of a fork without a tree: all at once.
fn move_inline(
    txn: &mut Txn<'_>,
    fork: &mut Fork,
    range: &Range<FileBlock>,
    by: u64,
    way: Way,
) -> Result {
    let count = slots::iter(fork).count();
    for n in 0..count {
        // In the order in which each has room for its step.
        let at = match way {
            Way::Down => n,
            Way::Up => count.saturating_sub(n.saturating_add(1)),
        };
        let Some(old) = slots::iter(fork).nth(at) else {
            break;
        };
        if !range.contains(&old.file) {
            continue;
        }
        let Some(file) = way.apply(old.file.0, by) else {
            break;
        };
        txn.touch();
        let moved = Extent {
            file: FileBlock(file),
            ..old
        };
        slots::replace(fork, at, &moved)?;
    }
    Ok(())
}

/// Makes `file` the beginning of an extent, if it is inside of one. Returns whether the map has
/// changed.
///
/// Needs what [`insert`](super::insert) needs.
pub fn split_at(
    m: &Mount,
    txn: &mut Txn<'_>,
    ctx: &ExtentCtx,
    fork: &mut Fork,
    file: FileBlock,
) -> Result<bool> {
    let old = last_le(m, ctx, fork, file)?.filter(|e| e.file < file && e.contains(file));
    let Some(old) = old else {
        return Ok(false);
    };
    let (left, right, _) = super::cut(&old, &(file..old.end()));
    if let Some(left) = left {
        set(m, txn, ctx, fork, old.file, &left)?;
        put(m, txn, ctx, fork, &right)?;
    }
    Ok(true)
}

/// Merges the extents that meet at `file` if one record can hold both. Returns whether the map has
/// changed.
///
/// Needs what [`insert`](super::insert) needs.
pub fn join_at(
    m: &Mount,
    txn: &mut Txn<'_>,
    ctx: &ExtentCtx,
    fork: &mut Fork,
    file: FileBlock,
) -> Result<bool> {
    let Some(before) = file.checked_sub(1) else {
        return Ok(false);
    };
    let left = last_le(m, ctx, fork, before)?;
    let right = first_ge(m, ctx, fork, file)?;
    let (Some(left), Some(right)) = (left, right) else {
        return Ok(false);
    };
    if right.file != file || !joins(m.geo(), &left, &right) {
        return Ok(false);
    }
    let whole = Extent {
        len: left.len.saturating_add(right.len),
        ..left
    };
    del(m, txn, ctx, fork, right.file)?;
    set(m, txn, ctx, fork, left.file, &whole)?;
    Ok(true)
}
