// SPDX-License-Identifier: GPL-2.0

//! fallocate(2), as ring 3 does it.

use crate::{errno, folio::Folio, Errno, File, Result, PAGE};
use latchfs_engine::engine::file::{self, Attempt, Falloc, FallocMode, Space};
use latchfs_host::{InvalidateExcl, IolockExcl, Time};

impl File {
    /// fallocate(2) of bytes `pos .. pos + len`: ENOSPC is met with what makes space, and another
    /// try.
    pub fn fallocate(&self, mode: FallocMode, keep_size: bool, pos: u64, len: u64) -> Result {
        let op = Falloc {
            mode,
            pos,
            len,
            keep_size,
        };
        self.fallocate_at(&op, Time::default())
    }

    /// [`Self::fallocate`], with what is to become mtime and ctime.
    pub fn fallocate_at(&self, op: &Falloc, now: Time) -> Result {
        let mut attempt = Attempt::default();
        loop {
            let result = self.fallocate_locked(op, now);
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

    /// The file is open for writing from now on: `->open`. What [`Fs::create`](crate::Fs::create)
    /// and the like return is open to nobody who writes as far as the engine knows.
    pub fn opened(&self) {
        file::opened(&self.inode);
    }

    /// And closed: `->release`.
    pub fn released(&self) {
        file::released(&self.inode);
    }

    /// `FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE`.
    pub fn punch(&self, pos: u64, len: u64) -> Result {
        self.fallocate(FallocMode::Punch, true, pos, len)
    }

    fn fallocate_locked(&self, op: &Falloc, now: Time) -> Result {
        let _iolock = self.iolock.write();
        self.dio_wait();
        let plan = file::falloc_plan(&self.m, &self.inode, op).map_err(errno)?;
        let invalidate = plan.exclusive.then(|| self.invalidate.write());
        if let Some((start, end)) = plan.flush {
            self.write_and_wait(start, end - 1);
            self.take_error()?;
        }
        for (pos, len) in plan.zero.into_iter().flatten() {
            self.zero_range(pos, len)?;
        }
        if let Some((start, end)) = plan.forget {
            self.truncate_pagecache_range(start, end);
        }
        let iolock = IolockExcl::assume(self.ino());
        let witness = invalidate
            .as_ref()
            .map(|_| InvalidateExcl::assume(self.ino()));
        let done = file::fallocate(&self.m, &self.inode, &iolock, witness.as_ref(), op, now);
        if matches!(op.mode, FallocMode::Collapse | FallocMode::Insert) {
            // What the engine says, also after an error in the middle.
            self.set_i_size(self.inode.attrs().size);
            return done.map_err(errno);
        }
        done.map_err(errno)?;
        let Some(size) = plan.new_size else {
            return Ok(());
        };
        let _invalidate = match invalidate {
            Some(held) => held,
            None => self.invalidate.write(),
        };
        self.resize(size, now)
    }

    /// `truncate_pagecache_range` of whole pages: no page inside stays, and no writeback of one. A
    /// large folio across an end is split, or goes if it is clean, or stays with zeroes inside, as it
    /// happens.
    pub(crate) fn truncate_pagecache_range(&self, start: u64, end: u64) {
        assert!(start.is_multiple_of(PAGE));
        for folio in self.mapping.all(start / PAGE, end.div_ceil(PAGE)) {
            let mut data = folio.lock();
            if !data.mapped {
                continue;
            }
            self.wait_folio(&folio);
            if folio.pos() >= start && folio.end() <= end {
                self.mapping.remove(&folio, &mut data);
                continue;
            }
            // truncate_inode_partial_folio
            let from = start.saturating_sub(folio.pos()).min(folio.size()) as usize;
            let to = end.saturating_sub(folio.pos()).min(folio.size()) as usize;
            data.data[from..to].fill(0);
            if self.random().is_multiple_of(2) {
                // It could not be split: a clean folio goes as a whole.
                if !data.dirty {
                    self.mapping.remove(&folio, &mut data);
                }
                continue;
            }
            self.mapping.remove(&folio, &mut data);
            let page = PAGE as usize;
            for n in 0..folio.pages as usize {
                if n * page >= from && n * page < to {
                    continue;
                }
                let new = Folio::new(folio.index + n as u64, 1);
                {
                    // Nobody knows the new folio yet: its lock nests in the old one's.
                    let mut part = new.try_lock().expect("a new folio");
                    part.data.copy_from_slice(&data.data[n * page..][..page]);
                    part.blocks[0] = data.blocks[n];
                    part.dirty = data.dirty && data.blocks[n].dirty;
                }
                self.mapping.insert(new);
            }
        }
    }
}
