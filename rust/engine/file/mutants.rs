// SPDX-License-Identifier: GPL-2.0

//! The data path without its protections, and what is looked at when a file is forgotten.
//!
//! Only in builds with `--cfg latchfs_races`.

use super::size;
use crate::{
    engine::{
        error::{Error, Result},
        extents::{disk, index::Cached, Extents, IndexStock, Piece, View},
        inode::{self, Inode, InodeInner},
        mount::Mount,
        txn::TxnRes,
    },
    format::{extent::Extent, units::FileBlock},
    sys::{self, relax, Arc, Errno, NofsScope},
};
use core::ops::Range;

/// Seed 003: looks, lets go of the ILOCK, takes it again, and acts on what it has seen. Otherwise
/// what [`map_for_write`](super::write) does.
pub(super) fn map_unchecked(
    m: &Arc<Mount>,
    inode: &Inode,
    range: Range<FileBlock>,
) -> Result<(Piece, u64, bool)> {
    let _nofs = NofsScope::enter();
    let seen = {
        let mut inner = inode.ilock.write();
        let mut extents = Extents::new(m, inode, &mut inner, IndexStock::none());
        extents.lookup(range.start)?.clip(range.clone())
    };
    sys::sync_point!("da.after_lookup", inode.ino.0);
    let mut inner = inode.ilock.write();
    let mut extents = Extents::new(m, inode, &mut inner, IndexStock::none());
    let (piece, new) = match seen.view {
        View::Hole => (extents.overwrite_delayed(seen.file..seen.end())?, true),
        _ => (extents.promise(&seen, range, false)?, false),
    };
    if new {
        size::held(inode, extents.inner(), piece.file..piece.end());
    }
    Ok((piece, extents.seq(), new))
}

/// Seed 001: the blocks of a direct write are mapped, for the log too, before there is an ordered
/// extent that says that their data is still to come.
pub(super) fn mapping_first(m: &Arc<Mount>, inode: &Inode, range: Range<FileBlock>) -> Result {
    let inode = inode::iget(m, inode.ino)?;
    let (changes, goal, seen) = {
        let mut inner = inode.ilock.write();
        let mut extents = Extents::new(m, &inode, &mut inner, IndexStock::none());
        let seen = extents.lookup(range.start)?.clip(range);
        let changes = disk::changes(extents.fork(), 1, 1);
        (changes, extents.goal(seen.file), seen)
    };
    let len = u32::try_from(seen.len).unwrap_or(u32::MAX);
    let claim = match seen.view {
        View::Hole => Some(m.claim(goal, len, 1)?),
        View::Unwritten { .. } => None,
        _ => return Ok(()),
    };
    let res = changes.res.and(TxnRes::new(0, 0).frees(2)).joins(1);
    let mut txn = m.begin_near(res, goal)?;
    let mut inner = inode.ilock.write();
    let mut extents = Extents::new(m, &inode, &mut inner, IndexStock::none());
    txn.join_inode(&inode)?;
    let piece = extents.lookup(seen.file)?.clip(seen.file..seen.end());
    let (part, at) = match (piece.view, claim) {
        (View::Hole, Some(claim)) => {
            let at = claim.range().start;
            let end = piece.file.saturating_add(u64::from(claim.len()));
            let part = piece.clip(piece.file..end);
            let extent = Extent {
                file: part.file,
                disk: at,
                len: claim.len(),
                unwritten: false,
            };
            txn.use_claim(claim)?;
            let (ctx, fork) = extents.split();
            disk::insert(m, &mut txn, &ctx, fork, extent)?;
            (part, at)
        }
        (View::Unwritten { at, .. }, None) => {
            let (ctx, fork) = extents.split();
            let end = disk::set_written(m, &mut txn, &ctx, fork, piece.file..piece.end())?;
            (piece.clip(piece.file..end), at)
        }
        _ => return Err(Error::new(Errno::AGAIN)),
    };
    extents.settle(&part, Cached::Written(at), true)?;
    txn.log_inode(&inode, extents.inner())?;
    txn.commit()?;
    drop(extents);
    drop(inner);
    sys::sync_point!("dio.pair.between", inode.ino.0);
    Ok(())
}

/// fsync waits until no direct write of anybody is in flight.
pub(super) fn wait_for_direct(inode: &Inode) {
    let in_flight = || {
        let inner = inode.ilock.read();
        let direct = inner.index.pieces().any(|piece| {
            matches!(
                piece.view,
                View::InFlight {
                    buffered: false,
                    ..
                }
            )
        });
        direct
    };
    while in_flight() {
        sys::sync_point!("fsync.waits", inode.ino.0);
        relax();
    }
}

/// The observables of a file whose last user has gone, and whose page cache with him: nothing is
/// delayed (O3, O4) or in flight (O5), and what the index says of space is what it has (D1). After a
/// shutdown, or without a name, data need not have gone anywhere.
pub(super) fn observe_eviction(m: &Mount, inode: &Inode, inner: &InodeInner) {
    let counts = inner.index.counts();
    if counts.in_flight != 0 || counts.converting != 0 {
        sys::damage!(InFlightLeft, inode.ino.0);
    }
    if counts.delayed != 0 && inner.core.nlink != 0 && !m.is_shutdown() {
        sys::damage!(DelayedLeft, inode.ino.0);
    }
    if !inner.index.is_sound() {
        sys::damage!(IndexLies, inode.ino.0);
    }
}
