// SPDX-License-Identifier: GPL-2.0

//! Background work: `work_struct`s on WQ_MEM_RECLAIM workqueues of the mount.

use super::alloc::{Arc, Box};
use super::atomic::{AtomicBool, Ordering};
use super::{check, SysResult};
use crate::bindings;
use kernel::types::Opaque;

/// Something that is done in the background.
pub(crate) trait Work: Send + Sync + 'static {
    /// One run, in process context. May sleep.
    fn run(&self);
}

/// A workqueue. It has a thread that rescues it when memory is short, and that does one thing after
/// the other: what waits for other work needs another queue than that.
///
/// # Invariants
///
/// `c` is zeroed or initialised, and stays where it is.
struct Queue {
    c: Opaque<bindings::latchfs_queue>,
}

// SAFETY: Workqueues are made for use by any task.
unsafe impl Send for Queue {}
// SAFETY: As above.
unsafe impl Sync for Queue {}

impl Queue {
    fn new(name: &'static str) -> SysResult<Arc<Self>> {
        let mut text = [0u8; 32];
        // Names of workqueues are at most 31 characters.
        for (to, from) in text.iter_mut().take(31).zip(name.bytes()) {
            *to = from;
        }
        // INVARIANT: Zeroed until C has initialised it.
        let queue = super::try_arc(Queue {
            c: Opaque::zeroed(),
        })?;
        // SAFETY: The queue is on the heap and stays there; the name is a C string.
        check(unsafe { bindings::queue_init(queue.c.get(), text.as_ptr().cast()) })?;
        Ok(queue)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: By the invariant; every item has a reference until its work is disabled.
        unsafe { bindings::queue_destroy(self.c.get()) };
    }
}

/// A piece of background work that can be kicked any number of times: kicks before a run starts
/// are one run, a kick during a run makes another.
///
/// The item keeps a reference on its target until [`WorkItem::stop`] (or drop, which stops).
pub(crate) struct WorkItem {
    item: Box<Item>,
}

/// # Invariants
///
/// `target` is an `Arc::into_raw` of the type that `run` and `put` are for, given back when
/// `stopped` becomes true. `c` is initialised and stays where it is. `run` is called only before
/// the work is disabled. `c` is on `queue`.
struct Item {
    c: Opaque<bindings::latchfs_work>,
    queue: Arc<Queue>,
    target: *const (),
    run: unsafe fn(*const ()),
    put: unsafe fn(*const ()),
    stopped: AtomicBool,
}

// SAFETY: The target is `Send` and `Sync`, and the C work item is made for use by any task.
unsafe impl Send for Item {}
// SAFETY: As above.
unsafe impl Sync for Item {}

/// Runs the work of a target.
///
/// # Safety
///
/// `target` is from `Arc::<W>::into_raw` and not given back during the call.
unsafe fn run<W: Work>(target: *const ()) {
    // SAFETY: As the caller promises. The reference stays with the item.
    let target = core::mem::ManuallyDrop::new(unsafe { Arc::<W>::from_raw(target) });
    target.run();
}

/// Gives the reference to a target back.
///
/// # Safety
///
/// `target` is from `Arc::<W>::into_raw` and given away.
unsafe fn put<W: Work>(target: *const ()) {
    // SAFETY: As the caller promises.
    drop(unsafe { Arc::<W>::from_raw(target) });
}

/// What the workqueue calls.
///
/// # Safety
///
/// `work` is the `work` of the `c` of an [`Item`].
unsafe extern "C" fn trampoline(work: *mut bindings::work_struct) {
    // SAFETY: As the caller promises. The item lives until the work is disabled.
    let item = unsafe {
        let c = kernel::container_of!(work, bindings::latchfs_work, work);
        &*kernel::container_of!(Opaque::cast_from(c).cast_mut(), Item, c)
    };
    // SAFETY: By the invariants of `Item`: the work is not disabled yet.
    unsafe { (item.run)(item.target) };
}

impl WorkItem {
    /// An idle item for `target` on a queue of its own; `name` is the workqueue's. May sleep.
    pub(crate) fn new<W: Work>(name: &'static str, target: Arc<W>) -> SysResult<WorkItem> {
        Self::on(Queue::new(name)?, target)
    }

    /// An idle item for `target` on the same queue. Neither may wait for the other. May sleep.
    pub(crate) fn beside<W: Work>(&self, target: Arc<W>) -> SysResult<WorkItem> {
        Self::on(self.item.queue.clone(), target)
    }

    fn on<W: Work>(queue: Arc<Queue>, target: Arc<W>) -> SysResult<WorkItem> {
        let mut item = super::try_box(Item {
            c: Opaque::zeroed(),
            queue,
            target: core::ptr::null(),
            run: run::<W>,
            put: put::<W>,
            stopped: AtomicBool::new(false),
        })?;
        // SAFETY: The item is on the heap and stays there, and has a reference to the queue.
        unsafe { bindings::work_init(item.c.get(), item.queue.c.get(), Some(trampoline)) };
        // INVARIANT: Nobody kicked it yet, so nobody looked at the target.
        item.target = Arc::into_raw(target);
        Ok(WorkItem { item })
    }

    /// Asks for a run soon: `queue_work`. Never sleeps.
    pub(crate) fn kick(&self) {
        // SAFETY: Initialised; a disabled work is not queued.
        unsafe { bindings::work_kick(self.item.c.get()) };
    }

    /// Asks for a run in `millis` milliseconds; an earlier such request stands: `timer_reduce`.
    /// Never sleeps.
    pub(crate) fn kick_after(&self, millis: u64) {
        // SAFETY: Initialised; a timer that was shut down is not started.
        unsafe { bindings::work_kick_after(self.item.c.get(), millis) };
    }

    /// Waits until everything kicked before this call has been done: `flush_work`. May sleep.
    pub(crate) fn flush(&self) {
        // SAFETY: Initialised.
        unsafe { bindings::work_flush(self.item.c.get()) };
    }

    /// Waits for a running run, drops pending kicks and the target; later kicks do nothing:
    /// `disable_work_sync`. May sleep; must not be called from the work itself.
    pub(crate) fn stop(&self) {
        if self.item.stopped.swap(true, Ordering::AcqRel) {
            // Somebody else has stopped it or is about to: wait for the run with them.
            self.flush();
            return;
        }
        // SAFETY: Initialised.
        unsafe { bindings::work_disable(self.item.c.get()) };
        // SAFETY: By the invariant of `Item`: no run any more, and this is the one who stops.
        unsafe { (self.item.put)(self.item.target) };
    }
}

impl Drop for WorkItem {
    fn drop(&mut self) {
        self.stop();
    }
}
