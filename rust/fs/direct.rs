// SPDX-License-Identifier: GPL-2.0

//! Direct I/O: which locks it takes, and what it leaves to the page cache.
//!
//! * Reads, and writes of whole blocks inside of the file: `i_rwsem` shared.
//! * Writes of parts of blocks: shared, if all of the range has been written before; else
//!   exclusively, alone, and waited for, because the rest of a new block is zeroed.
//! * Writes that extend the file: exclusively, and waited for.
//!
//! Compare `xfs_file_dio_write_aligned`, `xfs_file_dio_write_unaligned`, `btrfs_direct_write`.

use super::error::Edge as _;
use super::file::write_cached;
use super::file::zero_gap;
use super::mount_of;
use super::Inode;
use super::Latchfs;
use crate::engine::file;
use crate::engine::file::DirectHow;
use crate::format::units::BLOCK_SIZE;
use crate::kapi::direct::DirectOps;
use crate::kapi::direct::WriteHow;
use crate::kapi::file::Kiocb;
use crate::kapi::inode::InodeLockShared;
use crate::kapi::iomap::Mapping;
use crate::sys::witness::IolockExcl;
use crate::sys::Errno;
use kernel::prelude::*;

impl DirectOps for Latchfs {
    fn direct_read(inode: &Inode, pos: u64, len: u64, nowait: bool) -> Result<Mapping> {
        Ok(
            file::bmap_direct_read(mount_of(inode), inode.data(), pos, len, nowait)
                .at(inode)?
                .into(),
        )
    }

    fn direct_write(
        inode: &Inode,
        lock: Option<&IolockExcl<'_>>,
        pos: u64,
        len: u64,
        how: WriteHow,
    ) -> Result<Mapping> {
        let how = DirectHow {
            nowait: how.nowait,
            overwrite_only: how.overwrite_only,
        };
        Ok(
            file::direct_write_begin(mount_of(inode), inode.data(), lock, pos, len, how)
                .at(inode)?
                .into(),
        )
    }

    fn direct_write_end(inode: &Inode, pos: u64, len: u64, written: u64, new: bool) {
        file::direct_write_end(mount_of(inode), inode.data(), pos, len, written, new);
    }

    fn direct_write_done(
        inode: &Inode,
        pos: u64,
        size: u64,
        unwritten: bool,
        error: Option<Error>,
    ) -> Result {
        let (m, r) = (mount_of(inode), inode.data());
        let end = pos.saturating_add(size);
        let failed = error.map(|e| Errno::from_raw(e.to_errno().wrapping_neg()));
        if !file::direct_write_needs_completion(r, end, unwritten, failed) {
            return Ok(());
        }
        if let Some(size) = file::direct_write_complete(m, r, pos, size, failed).at(inode)? {
            inode.set_size(size);
        }
        Ok(())
    }
}

/// read(2) with O_DIRECT, under `i_rwsem`.
pub fn read(io: &mut Kiocb<'_, Latchfs>, lock: &InodeLockShared<'_, Latchfs>) -> Result<usize> {
    let mut done = 0;
    let mut before = None;
    loop {
        match io.read_direct(lock, done) {
            // The count is that of all calls; 0 at the end of the file.
            Ok(n) => done = done.max(n),
            Err(e) if e == EFAULT => {}
            Err(e) if done == 0 || e == EIOCBQUEUED => return Err(e),
            Err(_) => return Ok(done),
        }
        let left = io.remaining();
        if left == 0 || io.pos() >= io.inode().size() {
            return Ok(done);
        }
        if before == Some(left) {
            // Memory that does not stay, or is none.
            return match io.nowait() {
                true if done == 0 => Err(EAGAIN),
                true => Ok(done),
                false => io.read_rest(done),
            };
        }
        before = Some(left);
        io.fault_in_writeable();
    }
}

/// write(2) with O_DIRECT. O_SYNC and O_DSYNC are obeyed: by iomap, and here for what the page cache
/// had to do.
pub fn write(io: &mut Kiocb<'_, Latchfs>) -> Result<usize> {
    let inode = io.inode();
    let odd = u64::from(inode.sb().data().dio_align).wrapping_sub(1);
    // Where an append begins is known later; iomap looks again.
    let pos = if io.append() { 0 } else { io.pos() };
    if (pos | io.remaining() as u64) & odd != 0 {
        return Err(EINVAL);
    }
    let mut exclusive = io.append() || end(io) > inode.size();
    let done = loop {
        if exclusive {
            break write_exclusive(io)?;
        }
        match write_shared(io)? {
            Some(done) => break done,
            None if io.nowait() => return Err(EAGAIN),
            None => exclusive = true,
        }
    };
    if io.remaining() == 0 {
        return Ok(done);
    }
    if io.nowait() {
        return if done > 0 { Ok(done) } else { Err(EAGAIN) };
    }
    let rest = write_cached(io);
    let all = io.direct_fallback(done, rest)?;
    io.write_sync(all)
}

/// First byte behind the write.
pub fn end(io: &Kiocb<'_, Latchfs>) -> u64 {
    io.pos().saturating_add(io.remaining() as u64)
}

/// Whether the write begins or ends inside of a block.
fn has_parts(io: &Kiocb<'_, Latchfs>) -> bool {
    (io.pos() | io.remaining() as u64) % BLOCK_SIZE as u64 != 0
}

/// A write inside of the file, beside others. `None`: it has to be alone.
fn write_shared(io: &mut Kiocb<'_, Latchfs>) -> Result<Option<usize>> {
    let inode = io.inode();
    let lock = if io.nowait() {
        inode.try_lock_shared().ok_or(EAGAIN)?
    } else {
        inode.lock_shared()
    };
    if io.write_checks()? == 0 {
        return Ok(Some(0));
    }
    // Taking privileges away from the file changes its mode.
    if end(io) > inode.size() || !inode.is_nosec() {
        return Ok(None);
    }
    io.modified()?;
    let parts = has_parts(io);
    match transfer(io, |io, done| io.write_direct_shared(&lock, parts, done)) {
        Err(e) if e == EAGAIN && parts => Ok(None),
        other => other.map(Some),
    }
}

/// Any write.
fn write_exclusive(io: &mut Kiocb<'_, Latchfs>) -> Result<usize> {
    if io.nowait() {
        return Err(EAGAIN);
    }
    let inode = io.inode();
    let lock = inode.lock();
    if io.write_checks()? == 0 {
        return Ok(0);
    }
    let size = inode.size();
    let parts = has_parts(io);
    if parts {
        inode.dio_wait();
    }
    if io.pos() > size {
        zero_gap(inode, &lock, io.pos())?;
    }
    io.modified()?;
    let wait = parts || end(io) > size;
    transfer(io, |io, done| io.write_direct_excl(&lock, wait, done))
}

/// Writes until nothing is left, or no more can be written this way.
fn transfer(
    io: &mut Kiocb<'_, Latchfs>,
    mut step: impl FnMut(&mut Kiocb<'_, Latchfs>, usize) -> Result<usize>,
) -> Result<usize> {
    let mut done = 0;
    let mut before = None;
    loop {
        match step(io, done) {
            // The count is that of all calls; 0 if there was nothing to do.
            Ok(n) => done = done.max(n),
            Err(e) if e == EFAULT => {}
            Err(e) if e == ENOTBLK => return Ok(done),
            Err(e) if done == 0 || e == EIOCBQUEUED => return Err(e),
            Err(_) => return Ok(done),
        }
        let left = io.remaining();
        if left == 0 || before == Some(left) {
            return Ok(done);
        }
        before = Some(left);
        io.fault_in_readable();
    }
}
