// SPDX-License-Identifier: GPL-2.0

//! A model of the Linux page cache and of iomap 7.3, as far as a file system sees them.
//!
//! The engine's data path is called here as the kernel calls it: the same callbacks in the same
//! order under the same locks (i_rwsem, invalidate lock, folio lock, folio writeback), with the
//! witnesses made from those locks. What a test over this model finds is in the code that is loaded
//! into the kernel; the model itself has no file system logic. Each function names the C function
//! it follows.
//!
//! The host's locks check the order of everything: i_rwsem (10), invalidate lock (30), folio lock
//! (50), then the engine's.
//!
//! I/O is to the device of the mount. A submitted ioend takes a copy of its folios' data, and is
//! carried out at once, or queued and carried out in any order ([`Ioends`]): with a wait for the end
//! of writeback at the latest. Errors are injected at ioends.

mod direct;
mod fallocate;
mod fault;
mod file;
mod folio;
mod ioend;
mod read;
mod replace;
mod seek;
mod truncate;
mod write;
mod writeback;
mod zero;

pub use direct::{DioEnd, Direct};
pub use file::{Fail, File, Fs};
pub use ioend::Ioends;
pub use latchfs_engine::engine::file::{Falloc, FallocMode};
pub use latchfs_engine::sys::Errno;

use latchfs_engine::engine::{alloc::Reservation, file::CONVERSION_MARGIN, Mount};
use latchfs_host::Arc;

/// Result with an errno.
pub type Result<T = ()> = core::result::Result<T, Errno>;

/// Bytes of a page, and of a block.
pub const PAGE: u64 = 4096;

latchfs_host::lock_class! {
    /// `inode->i_rwsem`.
    pub(crate) Iolock = "i_rwsem", rank 10;
    /// `mapping->invalidate_lock`.
    pub(crate) InvalidateLock = "invalidate_lock", rank 30;
    /// The lock of a folio: one at a time.
    pub(crate) FolioLock = "folio", rank 50;
    /// `i_pages`.
    pub(crate) PagesLock = "i_pages", rank 170;
    /// The queue of ioends.
    pub(crate) IoendLock = "ioends", rank 171;
}

/// Takes so much of the space that direct conversions are paid for in advance.
pub fn hoard(m: &Arc<Mount>) -> Reservation {
    let alloc = m.alloc();
    alloc
        .reserve(alloc.available() - CONVERSION_MARGIN + 1)
        .expect("space")
}

fn errno(e: latchfs_engine::engine::Error) -> Errno {
    e.errno()
}

/// What a bad user address gives; nothing in the engine does.
pub const EFAULT: Errno = Errno::from_raw(14);
