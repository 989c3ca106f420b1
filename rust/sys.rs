// SPDX-License-Identifier: GPL-2.0

//! `crate::sys` of latchfs in the kernel.
//!
//! Rings 0 and 1 see the machine only through these names. `tools/host` has the userspace
//! implementation of each of them; both pass the cases of `rust/sys_conformance.rs`. Where the two
//! could differ, the comments of the host one say what is meant.

pub(crate) mod alloc;
pub(crate) mod atomic;
pub(crate) mod content;
pub(crate) mod device;
mod errno;
pub(crate) mod lock;
pub(crate) mod log;
pub(crate) mod rank;
pub(crate) mod sync_point;
pub(crate) mod task;
pub(crate) mod time;
pub(crate) mod wait;
pub(crate) mod witness;
pub(crate) mod work;

#[cfg(CONFIG_KUNIT)]
mod tests;

use crate::bindings;

pub(crate) use alloc::{
    must_arc, must_box, must_box_filled, try_arc, try_box, Arc, Block, Box, Lent, Spares, Vec,
};
pub(crate) use content::{ContentLock, ContentRead, ContentWrite, ExclToken, SharedToken};
pub(crate) use device::{plugged, BlockIo, Device, Report};
pub(crate) use errno::Errno;
pub(crate) use lock::{Mutex, MutexGuard, RwSem, RwSemReadGuard, RwSemWriteGuard, Spin, SpinGuard};
pub(crate) use log::{pr_err, pr_info, pr_warn};
pub(crate) use rank::{lock_class, might_sleep, LockClass};
pub(crate) use sync_point::{damage, fail_point, mutant, sync_point};
pub(crate) use task::{in_txn, relax, NofsScope, ReclaimScope, TxnSlot};
pub(crate) use time::{now, random_u64, uptime, Time};
pub(crate) use wait::WaitQueue;
pub(crate) use work::{Work, WorkItem};

/// Result of a facade call. Ring 1 turns an [`Errno`] into its own error, which remembers the site.
pub(crate) type SysResult<T> = core::result::Result<T, Errno>;

/// Size in bytes of a metadata block and of a [`Block`].
pub(crate) const BLOCK_BYTES: usize = 4096;

/// CRC-32C (Castagnoli) of `data`, continued from `seed`.
///
/// `crc32c(0, data)` is the common, inverted CRC-32C; feeding a result back as `seed` continues it.
pub(crate) fn crc32c(seed: u32, data: &[u8]) -> u32 {
    // SAFETY: The pointer and the length are those of a slice.
    !unsafe { bindings::crc32c(!seed, data.as_ptr().cast(), data.len()) }
}

/// Reports that the impossible happened and stops: `BUG()`.
///
/// For the few places where going on would make two owners of one thing.
#[cold]
pub(crate) fn bug(what: &'static str) -> ! {
    pr_err!("BUG: {}", what);
    // SAFETY: Stops the task; a BUG() is always allowed.
    unsafe { bindings::bug() };
    loop {
        core::hint::spin_loop();
    }
}

/// Brings the machine down, as the mount option `errors=panic` asks for. Any context.
#[cold]
pub(crate) fn halt(why: &str) {
    pr_err!("{}", why);
    // SAFETY: Stops the machine.
    unsafe { bindings::halt() };
}

/// From what a C function returned: negative is an error.
fn check(ret: core::ffi::c_int) -> SysResult<()> {
    if ret < 0 {
        Err(Errno::from_raw(ret.saturating_neg()))
    } else {
        Ok(())
    }
}
