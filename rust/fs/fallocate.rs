// SPDX-License-Identifier: GPL-2.0

//! fallocate(2): the order of locks, page cache and engine.

use super::attr;
use super::error::Edge as _;
use super::inode;
use super::mount_of;
use super::Inode;
use super::Latchfs;
use crate::engine::file;
use crate::engine::file::Attempt;
use crate::engine::file::Falloc;
use crate::engine::file::FallocMode;
use crate::engine::file::FallocPlan;
use crate::engine::file::Space;
use crate::kapi::fallocate::FallocOps;
use crate::kapi::fallocate::Mode;
use crate::kapi::file::File;
use crate::kapi::pagemap::InvalidateLock;
use crate::sys::witness::IolockExcl;
use kernel::prelude::*;

impl FallocOps for Latchfs {
    fn fallocate(file: &File<Self>, mode: Mode, keep_size: bool, pos: u64, len: u64) -> Result {
        let op = Falloc {
            mode: match mode {
                Mode::Allocate => FallocMode::Allocate,
                Mode::Zero => FallocMode::Zero,
                Mode::Punch => FallocMode::Punch,
                Mode::Collapse => FallocMode::Collapse,
                Mode::Insert => FallocMode::Insert,
            },
            pos,
            len,
            keep_size,
        };
        with_space(file, &op)?;
        if file.is_sync() {
            let inode = file.inode();
            let upto = file::fsync_upto(inode.data(), u64::MAX);
            file::fsync_metadata(mount_of(inode), inode.data(), upto.min(inode.size()), false)
                .at(inode)?;
        }
        Ok(())
    }
}

/// Tries, and if there is no space has the engine make some and tries again, without `i_rwsem`.
fn with_space(file: &File<Latchfs>, op: &Falloc) -> Result {
    let mut attempt = Attempt::default();
    let inode = file.inode();
    loop {
        let result = locked(file, op);
        if result != Err(ENOSPC) {
            return result;
        }
        match file::make_space(mount_of(inode), inode.data(), &mut attempt) {
            Space::FlushFile => inode.flush()?,
            Space::FlushFs => inode.sb().try_to_writeback_inodes(),
            Space::Again => {}
            Space::Full => return Err(ENOSPC),
        }
    }
}

/// One attempt, under `i_rwsem`.
#[inline(never)]
fn locked(file: &File<Latchfs>, op: &Falloc) -> Result {
    let inode = file.inode();
    let (m, r) = (mount_of(inode), inode.data());
    let lock = inode.lock();
    let iolock = lock.witness();
    inode.dio_wait();
    if inode.is_swapfile() {
        return Err(ETXTBSY);
    }
    let plan = file::falloc_plan(m, r, op).at(inode)?;
    if let Some(size) = plan.new_size.filter(|size| *size > inode.size()) {
        inode.newsize_ok(size)?;
    }
    file.modified()?;
    let inval = plan.exclusive.then(|| inode.invalidate_lock());
    if let Some(inval) = &inval {
        prepare(inode, &iolock, inval, &plan)?;
    }
    let now = inode.mtime();
    let done = {
        let witness = inval.as_ref().map(InvalidateLock::witness);
        file::fallocate(m, r, &iolock, witness.as_ref(), op, now).at(inode)
    };
    let done = match (op.mode, inval) {
        (FallocMode::Collapse | FallocMode::Insert, Some(inval)) => {
            // What the engine says, also after an error in the middle.
            let size = r.file.i_size();
            if size != inode.size() {
                inode.truncate_setsize(&iolock, &inval, size);
            }
            done
        }
        (_, inval) => done.and_then(|()| grow(inode, &iolock, inval, &plan)),
    };
    inode::refresh(inode);
    done
}

/// What has to happen in the page cache before the map changes.
fn prepare(
    inode: &Inode,
    iolock: &IolockExcl<'_>,
    inval: &InvalidateLock<'_, Latchfs>,
    plan: &FallocPlan,
) -> Result {
    if let Some((start, end)) = plan.flush {
        inode.write_and_wait(start, end.saturating_sub(1))?;
    }
    for (pos, len) in plan.zero.iter().flatten() {
        inode.zero_range(iolock, inval, *pos, *len)?;
    }
    if let Some((start, end)) = plan.forget {
        inode.truncate_pagecache_range(iolock, inval, start, end);
    }
    Ok(())
}

/// Makes the file longer, if the plan says so.
fn grow(
    inode: &Inode,
    iolock: &IolockExcl<'_>,
    inval: Option<InvalidateLock<'_, Latchfs>>,
    plan: &FallocPlan,
) -> Result {
    let Some(size) = plan.new_size else {
        return Ok(());
    };
    let inval = match inval {
        Some(held) => held,
        None => inode.invalidate_lock(),
    };
    attr::resize(inode, iolock, &inval, size, || {})
}
