// SPDX-License-Identifier: GPL-2.0

//! mmap: `filemap_fault`, `iomap_page_mkwrite`, and stores.

use crate::{errno, File, Result, EFAULT, PAGE};
use latchfs_engine::engine::file::{self, BmapKind};
use latchfs_host::{sync_point, LockedFolio};

impl File {
    /// A store through a shared mapping, page by page. EFAULT (SIGBUS) for a page behind the end of
    /// the file; in the last page it may store behind the end.
    pub fn store(&self, pos: u64, bytes: &[u8]) -> Result {
        let mut at = pos;
        let end = pos + bytes.len() as u64;
        while at < end {
            let to = end.min((at / PAGE + 1) * PAGE);
            let from = (at - pos) as usize;
            self.store_page(at, &bytes[from..from + (to - at) as usize])?;
            at = to;
        }
        Ok(())
    }

    fn store_page(&self, pos: u64, bytes: &[u8]) -> Result {
        loop {
            sync_point!("fault.enter", self.ino());
            if pos / PAGE * PAGE >= self.i_size() {
                return Err(EFAULT);
            }
            let folio = self.get_uptodate(pos / PAGE, true)?;
            // ->page_mkwrite: sb_start_pagefault, invalidate lock shared, folio lock.
            let _invalidate = self.invalidate_shared();
            let mut data = folio.lock();
            // folio_mkwrite_check_truncate
            let size = self.i_size();
            let whole = data.blocks.iter().all(|b| b.uptodate);
            if !data.mapped || !whole || pos / PAGE * PAGE >= size {
                continue;
            }
            let end = folio.end().min(size);
            let mut at = folio.pos();
            while at < end {
                // The folio stays locked across the mapping; there is no validity check.
                let locked = LockedFolio::assume(self.ino(), folio.pos(), folio.size());
                let map = file::mkwrite_begin(&self.m, &self.inode, &locked, at, end - at)
                    .map_err(errno)?;
                assert_ne!(map.kind, BmapKind::Hole, "a hole is illegal for a write");
                assert!(!map.new, "a fault has nothing to undo");
                at = end.min(map.offset + map.len);
            }
            // folio_mark_dirty: all blocks, those behind the end of the file too.
            data.dirty = true;
            for block in data.blocks.iter_mut() {
                block.dirty = true;
            }
            sync_point!("fault.dirtied", self.ino());
            if self.random().is_multiple_of(2) {
                // folio_wait_stable, on devices with stable writes.
                self.wait_folio(&folio);
            }
            let from = (pos - folio.pos()) as usize;
            data.data[from..from + bytes.len()].copy_from_slice(bytes);
            return Ok(());
        }
    }
}
