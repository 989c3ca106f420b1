// SPDX-License-Identifier: GPL-2.0

//! `iomap_zero_range`.

use crate::{errno, write::mark_written, File, Result, PAGE};
use latchfs_engine::engine::file::{self, BmapKind};
use latchfs_host::{mutant, InvalidateExcl, IolockExcl};
use std::sync::atomic::Ordering;

impl File {
    /// A write at `pos` makes the file longer: what lies between reads as zeroes, if it begins behind
    /// the end. i_rwsem and the invalidate lock are held exclusively.
    pub(crate) fn zero_gap(&self, size: u64, pos: u64) -> Result {
        let iolock = IolockExcl::assume(self.ino());
        let invalidate = InvalidateExcl::assume(self.ino());
        file::prepare_to_grow(&self.m, &self.inode, &iolock, &invalidate).map_err(errno)?;
        self.zero_range(size, pos.saturating_sub(size))
    }

    /// Zeroes bytes in the page cache. i_rwsem and the invalidate lock are held exclusively.
    pub(crate) fn zero_range(&self, start: u64, len: u64) -> Result {
        let mut pos = start;
        let end = start + len;
        let mut range_dirty = self.needs_writeback(start, end);
        while pos < end {
            let map = file::zero_begin(&self.m, &self.inode, pos, end - pos).map_err(errno)?;
            assert!(map.offset <= pos && pos < map.offset + map.len);
            let stop = end.min(map.offset + map.len);
            if matches!(map.kind, BmapKind::Hole | BmapKind::Unwritten) {
                if range_dirty && map.kind == BmapKind::Unwritten {
                    // iomap_zero_iter_flush_and_stale: maps again.
                    range_dirty = false;
                    self.write_and_wait(pos, end - 1);
                    self.take_error()?;
                } else {
                    pos = stop;
                }
                continue;
            }
            // iomap_zero_iter
            while pos < stop {
                // It would not be written back.
                assert!(pos / PAGE * PAGE <= self.i_size(), "zeroing behind the end");
                let folio = self.mapping.get(pos / PAGE, (stop - pos).div_ceil(PAGE));
                let mut data = folio.lock();
                if !data.mapped {
                    continue;
                }
                if file::cookie(&self.inode) != map.seq && !mutant!(Seed004Valid) {
                    self.stale.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                let n = ((pos - folio.pos()) / PAGE) as usize;
                let to = stop.min(folio.end()).min((pos / PAGE + 1) * PAGE);
                if !data.blocks[n].uptodate {
                    let block = n * PAGE as usize;
                    let zero = self.needs_zeroing(&map, pos / PAGE * PAGE);
                    let bytes = &mut data.data[block..block + PAGE as usize];
                    if zero {
                        bytes.fill(0);
                    } else {
                        self.read_device(map.addr + (pos / PAGE * PAGE - map.offset), bytes)?;
                    }
                }
                let from = (pos - folio.pos()) as usize;
                let len = (to - pos) as usize;
                data.data[from..from + len].fill(0);
                mark_written(&mut data, from, len, len);
                pos = to;
            }
        }
        Ok(())
    }

    /// `filemap_range_needs_writeback`.
    fn needs_writeback(&self, start: u64, end: u64) -> bool {
        self.mapping
            .all(start / PAGE, end.div_ceil(PAGE))
            .iter()
            // In this order: the folio stays locked from the one to the other.
            .any(|folio| folio.lock().dirty || folio.is_writeback())
    }
}
