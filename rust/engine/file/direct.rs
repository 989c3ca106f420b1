// SPDX-License-Identifier: GPL-2.0

//! Direct writes.
//!
//! ```text
//! direct_write_begin    what there is becomes InFlight, nothing on disk changes
//!        |              (over written blocks, and whole unwritten ones in front of the size on
//!        |              disk: nothing at all changes)
//! iomap submits
//!        |
//! direct_write_end      what was begun and not submitted becomes unwritten
//!        |
//! direct_write_complete the same ONE transaction as for writeback: bits, record, size
//! ```
//!
//! Until the completion everybody sees unwritten blocks, so no byte of the device that the write
//! did not put there can be read at any moment; and the log knows nothing of the write, so an fsync
//! of somebody else neither waits for it (rules M16) nor makes it half true (seed 001). A write that
//! fails commits its blocks as unwritten (rules M13): a page may have been dirtied over them.
//!
//! # Locks
//!
//! The caller holds i_rwsem from before [`direct_write_begin`] to behind the submission: shared for
//! aligned writes inside of the file, else exclusively. Who removes extents takes it exclusively and
//! then waits for direct I/O (`inode_dio_wait`), which ends behind the completion. iomap calls these
//! functions without a folio lock, so all of them may begin transactions, and wait for checkpoints.
//!
//! Compare `xfs_direct_write_iomap_begin`, `xfs_dio_write_end_io`; `btrfs_get_blocks_direct_write`.

use super::{
    block_end, blocks,
    bmap::{check_range, is_dirty, BmapKind},
    byte,
    complete::ioend_complete,
    Bmap, BLOCK,
};
use crate::{
    engine::{
        error::{Error, Result},
        extents::{Claimed, Extents, Piece, View},
        inode::{Inode, InodeRef},
        mount::Mount,
    },
    format::units::FileBlock,
    sys::{self, pr_err, witness::IolockExcl, Arc, Errno, NofsScope},
};
use core::ops::Range;

/// `-ENOTBLK`: "do the rest of this direct write through the page cache", in iomap's language.
pub const NOTBLK: Errno = Errno::from_raw(15);

/// Blocks that one call begins at most (16 MiB): a call is one transaction's worth of pieces.
const MOST: u64 = 4096;

/// Checkpoints made for blocks before the write is handed to the page cache.
const TRIES: u32 = 4;

/// With so many blocks to be had (4 MiB), a conversion asks for its metadata blocks when it
/// completes: a few, and behind them is the hidden pool.
pub const CONVERSION_MARGIN: u64 = 1024;

/// What the caller of a direct write can put up with.
#[derive(Clone, Copy, Debug, Default)]
pub struct DirectHow {
    /// `IOMAP_NOWAIT`: EAGAIN rather than sleep, read metadata, or allocate.
    pub nowait: bool,
    /// `IOMAP_OVERWRITE_ONLY`: EAGAIN unless all of it is written already.
    pub overwrite_only: bool,
}

/// What a look at the mapping came to.
enum Found {
    /// The piece, the cookie that goes with it, and whether this call has begun it.
    Piece(Piece, u64, bool),
    /// Not this way.
    Refused(Errno),
}

/// Mapping for a direct write of `pos .. pos + len` (`IOMAP_DIRECT | IOMAP_WRITE`): written blocks
/// as they are, and unwritten ones if nothing has to be kept for their conversion; anything else is in
/// flight afterwards, exactly the part that is returned, unwritten to everybody (also to iomap, which
/// zeroes what a block gets no bytes of) and `new` if this call began it. May be shorter than asked
/// for. Never a hole, never Delayed (rules M12).
///
/// The caller has written and dropped the page cache of the range, and calls [`direct_write_end`]
/// in any case. A part of a block that is not written already takes i_rwsem exclusively, with no
/// direct I/O in flight: two writes that both zero the rest of a block would erase each other.
///
/// May sleep, for I/O and checkpoints too, with `how.nowait` it does not. Errors: EAGAIN by `how`;
/// [`NOTBLK`] for everything that the page cache does better: no space (which write(2) can make,
/// [`make_space`]), a part of a block that is being written or without the lock; EROFS, EIO,
/// EUCLEAN, EBADMSG, ENOMEM, EFBIG, ESTALE.
///
/// [`make_space`]: super::make_space
pub fn direct_write_begin(
    m: &Arc<Mount>,
    inode: &Inode,
    iolock: Option<&IolockExcl<'_>>,
    pos: u64,
    len: u64,
    how: DirectHow,
) -> Result<Bmap> {
    m.check_writable()?;
    check_range(pos, len)?;
    if iolock.is_some_and(|lock| lock.ino() != inode.ino.0) {
        return Err(Error::new(Errno::INVAL));
    }
    let range = blocks(pos, len.max(1));
    sys::mutant!(Seed001 => super::mutants::mapping_first(m, inode, range.clone())?);
    let bytes = pos..pos.saturating_add(len);
    let found = match in_place(m, inode, &range, &bytes, how) {
        Some(found) => found,
        None => allocate(m, inode, range, bytes, iolock.is_some(), how)?,
    };
    match found {
        Found::Piece(piece, seq, new) => {
            let mut map = Bmap::of(&piece, seq, is_dirty(m, inode, pos.saturating_add(len)));
            map.new = new;
            if map.kind == BmapKind::Unwritten {
                sys::sync_point!("dio.after_publish", inode.ino.0);
            }
            Ok(map)
        }
        Found::Refused(errno) => Err(Error::new(errno)),
    }
}

/// A write that changes nothing before it completes: shared (rules P1). `None`: it is something else,
/// or will be, for the last write was: one look under the lock that is needed then is enough.
fn in_place(
    m: &Mount,
    inode: &Inode,
    range: &Range<FileBlock>,
    bytes: &Range<u64>,
    how: DirectHow,
) -> Option<Found> {
    if !how.nowait && inode.file.is_converting() {
        return None;
    }
    let inner = if how.nowait {
        match inode.ilock.try_read() {
            Some(inner) => inner,
            None => return Some(Found::Refused(Errno::AGAIN)),
        }
    } else {
        inode.ilock.read()
    };
    let seq = inode.file.seq();
    match inner.index.lookup(range.start) {
        Some(piece) if stays(m, inode, &piece, bytes, how) => {
            Some(spanning(piece, seq, range, how))
        }
        _ if how.nowait => Some(Found::Refused(Errno::AGAIN)),
        _ => None,
    }
}

/// Whether a write to the piece leaves the index as it is until it completes: an overwrite does, and
/// where the piece is unwritten the completion finds it so if what else an entry in flight would say
/// is not needed. The size on disk is behind
/// all of it; no block is zeroed in part, so a second write to the same blocks needs no order; and
/// there is space for the map.
///
/// Compare XFS, which converts what it finds when the write has ended.
fn stays(m: &Mount, inode: &Inode, piece: &Piece, bytes: &Range<u64>, how: DirectHow) -> bool {
    match piece.view {
        View::Written { .. } => true,
        View::Unwritten {
            appended: false, ..
        } => {
            !how.overwrite_only
                && (bytes.start | bytes.end).is_multiple_of(BLOCK)
                && bytes.end <= inode.file.disk_size()
                && m.alloc().available() >= CONVERSION_MARGIN
        }
        _ => false,
    }
}

/// A write to `range` that begins with `piece`, which stays as it is. Who cannot wait or allocate
/// gets all of the range in one mapping or nothing: a write that stops in its middle is worse than
/// one that is tried again.
fn spanning(piece: Piece, seq: u64, range: &Range<FileBlock>, how: DirectHow) -> Found {
    if (how.nowait || how.overwrite_only) && piece.end() < range.end {
        return Found::Refused(Errno::AGAIN);
    }
    Found::Piece(piece, seq, false)
}

/// [`begin`], with checkpoints where blocks are busy.
fn allocate(
    m: &Arc<Mount>,
    inode: &Inode,
    range: Range<FileBlock>,
    bytes: Range<u64>,
    zeroes: bool,
    how: DirectHow,
) -> Result<Found> {
    let mut tries = 0;
    while tries < TRIES {
        match begin(m, inode, range.clone(), bytes.clone(), zeroes, how) {
            // All that is promised but not in use is busy: a checkpoint makes it usable.
            Err(e) if e.is(Errno::AGAIN) => tries += m.release_busy()?,
            Err(e) if e.is(Errno::NOSPC) => break,
            other => return other,
        }
    }
    Ok(Found::Refused(NOTBLK))
}

/// Decides and acts under the ILOCK.
fn begin(
    m: &Arc<Mount>,
    inode: &Inode,
    range: Range<FileBlock>,
    bytes: Range<u64>,
    zeroes: bool,
    how: DirectHow,
) -> Result<Found> {
    // Memory for the index comes before the lock.
    let stock = inode.file.stock()?;
    // Reclaim takes the ILOCKs of inodes it evicts.
    let _nofs = NofsScope::enter();
    let mut inner = inode.ilock.write();
    if inner.core.nlink == 0 && inner.core.mode == 0 {
        return Err(Error::new(Errno::STALE));
    }
    let mut extents = Extents::new(m, inode, &mut inner, stock);
    let seen = extents.lookup(range.start)?;
    let stays = stays(m, inode, &seen, &bytes, how);
    inode.file.set_converting(!stays);
    if stays {
        return Ok(spanning(seen, extents.seq(), &range, how));
    }
    if how.overwrite_only {
        return Ok(Found::Refused(Errno::AGAIN));
    }
    let range = range.start..range.end.min(range.start.saturating_add(MOST));
    let part = seen.clip(range);
    let range = part.file..part.end();
    // iomap zeroes what blocks of this part get no bytes of.
    let partial = bytes.start > byte(range.start) || bytes.end < byte(range.end);
    let in_flight = matches!(seen.view, View::InFlight { .. });
    if partial && (in_flight || !zeroes) {
        return Ok(Found::Refused(NOTBLK));
    }
    let (piece, new) = match seen.view {
        View::Hole => match extents.claim_hole(range)? {
            Claimed::Hole(hole) => (hole.begin_direct()?, true),
            Claimed::Mapped(_) => return Err(Error::new(Errno::UCLEAN)),
        },
        View::Delayed => (extents.begin_direct_delayed(range)?, true),
        View::Unwritten { .. } => (extents.begin_direct_conversion(&seen, range)?, true),
        // Another I/O is on its way to the same blocks: a second one, completed by range as well.
        View::InFlight { .. } | View::Written { .. } => (part, false),
    };
    Ok(Found::Piece(piece, extents.seq(), new))
}

/// iomap has submitted `written` bytes of the mapping of `pos .. pos + len`; `new` is what
/// [`direct_write_begin`] said. What was begun for nothing becomes unwritten: not a hole again, for
/// a page may have been dirtied over it, and zeroes be on their way to its first block. May sleep:
/// a transaction, if anything is left over. Errors are logged.
pub fn direct_write_end(
    m: &Arc<Mount>,
    inode: &InodeRef,
    pos: u64,
    len: u64,
    written: u64,
    new: bool,
) {
    if !new || written >= len {
        return;
    }
    let from = match written {
        0 => byte(FileBlock::of_byte(pos)),
        n => byte(block_end(pos.saturating_add(n))),
    };
    let to = byte(block_end(pos.saturating_add(len)));
    if from >= to {
        return;
    }
    let left = to.saturating_sub(from);
    if let Err(e) = ioend_complete(m, inode, from, left, Some(Errno::AGAIN)) {
        pr_err!("inode {}: direct write not undone: {}\n", inode.ino, e);
    }
}

/// Whether the end of a direct write has to come to [`direct_write_complete`]: not that of a pure
/// overwrite inside of the file, whose bio may end in interrupt context. Such an end is noted for the
/// next fsync: the file may be larger than the disk knows. `unwritten`: it had parts that were not
/// written (`IOMAP_DIO_UNWRITTEN`). Any context; once for each write.
pub fn direct_write_needs_completion(
    inode: &Inode,
    end: u64,
    unwritten: bool,
    error: Option<Errno>,
) -> bool {
    if unwritten || error.is_some() || end > inode.file.i_size() {
        return true;
    }
    inode.file.overwrote(end);
    false
}

/// Completes a direct write of which bytes `pos .. pos + size` were submitted: one transaction, then
/// the size that users see. If that grows it is returned, and the caller sets that of the VFS inode to
/// the same. After this, and not before, whoever looks at the blocks sees the data. With `error`, or
/// the errno of the result, nothing of it becomes visible.
///
/// iomap calls also for a write of which nothing was submitted and that is no error, because the page
/// cache is going to do it ([`NOTBLK`]): that changes nothing.
///
/// Runs where iomap completes (`s_dio_done_wq`, or the task that waits), without a folio lock. May
/// sleep as [`ioend_complete`], errors as there.
pub fn direct_write_complete(
    m: &Arc<Mount>,
    inode: &InodeRef,
    pos: u64,
    size: u64,
    error: Option<Errno>,
) -> Result<Option<u64>> {
    if size == 0 {
        return Ok(None);
    }
    ioend_complete(m, inode, pos, size, error)?;
    let end = pos.saturating_add(size);
    if error.is_some() || end <= inode.file.i_size() {
        return Ok(None);
    }
    // i_rwsem is held exclusively by who waits for a write that extends the file.
    inode.file.set_i_size(end);
    Ok(Some(end))
}
