// SPDX-License-Identifier: GPL-2.0

//! The block device of a mount.
//!
//! All addresses are blocks of 4096 bytes. An asynchronous I/O is one bio; its `bi_end_io` only
//! queues work, so that [`BlockIo::complete`] always runs in a task (`helpers/block.c`).

mod bulk;

use super::alloc::{Arc, Block};
use super::content::{ContentLock, ExclToken, Hold, SharedToken};
use super::rank::LockClass;
use super::{check, Errno, SysResult};
use crate::bindings;
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

/// Which hold on the content an I/O owns, given back on completion.
#[derive(Debug)]
pub(crate) enum IoToken {
    /// A read fills the block: exclusive.
    Read(ExclToken),
    /// A write leaves readers alone: shared.
    Write(SharedToken),
}

impl From<ExclToken> for IoToken {
    fn from(token: ExclToken) -> Self {
        IoToken::Read(token)
    }
}

impl From<SharedToken> for IoToken {
    fn from(token: SharedToken) -> Self {
        IoToken::Write(token)
    }
}

/// A buffer that can be the target of asynchronous I/O.
pub(crate) trait BlockIo: Send + Sync + Sized + 'static {
    /// Lock class of its content.
    type Class: LockClass;

    /// The content that is read or written.
    fn content(&self) -> &ContentLock<Block, Self::Class>;

    /// The I/O is over. In task context; must not wait for log space or for other I/O.
    fn complete(this: Arc<Self>, token: IoToken, result: SysResult<()>);
}

/// Something that went wrong with the file system, for whoever watches it: fanotify(7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Report {
    /// Metadata is damaged, or could not be read or written.
    Metadata(Errno),
    /// The file system was shut down.
    Shutdown,
}

/// An open block device. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Device {
    open: Arc<Open>,
}

/// # Invariants
///
/// `file` is a block device's, and this owns a reference to it, which keeps the device open. `sb` is
/// the super block that is on it, which outlives this.
struct Open {
    file: NonNull<bindings::file>,
    sb: NonNull<bindings::super_block>,
    read_only: bool,
}

// SAFETY: A `struct file` may be used and put by any task.
unsafe impl Send for Open {}
// SAFETY: As above; the block layer synchronises.
unsafe impl Sync for Open {}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: By the invariant; the reference ends here.
        unsafe { bindings::fput(self.file.as_ptr()) };
    }
}

/// One asynchronous I/O that has ended, on the worker that was queued for it.
///
/// Its memory is given back when this goes, which has to be the last thing the worker does: see
/// `latchfs_helper_io_put`.
///
/// # Invariants
///
/// From `latchfs_helper_io_submit`, whose `done` runs, and not given back.
struct Ended(NonNull<bindings::latchfs_io>);

impl Drop for Ended {
    fn drop(&mut self) {
        // SAFETY: By the invariant; it is used no more.
        unsafe { bindings::io_put(self.0.as_ptr()) };
    }
}

/// The asynchronous I/O of a `B` with the hold `H` is over: what the worker runs.
///
/// # Safety
///
/// `object` is from `Arc::<B>::into_raw`, `token` from an `H`, and they and `io`, which is not null,
/// are given away.
unsafe extern "C" fn done<B: BlockIo, H: Hold + Into<IoToken>>(
    io: *mut bindings::latchfs_io,
    object: *mut c_void,
    token: u64,
    error: c_int,
) {
    // SAFETY: Not null, as the caller promises.
    // INVARIANT: This is `done`, which was given it.
    let ended = Ended(unsafe { NonNull::new_unchecked(io) });
    let ended = (!super::mutant!(Seed002Address)).then_some(ended);
    // SAFETY: As the caller promises.
    let (buf, token) = unsafe { (Arc::<B>::from_raw(object.cast()), H::from_raw(token)) };
    B::complete(buf, token.into(), check(error));
    drop(ended);
}

impl Device {
    /// The device that is open as `file` and on which `sb` is; ENOMEM if there is no memory. Takes
    /// a reference to the file, for as long as a clone of this lives.
    ///
    /// # Safety
    ///
    /// `file` is an open file of a block device, such as `s_bdev_file` of a super block. `sb` and an
    /// [`IoEngine`] live as long as any clone of the device.
    pub(crate) unsafe fn from_file(
        file: NonNull<bindings::file>,
        sb: NonNull<bindings::super_block>,
        read_only: bool,
    ) -> SysResult<Device> {
        // SAFETY: An open file, as the caller promises.
        unsafe { bindings::get_file(file.as_ptr()) };
        // INVARIANT: The caller promises it for the super block.
        Ok(Device {
            open: super::try_arc(Open {
                file,
                sb,
                read_only,
            })?,
        })
    }

    /// Tells whoever watches the file system that something went wrong. Does not sleep; the message
    /// is passed on by a worker, and lost if there is no memory.
    pub(crate) fn report(&self, what: Report) {
        let errno = match what {
            Report::Metadata(errno) => errno.raw(),
            Report::Shutdown => bindings::ESHUTDOWN as c_int,
        };
        // SAFETY: The super block is valid, by the invariant of `Open`.
        unsafe { bindings::report_metadata(self.open.sb.as_ptr(), errno.wrapping_neg()) };
    }

    fn bdev(&self) -> *mut bindings::block_device {
        // SAFETY: By the invariant of `Open`.
        unsafe { bindings::file_bdev(self.open.file.as_ptr()) }
    }

    /// Size in blocks; a partial last block does not count.
    pub(crate) fn blocks(&self) -> u64 {
        // SAFETY: The device is open.
        unsafe { bindings::bdev_blocks(self.bdev()) }
    }

    /// Whether writes fail with EROFS.
    pub(crate) fn read_only(&self) -> bool {
        self.open.read_only
    }

    fn admit(&self, block: u64, write: bool) -> SysResult<()> {
        super::might_sleep();
        if write && self.open.read_only {
            return Err(Errno::ROFS);
        }
        if block >= self.blocks() {
            return Err(Errno::IO);
        }
        Ok(())
    }

    /// Reads one block and waits for it.
    pub(crate) fn read_block(&self, block: u64, buf: &mut Block) -> SysResult<()> {
        self.admit(block, false)?;
        // SAFETY: The device is open, and the block is ours to write until the call returns.
        check(unsafe { bindings::io_sync(self.bdev(), block, buf.memory(), false) })
    }

    /// Writes one block and waits for it; durable after a [`Self::flush`].
    pub(crate) fn write_block(&self, block: u64, buf: &Block) -> SysResult<()> {
        self.admit(block, true)?;
        // SAFETY: The device is open, and nobody changes the block until the call returns.
        check(unsafe { bindings::io_sync(self.bdev(), block, buf.memory(), true) })
    }

    /// Starts reading `block` into the content of `io`. The token comes back in
    /// [`BlockIo::complete`], which may run before this returns.
    pub(crate) fn submit_read<B: BlockIo>(&self, block: u64, io: Arc<B>, token: ExclToken) {
        self.submit(block, io, token, false);
    }

    /// Starts writing the content of `io` to `block`; the token comes back as that of a read does.
    pub(crate) fn submit_write<B: BlockIo>(&self, block: u64, io: Arc<B>, token: SharedToken) {
        self.submit(block, io, token, true);
    }

    fn submit<B: BlockIo, H: Hold + Into<IoToken>>(
        &self,
        block: u64,
        io: Arc<B>,
        token: H,
        write: bool,
    ) {
        let memory = io.content().memory(&token);
        match self.admit(block, write) {
            // SAFETY: The device is open. The token keeps writers from the content, and everybody
            // from that of a read; the reference keeps its memory, until both come back in `done`.
            Ok(()) => unsafe {
                bindings::io_submit(
                    self.bdev(),
                    block,
                    memory,
                    write,
                    Some(done::<B, H>),
                    Arc::into_raw(io).cast_mut().cast(),
                    token.into_raw(),
                )
            },
            Err(e) => B::complete(io, token.into(), Err(e)),
        }
    }

    /// Flushes the device's write cache and waits: `blkdev_issue_flush`.
    pub(crate) fn flush(&self) -> SysResult<()> {
        super::might_sleep();
        if self.open.read_only {
            return Ok(());
        }
        // SAFETY: The device is open.
        check(unsafe { bindings::blkdev_issue_flush(self.bdev()) })
    }

    /// Discards `len` blocks; EOPNOTSUPP if the device cannot.
    pub(crate) fn discard(&self, start: u64, len: u64) -> SysResult<()> {
        self.admit(start, true)?;
        // SAFETY: The device is open; the block layer checks the range.
        check(unsafe { bindings::bdev_discard(self.bdev(), start, len) })
    }
}

/// Runs `f` and holds back the asynchronous I/O it starts, so that neighbouring blocks become one
/// request: `blk_start_plug`. All of it is on its way when this returns, or before, if `f` sleeps.
pub(crate) fn plugged<R>(f: impl FnOnce() -> R) -> R {
    struct Plug(bindings::blk_plug);

    impl Drop for Plug {
        fn drop(&mut self) {
            // SAFETY: Started below, in the same task, and not moved since.
            unsafe { bindings::blk_finish_plug(&mut self.0) };
        }
    }

    let mut plug = Plug(bindings::blk_plug::default());
    // SAFETY: The plug stays where it is on this stack until it is finished.
    unsafe { bindings::blk_start_plug(&mut plug.0) };
    f()
}

/// Whether an [`IoEngine`] lives.
static STARTED: AtomicBool = AtomicBool::new(false);

/// The queue and the pool behind asynchronous I/O, for as long as the module is loaded.
#[derive(Debug)]
pub(crate) struct IoEngine(());

impl IoEngine {
    /// Sets them up; ENOMEM, or EBUSY if they are. Before the first [`Device`].
    pub(crate) fn start() -> SysResult<Self> {
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(Errno::BUSY);
        }
        // SAFETY: No other one lives, as the flag says.
        check(unsafe { bindings::io_start() }).inspect_err(|_| {
            STARTED.store(false, Ordering::Release);
        })?;
        Ok(Self(()))
    }
}

impl Drop for IoEngine {
    fn drop(&mut self) {
        // SAFETY: Started; and whoever made a device promised that this outlives it, so there is no
        // I/O any more.
        unsafe { bindings::io_stop() };
        STARTED.store(false, Ordering::Release);
    }
}
