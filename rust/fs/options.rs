// SPDX-License-Identifier: GPL-2.0

//! Mount options.

use crate::engine::faults;
use crate::kapi::fs_context::Parameter;
use crate::kapi::seq_file::SeqFile;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering;
use kernel::prelude::*;
use kernel::str::CStr;

/// What to do about damage that is found while mounted (`errors=`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnError {
    /// Report the error to whoever met it, and go on.
    Continue,
    /// Make the file system read-only.
    RemountRo,
    /// Refuse everything until it is unmounted.
    Shutdown,
    /// Panic, to get a crash dump or to fail over.
    Panic,
}

impl OnError {
    /// What is done without the option.
    pub const DEFAULT: Self = Self::RemountRo;

    fn from_number(number: u32) -> Result<Self> {
        match number {
            0 => Ok(Self::Continue),
            1 => Ok(Self::RemountRo),
            2 => Ok(Self::Shutdown),
            3 => Ok(Self::Panic),
            _ => Err(EINVAL),
        }
    }

    /// The engine's name for it.
    pub fn for_engine(self) -> faults::OnError {
        match self {
            Self::Continue => faults::OnError::Continue,
            Self::RemountRo => faults::OnError::ReadOnly,
            Self::Shutdown => faults::OnError::Shutdown,
            Self::Panic => faults::OnError::Panic,
        }
    }

    fn option(self) -> &'static CStr {
        match self {
            Self::Continue => c",errors=continue",
            Self::RemountRo => c",errors=remount-ro",
            Self::Shutdown => c",errors=shutdown",
            Self::Panic => c",errors=panic",
        }
    }
}

/// The options of a mount, while they are parsed.
#[derive(Clone, Copy)]
pub struct Options {
    /// `errors=`.
    pub on_error: OnError,
    /// `discard`: tell the device about freed blocks.
    pub discard: bool,
    /// `norecovery`: do not replay the log; read-only mounts only.
    pub norecovery: bool,
    /// `commit=`: seconds after which a change is made durable if nobody asks for it before.
    pub commit: u32,
}

impl Options {
    /// What a mount without options has.
    pub const DEFAULT: Self = Self {
        on_error: OnError::DEFAULT,
        discard: false,
        norecovery: false,
        commit: Self::COMMIT,
    };

    /// `commit=` without the option: that of ext4.
    const COMMIT: u32 = 5;

    /// Longest `commit=`.
    const MAX_COMMIT: u32 = 900;

    /// Takes one option.
    pub fn set(&mut self, parameter: Parameter) -> Result {
        match parameter {
            Parameter::Errors(number) => self.on_error = OnError::from_number(number)?,
            Parameter::Discard(on) => self.discard = on,
            Parameter::NoRecovery => self.norecovery = true,
            Parameter::Commit(0) => self.commit = Self::COMMIT,
            Parameter::Commit(seconds) if seconds <= Self::MAX_COMMIT => self.commit = seconds,
            Parameter::Commit(_) => return Err(EINVAL),
        }
        Ok(())
    }
}

/// The options of a mounted file system; remount changes them while others read them.
pub struct Live {
    on_error: AtomicU8,
    discard: AtomicBool,
    norecovery: AtomicBool,
    commit: AtomicU32,
}

impl Live {
    /// Options in force.
    pub fn new(options: &Options) -> Self {
        Self {
            on_error: AtomicU8::new(options.on_error as u8),
            discard: AtomicBool::new(options.discard),
            norecovery: AtomicBool::new(options.norecovery),
            commit: AtomicU32::new(options.commit),
        }
    }

    /// The options as they are now.
    pub fn get(&self) -> Options {
        let number = u32::from(self.on_error.load(Ordering::Relaxed));
        Options {
            on_error: OnError::from_number(number).unwrap_or(OnError::DEFAULT),
            discard: self.discard.load(Ordering::Relaxed),
            norecovery: self.norecovery.load(Ordering::Relaxed),
            commit: self.commit.load(Ordering::Relaxed),
        }
    }

    /// Puts other options in force. `norecovery` is a property of the mount that was made.
    pub fn set(&self, options: &Options) {
        self.on_error
            .store(options.on_error as u8, Ordering::Relaxed);
        self.discard.store(options.discard, Ordering::Relaxed);
        self.commit.store(options.commit, Ordering::Relaxed);
    }

    /// Prints what differs from the defaults, for /proc/mounts.
    pub fn show(&self, seq: &SeqFile) {
        let options = self.get();
        if options.on_error != OnError::DEFAULT {
            seq.puts(options.on_error.option());
        }
        if options.discard {
            seq.puts(c",discard");
        }
        if options.norecovery {
            seq.puts(c",norecovery");
        }
        if options.commit != Options::COMMIT {
            seq.number(c",commit=", u64::from(options.commit));
        }
    }
}
