// SPDX-License-Identifier: GPL-2.0

//! Writeback: `iomap_writepages`.

use crate::{
    errno,
    folio::{Folio, FolioData},
    ioend::Ioend,
    Errno, File, Result, PAGE,
};
use latchfs_engine::engine::file::{self, Bmap, BmapKind, WbCtx};
use latchfs_host::{sync_point, LockedFolio};
use std::sync::{atomic::Ordering, Arc};

/// Folios in one ioend at most.
const IOEND_FOLIOS: usize = 32;

/// `struct iomap_writepage_ctx`.
struct Wpc {
    wb: WbCtx,
    ioend: Option<Ioend>,
}

impl File {
    /// `filemap_write_and_wait_range` of bytes `start ..= last`: errors are in `wb_err`.
    pub fn write_and_wait(&self, start: u64, last: u64) {
        self.writepages(start, last, 1);
        for folio in self
            .mapping
            .all(start / PAGE, (last / PAGE).saturating_add(1))
        {
            self.wait_folio(&folio);
        }
    }

    /// `do_writepages`: starts writeback of dirty folios, each with a probability of one in
    /// `one_in`; one for all of them.
    pub fn writepages(&self, start: u64, last: u64, one_in: u64) {
        let mut wpc = Wpc {
            wb: WbCtx::default(),
            ioend: None,
        };
        let mut status = Ok(());
        let end = (last / PAGE).saturating_add(1);
        let mut next = start / PAGE;
        while let Some(folio) = self.mapping.first_from(next).filter(|f| f.index < end) {
            next = folio.index + folio.pages;
            if one_in > 1 && !self.random().is_multiple_of(one_in) {
                continue;
            }
            let mut data = folio.lock();
            if !data.mapped || !data.dirty {
                continue;
            }
            if folio.is_writeback() {
                if one_in > 1 {
                    // WB_SYNC_NONE skips it.
                    continue;
                }
                // writeback_iter submits nothing here, so what is collected must not be what it
                // waits for: the kernel does the same wait with the ioend open.
                self.submit_open(&mut wpc, None);
                self.wait_folio(&folio);
            }
            data.dirty = false;
            if let Err(e) = self.writeback_folio(&mut wpc, &folio, &mut data) {
                status = Err(e);
            }
        }
        self.submit_open(&mut wpc, status.err());
    }

    /// `->writeback_submit`.
    fn submit_open(&self, wpc: &mut Wpc, error: Option<Errno>) {
        file::writeback_submit(&self.m, &self.inode, &mut wpc.wb);
        if let Some(ioend) = wpc.ioend.take() {
            self.submit(ioend, error);
        }
    }

    /// `iomap_writeback_folio`.
    fn writeback_folio(&self, wpc: &mut Wpc, folio: &Arc<Folio>, data: &mut FolioData) -> Result {
        let size = self.i_size();
        let mut end_pos = folio.end();
        if end_pos > size {
            // iomap_writeback_handle_eof
            if folio.pos() >= size {
                return Ok(());
            }
            let from = (size - folio.pos()) as usize;
            data.data[from..].fill(0);
            end_pos = size;
        }
        folio.start_writeback();

        let end_aligned = end_pos.next_multiple_of(PAGE);
        let mut submitted = 0;
        let mut error = None;
        let mut pos = folio.pos();
        while let Some((from, to)) = dirty_range(folio, data, pos, end_aligned) {
            match self.writeback_range(wpc, folio, data, from, to, end_pos, &mut submitted) {
                Ok(()) => pos = to,
                Err(e) => {
                    error = Some(e);
                    break;
                }
            }
        }
        for block in data.blocks.iter_mut() {
            block.dirty = false;
        }
        if folio.size() > submitted {
            folio.finish_write(folio.size() - submitted);
        }
        match error {
            Some(e) => {
                self.set_error(e);
                Err(e)
            }
            None => Ok(()),
        }
    }

    /// `iomap_writeback_range`, and ring 3's callback in it.
    #[allow(clippy::too_many_arguments)]
    fn writeback_range(
        &self,
        wpc: &mut Wpc,
        folio: &Arc<Folio>,
        data: &FolioData,
        from: u64,
        to: u64,
        end_pos: u64,
        submitted: &mut u64,
    ) -> Result {
        let mut pos = from;
        while pos < to {
            let locked = LockedFolio::assume(self.ino(), folio.pos(), folio.size());
            let (m, inode) = (&self.m, &self.inode);
            let map = match file::writeback_range(m, inode, &mut wpc.wb, &locked, pos, to - pos) {
                Ok(map) => map,
                Err(e) => {
                    file::writeback_discard(m, inode, &locked, pos);
                    return Err(errno(e));
                }
            };
            sync_point!("wb.mapped", self.ino());
            assert!(map.offset <= pos && pos < map.offset + map.len);
            let len = (to - pos).min((map.offset + map.len).next_multiple_of(PAGE) - pos);
            if map.kind == BmapKind::Hole {
                pos += len;
                continue;
            }
            assert_ne!(map.kind, BmapKind::Delayed, "iomap would fail this");
            if let Err(e) = self.add_to_ioend(wpc, folio, data, &map, pos, len, end_pos) {
                file::writeback_undo(m, inode, &locked, pos, len);
                file::writeback_discard(m, inode, &locked, pos + len);
                return Err(e);
            }
            *submitted += len;
            pos += len;
        }
        Ok(())
    }

    /// `iomap_add_to_ioend`.
    #[allow(clippy::too_many_arguments)]
    fn add_to_ioend(
        &self,
        wpc: &mut Wpc,
        folio: &Arc<Folio>,
        data: &FolioData,
        map: &Bmap,
        pos: u64,
        len: u64,
        end_pos: u64,
    ) -> Result {
        let addr = map.addr + (pos - map.offset);
        let unwritten = map.kind == BmapKind::Unwritten;
        let room = wpc.ioend.as_ref().is_some_and(|io| {
            io.unwritten == unwritten
                && io.pos + io.bytes == pos
                && io.addr + io.bytes == addr
                && io.size == io.bytes
                && io.folios.len() < IOEND_FOLIOS
        });
        if !room {
            self.submit_open(wpc, None);
            if self.fail.add_to_ioend.load(Ordering::Relaxed) {
                return Err(Errno::IO);
            }
            wpc.ioend = Some(Ioend {
                pos,
                size: 0,
                bytes: 0,
                addr,
                unwritten,
                ours: false,
                error: None,
                data: Vec::new(),
                folios: Vec::new(),
            });
        }
        let Some(io) = wpc.ioend.as_mut() else {
            return Err(Errno::IO);
        };
        let from = (pos - folio.pos()) as usize;
        io.data
            .extend_from_slice(&data.data[from..from + len as usize]);
        io.bytes += len;
        io.size += len;
        // Cut at the size of now.
        if io.pos + io.size > end_pos {
            io.size = end_pos.saturating_sub(io.pos);
        }
        io.folios.push((folio.clone(), len));
        Ok(())
    }
}

/// `iomap_find_dirty_range`.
fn dirty_range(folio: &Folio, data: &FolioData, pos: u64, end: u64) -> Option<(u64, u64)> {
    let block = |at: u64| &data.blocks[((at - folio.pos()) / PAGE) as usize];
    let mut from = pos;
    while from < end && !block(from).dirty {
        from += PAGE;
    }
    if from >= end {
        return None;
    }
    let mut to = from;
    while to < end && block(to).dirty {
        to += PAGE;
    }
    Some((from, to))
}
