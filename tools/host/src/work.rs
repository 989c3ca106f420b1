// SPDX-License-Identifier: GPL-2.0

//! Background work: `work_struct`s on WQ_MEM_RECLAIM workqueues of the mount.

use crate::alloc::Arc;
use crate::prim::{self, thread, Condvar};
use crate::SysResult;

/// Something that is done in the background.
pub trait Work: Send + Sync + 'static {
    /// One run, in process context. May sleep.
    fn run(&self);
}

#[derive(Default)]
struct State {
    pending: bool,
    running: bool,
    stop: bool,
    /// When [`WorkItem::kick_after`] is due.
    #[cfg(not(feature = "shuttle"))]
    due: Option<std::time::Duration>,
}

struct Shared {
    state: prim::Mutex<State>,
    changed: Condvar,
}

/// A piece of background work that can be kicked any number of times: kicks before a run starts
/// are one run, a kick during a run makes another.
///
/// The item keeps a reference on its target until [`WorkItem::stop`] (or drop, which stops).
pub struct WorkItem {
    name: &'static str,
    shared: std::sync::Arc<Shared>,
    thread: prim::Mutex<Option<thread::JoinHandle<()>>>,
}

impl WorkItem {
    /// An idle item for `target`; `name` is the workqueue's. May sleep.
    pub fn new<W: Work>(name: &'static str, target: Arc<W>) -> SysResult<WorkItem> {
        let shared = std::sync::Arc::new(Shared {
            state: prim::Mutex::new(State::default()),
            changed: Condvar::new(),
        });
        let s = shared.clone();
        let t = thread::Builder::new()
            .name(name.to_string())
            .spawn(move || worker(&s, &*target))
            .map_err(|_| crate::Errno::NOMEM)?;
        Ok(WorkItem {
            name,
            shared,
            thread: prim::Mutex::new(Some(t)),
        })
    }

    /// An idle item for `target` on the same queue. Neither may wait for the other: in the kernel one
    /// thread may have to do both. May sleep.
    pub fn beside<W: Work>(&self, target: Arc<W>) -> SysResult<WorkItem> {
        Self::new(self.name, target)
    }

    /// Asks for a run soon: `queue_work`. Never sleeps.
    pub fn kick(&self) {
        let mut s = prim::lock(&self.shared.state);
        if !s.stop {
            s.pending = true;
            self.shared.changed.notify_all();
        }
    }

    /// Asks for a run in `millis` milliseconds; an earlier such request stands: `timer_reduce`.
    /// Under shuttle time is a scheduling choice: it may be at once. Never sleeps.
    pub fn kick_after(&self, millis: u64) {
        #[cfg(feature = "shuttle")]
        {
            let _ = millis;
            self.kick();
        }
        #[cfg(not(feature = "shuttle"))]
        {
            let due = prim::monotonic() + std::time::Duration::from_millis(millis);
            let mut s = prim::lock(&self.shared.state);
            if !s.stop && s.due.is_none_or(|d| due < d) {
                s.due = Some(due);
                self.shared.changed.notify_all();
            }
        }
    }

    /// Waits until everything kicked before this call has been done: `flush_work`. May sleep.
    pub fn flush(&self) {
        crate::might_sleep();
        let mut s = prim::lock(&self.shared.state);
        while (s.pending || s.running) && !s.stop {
            s = self
                .shared
                .changed
                .wait(s)
                .unwrap_or_else(|e| e.into_inner());
        }
    }

    /// Waits for a running run, drops pending kicks and the target; later kicks do nothing:
    /// `cancel_work_sync`. May sleep; must not be called from the work itself.
    pub fn stop(&self) {
        crate::might_sleep();
        prim::lock(&self.shared.state).stop = true;
        self.shared.changed.notify_all();
        let t = prim::lock(&self.thread).take();
        if let Some(t) = t {
            let _ = t.join();
        }
    }
}

impl Drop for WorkItem {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits for a change of the state; turns a timer that is due into a kick.
#[cfg(not(feature = "shuttle"))]
fn wait<'a>(shared: &Shared, mut s: prim::MutexGuard<'a, State>) -> prim::MutexGuard<'a, State> {
    let Some(due) = s.due else {
        return shared.changed.wait(s).unwrap_or_else(|e| e.into_inner());
    };
    let now = prim::monotonic();
    if now >= due {
        s.due = None;
        s.pending = true;
        return s;
    }
    prim::wait_timeout(&shared.changed, s, due - now)
}

/// Waits for a change of the state.
#[cfg(feature = "shuttle")]
fn wait<'a>(shared: &Shared, s: prim::MutexGuard<'a, State>) -> prim::MutexGuard<'a, State> {
    shared.changed.wait(s).unwrap_or_else(|e| e.into_inner())
}

fn worker<W: Work>(shared: &Shared, target: &W) {
    loop {
        let mut s = prim::lock(&shared.state);
        while !s.pending && !s.stop {
            s = wait(shared, s);
        }
        if s.stop {
            return;
        }
        s.pending = false;
        s.running = true;
        drop(s);
        target.run();
        prim::lock(&shared.state).running = false;
        shared.changed.notify_all();
    }
}
