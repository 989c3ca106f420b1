// SPDX-License-Identifier: GPL-2.0

//! What becomes of metadata that could not be written: retried, for so often and so long, or given
//! up, which shuts the file system down.
//!
//! Names and meaning are those of XFS (`/sys/fs/xfs/<dev>/error/`): a class of errors has
//! `max_retries` and `retry_timeout_seconds`, -1 for ever; `fail_at_unmount` says that an unmount
//! does not wait for a device that does not come back. A retry that succeeds clears the count. The
//! first failure of a write does not count towards giving up unless no retry is allowed at all.
//!
//! An unmount always ends. Where XFS would hang (`fail_at_unmount` 0 and both limits infinite) it
//! gives up after [`UNMOUNT_PATIENCE`].

use crate::sys::{
    atomic::{AtomicU32, Ordering},
    Errno, //
};

/// For ever, in both limits.
pub const FOREVER: i32 = -1;
/// Longest `retry_timeout_seconds`: one day.
pub const MAX_TIMEOUT: i32 = 86_400;
/// Seconds an unmount waits for a device if nothing else says for how long.
pub const UNMOUNT_PATIENCE: u64 = 300;

/// Classes of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrnoClass {
    /// Everything else.
    Default,
    /// The device reports an I/O error.
    Io,
    /// A thinly provisioned device is full.
    NoSpace,
    /// The device is gone.
    NoDevice,
}

impl ErrnoClass {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Default, Self::Io, Self::NoSpace, Self::NoDevice];

    /// Name of its directory in sysfs, as in XFS.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Io => "EIO",
            Self::NoSpace => "ENOSPC",
            Self::NoDevice => "ENODEV",
        }
    }

    /// The class of an errno.
    pub fn of(errno: Errno) -> Self {
        match errno {
            Errno::IO => Self::Io,
            Errno::NOSPC => Self::NoSpace,
            Errno::NODEV => Self::NoDevice,
            _ => Self::Default,
        }
    }
}

/// One limit: a number, or -1.
struct Limit(AtomicU32);

impl Limit {
    fn new(limit: i32) -> Self {
        Self(AtomicU32::new(limit as u32))
    }

    fn get(&self) -> i32 {
        self.0.load(Ordering::Relaxed) as i32
    }

    fn set(&self, limit: i32) {
        self.0.store(limit as u32, Ordering::Relaxed);
    }
}

/// The limits of one class.
struct Limits {
    max_retries: Limit,
    timeout: Limit,
}

impl Limits {
    fn new(limit: i32) -> Self {
        Self {
            max_retries: Limit::new(limit),
            timeout: Limit::new(limit),
        }
    }
}

/// The policy of one mount. Everything may be changed at any time and takes effect with the next
/// failure.
pub struct ErrorPolicy {
    default: Limits,
    io: Limits,
    no_space: Limits,
    no_device: Limits,
    fail_at_unmount: AtomicU32,
}

/// What is remembered of the failures of one buffer's writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// Failures since the last success, with the same errno.
    pub failures: u32,
    /// The errno, 0 if there was no failure.
    pub errno: u32,
    /// When the first of them was, seconds since boot.
    pub since: u64,
}

/// What to do about a failed write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again.
    Retry,
    /// It is hopeless: shut down.
    GiveUp,
}

/// What the moment adds to the policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// Seconds since boot.
    pub now: u64,
    /// Since when the file system is being unmounted.
    pub unmounting: Option<u64>,
}

impl Default for ErrorPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl ErrorPolicy {
    /// XFS's defaults: for ever, but not for a device that is gone; and not at unmount.
    pub fn new() -> Self {
        Self {
            default: Limits::new(FOREVER),
            io: Limits::new(FOREVER),
            no_space: Limits::new(FOREVER),
            no_device: Limits::new(0),
            fail_at_unmount: AtomicU32::new(1),
        }
    }

    fn limits(&self, class: ErrnoClass) -> &Limits {
        match class {
            ErrnoClass::Default => &self.default,
            ErrnoClass::Io => &self.io,
            ErrnoClass::NoSpace => &self.no_space,
            ErrnoClass::NoDevice => &self.no_device,
        }
    }

    /// `max_retries` and `retry_timeout_seconds` of a class.
    pub fn get(&self, class: ErrnoClass) -> (i32, i32) {
        let limits = self.limits(class);
        (limits.max_retries.get(), limits.timeout.get())
    }

    /// Sets `max_retries`: -1 or the number. EINVAL.
    pub fn set_max_retries(&self, class: ErrnoClass, n: i32) -> Result<(), Errno> {
        if n < FOREVER {
            return Err(Errno::INVAL);
        }
        self.limits(class).max_retries.set(n);
        Ok(())
    }

    /// Sets `retry_timeout_seconds`: -1 or at most [`MAX_TIMEOUT`]. EINVAL.
    pub fn set_retry_timeout(&self, class: ErrnoClass, seconds: i32) -> Result<(), Errno> {
        if !(FOREVER..=MAX_TIMEOUT).contains(&seconds) {
            return Err(Errno::INVAL);
        }
        self.limits(class).timeout.set(seconds);
        Ok(())
    }

    /// Whether an unmount gives up at once what cannot be written.
    pub fn fail_at_unmount(&self) -> bool {
        self.fail_at_unmount.load(Ordering::Relaxed) != 0
    }

    /// Sets it.
    pub fn set_fail_at_unmount(&self, on: bool) {
        self.fail_at_unmount.store(u32::from(on), Ordering::Relaxed);
    }

    /// A write failed: counts it in `retry`, and decides.
    pub fn judge(&self, errno: Errno, retry: &mut Retry, moment: Moment) -> Verdict {
        let code = errno.raw() as u32;
        if retry.errno != code {
            *retry = Retry {
                failures: 0,
                errno: code,
                since: moment.now,
            };
        }
        let retries = retry.failures;
        retry.failures = retry.failures.saturating_add(1);

        let (max, timeout) = self.get(ErrnoClass::of(errno));
        let reached = |limit: i32, n: u64| u64::try_from(limit).is_ok_and(|limit| n >= limit);
        let for_long = moment.now.saturating_sub(retry.since);
        if reached(max, u64::from(retries)) || (timeout != 0 && reached(timeout, for_long)) {
            return Verdict::GiveUp;
        }
        // A limit of 0 seconds is no time for a second retry.
        if timeout == 0 && retries > 0 {
            return Verdict::GiveUp;
        }
        let Some(since) = moment.unmounting else {
            return Verdict::Retry;
        };
        let patience = moment.now.saturating_sub(since) >= UNMOUNT_PATIENCE;
        let unlimited = max == FOREVER && timeout == FOREVER;
        if retries > 0 && (self.fail_at_unmount() || (unlimited && patience)) {
            return Verdict::GiveUp;
        }
        Verdict::Retry
    }
}
