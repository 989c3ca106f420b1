// SPDX-License-Identifier: GPL-2.0

//! What belongs to the running task: the open transaction, the allocation scope, yielding.

use crate::prim::{thread, thread_local};
use core::marker::PhantomData;
use std::cell::Cell;

thread_local! {
    static TXN: Cell<bool> = new_cell(false);
    static NOFS: Cell<u32> = new_cell(0);
}

fn new_cell<T>(v: T) -> Cell<T> {
    Cell::new(v)
}

/// The task's one place for an open transaction: `current->journal_info` in the kernel.
/// Backs the rule that transactions do not nest.
#[derive(Debug)]
pub struct TxnSlot {
    _not_send: PhantomData<*const ()>,
}

impl TxnSlot {
    /// Takes the slot; `None` if the task has a transaction open already.
    pub fn enter() -> Option<TxnSlot> {
        TXN.with(|t| {
            (!t.replace(true)).then_some(TxnSlot {
                _not_send: PhantomData,
            })
        })
    }
}

impl Drop for TxnSlot {
    fn drop(&mut self) {
        let _ = TXN.try_with(|t| t.set(false));
    }
}

/// Whether this task has a transaction open.
pub fn in_txn() -> bool {
    TXN.with(|t| t.get())
}

/// While it lives, allocations of this task do not recurse into the file system:
/// `memalloc_nofs_save` and `_restore`. Nests.
#[derive(Debug)]
pub struct NofsScope {
    _not_send: PhantomData<*const ()>,
}

impl NofsScope {
    /// Opens the scope.
    pub fn enter() -> NofsScope {
        NOFS.with(|n| n.set(n.get() + 1));
        NofsScope {
            _not_send: PhantomData,
        }
    }
}

impl Drop for NofsScope {
    fn drop(&mut self) {
        let _ = NOFS.try_with(|n| n.set(n.get() - 1));
    }
}

/// While it lives, this task is one that frees memory by what it does. Kernel:
/// `memalloc_noreclaim_save` and `_restore`. Nests. Here only a marker.
#[derive(Debug)]
#[must_use]
pub struct ReclaimScope {
    _not_send: PhantomData<*const ()>,
}

impl ReclaimScope {
    /// Opens the scope.
    pub fn enter() -> ReclaimScope {
        ReclaimScope {
            _not_send: PhantomData,
        }
    }
}

/// Lets others run; called in every loop that retries a try-lock or a CAS.
/// Kernel: `cpu_relax()`, and `cond_resched()` where that is allowed.
pub fn relax() {
    thread::yield_now();
}
