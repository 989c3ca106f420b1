// SPDX-License-Identifier: GPL-2.0

//! `crate::sys` of latchfs in userspace.
//!
//! Rings 0 and 1 see the machine only through these names. The kernel has its own implementation
//! of each of them in `rust/sys/`; this one runs on std, or under a feature on shuttle's scheduler,
//! over a simulated or file-backed block device. Where a comment says what the kernel does, the
//! kernel implementation is bound by it.
//!
//! Everything here is safe Rust, and stricter than the kernel where that finds bugs: every lock
//! checks its rank and that nothing sleeps under a spinlock, on every acquisition.

pub mod alloc;
pub mod atomic;
pub mod content;
pub mod device;
// Numbers and names: one source for both.
#[path = "../../../rust/sys/errno.rs"]
mod errno;
pub mod lock;
#[macro_use]
pub mod log;
mod prim;
pub mod rank;
#[macro_use]
pub mod sync_point;
#[cfg(feature = "sim")]
pub mod sim;
pub mod task;
pub mod time;
pub mod wait;
pub mod witness;
pub mod work;

pub use alloc::{
    must_arc, must_box, must_box_filled, try_arc, try_box, Arc, Block, Box, Lent, Spares, Vec,
};
pub use content::{ContentLock, ContentRead, ContentWrite, ExclToken, SharedToken};
pub use device::{plugged, BlockIo, Device, Report};
pub use errno::Errno;
pub use lock::{Mutex, MutexGuard, RwSem, RwSemReadGuard, RwSemWriteGuard, Spin, SpinGuard};
pub use rank::{might_sleep, LockClass};
pub use task::{in_txn, relax, NofsScope, ReclaimScope, TxnSlot};
pub use time::{now, random_u64, uptime, Time};
pub use wait::WaitQueue;
pub use witness::{CleanRange, InvalidateExcl, IolockExcl, LockedFolio};
pub use work::{Work, WorkItem};

/// Result of a facade call. Ring 1 turns an [`Errno`] into its own error, which remembers the site.
pub type SysResult<T> = core::result::Result<T, Errno>;

/// Size in bytes of a metadata block and of a [`Block`].
pub const BLOCK_BYTES: usize = 4096;

/// CRC-32C (Castagnoli) of `data`, continued from `seed`.
///
/// `crc32c(0, data)` is the common, inverted CRC-32C; feeding a result back as `seed` continues it.
/// In the kernel this is `!crc32c(!seed, data)` of `lib/crc`, which does not invert by itself.
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    ::crc32c::crc32c_append(seed, data)
}

/// Brings the machine down, as the mount option `errors=panic` asks for. Any context. Here a panic,
/// in the kernel panic().
#[cold]
pub fn halt(why: &str) {
    panic!("errors=panic: {why}");
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests;
