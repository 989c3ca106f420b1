// SPDX-License-Identifier: GPL-2.0

//! Witnesses: values that prove that the caller of the engine holds a lock of the VFS or the page
//! cache.
//!
//! The engine never takes those locks; it is called under them. A function that is only right
//! under such a lock takes the witness, so that a caller without it does not compile (seeds 001,
//! 003, 004). Each witness names the inode it is about; the engine checks it against the inode it
//! was handed.
//!
//! Kernel: `pub(crate) unsafe fn assume(..)` in the one file of trampolines, with a debug assertion
//! on the C object. Here: made by the model page cache from its own locks.

use core::marker::PhantomData;

/// `inode->i_rwsem` is held exclusively.
#[derive(Debug)]
pub struct IolockExcl<'a> {
    ino: u64,
    _held: PhantomData<&'a ()>,
}

/// `mapping->invalidate_lock` is held exclusively: nobody can bring a folio of the file into the
/// page cache, and no fault is between its mapping and its folio.
#[derive(Debug)]
pub struct InvalidateExcl<'a> {
    ino: u64,
    _held: PhantomData<&'a ()>,
}

/// A folio of the file is locked. It covers bytes `pos .. pos + len`.
#[derive(Debug)]
pub struct LockedFolio<'a> {
    ino: u64,
    pos: u64,
    len: u64,
    _held: PhantomData<&'a ()>,
}

/// No byte of `start .. end` is dirty in the page cache, and none can become dirty while this
/// lives: the scan that found it holds the invalidate lock exclusively, and the lock of each folio
/// over it.
#[derive(Debug)]
pub struct CleanRange<'a> {
    ino: u64,
    start: u64,
    end: u64,
    _held: PhantomData<&'a ()>,
}

impl IolockExcl<'_> {
    /// Asserts that the lock is held for as long as the value lives.
    pub fn assume(ino: u64) -> Self {
        Self {
            ino,
            _held: PhantomData,
        }
    }

    /// Number of the inode.
    pub fn ino(&self) -> u64 {
        self.ino
    }
}

impl InvalidateExcl<'_> {
    /// Asserts that the lock is held for as long as the value lives.
    pub fn assume(ino: u64) -> Self {
        Self {
            ino,
            _held: PhantomData,
        }
    }

    /// Number of the inode.
    pub fn ino(&self) -> u64 {
        self.ino
    }
}

impl LockedFolio<'_> {
    /// Asserts that the folio is locked for as long as the value lives.
    pub fn assume(ino: u64, pos: u64, len: u64) -> Self {
        Self {
            ino,
            pos,
            len,
            _held: PhantomData,
        }
    }

    /// Number of the inode.
    pub fn ino(&self) -> u64 {
        self.ino
    }

    /// First byte of the file the folio covers.
    pub fn pos(&self) -> u64 {
        self.pos
    }

    /// First byte behind the folio.
    pub fn end(&self) -> u64 {
        self.pos.saturating_add(self.len)
    }

    /// Whether the folio covers all of `pos .. pos + len`.
    pub fn covers(&self, pos: u64, len: u64) -> bool {
        pos >= self.pos && pos.saturating_add(len) <= self.end()
    }
}

impl CleanRange<'_> {
    /// Asserts that the range is clean, and stays so for as long as the value lives.
    pub fn assume(ino: u64, start: u64, end: u64) -> Self {
        Self {
            ino,
            start,
            end,
            _held: PhantomData,
        }
    }

    /// Number of the inode.
    pub fn ino(&self) -> u64 {
        self.ino
    }

    /// First clean byte.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// First byte behind the range.
    pub fn end(&self) -> u64 {
        self.end
    }
}
