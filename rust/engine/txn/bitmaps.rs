// SPDX-License-Identifier: GPL-2.0

//! Bitmap blocks that are not on disk yet.
//!
//! mkfs writes only some bitmap blocks of a group; the header has the number of those that are
//! there. The others are made here, before blocks behind them are used, by a transaction of their
//! own: so every transaction that uses blocks changes as many bitmap blocks as it has runs of
//! blocks, and the header of a group changes only under the group's inode lock.

use super::*;
use crate::format::{AgHeader, BitmapBlock};
use core::mem::offset_of;

/// Bitmap blocks that one transaction makes at most.
const BATCH: u32 = 16;
/// The header, and the bitmap blocks.
const MAKE: TxnRes = TxnRes::new(0, 1 + BATCH).checked();

impl Mount {
    /// Makes bitmap blocks of the group whose lack the allocator has told last, if it has. Returns
    /// whether. May sleep; as [`Self::begin`], or in between the links of a chain. EIO, ENOMEM,
    /// EUCLEAN.
    #[inline(never)]
    pub(crate) fn make_bitmaps(&self, who: Who) -> Result<bool> {
        let Some(ag) = self.alloc().take_lacking() else {
            return Ok(false);
        };
        let header = self.ag(ag)?.header(self)?;
        let grant = self.grant(who, MAKE.log_bytes())?;
        let mut txn = Txn::new(self, MAKE, 0, grant, true)?;
        txn.reserve_memory(true)?;
        txn.open = Some(self.enter()?);

        let _lock = self.inodes.group(ag)?.write(self, 0)?;
        let first = self.alloc().bitmap_init(ag)?;
        let count = self.geo().bitmap_count(ag);
        let end = count.min(first.saturating_add(BATCH));
        if first >= end {
            return Ok(true);
        }
        let context = *self.context();
        let mut bufs = sys::Vec::new();
        bufs.try_reserve(BATCH as usize)?;
        for n in first..end {
            let at = context
                .geometry
                .bitmap_block(ag, n)
                .ok_or(Error::new(Errno::UCLEAN))?;
            let buf = self.buf().fresh(at, BlockKind::Bitmap, Owner::ag(ag))?;
            bufs.must_push((n, buf));
        }
        for (n, buf) in bufs.iter() {
            txn.modify(buf, |b| BitmapBlock::format(b.whole(), &context, ag, *n))
                .ok_or(Error::new(Errno::UCLEAN))?;
        }
        txn.modify(&header, |b| {
            b.write(offset_of!(AgHeader, bitmap_init), &end.to_le_bytes())
        })?;
        txn.commit()?;
        self.alloc().set_bitmap_init(ag, end)?;
        Ok(true)
    }
}
