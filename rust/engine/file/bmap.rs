// SPDX-License-Identifier: GPL-2.0

//! Mappings: what iomap is told about a range.

use super::{block_end, byte, BLOCK};
use crate::{
    engine::{
        error::{Error, Result},
        extents::{Extents, IndexStock, Piece, View},
        inode::Inode,
        mount::Mount,
    },
    format::{
        limits::MAX_FILE_SIZE,
        units::{DiskBlock, FileBlock},
    },
    sys::{self, Arc, Errno, NofsScope},
};

/// `IOMAP_NULL_ADDR`: the mapping has no place on the device.
pub const NO_ADDR: u64 = u64::MAX;

/// Kind of a mapping, as iomap has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BmapKind {
    /// `IOMAP_HOLE`
    Hole,
    /// `IOMAP_DELALLOC`
    Delayed,
    /// `IOMAP_UNWRITTEN`
    Unwritten,
    /// `IOMAP_MAPPED`
    Mapped,
}

/// A mapping, in bytes: `struct iomap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bmap {
    /// What it is.
    pub kind: BmapKind,
    /// Byte on the device of the first byte; [`NO_ADDR`] if none.
    pub addr: u64,
    /// First byte in the file; a multiple of the block size.
    pub offset: u64,
    /// Length; a multiple of the block size, except of what has no blocks where the largest file ends.
    pub len: u64,
    /// The call that returns it has made it: `IOMAP_F_NEW`.
    pub new: bool,
    /// What was written cannot be reached after a crash yet: `IOMAP_F_DIRTY`.
    pub dirty: bool,
    /// The validity cookie: the mapping holds while [`cookie`] returns this.
    pub seq: u64,
}

/// The cookie of now; one atomic load. `->iomap_valid` compares it with the mapping's, with the
/// folio locked.
pub fn cookie(inode: &Inode) -> u64 {
    inode.file.seq()
}

impl Bmap {
    /// The mapping of `piece` for readers: blocks in flight are unwritten, with their address
    /// (rules M12). Neither a hole, or SEEK_DATA and zeroing would pass over data in the page cache;
    /// nor written, or a read would see what the device had there before.
    pub(super) fn of(piece: &Piece, seq: u64, dirty: bool) -> Self {
        let (kind, at) = match piece.view {
            View::Hole => (BmapKind::Hole, None),
            View::Delayed => (BmapKind::Delayed, None),
            View::Unwritten { at, .. } | View::InFlight { at, .. } => {
                (BmapKind::Unwritten, Some(at))
            }
            View::Written { at } => (BmapKind::Mapped, Some(at)),
        };
        let offset = byte(piece.file);
        // Blocks are whole: writeback puts all of the last one into a bio.
        let end = match at {
            Some(_) => byte(piece.end()),
            None => byte(piece.end()).min(MAX_FILE_SIZE),
        };
        Self {
            kind,
            addr: at.and_then(DiskBlock::byte).unwrap_or(NO_ADDR),
            offset,
            len: end.saturating_sub(offset),
            new: false,
            dirty,
            seq,
        }
    }
}

/// Refuses positions that no file has.
pub(super) fn check_range(pos: u64, len: u64) -> Result {
    match pos.checked_add(len) {
        Some(end) if end <= MAX_FILE_SIZE && pos < MAX_FILE_SIZE => Ok(()),
        _ => Err(Error::new(Errno::FBIG)),
    }
}

/// The piece at `pos` and the cookie that goes with it.
fn piece_at(m: &Arc<Mount>, inode: &Inode, pos: u64, nowait: bool) -> Result<(Piece, u64)> {
    m.check_live()?;
    check_range(pos, 0)?;
    let block = FileBlock::of_byte(pos);
    {
        let inner = if nowait {
            let again = || Error::new(Errno::AGAIN);
            inode.ilock.try_read().ok_or_else(again)?
        } else {
            inode.ilock.read()
        };
        if let Some(piece) = inner.index.lookup(block) {
            inode.file.reference();
            return Ok((piece, inode.file.seq()));
        }
    }
    if nowait {
        // The map on disk would have to be read.
        return Err(Error::new(Errno::AGAIN));
    }
    // Reclaim takes the ILOCKs of inodes it evicts.
    let _nofs = NofsScope::enter();
    let mut inner = inode.ilock.write();
    let mut extents = Extents::new(m, inode, &mut inner, IndexStock::none());
    let piece = extents.lookup(block)?;
    Ok((piece, extents.seq()))
}

/// Whether the file needs metadata to be written before data up to `end` can be found after a
/// crash.
pub(super) fn is_dirty(m: &Mount, inode: &Inode, end: u64) -> bool {
    inode.log.data_seq() > m.log().durable_seq() || end > inode.file.disk_size()
}

/// Mapping for reads, readahead and read faults: `iomap_begin` without flags. Called with a folio
/// locked, or i_rwsem shared. Takes the ILOCK shared if the index knows the range, else exclusively;
/// may sleep for I/O. EIO, EBADMSG, EUCLEAN, ENOMEM; EFBIG beyond the largest file.
pub fn bmap_read(m: &Arc<Mount>, inode: &Inode, pos: u64, len: u64) -> Result<Bmap> {
    map_for_read(m, inode, pos, len, false)
}

fn map_for_read(m: &Arc<Mount>, inode: &Inode, pos: u64, len: u64, nowait: bool) -> Result<Bmap> {
    let (piece, seq) = piece_at(m, inode, pos, nowait)?;
    Ok(Bmap::of(
        &piece,
        seq,
        is_dirty(m, inode, pos.saturating_add(len)),
    ))
}

/// Mapping for SEEK_HOLE, SEEK_DATA and FIEMAP (`IOMAP_REPORT`). As [`bmap_read`]: whether there is
/// data over something unwritten is the page cache's to say.
pub fn bmap_report(m: &Arc<Mount>, inode: &Inode, pos: u64, len: u64) -> Result<Bmap> {
    bmap_read(m, inode, pos, len)
}

/// Mapping for a direct read (`IOMAP_DIRECT`), whose caller has written back the range. What became
/// delayed after that reads as zeroes: the write that made it and this read happen at the same time.
/// Never Delayed, which iomap would answer with EIO (rules M12). With `nowait` EAGAIN rather than
/// sleep or read metadata.
pub fn bmap_direct_read(
    m: &Arc<Mount>,
    inode: &Inode,
    pos: u64,
    len: u64,
    nowait: bool,
) -> Result<Bmap> {
    sys::sync_point!("dio.read.before_map", inode.ino.0);
    let mut map = map_for_read(m, inode, pos, len, nowait)?;
    if map.kind == BmapKind::Delayed && !sys::mutant!(Seed004Direct) {
        map.kind = BmapKind::Unwritten;
    }
    Ok(map)
}

/// Mapping for zeroing (`IOMAP_ZERO`) of a partial block at a truncation or behind an old end of
/// file. Allocates nothing: a hole and an unwritten extent read as zeroes; what is dirty above an
/// unwritten one, or in flight, iomap writes back first and asks again. The caller holds i_rwsem and
/// the invalidate lock exclusively. Locks and errors as [`bmap_read`]; EROFS.
pub fn zero_begin(m: &Arc<Mount>, inode: &Inode, pos: u64, len: u64) -> Result<Bmap> {
    m.check_writable()?;
    check_range(pos, len)?;
    let mut map = bmap_read(m, inode, pos, len)?;
    if sys::mutant!(Seed004Zero) && map.kind == BmapKind::Unwritten {
        map.kind = BmapKind::Hole;
    }
    // The part that was asked for: the rest may change before iomap gets there.
    let end = byte(block_end(pos.saturating_add(len))).min(map.offset.saturating_add(map.len));
    let skip = pos.saturating_sub(map.offset) / BLOCK * BLOCK;
    Ok(Bmap {
        addr: match map.addr {
            NO_ADDR => NO_ADDR,
            addr => addr.saturating_add(skip),
        },
        offset: map.offset.saturating_add(skip),
        len: end.saturating_sub(map.offset.saturating_add(skip)),
        ..map
    })
}
