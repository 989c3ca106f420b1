// SPDX-License-Identifier: GPL-2.0

//! Block devices: in memory, on a file, or anything that implements [`Backend`].
//!
//! All addresses are blocks of 4096 bytes. Kernel: the mounted `struct block_device`, bios, and a
//! workqueue of its own for completions, so that [`BlockIo::complete`] always runs in a task.

mod bulk;

use crate::alloc::{Arc, Block};
use crate::content::{ContentLock, ExclToken, SharedToken};
use crate::rank::LockClass;
use crate::{Errno, SysResult, BLOCK_BYTES};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;

/// Which hold on the content an I/O owns, given back on completion.
#[derive(Debug)]
pub enum IoToken {
    /// A read fills the block: exclusive.
    Read(ExclToken),
    /// A write leaves readers alone: shared.
    Write(SharedToken),
}

/// A buffer that can be the target of asynchronous I/O.
pub trait BlockIo: Send + Sync + Sized + 'static {
    /// Lock class of its content.
    type Class: LockClass;

    /// The content that is read or written.
    fn content(&self) -> &ContentLock<Block, Self::Class>;

    /// The I/O is over. In task context; must not wait for log space or for other I/O.
    fn complete(this: Arc<Self>, token: IoToken, result: SysResult<()>);
}

/// What a device does. Implemented here for memory and files, by the simulator for its own disk.
pub trait Backend: Send + Sync {
    /// Size in blocks.
    fn blocks(&self) -> u64;
    /// Reads one block.
    fn read(&self, block: u64, buf: &mut [u8; BLOCK_BYTES]) -> SysResult<()>;
    /// Writes one block.
    fn write(&self, block: u64, buf: &[u8; BLOCK_BYTES]) -> SysResult<()>;
    /// Makes everything written so far durable.
    fn flush(&self) -> SysResult<()>;
    /// Tells that the content of `len` blocks is no longer needed.
    fn discard(&self, start: u64, len: u64) -> SysResult<()>;
    /// Where asynchronous requests go; without it they are carried out at once.
    fn queue(&self) -> Option<&dyn Queue> {
        None
    }
    /// Writes blocks in a row as one request, see [`Device::write_log`]. A backend that can tell a
    /// flush before the write and one after it from two of its own has its own version.
    fn write_log(&self, start: u64, blocks: &[Block], preflush: bool, fua: bool) -> SysResult<()> {
        if preflush {
            self.flush()?;
        }
        for (i, block) in blocks.iter().enumerate() {
            self.write(start + i as u64, block)?;
        }
        if fua {
            self.flush()?;
        }
        Ok(())
    }
}

/// Something that went wrong with the file system, for whoever watches it: fanotify(7) in the
/// kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Report {
    /// Metadata is damaged, or could not be read or written.
    Metadata(Errno),
    /// The file system was shut down.
    Shutdown,
}

/// How a request that was queued ended, told to whoever started it. In task context.
pub type Done<R> = Box<dyn FnOnce(SysResult<R>) + Send>;

/// A backend that takes its time: requests end later, in any order, and in another thread than the
/// one that started them.
pub trait Queue {
    /// Starts reading a block.
    fn start_read(&self, block: u64, done: Done<Box<[u8; BLOCK_BYTES]>>);
    /// Starts writing a block, as its content is now.
    fn start_write(&self, block: u64, buf: &[u8; BLOCK_BYTES], done: Done<()>);
}

/// An open block device. Cheap to clone.
#[derive(Clone)]
pub struct Device {
    backend: std::sync::Arc<dyn Backend>,
    read_only: bool,
    /// Of the mount: clones share it.
    reports: std::sync::Arc<Mutex<Vec<Report>>>,
}

impl Device {
    /// A device over `backend`.
    pub fn new(backend: std::sync::Arc<dyn Backend>, read_only: bool) -> Self {
        Self {
            backend,
            read_only,
            reports: std::sync::Arc::default(),
        }
    }

    /// What the device is made of: for devices that are made of others.
    pub fn backend(&self) -> &std::sync::Arc<dyn Backend> {
        &self.backend
    }

    /// Tells whoever watches the file system that something went wrong. Does not sleep.
    pub fn report(&self, what: Report) {
        self.reports
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .push(what);
    }

    /// What was reported so far. Tests only.
    pub fn reports(&self) -> Vec<Report> {
        self.reports
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .clone()
    }

    /// A sparse device of `blocks` zeroed blocks in memory.
    pub fn memory(blocks: u64) -> Self {
        Self::new(std::sync::Arc::new(MemDisk::new(blocks)), false)
    }

    /// A device on an open file or block device of `blocks` blocks.
    pub fn file(file: File, blocks: u64, read_only: bool) -> Self {
        Self::new(std::sync::Arc::new(FileDisk { file, blocks }), read_only)
    }

    /// Size in blocks; a partial last block does not count.
    pub fn blocks(&self) -> u64 {
        self.backend.blocks()
    }

    /// Whether writes fail with EROFS.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    fn check(&self, block: u64, write: bool) -> SysResult<()> {
        crate::might_sleep();
        if write && self.read_only {
            return Err(Errno::ROFS);
        }
        if block >= self.backend.blocks() {
            return Err(Errno::IO);
        }
        Ok(())
    }

    /// Reads one block and waits for it.
    pub fn read_block(&self, block: u64, buf: &mut Block) -> SysResult<()> {
        self.check(block, false)?;
        self.backend.read(block, buf)
    }

    /// Writes one block and waits for it; durable after a [`Self::flush`].
    pub fn write_block(&self, block: u64, buf: &Block) -> SysResult<()> {
        self.check(block, true)?;
        self.backend.write(block, buf)
    }

    /// Starts reading `block` into the content of `io`. The token comes back in
    /// [`BlockIo::complete`], which may run before this returns.
    pub fn submit_read<B: BlockIo>(&self, block: u64, io: Arc<B>, mut token: ExclToken) {
        let checked = self.check(block, false);
        if let (Ok(()), Some(queue)) = (checked, self.backend.queue()) {
            let done = move |r: SysResult<Box<[u8; BLOCK_BYTES]>>| {
                let r = r.map(|data| io.content().access(&mut token).copy_from_slice(&data[..]));
                B::complete(io, IoToken::Read(token), r);
            };
            return queue.start_read(block, Box::new(done));
        }
        let r = self.check(block, false).and_then(|()| {
            self.backend
                .read(block, &mut io.content().access(&mut token))
        });
        B::complete(io, IoToken::Read(token), r);
    }

    /// Starts writing the content of `io` to `block`.
    pub fn submit_write<B: BlockIo>(&self, block: u64, io: Arc<B>, token: SharedToken) {
        let checked = self.check(block, true);
        if let (Ok(()), Some(queue)) = (checked, self.backend.queue()) {
            let data: Box<[u8; BLOCK_BYTES]> = Box::new(**io.content().peek(&token));
            let done = move |r| B::complete(io, IoToken::Write(token), r);
            return queue.start_write(block, &data, Box::new(done));
        }
        let r = self
            .check(block, true)
            .and_then(|()| self.backend.write(block, &io.content().peek(&token)));
        B::complete(io, IoToken::Write(token), r);
    }

    /// Flushes the device's write cache and waits: `blkdev_issue_flush`.
    pub fn flush(&self) -> SysResult<()> {
        crate::might_sleep();
        if self.read_only {
            return Ok(());
        }
        self.backend.flush()
    }

    /// Discards `len` blocks; EOPNOTSUPP if the device cannot.
    pub fn discard(&self, start: u64, len: u64) -> SysResult<()> {
        self.check(start, true)?;
        self.backend.discard(start, len)
    }
}

/// Runs `f` and holds back the asynchronous I/O it starts, so that neighbouring blocks become one
/// request: `blk_start_plug`. All of it is on its way when this returns, or before, if `f` sleeps.
pub fn plugged<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Which writes of a [`MemDisk`] fail, and how.
type BadWrites = Box<dyn Fn(u64) -> Option<Errno> + Send>;

/// A sparse disk in memory with fault injection.
pub struct MemDisk {
    blocks: u64,
    data: Mutex<HashMap<u64, Box<[u8; BLOCK_BYTES]>>>,
    fail_writes: AtomicBool,
    fail_reads: AtomicBool,
    bad: Mutex<Option<BadWrites>>,
    reads: AtomicU64,
    writes: AtomicU64,
}

impl MemDisk {
    /// A disk of zeroes.
    pub fn new(blocks: u64) -> Self {
        Self {
            blocks,
            data: Mutex::new(HashMap::new()),
            fail_writes: AtomicBool::new(false),
            fail_reads: AtomicBool::new(false),
            bad: Mutex::new(None),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
        }
    }

    /// Makes all writes (and flushes) fail with EIO, or work again.
    pub fn fail_writes(&self, on: bool) {
        self.fail_writes.store(on, Ordering::SeqCst);
    }

    /// Makes those writes fail for whose block `bad` gives an errno, from now on. Flushes work.
    pub fn fail_writes_if(&self, bad: impl Fn(u64) -> Option<Errno> + Send + 'static) {
        *self.bad.lock().unwrap_or_else(|e| e.into_inner()) = Some(Box::new(bad));
    }

    /// Ends [`Self::fail_writes_if`].
    pub fn heal(&self) {
        *self.bad.lock().unwrap_or_else(|e| e.into_inner()) = None;
    }

    fn check_write(&self, block: u64) -> SysResult<()> {
        if self.fail_writes.load(Ordering::SeqCst) {
            return Err(Errno::IO);
        }
        let bad = self.bad.lock().unwrap_or_else(|e| e.into_inner());
        match bad.as_ref().and_then(|bad| bad(block)) {
            Some(errno) => Err(errno),
            None => Ok(()),
        }
    }

    /// Makes all reads fail with EIO, or work again.
    pub fn fail_reads(&self, on: bool) {
        self.fail_reads.store(on, Ordering::SeqCst);
    }

    /// Blocks read and written so far.
    pub fn io_counts(&self) -> (u64, u64) {
        (
            self.reads.load(Ordering::SeqCst),
            self.writes.load(Ordering::SeqCst),
        )
    }

    /// A copy of all blocks ever written, by number.
    pub fn snapshot(&self) -> HashMap<u64, Box<[u8; BLOCK_BYTES]>> {
        self.data.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

impl Backend for MemDisk {
    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn read(&self, block: u64, buf: &mut [u8; BLOCK_BYTES]) -> SysResult<()> {
        if self.fail_reads.load(Ordering::SeqCst) {
            return Err(Errno::IO);
        }
        self.reads.fetch_add(1, Ordering::SeqCst);
        match self
            .data
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .get(&block)
        {
            Some(b) => buf.copy_from_slice(&b[..]),
            None => buf.fill(0),
        }
        Ok(())
    }

    fn write(&self, block: u64, buf: &[u8; BLOCK_BYTES]) -> SysResult<()> {
        self.check_write(block)?;
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.data
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .insert(block, Box::new(*buf));
        Ok(())
    }

    fn flush(&self) -> SysResult<()> {
        if self.fail_writes.load(Ordering::SeqCst) {
            return Err(Errno::IO);
        }
        Ok(())
    }

    fn discard(&self, start: u64, len: u64) -> SysResult<()> {
        let end = start.saturating_add(len);
        self.data
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .retain(|b, _| *b < start || *b >= end);
        Ok(())
    }
}

struct FileDisk {
    file: File,
    blocks: u64,
}

fn errno(e: std::io::Error) -> Errno {
    Errno::from_raw(e.raw_os_error().unwrap_or(0))
}

impl Backend for FileDisk {
    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn read(&self, block: u64, buf: &mut [u8; BLOCK_BYTES]) -> SysResult<()> {
        let off = block.checked_mul(BLOCK_BYTES as u64).ok_or(Errno::IO)?;
        self.file.read_exact_at(buf, off).map_err(errno)
    }

    fn write(&self, block: u64, buf: &[u8; BLOCK_BYTES]) -> SysResult<()> {
        let off = block.checked_mul(BLOCK_BYTES as u64).ok_or(Errno::IO)?;
        self.file.write_all_at(buf, off).map_err(errno)
    }

    fn flush(&self) -> SysResult<()> {
        self.file.sync_data().map_err(errno)
    }

    fn discard(&self, _start: u64, _len: u64) -> SysResult<()> {
        Err(Errno::OPNOTSUPP)
    }
}
