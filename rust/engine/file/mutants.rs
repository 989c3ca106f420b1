// SPDX-License-Identifier: GPL-2.0

//! The data path without its protections.
//!
//! Only in builds with `--cfg latchfs_races`.

use super::size;
use crate::{
    engine::{
        error::Result,
        extents::{Extents, IndexStock, Piece, View},
        inode::Inode,
        mount::Mount,
    },
    format::units::FileBlock,
    sys::{self, Arc, NofsScope},
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
        _ => (extents.promise(&seen, range)?, false),
    };
    if new {
        size::delayed(inode, extents.inner(), piece.file..piece.end());
    }
    Ok((piece, extents.seq(), new))
}
