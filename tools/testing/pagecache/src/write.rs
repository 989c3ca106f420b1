// SPDX-License-Identifier: GPL-2.0

//! write(2): `iomap_file_buffered_write`.

use crate::{
    errno,
    folio::{Folio, FolioData},
    Errno, File, Result, EFAULT, PAGE,
};
use latchfs_engine::engine::file::{self, Attempt, Bmap, BmapKind, Space};
use latchfs_host::{mutant, CleanRange, InvalidateExcl};
use std::sync::atomic::Ordering;

/// A user buffer of which all from `readable` on faults.
pub(crate) struct Source<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) readable: usize,
}

impl Source<'_> {
    /// `fault_in_iov_iter_readable`: whether not even the first byte can be read.
    fn faults(&self, at: usize) -> bool {
        at >= self.readable
    }

    /// `copy_folio_from_iter_atomic`: how much could be copied.
    fn copy(&self, at: usize, to: &mut [u8]) -> usize {
        let n = to.len().min(self.readable.saturating_sub(at));
        to[..n].copy_from_slice(&self.bytes[at..at + n]);
        n
    }
}

impl File {
    /// write(2), as ring 3 does it: ENOSPC is met with what makes space, and another try.
    pub fn write(&self, pos: u64, bytes: &[u8]) -> Result<usize> {
        self.write_from(pos, bytes, bytes.len())
    }

    /// [`Self::write`] from a buffer of which only the first `readable` bytes can be read.
    pub fn write_from(&self, pos: u64, bytes: &[u8], readable: usize) -> Result<usize> {
        let source = Source { bytes, readable };
        let mut attempt = Attempt::default();
        loop {
            let result = self.write_locked(pos, &source);
            if result != Err(Errno::NOSPC) {
                return result;
            }
            match file::make_space(&self.m, &self.inode, &mut attempt) {
                Space::FlushFile | Space::FlushFs => self.write_and_wait(0, u64::MAX),
                Space::Again => {}
                Space::Full => return Err(Errno::NOSPC),
            }
        }
    }

    fn write_locked(&self, pos: u64, source: &Source<'_>) -> Result<usize> {
        let _iolock = self.iolock.write();
        let size = self.i_size();
        let end = pos + source.bytes.len() as u64;
        if pos > size || file::must_prepare_to_grow(&self.inode, end) {
            self.dio_wait();
            let _invalidate = self.invalidate.write();
            self.zero_gap(size, pos)?;
        }
        self.buffered_write(pos, source)
    }

    /// `iomap_file_buffered_write`: begin, copy, end, for each mapping. i_rwsem is held exclusively,
    /// and nothing else.
    fn buffered_write(&self, start: u64, source: &Source<'_>) -> Result<usize> {
        let mut done = 0;
        let mut status = Ok(());
        while done < source.bytes.len() && status.is_ok() {
            let pos = start + done as u64;
            let left = (source.bytes.len() - done) as u64;
            let map = match file::write_begin(&self.m, &self.inode, pos, left, false) {
                Ok(map) => map,
                Err(e) => {
                    status = Err(errno(e));
                    break;
                }
            };
            assert_ne!(map.kind, BmapKind::Hole, "a hole is illegal for a write");
            assert!(map.offset <= pos && pos < map.offset + map.len);
            let len = left.min(map.offset + map.len - pos);

            let mut written = 0;
            let mut stale = false;
            while written < len && !stale && status.is_ok() {
                match self.write_iter(&map, pos + written, len - written, source, done) {
                    Ok(Some(n)) => {
                        written += n as u64;
                        done += n;
                    }
                    Ok(None) => stale = true,
                    Err(e) => status = Err(e),
                }
            }
            self.write_end(&map, pos, len, written);
        }
        match status {
            Err(e) if done == 0 => Err(e),
            _ => Ok(done),
        }
    }

    /// One folio of `iomap_write_iter`. `None`: the mapping is stale.
    fn write_iter(
        &self,
        map: &Bmap,
        pos: u64,
        len: u64,
        source: &Source<'_>,
        at: usize,
    ) -> Result<Option<usize>> {
        loop {
            let chunk = self.folio_pages * PAGE;
            let bytes = len.min(chunk - pos % chunk);
            if source.faults(at) {
                return Err(EFAULT);
            }
            // iomap_write_begin
            let folio = self.mapping.get(pos / PAGE, bytes.div_ceil(PAGE));
            let mut data = folio.lock();
            if !data.mapped {
                continue;
            }
            if file::cookie(&self.inode) != map.seq && !mutant!(Seed004Valid) {
                self.stale.fetch_add(1, Ordering::Relaxed);
                return Ok(None);
            }
            let bytes = bytes.min(folio.end() - pos);
            self.write_begin_folio(map, &folio, &mut data, pos, bytes)?;
            let from = (pos - folio.pos()) as usize;
            let copied = source.copy(at, &mut data.data[from..from + bytes as usize]);
            // __iomap_write_end: a short copy to a folio that is not uptodate is none.
            let whole = data.blocks.iter().all(|b| b.uptodate);
            if copied < bytes as usize && !whole {
                drop(data);
                // Again, with the bytes that could be read.
                return self.write_short(map, pos, copied as u64, source, at);
            }
            mark_written(&mut data, from, bytes as usize, copied);
            let end = pos + copied as u64;
            if end > self.i_size() {
                self.set_i_size(end);
            }
            return Ok(Some(copied));
        }
    }

    /// The retry of a copy that came out short, with its length.
    fn write_short(
        &self,
        map: &Bmap,
        pos: u64,
        bytes: u64,
        source: &Source<'_>,
        at: usize,
    ) -> Result<Option<usize>> {
        if bytes == 0 {
            return Err(EFAULT);
        }
        let cut = Source {
            bytes: &source.bytes[..at + bytes as usize],
            readable: source.readable,
        };
        self.write_iter(map, pos, bytes, &cut, at)
    }

    /// `__iomap_write_begin`: reads or zeroes what the write leaves of blocks that are not uptodate.
    fn write_begin_folio(
        &self,
        map: &Bmap,
        folio: &Folio,
        data: &mut FolioData,
        pos: u64,
        len: u64,
    ) -> Result {
        let mut start = pos / PAGE * PAGE;
        while start < pos + len {
            let n = ((start - folio.pos()) / PAGE) as usize;
            let overwritten = pos <= start && pos + len >= start + PAGE;
            if !data.blocks[n].uptodate && !overwritten {
                let zero = self.needs_zeroing(map, start);
                let block = n * PAGE as usize;
                let to = &mut data.data[block..block + PAGE as usize];
                if zero {
                    // folio_zero_segments: what is not going to be written.
                    let from = pos.saturating_sub(start).min(PAGE) as usize;
                    let end = (pos + len - start).min(PAGE) as usize;
                    to[..from].fill(0);
                    to[end..].fill(0);
                } else {
                    self.read_device(map.addr + (start - map.offset), to)?;
                    data.blocks[n].uptodate = true;
                }
            }
            start += PAGE;
        }
        Ok(())
    }

    /// `->iomap_end`: ring 3's part of the undo of a short write.
    pub(crate) fn write_end(&self, map: &Bmap, pos: u64, len: u64, written: u64) {
        file::set_isize(&self.inode, self.i_size());
        let undo = file::write_end(&self.m, &self.inode, pos, len, written, map.new);
        if let Some((from, to)) = undo {
            let _guard = (!mutant!(Seed004)).then(|| self.invalidate.write());
            self.delalloc_release(from, to);
        }
    }

    /// `iomap_write_delalloc_release`: punches what is not dirty. The invalidate lock is held
    /// exclusively.
    fn delalloc_release(&self, start: u64, end: u64) {
        let lock = InvalidateExcl::assume(self.ino());
        let punch = |from: u64, to: u64| {
            if from < to {
                let clean = CleanRange::assume(self.ino(), from, to);
                file::punch_delayed(&self.m, &self.inode, &lock, &clean);
            }
        };
        let mut done = start;
        let scan_end = end.min(self.i_size());
        let mut at = start;
        while at < scan_end {
            let Some(folio) = self.mapping.first_from(at / PAGE) else {
                break;
            };
            if folio.pos() >= scan_end {
                break;
            }
            let data = folio.lock();
            if !data.mapped {
                continue;
            }
            if data.dirty {
                punch(done, folio.pos().max(at));
                let last = scan_end.min(folio.end());
                let mut block = folio.pos().max(at) / PAGE * PAGE;
                while block < last {
                    let n = ((block - folio.pos()) / PAGE) as usize;
                    if !data.blocks[n].dirty {
                        punch(block, block + PAGE);
                    }
                    block += PAGE;
                }
                done = last;
            }
            at = folio.end();
        }
        punch(done, end);
    }
}

/// `iomap_set_range_uptodate` and `iomap_set_range_dirty`.
pub(crate) fn mark_written(data: &mut FolioData, from: usize, len: usize, copied: usize) {
    let page = PAGE as usize;
    for n in from / page..(from + len).div_ceil(page) {
        data.blocks[n].uptodate = true;
    }
    for n in from / page..(from + copied).div_ceil(page) {
        data.blocks[n].dirty = true;
    }
    data.dirty = true;
}
