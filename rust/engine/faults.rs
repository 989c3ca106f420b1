// SPDX-License-Identifier: GPL-2.0

//! Errors worth remembering, and what the file system does about them.
//!
//! * [`reaction`]: what is done about an error.
//!
//! The first and the last one are kept in the superblock (ext4's idea), so that whoever looks at
//! the file system a week later sees what went wrong first, where, and when.

mod reaction;
#[cfg(all(test, unit_tests))]
mod tests;

pub use reaction::{reaction, Reaction, Severity};

use crate::engine::{
    locks::FaultLock,
    Error, //
};
use crate::format::superblock::ErrorRecord;
use crate::sys::{
    self,
    atomic::{AtomicU32, Ordering},
    Spin, //
};
use zerocopy::little_endian::{I64, U32, U64};

/// What happens after the first error in metadata: the mount option `errors=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The operation fails, the file system goes on.
    Continue,
    /// Nothing is changed any more (EROFS).
    #[default]
    ReadOnly,
    /// Nothing works any more (EIO).
    Shutdown,
    /// The machine goes down.
    Panic,
}

impl OnError {
    const ALL: [OnError; 4] = [
        OnError::Continue,
        OnError::ReadOnly,
        OnError::Shutdown,
        OnError::Panic,
    ];

    pub(crate) fn code(self) -> u32 {
        self as u32
    }

    pub(crate) fn from_code(code: u32) -> Self {
        Self::ALL.get(code as usize).copied().unwrap_or_default()
    }
}

/// What was recorded since the superblock was last written.
#[derive(Clone, Copy, Default)]
pub struct Recorded {
    /// Number of errors.
    pub count: u32,
    /// The first of them.
    pub first: ErrorRecord,
    /// The last of them.
    pub last: ErrorRecord,
}

/// The errors of one mount.
pub struct Faults {
    recorded: Spin<Recorded, FaultLock>,
    /// All errors since mount.
    count: AtomicU32,
    /// [`OnError`] as a number: a remount may change it.
    on_error: AtomicU32,
}

impl Default for Faults {
    fn default() -> Self {
        Self::new(OnError::default())
    }
}

impl Faults {
    /// No errors.
    pub fn new(on_error: OnError) -> Self {
        Self {
            recorded: Spin::new(Recorded::default()),
            count: AtomicU32::new(0),
            on_error: AtomicU32::new(on_error.code()),
        }
    }

    /// Changes the mount option `errors=`. Does not sleep.
    pub fn set_on_error(&self, on_error: OnError) {
        self.on_error.store(on_error.code(), Ordering::Relaxed);
    }

    /// What the mount option says about an error. Does not sleep.
    pub fn reaction(&self, severity: Severity) -> Reaction {
        reaction(
            OnError::from_code(self.on_error.load(Ordering::Relaxed)),
            severity,
        )
    }

    /// Records an error in inode `ino` at `block` (0: in none). Does not sleep. Does not return
    /// with `errors=panic`.
    pub fn note(&self, error: &Error, ino: u64, block: u64) {
        let record = ErrorRecord {
            time: I64::new(sys::now().secs),
            ino: U64::new(ino),
            block: U64::new(block),
            code: U32::new(error.line()),
            errno: U32::new(error.errno().raw() as u32),
        };
        let mut recorded = self.recorded.lock();
        if recorded.count == 0 {
            recorded.first = record;
        }
        recorded.last = record;
        recorded.count = recorded.count.saturating_add(1);
        drop(recorded);
        self.count.fetch_add(1, Ordering::Release);
        if self.reaction(Severity::Damage) == Reaction::Panic {
            sys::halt("an error in metadata (errors=panic)");
        }
    }

    /// Errors since mount.
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    /// Whether there is something that is not in the superblock yet.
    pub fn has_unwritten(&self) -> bool {
        self.recorded.lock().count != 0
    }

    /// Takes what is not in the superblock yet.
    pub fn take(&self) -> Recorded {
        core::mem::take(&mut *self.recorded.lock())
    }
}
