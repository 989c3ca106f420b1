// SPDX-License-Identifier: GPL-2.0

//! Locks, condition variables and threads: the scheduler's for virtual threads, std's for others.
//!
//! The names and signatures are std's, as far as the facade uses them. Underneath is always the
//! lock of std; a virtual thread that would have to wait for it gives the token away instead.

use super::{block, is_virtual, point, wake};
use std::{
    ops::{Deref, DerefMut},
    sync::{self, atomic::AtomicU32, atomic::Ordering, LockResult, TryLockError, TryLockResult},
    time::Duration,
};

/// Virtual threads that wait for one lock.
#[derive(Default)]
struct Waiters(AtomicU32);

impl Waiters {
    fn key(&self) -> usize {
        self as *const Self as usize
    }

    /// Tries until it works, and waits for a release between.
    fn acquire<G>(&self, mut attempt: impl FnMut() -> TryLockResult<G>) -> G {
        point();
        loop {
            match attempt() {
                Ok(guard) => return guard,
                Err(TryLockError::Poisoned(e)) => return e.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
            self.0.fetch_add(1, Ordering::Relaxed);
            block(self.key(), None);
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn released(&self) {
        if self.0.load(Ordering::Relaxed) != 0 {
            wake(self.key());
        }
    }
}

fn whatever<G>(r: LockResult<G>) -> G {
    r.unwrap_or_else(|e| e.into_inner())
}

pub(crate) struct Mutex<T> {
    waiters: Waiters,
    inner: sync::Mutex<T>,
}

pub(crate) struct MutexGuard<'a, T> {
    lock: &'a Mutex<T>,
    /// Gone only inside of `drop` and `Condvar::wait`.
    guard: Option<sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            waiters: Waiters::default(),
            inner: sync::Mutex::new(value),
        }
    }

    fn guard<'a>(&'a self, guard: sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        MutexGuard {
            lock: self,
            guard: Some(guard),
        }
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let guard = if is_virtual() {
            self.waiters.acquire(|| self.inner.try_lock())
        } else {
            whatever(self.inner.lock())
        };
        Ok(self.guard(guard))
    }

    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        point();
        match self.inner.try_lock() {
            Ok(guard) => Ok(self.guard(guard)),
            Err(TryLockError::Poisoned(e)) => Ok(self.guard(e.into_inner())),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
        }
    }

    pub(crate) fn get_mut(&mut self) -> LockResult<&mut T> {
        self.inner.get_mut()
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if self.guard.take().is_some() {
            self.lock.waiters.released();
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.guard.as_ref().expect("a guard in use")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("a guard in use")
    }
}

pub(crate) struct RwLock<T> {
    waiters: Waiters,
    inner: sync::RwLock<T>,
}

pub(crate) struct RwLockReadGuard<'a, T> {
    waiters: &'a Waiters,
    guard: Option<sync::RwLockReadGuard<'a, T>>,
}

pub(crate) struct RwLockWriteGuard<'a, T> {
    waiters: &'a Waiters,
    guard: Option<sync::RwLockWriteGuard<'a, T>>,
}

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            waiters: Waiters::default(),
            inner: sync::RwLock::new(value),
        }
    }

    pub(crate) fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        let guard = if is_virtual() {
            self.waiters.acquire(|| self.inner.try_read())
        } else {
            whatever(self.inner.read())
        };
        Ok(self.shared(guard))
    }

    pub(crate) fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        let guard = if is_virtual() {
            self.waiters.acquire(|| self.inner.try_write())
        } else {
            whatever(self.inner.write())
        };
        Ok(self.exclusive(guard))
    }

    pub(crate) fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        point();
        match self.inner.try_read() {
            Ok(guard) => Ok(self.shared(guard)),
            Err(TryLockError::Poisoned(e)) => Ok(self.shared(e.into_inner())),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
        }
    }

    pub(crate) fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        point();
        match self.inner.try_write() {
            Ok(guard) => Ok(self.exclusive(guard)),
            Err(TryLockError::Poisoned(e)) => Ok(self.exclusive(e.into_inner())),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
        }
    }

    pub(crate) fn get_mut(&mut self) -> LockResult<&mut T> {
        self.inner.get_mut()
    }

    fn shared<'a>(&'a self, guard: sync::RwLockReadGuard<'a, T>) -> RwLockReadGuard<'a, T> {
        RwLockReadGuard {
            waiters: &self.waiters,
            guard: Some(guard),
        }
    }

    fn exclusive<'a>(&'a self, guard: sync::RwLockWriteGuard<'a, T>) -> RwLockWriteGuard<'a, T> {
        RwLockWriteGuard {
            waiters: &self.waiters,
            guard: Some(guard),
        }
    }
}

impl<T> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        self.waiters.released();
    }
}

impl<T> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        self.waiters.released();
    }
}

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.guard.as_ref().expect("a guard in use")
    }
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.guard.as_ref().expect("a guard in use")
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("a guard in use")
    }
}

#[derive(Default)]
pub(crate) struct Condvar {
    inner: sync::Condvar,
    /// Something with an address: an empty struct would share it with its neighbour.
    place: u8,
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn key(&self) -> usize {
        &self.place as *const u8 as usize
    }

    pub(crate) fn wait<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
    ) -> LockResult<MutexGuard<'a, T>> {
        let lock = guard.lock;
        if is_virtual() {
            // Nobody else runs between the release and the wait: no wakeup can get lost.
            drop(guard);
            block(self.key(), None);
            return lock.lock();
        }
        let inner = guard.guard.take().expect("a guard in use");
        Ok(lock.guard(whatever(self.inner.wait(inner))))
    }

    /// The flag says whether it was woken, and is not to be relied on.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        let lock = guard.lock;
        if is_virtual() {
            drop(guard);
            let woken = block(self.key(), Some(timeout.as_nanos() as u64));
            return Ok((whatever(lock.lock()), woken));
        }
        let inner = guard.guard.take().expect("a guard in use");
        let (inner, timeout) = whatever(self.inner.wait_timeout(inner, timeout));
        Ok((lock.guard(inner), !timeout.timed_out()))
    }

    pub(crate) fn notify_all(&self) {
        if is_virtual() {
            wake(self.key());
        }
        self.inner.notify_all();
    }
}

pub(crate) mod thread {
    use super::super::{join_key, me, Core};
    use std::sync::{Arc, Mutex};

    pub(crate) use super::super::yield_now;

    #[derive(Default)]
    pub(crate) struct Builder {
        name: String,
    }

    type Slot<T> = Arc<Mutex<Option<T>>>;

    pub(crate) enum JoinHandle<T> {
        Virtual(Arc<Core>, usize, Slot<T>),
        Std(std::thread::JoinHandle<T>),
    }

    impl Builder {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn name(mut self, name: String) -> Self {
            self.name = name;
            self
        }

        pub(crate) fn spawn<T: Send + 'static>(
            self,
            f: impl FnOnce() -> T + Send + 'static,
        ) -> std::io::Result<JoinHandle<T>> {
            match me() {
                Some((core, _)) => {
                    let result: Slot<T> = Arc::new(Mutex::new(None));
                    let slot = result.clone();
                    let id = core.start(&self.name, move || {
                        let r = f();
                        *slot.lock().unwrap_or_else(|e| e.into_inner()) = Some(r);
                    });
                    Ok(JoinHandle::Virtual(core, id, result))
                }
                None => {
                    let thread = std::thread::Builder::new().name(self.name).spawn(f)?;
                    Ok(JoinHandle::Std(thread))
                }
            }
        }
    }

    impl<T> JoinHandle<T> {
        pub(crate) fn join(self) -> std::thread::Result<T> {
            match self {
                JoinHandle::Std(thread) => thread.join(),
                JoinHandle::Virtual(core, id, slot) => loop {
                    let result = slot.lock().unwrap_or_else(|e| e.into_inner()).take();
                    match result {
                        Some(r) => return Ok(r),
                        None => super::block(join_key(&core, id), None),
                    };
                },
            }
        }
    }
}
