// SPDX-License-Identifier: GPL-2.0

//! Reading: `filemap_read`, `iomap_read_folio`, `iomap_dio_rw`.

use crate::{
    errno,
    folio::{Folio, FolioData},
    File, Result, PAGE,
};
use latchfs_engine::engine::file::{self, Bmap, BmapKind};
use latchfs_host::{sync_point, Block, RwSemReadGuard};
use std::sync::Arc;

impl File {
    /// Reads a block of the device.
    pub(crate) fn read_device(&self, addr: u64, to: &mut [u8]) -> Result {
        assert_eq!(addr % PAGE, 0);
        let mut block = Block::try_zeroed()?;
        self.m.buf().device().read_block(addr / PAGE, &mut block)?;
        to.copy_from_slice(&block[..to.len()]);
        Ok(())
    }

    /// `iomap_block_needs_zeroing`.
    pub(crate) fn needs_zeroing(&self, map: &Bmap, pos: u64) -> bool {
        map.kind != BmapKind::Mapped || map.new || pos >= self.i_size()
    }

    /// `iomap_read_folio`: fills the blocks of a locked folio that are not uptodate.
    pub(crate) fn read_folio(&self, folio: &Folio, data: &mut FolioData) -> Result {
        let mut pos = folio.pos();
        while pos < folio.end() {
            let map =
                file::bmap_read(&self.m, &self.inode, pos, folio.end() - pos).map_err(errno)?;
            assert!(map.offset <= pos && pos < map.offset + map.len);
            let end = folio.end().min(map.offset + map.len).next_multiple_of(PAGE);
            while pos < end {
                let n = ((pos - folio.pos()) / PAGE) as usize;
                if !data.blocks[n].uptodate {
                    let zero = self.needs_zeroing(&map, pos);
                    let to = &mut data.data[n * PAGE as usize..(n + 1) * PAGE as usize];
                    if zero {
                        to.fill(0);
                    } else {
                        self.read_device(map.addr + (pos - map.offset), to)?;
                    }
                    data.blocks[n].uptodate = true;
                }
                pos += PAGE;
            }
        }
        Ok(())
    }

    /// `filemap_invalidate_lock_shared`, as faults and readahead do it.
    pub(crate) fn invalidate_shared(&self) -> RwSemReadGuard<'_, ()> {
        if let Some(guard) = self.invalidate.try_read() {
            return guard;
        }
        sync_point!("fault.blocked", self.ino());
        self.invalidate.read()
    }

    /// `filemap_get_pages`: the folio of page `index`, with that page uptodate
    /// (`is_partially_uptodate`), or for a fault all of it. Under the invalidate lock, as faults and
    /// readahead are.
    pub(crate) fn get_uptodate(&self, index: u64, fault: bool) -> Result<Arc<Folio>> {
        let _invalidate = self.invalidate_shared();
        loop {
            let most = 1 << (self.random() % (self.folio_pages.ilog2() as u64 + 1));
            let folio = self.mapping.get(index, most);
            let mut data = folio.lock();
            if !data.mapped {
                continue;
            }
            let n = (index - folio.index) as usize;
            let whole = data.blocks.iter().all(|b| b.uptodate);
            if !data.blocks[n].uptodate || (fault && !whole) {
                self.read_folio(&folio, &mut data)?;
            }
            drop(data);
            return Ok(folio);
        }
    }

    /// read(2). Shorter than `len` at the end of the file only.
    pub fn read(&self, pos: u64, len: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut at = pos;
        let end = (pos + len).min(self.i_size());
        while at < end {
            let folio = self.get_uptodate(at / PAGE, false)?;
            let data = folio.lock();
            if !data.mapped {
                continue;
            }
            // Page by page: the next one may not be uptodate.
            let to = end.min((at / PAGE + 1) * PAGE);
            let from = (at - folio.pos()) as usize;
            out.extend_from_slice(&data.data[from..(to - folio.pos()) as usize]);
            at = to;
        }
        Ok(out)
    }

    /// read(2) with O_DIRECT: what is dirty in the range is written first, then the device is read
    /// by the mapping.
    pub fn read_direct(&self, pos: u64, len: u64) -> Result<Vec<u8>> {
        assert!(pos.is_multiple_of(PAGE) && len.is_multiple_of(PAGE));
        let _iolock = self.iolock.read();
        self.write_and_wait(pos, pos + len - 1);
        let size = self.i_size();
        let mut out = Vec::new();
        let mut at = pos;
        while at < (pos + len).min(size) {
            let map = file::bmap_direct_read(&self.m, &self.inode, at, pos + len - at, false)
                .map_err(errno)?;
            assert_ne!(map.kind, BmapKind::Delayed, "iomap would fail the read");
            let end = (pos + len).min(map.offset + map.len).next_multiple_of(PAGE);
            while at < end {
                let mut block = [0; PAGE as usize];
                if map.kind == BmapKind::Mapped {
                    self.read_device(map.addr + (at - map.offset), &mut block)?;
                }
                out.extend_from_slice(&block);
                at += PAGE;
            }
        }
        out.truncate((size.saturating_sub(pos)).min(len) as usize);
        Ok(out)
    }

    /// Memory reclaim: drops clean folios, each with a probability of one in `one_in`.
    pub fn reclaim(&self, one_in: u64) {
        for folio in self.mapping.all(0, u64::MAX) {
            if !self.random().is_multiple_of(one_in) {
                continue;
            }
            let Some(mut data) = folio.try_lock() else {
                continue;
            };
            if data.mapped && !data.dirty && !folio.is_writeback() {
                self.mapping.remove(&folio, &mut data);
            }
        }
    }
}
