// SPDX-License-Identifier: GPL-2.0

//! Windows: blocks kept for a file that grows.
//!
//! A file that is appended to gets more blocks in a row than its data needs, and what is left is its
//! window: a [`Claim`] right behind its last block, never an extent and never on disk, which the next
//! writeback continues in. So files that grow side by side do not take turns on the device. A crash
//! forgets it, closing the file drops it, and so does time.
//!
//! A window is nobody's promise. Whoever finds no space has all windows dropped before he is told so
//! ([`Alloc::drop_windows`]); for that the claim has a lock of its own, below the ILOCK of its inode.
//!
//! XFS's speculative preallocation does the same with extents behind the end of the file, which it has
//! to find and free later.

use super::*;
use crate::engine::{
    inode::bag::Bag,
    locks::{WindowList, WindowLock},
};
use crate::sys::must_arc;

/// Passes ([`Alloc::age_windows`]) after which a window that was not used goes.
const AGE: u32 = 6;
/// The part of the available blocks that a window may have.
const SHARE: u64 = 64;

/// What the lock of a window protects.
struct State {
    claim: Option<Claim>,
    /// Pass in which it was last used.
    used: u32,
    /// Whether it is on the list.
    listed: bool,
}

/// A window, or an empty one that can be filled again.
struct Shared {
    state: Mutex<State, WindowLock>,
}

impl Shared {
    /// Takes the claim out, to be dropped without the lock.
    fn empty(&self) -> Option<Claim> {
        self.state.lock().claim.take()
    }
}

/// The window of one file, protected by its ILOCK. Dropping it gives the blocks back; may sleep.
pub struct Window(Arc<Shared>);

impl Drop for Window {
    fn drop(&mut self) {
        drop(self.0.empty());
    }
}

/// All windows of a mount.
pub(super) struct Windows {
    list: Bag<Arc<Shared>, WindowList>,
    pass: AtomicU32,
}

impl Windows {
    pub(super) fn new() -> Self {
        Self {
            list: Bag::new(),
            pass: AtomicU32::new(0),
        }
    }
}

impl Window {
    /// A window without blocks. May sleep.
    fn new() -> Self {
        Self(must_arc(Shared {
            state: Mutex::new(State {
                claim: None,
                used: 0,
                listed: false,
            }),
        }))
    }

    /// Takes up to `want` blocks out of it if it begins at `goal`. A window somewhere else is of no
    /// use any more, and is dropped. May sleep.
    pub fn take(&self, alloc: &Alloc, goal: DiskBlock, want: u32) -> Option<Claim> {
        let stale;
        {
            let mut state = self.0.state.lock();
            state.used = alloc.windows.pass.load(Ordering::Relaxed);
            let mut claim = state.claim.take()?;
            if claim.range().start == goal {
                let part = claim.split_front(want);
                if !claim.is_empty() {
                    state.claim = Some(claim);
                }
                return Some(part);
            }
            stale = claim;
        }
        drop(stale);
        None
    }

    /// Blocks in it. May sleep.
    pub fn len(&self) -> u32 {
        self.0.state.lock().claim.as_ref().map_or(0, Claim::len)
    }

    /// Whether it has none. May sleep.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Alloc {
    /// How many blocks a window may have for a file that wants `want`.
    pub fn window_size(&self, want: u64) -> u64 {
        want.min(self.available() / SHARE)
    }

    /// Keeps `claim` as the window of a file, in the place of the one it has. May sleep.
    pub fn keep_window(&self, window: &mut Option<Window>, claim: Claim) {
        let window = window.get_or_insert_with(Window::new);
        let old;
        let listed;
        {
            let mut state = window.0.state.lock();
            old = state.claim.replace(claim);
            state.used = self.windows.pass.load(Ordering::Relaxed);
            listed = core::mem::replace(&mut state.listed, true);
        }
        drop(old);
        if !listed {
            self.windows.list.add(window.0.clone());
        }
    }

    /// Drops all windows: there is no other space. Returns how many blocks that brought. Takes no
    /// ILOCK. May sleep.
    pub fn drop_windows(&self) -> u64 {
        let mut blocks = 0_u64;
        for window in self.windows.list.take() {
            let claim;
            {
                let mut state = window.state.lock();
                state.listed = false;
                claim = state.claim.take();
            }
            blocks = blocks.saturating_add(claim.as_ref().map_or(0, |c| u64::from(c.len())));
        }
        blocks
    }

    /// Drops windows that nobody has used for some passes. Returns whether there are others. May
    /// sleep.
    pub fn age_windows(&self) -> bool {
        let pass = self.windows.pass.fetch_add(1, Ordering::Relaxed);
        let mut left = false;
        for window in self.windows.list.take() {
            let old;
            let keep;
            {
                let mut state = window.state.lock();
                let age = pass.wrapping_sub(state.used);
                keep = state.claim.is_some() && age < AGE;
                old = if keep { None } else { state.claim.take() };
                state.listed = keep;
            }
            drop(old);
            if keep {
                left = true;
                self.windows.list.add(window);
            }
        }
        left
    }
}
