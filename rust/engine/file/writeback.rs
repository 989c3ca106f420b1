// SPDX-License-Identifier: GPL-2.0

//! Out of the page cache: where dirty ranges go.
//!
//! All of this runs with a folio locked and its writeback bit set, so it waits for nothing that
//! needs a folio: neither for ordered extents nor for the completion of other data. It allocates with
//! `must_*` only: an error here drops data.

use super::{blocks, complete, size, Bmap, BmapKind};
use crate::{
    engine::{
        error::{Error, Result},
        extents::{ordered::OpenOrdered, Extents, IndexStock, Piece, View},
        inode::{Inode, InodeRef},
        mount::Mount,
    },
    format::units::FileBlock,
    sys::{self, pr_err, relax, witness::LockedFolio, Arc, Errno, NofsScope},
};
use core::ops::Range;

/// Checkpoints made for blocks before a range is given up. Others may be faster each time, and what
/// is given up is data.
const TRIES: u32 = 64;

/// What one run of writeback over a file keeps between its calls: beside iomap's
/// `iomap_writepage_ctx`.
#[derive(Default)]
pub struct WbCtx {
    /// The mapping of the last call, if it needs no ordered extent: for the next call, while its
    /// cookie holds.
    last: Option<Bmap>,
    open: OpenOrdered,
    /// What was put in flight since the last submission.
    #[cfg(latchfs_races)]
    early: Option<Range<FileBlock>>,
}

/// Decides where bytes `pos .. pos + len` of the locked folio go, or the first part of them, and
/// returns that as the mapping for `iomap_add_to_ioend`. A part that has no blocks yet is in flight
/// afterwards, exactly that part, and must reach an ioend or [`writeback_undo`] (rules M11).
///
/// Blocks that are there already, below the size on disk, cost a lookup and nothing else. A hole
/// under a dirty range is no error: the end of a large folio behind the end of the file is one.
///
/// May sleep for I/O and checkpoints. EIO, EUCLEAN, EBADMSG: the caller drops the rest of the folio's
/// data with [`writeback_discard`].
pub fn writeback_range(
    m: &Arc<Mount>,
    inode: &Inode,
    wb: &mut WbCtx,
    folio: &LockedFolio<'_>,
    pos: u64,
    len: u64,
) -> Result<Bmap> {
    if folio.ino() != inode.ino.0 || !folio.covers(pos, len) || len == 0 {
        return Err(Error::new(Errno::INVAL));
    }
    sys::fail_point!("wb.range", inode.ino.0)?;
    if let Some(map) = wb.last {
        let inside = pos >= map.offset && pos < map.offset.saturating_add(map.len);
        if inside && (map.seq == inode.file.seq() || sys::mutant!(Seed004Valid)) {
            return Ok(map);
        }
    }
    m.check_writable()?;
    let _nofs = NofsScope::enter();
    let range = blocks(pos, len);
    {
        // Pure overwrite: shared, and nothing is changed (rules P1).
        let inner = inode.ilock.read();
        if let Some(piece) = inner.index.lookup(range.start) {
            if let View::Written { .. } = piece.view {
                let map = Bmap::of(&piece, inode.file.seq(), false);
                wb.last = Some(map);
                return Ok(map);
            }
        }
    }
    sys::sync_point!("wb.after_lookup", inode.ino.0);
    let mut tries = 0;
    while tries < TRIES {
        match convert(m, inode, wb, range.clone()) {
            // Reading metadata can fail for memory; there will be memory (rules M18).
            Err(e) if e.is(Errno::NOMEM) => {
                relax();
                continue;
            }
            // All that is promised but not in use is busy: a checkpoint makes it usable. It needs
            // no folio and no data I/O.
            Err(e) if e.is(Errno::AGAIN) => tries += m.release_busy()?,
            other => return other,
        }
    }
    let e = Error::new(Errno::NOSPC);
    pr_err!(
        "inode {}: reserved blocks are not to be had: {}\n",
        inode.ino,
        e
    );
    m.note_error(&e, inode.ino.0, 0);
    Err(e)
}

fn convert(m: &Arc<Mount>, inode: &Inode, wb: &mut WbCtx, range: Range<FileBlock>) -> Result<Bmap> {
    let stock = inode.file.must_stock();
    let mut inner = inode.ilock.write();
    let mut extents = Extents::new(m, inode, &mut inner, stock);
    let piece = extents.must_lookup(range.start)?;
    let piece: Piece = match piece.view {
        View::Delayed => {
            extents.claim_ahead(range.start)?;
            extents.begin_ordered(range, &mut wb.open)?
        }
        View::Unwritten { .. } => extents.begin_conversion(range, &mut wb.open)?,
        // In flight already: another I/O over the same blocks, completed by range as well. It does
        // not wait for the first one.
        View::InFlight { .. } | View::Hole => piece.clip(range),
        View::Written { .. } => piece,
    };
    #[cfg(latchfs_races)]
    if let View::InFlight { .. } = piece.view {
        let start = wb.early.as_ref().map_or(piece.file, |e| e.start);
        wb.early = Some(start.min(piece.file)..piece.end());
    }
    let map = Bmap::of(&piece, extents.seq(), false);
    wb.last = (map.kind == BmapKind::Mapped).then_some(map);
    Ok(map)
}

/// The ioend that was being filled is submitted: the next range starts another ordered extent.
/// From `->writeback_submit`. Does not wait.
pub fn writeback_submit(m: &Arc<Mount>, inode: &InodeRef, wb: &mut WbCtx) {
    wb.open.close();
    let _ = (m, inode);
    #[cfg(latchfs_races)]
    if let Some(blocks) = wb.early.take().filter(|_| sys::mutant!(OrderedEarly)) {
        let (from, to) = (super::byte(blocks.start), super::byte(blocks.end));
        let end = to.min(inode.file.i_size()).max(from);
        let _ = complete::ioend_complete(m, inode, from, end.saturating_sub(from), None);
    }
}

/// What [`writeback_range`] returned for this range did not get into an ioend: completes it as a
/// failed write, so that nothing stays in flight without I/O. The folio is locked, no ioend is left
/// unsubmitted. May sleep.
pub fn writeback_undo(
    m: &Arc<Mount>,
    inode: &InodeRef,
    folio: &LockedFolio<'_>,
    pos: u64,
    len: u64,
) {
    if folio.ino() != inode.ino.0 || !folio.covers(pos, len) {
        pr_err!("inode {}: writeback undone with another folio\n", inode.ino);
        return;
    }
    if let Err(e) = complete::ioend_complete(m, inode, pos, len, Some(Errno::IO)) {
        pr_err!("inode {}: writeback not undone: {}\n", inode.ino, e);
    }
}

/// Writeback of the folio fails from `pos` on, and iomap drops its dirty data: drops the Delayed
/// extents under it, which nobody would ever write, and does not wait for it any more. Safe with the
/// folio lock alone: who dirties the folio again maps under its lock, or checks the cookie under it. May
/// sleep: a transaction, if the size on disk had to wait for the data.
pub fn writeback_discard(m: &Arc<Mount>, inode: &InodeRef, folio: &LockedFolio<'_>, pos: u64) {
    sys::mutant!(Seed004Discard => return);
    let pos = pos.max(folio.pos());
    if folio.ino() != inode.ino.0 || pos >= folio.end() {
        return;
    }
    {
        let _nofs = NofsScope::enter();
        let range = blocks(pos, folio.end().saturating_sub(pos));
        let mut inner = inode.ilock.write();
        let mut extents = Extents::new(m, inode, &mut inner, IndexStock::none());
        match extents.remove_delayed(range.clone()) {
            Ok(0) => {}
            Ok(n) => pr_err!("inode {}: {} dirty blocks at {} lost\n", inode.ino, n, pos),
            Err(e) => pr_err!("inode {}: delayed blocks not dropped: {}\n", inode.ino, e),
        }
        if let Err(e) = extents.not_appended(range.clone()) {
            pr_err!("inode {}: lost data is waited for: {}\n", inode.ino, e);
        }
        size::data_lost(&mut extents, range.start, folio.end());
        // Somebody may be about to write here who has said so already.
        extents.revoke();
    }
    size::let_go(m, inode);
}
