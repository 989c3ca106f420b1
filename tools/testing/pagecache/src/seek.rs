// SPDX-License-Identifier: GPL-2.0

//! `iomap_seek_data`, `iomap_seek_hole`, FIEMAP.

use crate::{errno, File, Result, PAGE};
use latchfs_engine::engine::file::{self, Bmap, BmapKind};

impl File {
    /// The first byte of data at or behind `pos`, and where that data ends; `None` if there is none
    /// before the end of the file.
    pub fn seek_data(&self, pos: u64) -> Result<Option<(u64, u64)>> {
        let size = self.i_size();
        let mut at = pos;
        let mut start = None;
        while at < size {
            let map = file::bmap_report(&self.m, &self.inode, at, size - at).map_err(errno)?;
            assert!(map.offset <= at && at < map.offset + map.len);
            let end = size.min(map.offset + map.len);
            let found = match map.kind {
                BmapKind::Hole => None,
                BmapKind::Mapped | BmapKind::Delayed => Some((at, end)),
                // mapping_seek_hole_data: what the page cache has.
                BmapKind::Unwritten => self.cached(at, end),
            };
            match (start, found) {
                (None, Some((from, to))) => {
                    start = Some(from);
                    if to < end {
                        return Ok(Some((from, to)));
                    }
                }
                (Some(from), Some((next, _))) if next > at => return Ok(Some((from, at))),
                (Some(from), Some((_, to))) if to < end => return Ok(Some((from, to))),
                (Some(from), None) => return Ok(Some((from, at))),
                _ => {}
            }
            at = end;
        }
        Ok(start.map(|from| (from, size)))
    }

    /// The first run of uptodate pages inside a range.
    fn cached(&self, start: u64, end: u64) -> Option<(u64, u64)> {
        let mut found: Option<(u64, u64)> = None;
        let mut at = start;
        while at < end {
            let next = ((at / PAGE + 1) * PAGE).min(end);
            let there = self.mapping.find(at / PAGE).is_some_and(|folio| {
                let data = folio.lock();
                data.mapped && data.blocks[(at / PAGE - folio.index) as usize].uptodate
            });
            match (&mut found, there) {
                (None, true) => found = Some((at, next)),
                (Some((_, to)), true) => *to = next,
                (Some(_), false) => return found,
                (None, false) => {}
            }
            at = next;
        }
        found
    }

    /// FIEMAP without FIEMAP_FLAG_SYNC: all mappings that are no holes.
    pub fn fiemap(&self) -> Result<Vec<Bmap>> {
        let size = self.i_size();
        let mut all = Vec::new();
        let mut at = 0;
        while at < size {
            let map = file::bmap_report(&self.m, &self.inode, at, size - at).map_err(errno)?;
            at = map.offset + map.len;
            if map.kind != BmapKind::Hole {
                all.push(map);
            }
        }
        Ok(all)
    }
}
