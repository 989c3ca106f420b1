// SPDX-License-Identifier: GPL-2.0

//! truncate(2), as ring 3 does it.

use crate::{errno, folio::Folio, File, Result, PAGE};
use latchfs_engine::engine::file;
use latchfs_host::{InvalidateExcl, IolockExcl, Time};
use std::sync::atomic::Ordering;

impl File {
    /// truncate(2).
    pub fn truncate(&self, size: u64) -> Result {
        self.truncate_at(size, Time::default())
    }

    /// truncate(2), with what is to become mtime and ctime.
    pub fn truncate_at(&self, size: u64, now: Time) -> Result {
        let _iolock = self.iolock.write();
        let _invalidate = self.invalidate.write();
        self.dio_wait();
        self.resize(size, now)
    }

    /// Truncation either way, under i_rwsem and the invalidate lock.
    pub(crate) fn resize(&self, size: u64, now: Time) -> Result {
        let plan = file::truncate_plan(&self.m, &self.inode, size).map_err(errno)?;
        if let Some((pos, len)) = plan.zero {
            self.zero_range(pos, len)?;
        }
        if let Some((start, end)) = plan.flush {
            self.write_and_wait(start, end - 1);
            self.take_error()?;
        }
        let iolock = IolockExcl::assume(self.ino());
        let invalidate = InvalidateExcl::assume(self.ino());
        let (m, inode) = (&self.m, &self.inode);
        let cut = file::Cut::begin(m, inode, &iolock, &invalidate).map_err(errno)?;
        self.set_i_size(size);
        self.truncate_pagecache(size, false);
        file::truncate(m, inode, &iolock, &invalidate, cut, size, now)
            .inspect_err(|_| self.lost.store(true, Ordering::Relaxed))
            .map_err(errno)
    }

    /// `truncate_pagecache`: no page behind `size` stays, and no writeback of one. A large folio
    /// across the new end is split, or not, as it happens.
    pub(crate) fn truncate_pagecache(&self, size: u64, all: bool) {
        for folio in self.mapping.all(size / PAGE, u64::MAX) {
            let mut data = folio.lock();
            if !data.mapped {
                continue;
            }
            self.wait_folio(&folio);
            if folio.pos() >= size || all {
                self.mapping.remove(&folio, &mut data);
                continue;
            }
            // truncate_inode_partial_folio
            let from = (size - folio.pos()) as usize;
            data.data[from..].fill(0);
            if folio.pages == 1 || self.random().is_multiple_of(2) {
                continue;
            }
            self.mapping.remove(&folio, &mut data);
            let keep = from.div_ceil(PAGE as usize);
            for n in 0..keep {
                let page = Folio::new(folio.index + n as u64, 1);
                {
                    // Nobody knows the new folio yet: its lock nests in the old one's.
                    let mut new = page.try_lock().expect("a new folio");
                    let at = n * PAGE as usize;
                    new.data.copy_from_slice(&data.data[at..at + PAGE as usize]);
                    new.blocks[0] = data.blocks[n];
                    new.dirty = data.dirty && data.blocks[n].dirty;
                }
                self.mapping.insert(page);
            }
        }
    }
}
