// SPDX-License-Identifier: GPL-2.0

//! Completion: data has reached the disk, or has not.
//!
//! One transaction sets the bits of the blocks, adds the extent record, and moves the size on disk;
//! before it nothing of the write was on disk but the data. It goes by file range and looks at what
//! the index has there now: several I/Os over one range, and an I/O over several ordered extents,
//! are the same to it (rules M14).
//!
//! A write that failed commits its blocks as unwritten: nothing is exposed, and data that was put in
//! the page cache over it meanwhile can still be written (rules M13). The errno goes to errseq by
//! the caller, nowhere else (M17).
//!
//! Runs in the worker of data completions: takes no folio, i_rwsem or invalidate lock, waits for no
//! other data I/O, allocates with `must_*`, and has its metadata blocks reserved (M18, M22).

use super::{blocks, byte, size};
use crate::{
    engine::{
        alloc::Reservation,
        btree::{INSERT_BUFS, REMOVE_BUFS, REMOVE_FREES},
        error::{Error, Result},
        extents::{disk, home, index::Cached, Extents, IndexStock, Piece, Prior, View},
        fork::{Fork, ForkFormat},
        inode::{Inode, InodeRef},
        mount::Mount,
        txn::{Txn, TxnRes},
    },
    format::{
        extent::{Extent, EXTENT_SIZE},
        units::{DiskBlock, FileBlock},
    },
    sys::{self, pr_err, relax, Arc, Errno, NofsScope},
};
use core::ops::Range;

/// Pieces that one transaction completes at most.
const PIECES: u32 = 8;

/// Whether a write has to come to [`ioend_complete`]: if its mapping was not written (`unwritten`,
/// iomap's `IOMAP_IOEND_UNWRITTEN`), or it ends, at byte `end`, beyond the size on disk or in its
/// last block. A pure overwrite in front of that ends with its bio (rules P1). Any context.
pub fn ioend_needs_completion(inode: &Inode, unwritten: bool, end: u64) -> bool {
    unwritten || end > byte(FileBlock::of_byte(inode.file.disk_size()))
}

/// Completes the write of bytes `pos .. pos + size` (iomap's `io_offset` and `io_size`, cut at the
/// size the file had at submission). Folio writeback of the range ends after this has returned, with
/// `error` or the errno of the result.
///
/// May sleep: waits for a transaction, reads metadata. ENOSPC never, unless the reservations are
/// wrong; EIO, EUCLEAN, EBADMSG: the data is not reachable, and its blocks are free again.
pub fn ioend_complete(
    m: &Arc<Mount>,
    inode: &InodeRef,
    pos: u64,
    size: u64,
    error: Option<Errno>,
) -> Result {
    let _nofs = NofsScope::enter();
    sys::sync_point!("ordered.before_finish", inode.ino.0);
    let range = blocks(pos, size.max(1));
    let done = Done {
        failed: error.is_some() && !sys::mutant!(OrderedError),
        start: range.start,
        end: pos.saturating_add(size),
    };
    let mut at = range.start;
    let mut guess = inode.file.likely_need();
    while at < range.end {
        match step(m, inode, at..range.end, &done, guess) {
            Ok(next) => {
                // Nothing happens only if the guess was wrong.
                guess = inode.file.likely_need().filter(|_| next > at);
                at = next;
            }
            // A guess may fail, and nothing has changed then; a plan is made with what is kept for it.
            Err(e) if guess.is_some() && (e.is(Errno::NOSPC) || e.is(Errno::NOMEM)) => guess = None,
            // Reading metadata outside of a transaction can fail for memory, and nothing has
            // changed then; there will be memory (rules M18).
            Err(e) if e.is(Errno::NOMEM) => relax(),
            Err(e) => {
                pr_err!(
                    "inode {}: write at block {} not recorded: {}\n",
                    inode.ino,
                    at,
                    e
                );
                m.note_error(&e, inode.ino.0, 0);
                abandon(m, inode, at..range.end, done.end);
                size::let_go(m, inode);
                return Err(e);
            }
        }
    }
    Ok(())
}

/// How the I/O ended.
struct Done {
    failed: bool,
    start: FileBlock,
    end: u64,
}

impl Done {
    /// All of it is recorded.
    fn tell(&self, extents: &mut Extents<'_>) {
        if self.failed {
            size::data_lost(extents, self.start, self.end);
        } else {
            size::data_done(extents, self.start, self.end);
        }
    }
}

/// What the transaction of the next step needs.
///
/// Made from a look at the map, or guessed ([`FileState::likely_need`]), which saves that look: many
/// completions of one file wait for each other's ILOCK. What was guessed is checked when the ILOCK
/// is held for the change.
///
/// [`FileState::likely_need`]: super::state::FileState::likely_need
struct Plan {
    res: TxnRes,
    goal: DiskBlock,
    blocks: Reservation,
}

/// Metadata blocks that one more change of the map in `fork` can allocate.
fn need(fork: &Fork) -> u32 {
    match fork.format {
        ForkFormat::InlineExtents if has_room(fork) => 0,
        // The first leaf; it has room.
        ForkFormat::InlineExtents => 1,
        // Two insertions that split every level and the root, the second one of a deeper tree.
        _ => 2 * (u32::from(fork.root.depth) + 2),
    }
}

/// Whether any change of the map stays inline.
fn has_room(fork: &Fork) -> bool {
    matches!(fork.format, ForkFormat::InlineExtents)
        && fork.inline.len() + 2 * EXTENT_SIZE <= usize::from(fork.limit)
}

/// The reservation of a step that needs these blocks.
fn reservation(need: u32) -> TxnRes {
    if need == 0 {
        return TxnRes::new(0, 0).frees(2 * PIECES).joins(1);
    }
    TxnRes::new(need, 2 * INSERT_BUFS + REMOVE_BUFS)
        .frees(REMOVE_FREES + 2 * PIECES)
        .joins(1)
}

/// Completes the first part of `range` in one transaction, or without one if nothing on disk
/// changes. Returns where the rest begins; that nothing was done if the map has changed since the
/// plan was made, or is not as guessed. With a guess ENOSPC and ENOMEM are possible, without a change.
fn step(
    m: &Arc<Mount>,
    inode: &InodeRef,
    range: Range<FileBlock>,
    done: &Done,
    guess: Option<u32>,
) -> Result<FileBlock> {
    let mut txn = if let Some(need) = guess {
        m.begin_near(reservation(need), home(m, inode))?
    } else {
        let Some(mut plan) = make_plan(m, inode, range.clone(), done)? else {
            return Ok(range.end);
        };
        m.begin_reserved(plan.res, plan.goal, &mut plan.blocks)?
    };
    let stock = inode.file.must_stock();
    let mut inner = inode.ilock.write();
    let mut extents = Extents::new(m, inode, &mut inner, stock);
    txn.join_inode(inode)?;

    let mut at = range.start;
    let mut pieces = 0;
    while at < range.end {
        let piece = extents.must_lookup(at)?.clip(at..range.end);
        if !changes_map(&piece, done) {
            settle_in_memory(&mut extents, &piece)?;
            at = piece.end();
            continue;
        }
        let fits = has_room(extents.fork());
        if pieces >= PIECES || (pieces > 0 && !fits) {
            break;
        }
        if pieces == 0 && txn.blocks_left() < need(extents.fork()) {
            // Begin again. What was settled in memory stays so, and is passed over then.
            inode.file.set_likely_need(need(extents.fork()));
            drop(extents);
            return Ok(range.start);
        }
        at = record(m, &mut txn, &mut extents, &piece, done)?;
        pieces += 1;
    }
    if at >= range.end {
        done.tell(&mut extents);
    }
    let size = size::settled(extents.inner(), inode);
    inode.file.set_likely_need(need(extents.fork()));
    extents.trim_meta();
    let core = &mut extents.inner().core;
    if pieces == 0 && size == core.disk_size {
        return Ok(at);
    }
    core.disk_size = size;
    core.bump();
    txn.log_inode(inode, extents.inner())?;
    txn.commit()?;
    inode.file.set_disk_size(size);
    Ok(at)
}

/// Decides whether a transaction is needed, and takes what it needs from the file's reservation.
fn make_plan(
    m: &Arc<Mount>,
    inode: &InodeRef,
    range: Range<FileBlock>,
    done: &Done,
) -> Result<Option<Plan>> {
    let stock = inode.file.must_stock();
    let mut inner = inode.ilock.write();
    let mut extents = Extents::new(m, inode, &mut inner, stock);
    let mut at = range.start;
    let mut first = None;
    while at < range.end {
        let piece = extents.must_lookup(at)?.clip(at..range.end);
        if changes_map(&piece, done) {
            first = Some(piece);
            break;
        }
        settle_in_memory(&mut extents, &piece)?;
        at = piece.end();
    }
    if first.is_none() {
        done.tell(&mut extents);
        let size = size::settled(extents.inner(), inode);
        extents.trim_meta();
        if size == extents.inner().core.disk_size {
            return Ok(None);
        }
    }
    let res = match first {
        Some(_) => reservation(need(extents.fork())),
        None => TxnRes::new(0, 0).joins(1),
    };
    Ok(Some(Plan {
        res,
        goal: extents.goal(range.start),
        blocks: extents.take_meta(u64::from(res.blocks)),
    }))
}

/// Whether completing the piece changes the map on disk.
fn changes_map(piece: &Piece, done: &Done) -> bool {
    match piece.view {
        View::InFlight { prior, .. } => prior == Prior::Hole || !done.failed,
        // A direct write that left them so; or a first I/O over these blocks failed, and this one
        // has not.
        View::Unwritten { .. } => !done.failed,
        // Truncated meanwhile; or another I/O over the same blocks has done it.
        View::Hole | View::Delayed | View::Written { .. } => false,
    }
}

/// A failed write over an unwritten extent: the disk has what it had.
fn settle_in_memory(extents: &mut Extents<'_>, piece: &Piece) -> Result {
    match piece.view {
        View::InFlight {
            at,
            prior: Prior::Unwritten,
            ..
        } => extents.settle(piece, Cached::Unwritten(at), false),
        _ => Ok(()),
    }
}

/// Records one piece, or its first part, in the map on disk and in the index. Returns where it
/// ends. An error before the first change of the transaction leaves it clean; later ones shut the
/// file system down, which inline maps cannot meet.
fn record(
    m: &Mount,
    txn: &mut Txn<'_>,
    extents: &mut Extents<'_>,
    piece: &Piece,
    done: &Done,
) -> Result<FileBlock> {
    let range = piece.file..piece.end();
    match piece.view {
        View::InFlight {
            at,
            prior: Prior::Hole,
            ..
        } => {
            let claim = extents
                .take_blocks(piece)
                .ok_or_else(|| Error::new(Errno::UCLEAN))?;
            let len = claim.len();
            let unwritten = done.failed;
            let extent = Extent {
                file: piece.file,
                disk: at,
                len,
                unwritten,
            };
            txn.use_claim(claim)?;
            let (ctx, fork) = extents.split();
            disk::insert(m, txn, &ctx, fork, extent)?;
            let part = piece.clip(range.start..range.start.saturating_add(u64::from(len)));
            let what = if unwritten {
                Cached::Unwritten(at)
            } else {
                Cached::Written(at)
            };
            extents.settle(&part, what, !unwritten)?;
            Ok(part.end())
        }
        View::InFlight { at, .. } | View::Unwritten { at, .. } => {
            // One record on disk at a time: what is one piece here may be several there.
            let (ctx, fork) = extents.split();
            let end = disk::set_written(m, txn, &ctx, fork, range.clone())?;
            let part = piece.clip(range.start..end);
            extents.settle(&part, Cached::Written(at), true)?;
            Ok(part.end())
        }
        View::Hole | View::Delayed | View::Written { .. } => Ok(range.end),
    }
}

/// The completion failed: nothing of `range` stays in flight. Blocks that no record has are given
/// back, the data is lost, and the caller reports it.
fn abandon(m: &Arc<Mount>, inode: &Inode, range: Range<FileBlock>, end: u64) {
    let first = range.start;
    let mut inner = inode.ilock.write();
    let mut extents = Extents::new(m, inode, &mut inner, IndexStock::none());
    let mut at = range.start;
    while at < range.end {
        let Some(piece) = extents.known(at) else {
            break;
        };
        let piece = piece.clip(at..range.end);
        let result = match piece.view {
            View::InFlight {
                at,
                prior: Prior::Unwritten,
                ..
            } => extents.settle(&piece, Cached::Unwritten(at), false),
            View::InFlight { .. } => {
                while let Some(claim) = extents.take_blocks(&piece) {
                    drop(claim);
                }
                extents.forget(&piece)
            }
            _ => Ok(()),
        };
        if let Err(e) = result {
            pr_err!("inode {}: {} not given up: {}\n", inode.ino, at, e);
            break;
        }
        at = piece.end();
    }
    size::data_lost(&mut extents, first, end);
    extents.trim_meta();
}
