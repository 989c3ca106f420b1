// SPDX-License-Identifier: GPL-2.0

//! Open files: read, write, fsync, close, readdir.

use super::direct;
use super::error::Edge as _;
use super::inode::push_attrs;
use super::mount_of;
use super::Inode;
use super::Latchfs;
use crate::engine::dir::position;
use crate::engine::dir::position::Short;
use crate::engine::dir::EntryBuf;
use crate::engine::file;
use crate::engine::file::Attempt;
use crate::engine::file::Space;
use crate::engine::namespace;
use crate::kapi::file::DirContext;
use crate::kapi::file::File;
use crate::kapi::file::FileOps;
use crate::kapi::file::Kiocb;
use crate::kapi::inode::InodeLock;
use kernel::prelude::*;

impl FileOps for Latchfs {
    fn read(io: &mut Kiocb<'_, Self>) -> Result<usize> {
        let inode = io.inode();
        if Self::is_shutdown(inode) {
            return Err(EIO);
        }
        if io.remaining() == 0 {
            return Ok(0);
        }
        let lock = if io.nowait() {
            inode.try_lock_shared().ok_or(EAGAIN)?
        } else {
            inode.lock_shared()
        };
        if io.direct() {
            io.accessed();
            direct::read(io, &lock)
        } else {
            io.read_cached()
        }
    }

    fn write(io: &mut Kiocb<'_, Self>) -> Result<usize> {
        if Self::is_shutdown(io.inode()) {
            return Err(EIO);
        }
        if io.remaining() == 0 {
            return Ok(0);
        }
        if io.direct() {
            return direct::write(io);
        }
        let written = write_cached(io)?;
        if written == 0 {
            return Ok(0);
        }
        io.write_sync(written)
    }

    fn fsync(file: &File<Self>, start: u64, last: u64, datasync: bool) -> Result {
        let inode = file.inode();
        let m = mount_of(inode);
        let from = file::fsync_from(inode.data(), start, last);
        let upto = file::fsync_upto(inode.data(), last);
        file.write_and_wait(from, last)?;
        if Self::is_shutdown(inode) {
            return Err(EIO);
        }
        if !datasync {
            push_attrs(inode)?;
        }
        // A truncation takes the size down before it takes pages away: what it took away meanwhile
        // was not written.
        let upto = upto.min(inode.size());
        file::fsync_metadata(m, inode.data(), upto, datasync).at(inode)
    }

    fn opened(inode: &Inode, writer: bool) {
        if writer {
            file::opened(inode.data());
        }
    }

    fn release(inode: &Inode, writer: bool) {
        if writer {
            file::released(inode.data());
        }
        if writer && file::flush_at_close(inode.data()) {
            // What fails here is reported by fsync.
            let _ = inode.flush();
        }
    }

    fn readdir(dir: &Inode, ctx: &mut DirContext) -> Result {
        if Self::is_shutdown(dir) {
            return Err(EIO);
        }
        if !ctx.emit_dots() {
            return Ok(());
        }
        let mut buf = EntryBuf::try_new().at(dir)?;
        loop {
            let from = key(ctx);
            if from >= position::END {
                return Ok(());
            }
            // The entries are copied under the directory's ILOCK; emitting them may fault, so it
            // happens without any lock of ours (rules S9).
            namespace::readdir(mount_of(dir), dir.data(), from, &mut buf).at(dir)?;
            if buf.is_empty() {
                move_to(ctx, position::END);
                return Ok(());
            }
            if !emit_all(ctx, &buf) {
                return Ok(());
            }
        }
    }

    fn is_shutdown(inode: &Inode) -> bool {
        mount_of(inode).is_shutdown()
    }
}

/// Emits what was copied. False if the reader's buffer is full.
fn emit_all(ctx: &mut DirContext, buf: &EntryBuf) -> bool {
    for entry in buf.iter() {
        move_to(ctx, entry.key);
        if !ctx.emit(entry.name, entry.ino.get(), dirent_type(entry.ftype)) {
            return false;
        }
        move_to(ctx, entry.key.saturating_add(1));
    }
    true
}

/// The key that the reader goes on from.
fn key(ctx: &DirContext) -> u64 {
    if ctx.short() {
        let exact = ctx.remembered();
        Short { exact }.key(ctx.pos())
    } else {
        ctx.pos()
    }
}

/// Moves the reader to `key`.
fn move_to(ctx: &mut DirContext, key: u64) {
    if ctx.short() {
        let mut short = Short::default();
        let pos = short.move_to(key);
        ctx.set_pos(pos);
        ctx.remember(short.exact);
    } else {
        ctx.set_pos(key);
    }
}

/// The `DT_*` of a file type in a directory entry.
fn dirent_type(ftype: u8) -> u8 {
    const DT: [u8; 8] = [0, 8, 4, 2, 6, 1, 12, 10];
    DT.get(usize::from(ftype)).copied().unwrap_or(0)
}

/// Writes into the page cache, and if there is no space has the engine make some and tries again,
/// without `i_rwsem` (rules M23).
pub fn write_cached(io: &mut Kiocb<'_, Latchfs>) -> Result<usize> {
    let mut attempt = Attempt::default();
    loop {
        let result = write_locked(io);
        if result != Err(ENOSPC) || io.nowait() {
            return result;
        }
        let inode = io.inode();
        match file::make_space(mount_of(inode), inode.data(), &mut attempt) {
            Space::FlushFile => inode.flush()?,
            Space::FlushFs => inode.sb().try_to_writeback_inodes(),
            Space::Again => {}
            Space::Full => return Err(ENOSPC),
        }
    }
}

/// One attempt of a write, under `i_rwsem`.
fn write_locked(io: &mut Kiocb<'_, Latchfs>) -> Result<usize> {
    let inode = io.inode();
    let lock = if io.nowait() {
        inode.try_lock().ok_or(EAGAIN)?
    } else {
        inode.lock()
    };
    if io.write_checks()? == 0 {
        return Ok(0);
    }
    let gap = io.pos() > inode.size();
    if gap || file::must_prepare_to_grow(inode.data(), direct::end(io)) {
        if io.nowait() {
            return Err(EAGAIN);
        }
        zero_gap(inode, &lock, io.pos())?;
    }
    io.modified()?;
    io.write_cached()
}

/// A write makes the file longer. If it begins behind the end, what lies between must read as zeroes;
/// what a crash has left behind the end must not be seen in either case. The last block is brought into the page cache, so no direct write may be on its way to it.
pub fn zero_gap(inode: &Inode, lock: &InodeLock<'_, Latchfs>, pos: u64) -> Result {
    inode.dio_wait();
    let size = inode.size();
    let inval = inode.invalidate_lock();
    let iolock = lock.witness();
    file::prepare_to_grow(mount_of(inode), inode.data(), &iolock, &inval.witness()).at(inode)?;
    if pos > size {
        inode.zero_range(&iolock, &inval, size, pos.saturating_sub(size))?;
    }
    Ok(())
}
