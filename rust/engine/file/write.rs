// SPDX-License-Identifier: GPL-2.0

//! Into the page cache: write(2), page faults, and the undo of short writes.

#[cfg(latchfs_races)]
use super::mutants;
use super::{
    block_end, blocks,
    bmap::{check_range, is_dirty},
    byte, size, Bmap,
};
use crate::{
    engine::{
        error::{Error, Result},
        extents::{Claimed, Extents, IndexStock, Piece, View},
        inode::{Inode, InodeInner, InodeRef},
        mount::Mount,
    },
    format::{limits::MAX_FILE_BLOCKS, units::FileBlock},
    sys::{
        self, pr_err,
        witness::{CleanRange, InvalidateExcl, LockedFolio},
        Arc, Errno, NofsScope,
    },
};
use core::ops::Range;

/// Blocks that one call makes delayed at most (16 MiB): more would be reserved long before it is
/// written.
const MOST: u64 = 4096;

/// What of `piece`, if anything, data can go into the page cache over as it is, from block `at` of it
/// on. Data from block `behind` on is appended to the file.
fn ready(piece: Piece, at: FileBlock, behind: FileBlock) -> Option<Piece> {
    match piece.view {
        View::Hole
        | View::Unwritten {
            promised: false, ..
        } => None,
        View::Unwritten {
            appended: false, ..
        } if piece.end() > behind => (at < behind).then(|| piece.clip(piece.file..behind)),
        View::Delayed | View::Unwritten { .. } | View::Written { .. } | View::InFlight { .. } => {
            Some(piece)
        }
    }
}

/// Makes the start of `range` writable. Returns the piece, and whether it is new.
fn prepare(
    extents: &mut Extents<'_>,
    range: Range<FileBlock>,
    behind: FileBlock,
) -> Result<(Piece, bool)> {
    let at = range.start;
    let piece = match extents.claim_hole(range.clone())? {
        Claimed::Hole(hole) => return Ok((hole.fill_delayed()?, true)),
        Claimed::Mapped(piece) => piece,
    };
    if let Some(piece) = ready(piece, at, behind) {
        return Ok((piece, false));
    }
    let appended = at >= behind;
    let end = if appended {
        range.end
    } else {
        range.end.min(behind)
    };
    let piece = extents.promise(&piece, at..end, appended)?;
    let piece = ready(piece, at, behind).ok_or_else(|| Error::new(Errno::UCLEAN))?;
    Ok((piece, false))
}

/// The piece at the start of `range` and the cookie, made writable if it is not. What is written from
/// block `behind` on is appended to the file.
fn map_for_write(
    m: &Arc<Mount>,
    inode: &Inode,
    range: Range<FileBlock>,
    behind: FileBlock,
    nowait: bool,
) -> Result<(Piece, u64, bool)> {
    let again = || Error::new(Errno::AGAIN);
    let known = |inner: &InodeInner| {
        let piece = inner.index.lookup(range.start)?;
        let piece = ready(piece, range.start, behind)?;
        Some((piece, inode.file.seq(), false))
    };
    {
        let inner = if nowait {
            inode.ilock.try_read().ok_or_else(again)?
        } else {
            inode.ilock.read()
        };
        if let Some(found) = known(&inner) {
            inode.file.reference();
            return Ok(found);
        }
    }
    sys::mutant!(Seed003 => return mutants::map_unchecked(m, inode, range));
    sys::sync_point!("da.after_lookup", inode.ino.0);

    // Memory for the index comes before the lock.
    let stock = inode.file.stock()?;
    // Reclaim takes the ILOCKs of inodes it evicts.
    let _nofs = NofsScope::enter();
    let mut inner = if nowait {
        inode.ilock.try_write().ok_or_else(again)?
    } else {
        inode.ilock.write()
    };
    if nowait && inner.index.lookup(range.start).is_none() {
        // The map on disk would have to be read.
        return Err(again());
    }
    if inner.core.nlink == 0 && inner.core.mode == 0 {
        return Err(Error::new(Errno::STALE));
    }
    let mut extents = Extents::new(m, inode, &mut inner, stock);
    let (piece, new) = prepare(&mut extents, range, behind)?;
    if new || matches!(piece.view, View::Unwritten { appended: true, .. }) {
        size::held(inode, extents.inner(), piece.file..piece.end());
    }
    Ok((piece, extents.seq(), new))
}

/// Mapping for a buffered write (`IOMAP_WRITE`): what is there, or a Delayed extent with its space
/// reserved, which then is `new`. Never a hole. The mapping may be shorter than asked for; one that
/// is longer is cut by iomap.
///
/// The caller holds i_rwsem exclusively and no other lock, has asked [`must_prepare_to_grow`], and calls [`write_end`] afterwards in any
/// case. May sleep, for I/O too. ENOSPC: no space even for one block ([`make_space`] and another
/// try may help); EROFS, EIO, EUCLEAN, ENOMEM, EFBIG; EAGAIN if `nowait` and it would have slept.
///
/// [`make_space`]: super::make_space
/// [`must_prepare_to_grow`]: super::must_prepare_to_grow
pub fn write_begin(
    m: &Arc<Mount>,
    inode: &Inode,
    pos: u64,
    len: u64,
    nowait: bool,
) -> Result<Bmap> {
    m.check_writable()?;
    check_range(pos, len)?;
    if super::must_prepare_to_grow(inode, pos.saturating_add(len)) {
        // The size on disk would not wait for what is over blocks that a crash has left there.
        return Err(Error::new(Errno::INVAL));
    }
    let range = blocks(pos, len.max(1));
    let range = range.start..range.end.min(range.start.saturating_add(MOST));
    // What is in front of the block that the file ends inside of is a mapping of its own: the write
    // may fail in it, and then nothing has been appended.
    let tail = size::tail_on_the_way(inode, pos, len).filter(|tail| range.start < *tail);
    let range = range.start..tail.map_or(range.end, |tail| range.end.min(tail));
    let appends = size::appends(inode, pos, len);
    if let Some(short) = appends {
        // Reclaim takes the ILOCKs of inodes it evicts.
        let _nofs = NofsScope::enter();
        let inner = if nowait {
            inode.ilock.try_write()
        } else {
            Some(inode.ilock.write())
        };
        let mut inner = inner.ok_or_else(|| Error::new(Errno::AGAIN))?;
        inner.index.append_to(short);
    }
    let behind = block_end(inode.file.i_size());
    let mapped = map_for_write(m, inode, range, behind, nowait);
    if appends.is_some() && mapped.is_err() {
        not_appended(m, inode);
    }
    let (piece, seq, new) = mapped?;
    let piece = tail.map_or(piece, |tail| piece.clip(piece.file..tail));
    let mut map = Bmap::of(&piece, seq, is_dirty(m, inode, pos.saturating_add(len)));
    map.new = new;
    sys::sync_point!("write.after_begin", inode.ino.0);
    Ok(map)
}

/// A write that was to make the file longer did not, or not so much. What waits for data behind the
/// end of the file waits for nothing: i_rwsem is held exclusively.
fn not_appended(m: &Arc<Mount>, inode: &Inode) {
    let size = inode.file.i_size();
    // Reclaim takes the ILOCKs of inodes it evicts.
    let _nofs = NofsScope::enter();
    let mut inner = inode.ilock.write();
    let mut extents = Extents::new(m, inode, &mut inner, IndexStock::none());
    extents.inner().index.appended(size);
    let behind = block_end(size)..FileBlock(MAX_FILE_BLOCKS);
    if let Err(e) = extents.not_appended(behind) {
        pr_err!("inode {}: short write not undone: {}\n", inode.ino, e);
    }
}

/// The end of a buffered write of which `written` bytes from `pos` came into the page cache. `new`
/// is what [`write_begin`] said. If it made more than was used, returns the range (from, to) whose
/// Delayed extent has to go: the caller takes the invalidate lock exclusively and has the page cache
/// scanned for what is not dirty there (`iomap_write_delalloc_release`), which ends in
/// [`punch_delayed`]. The size was told by `set_isize` before. May sleep for the ILOCK.
pub fn write_end(
    m: &Arc<Mount>,
    inode: &Inode,
    pos: u64,
    len: u64,
    written: u64,
    new: bool,
) -> Option<(u64, u64)> {
    if written < len && pos.saturating_add(len) > inode.file.i_size() {
        not_appended(m, inode);
    }
    if !new || written >= len {
        return None;
    }
    // iomap_last_written_block: a block that was written in part stays.
    let from = if written == 0 {
        byte(FileBlock::of_byte(pos))
    } else {
        byte(blocks(pos, written).end)
    };
    let to = byte(blocks(pos, len).end);
    (from < to).then_some((from, to))
}

/// Takes Delayed extents away that a short write left without data: of clean ranges only, under the
/// exclusive invalidate lock, so that no fault can be between its mapping and its dirty folio (seed
/// 004). Everything else in the range stays. Called with a folio locked or not. May sleep: a
/// transaction, if the size on disk had to wait for them.
pub fn punch_delayed(
    m: &Arc<Mount>,
    inode: &InodeRef,
    lock: &InvalidateExcl<'_>,
    clean: &CleanRange<'_>,
) {
    if lock.ino() != inode.ino.0 || clean.ino() != inode.ino.0 || clean.start() >= clean.end() {
        pr_err!(
            "inode {}: short write undone with a lock of another\n",
            inode.ino
        );
        return;
    }
    // iomap says that what is behind the end of the file is clean, also in the middle of a block; the
    // beginning of that block may be dirty (XFS rounds in the same way: `xfs_bmap_punch_delalloc_range`).
    let range = block_end(clean.start())..block_end(clean.end());
    sys::sync_point!("wend.before_punch", inode.ino.0);
    {
        // Reclaim takes the ILOCKs of inodes it evicts.
        let _nofs = NofsScope::enter();
        let mut inner = inode.ilock.write();
        let mut extents = Extents::new(m, inode, &mut inner, IndexStock::none());
        match extents.remove_delayed(range) {
            Ok(0) => return,
            Ok(_) => {}
            Err(e) => pr_err!("inode {}: short write not undone: {}\n", inode.ino, e),
        }
    }
    size::let_go(m, inode);
}

/// Mapping for a write fault (`IOMAP_WRITE | IOMAP_FAULT`). As [`write_begin`], but nothing is `new`:
/// a fault has nothing to undo. The folio stays locked until it is dirty, so the mapping cannot
/// change in between. The caller holds the invalidate lock shared and the folio; it must not wait
/// for space here (the fault fails with ENOSPC).
pub fn mkwrite_begin(
    m: &Arc<Mount>,
    inode: &Inode,
    folio: &LockedFolio<'_>,
    pos: u64,
    len: u64,
) -> Result<Bmap> {
    m.check_writable()?;
    check_range(pos, len)?;
    if folio.ino() != inode.ino.0 || !folio.covers(pos, len) {
        return Err(Error::new(Errno::INVAL));
    }
    // Nothing is appended by a store.
    let behind = FileBlock(MAX_FILE_BLOCKS);
    let range = blocks(pos, len.max(1));
    let (piece, seq, _) = map_for_write(m, inode, range, behind, false)?;
    Ok(Bmap::of(
        &piece,
        seq,
        is_dirty(m, inode, pos.saturating_add(len)),
    ))
}
