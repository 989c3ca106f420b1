// SPDX-License-Identifier: GPL-2.0

//! Waiting for a condition.

use crate::bindings;
use core::ffi::c_void;

/// A queue of tasks that wait for a condition somebody else makes true.
///
/// Whoever changes the condition calls [`WaitQueue::wake_all`] after the change. The tasks sleep in
/// the kernel's hashed wait queues, under the address of this: it is one byte, and may move while
/// nobody waits.
pub(crate) struct WaitQueue {
    // Gives each queue an address of its own.
    _address: u8,
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// Calls the closure that `arg` points to.
///
/// # Safety
///
/// `arg` is a valid `*mut F` that nobody else uses during the call.
unsafe extern "C" fn holds<F: FnMut() -> bool>(arg: *mut c_void) -> bool {
    // SAFETY: As the caller promises.
    let cond = unsafe { &mut *arg.cast::<F>() };
    cond()
}

/// Sleeps until `cond` holds, woken by [`wake`] of the same address.
pub(super) fn wait_on<F: FnMut() -> bool>(address: *const c_void, mut cond: F) {
    // SAFETY: The address is only compared. `holds` gets the closure, which lives on this stack.
    unsafe { bindings::wait_var(address.cast_mut(), Some(holds::<F>), (&raw mut cond).cast()) };
}

/// Like [`wait_on`], for at most `millis`. Returns whether `cond` held.
pub(super) fn wait_on_until<F: FnMut() -> bool>(
    address: *const c_void,
    mut cond: F,
    millis: u64,
) -> bool {
    // SAFETY: The address is only compared. `holds` gets the closure, which lives on this stack.
    unsafe {
        bindings::wait_var_timeout(
            address.cast_mut(),
            Some(holds::<F>),
            (&raw mut cond).cast(),
            millis,
        )
    }
}

/// Wakes who sleeps in [`wait_on`] under this address, to look at their condition again.
pub(super) fn wake(address: *const c_void) {
    // SAFETY: The address is only compared.
    unsafe { bindings::wake_var(address.cast_mut()) };
}

impl WaitQueue {
    /// An empty queue.
    pub(crate) const fn new() -> Self {
        Self { _address: 0 }
    }

    fn address(&self) -> *const c_void {
        (&raw const self._address).cast()
    }

    /// Sleeps until `cond` holds. `cond` may take spinlocks, and must not sleep: `wait_event`.
    pub(crate) fn wait(&self, cond: impl FnMut() -> bool) {
        wait_on(self.address(), cond);
    }

    /// Like [`Self::wait`], for at most `millis`: `wait_event_timeout`. Returns whether `cond` held.
    pub(crate) fn wait_until(&self, cond: impl FnMut() -> bool, millis: u64) -> bool {
        wait_on_until(self.address(), cond, millis)
    }

    /// Wakes all waiters to look at their condition again. Never sleeps.
    pub(crate) fn wake_all(&self) {
        wake(self.address());
    }
}
