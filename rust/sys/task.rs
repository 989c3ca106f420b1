// SPDX-License-Identifier: GPL-2.0

//! What belongs to the running task: the open transaction, the allocation scope, yielding.

use crate::bindings;
use core::ffi::c_void;
use core::marker::PhantomData;

/// Its address in `current->journal_info` says that the task has a transaction of latchfs open.
static OPEN: u8 = 0;

fn marker() -> *mut c_void {
    (&raw const OPEN).cast_mut().cast()
}

/// The task's one place for an open transaction: `current->journal_info`.
/// Backs the rule that transactions do not nest.
///
/// Another file system may use the word in the same task further out (a fault or a write below
/// its own transaction): what it holds is put back at the end.
#[derive(Debug)]
#[must_use]
pub(crate) struct TxnSlot {
    outer: *mut c_void,
    _not_send: PhantomData<*const ()>,
}

impl TxnSlot {
    /// Takes the slot; `None` if the task has a transaction open already.
    pub(crate) fn enter() -> Option<TxnSlot> {
        // SAFETY: The word belongs to the current task.
        let outer = unsafe { bindings::journal_info() };
        if outer == marker() {
            return None;
        }
        // SAFETY: As above.
        unsafe { bindings::set_journal_info(marker()) };
        Some(TxnSlot {
            outer,
            _not_send: PhantomData,
        })
    }
}

impl Drop for TxnSlot {
    fn drop(&mut self) {
        // SAFETY: The slot is not `Send`: this is the task that entered.
        unsafe { bindings::set_journal_info(self.outer) };
    }
}

/// Whether this task has a transaction open.
pub(crate) fn in_txn() -> bool {
    // SAFETY: The word belongs to the current task.
    unsafe { bindings::journal_info() == marker() }
}

/// While it lives, allocations of this task do not recurse into the file system:
/// `memalloc_nofs_save` and `_restore`. Nests; scopes of one task end in the opposite order.
#[derive(Debug)]
#[must_use]
pub(crate) struct NofsScope {
    flags: core::ffi::c_uint,
    _not_send: PhantomData<*const ()>,
}

impl NofsScope {
    /// Opens the scope.
    pub(crate) fn enter() -> NofsScope {
        NofsScope {
            // SAFETY: Restored by the drop, in the same task.
            flags: unsafe { bindings::memalloc_nofs_save() },
            _not_send: PhantomData,
        }
    }
}

impl Drop for NofsScope {
    fn drop(&mut self) {
        // SAFETY: The flags of the save in the same task.
        unsafe { bindings::memalloc_nofs_restore(self.flags) };
    }
}

/// While it lives, this task is one that frees memory by what it does: it may use the last
/// reserves, and its allocations do not reclaim: `memalloc_noreclaim_save` and `_restore`. For the
/// writer of metadata. Nests, as [`NofsScope`].
#[derive(Debug)]
#[must_use]
pub(crate) struct ReclaimScope {
    flags: core::ffi::c_uint,
    _not_send: PhantomData<*const ()>,
}

impl ReclaimScope {
    /// Opens the scope.
    pub(crate) fn enter() -> ReclaimScope {
        ReclaimScope {
            // SAFETY: Restored by the drop, in the same task.
            flags: unsafe { bindings::memalloc_noreclaim_save() },
            _not_send: PhantomData,
        }
    }
}

impl Drop for ReclaimScope {
    fn drop(&mut self) {
        // SAFETY: The flags of the save in the same task.
        unsafe { bindings::memalloc_noreclaim_restore(self.flags) };
    }
}

/// Lets others run; called in every loop that retries a try-lock or a CAS: `cpu_relax()`, and
/// `cond_resched()` where that is allowed.
pub(crate) fn relax() {
    // SAFETY: No requirements.
    unsafe { bindings::relax() };
}
