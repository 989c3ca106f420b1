// SPDX-License-Identifier: GPL-2.0

//! Witnesses: values that prove that the caller of the engine holds a lock of the VFS or the page
//! cache.
//!
//! The engine never takes those locks; it is called under them. A function that is only right
//! under such a lock takes the witness, so that a caller without it does not compile. Each witness
//! names the inode it is about; the engine checks it against the inode it was handed.
//!
//! The constructors are the trusted surface: only `rust/kapi` calls them, with an assertion on the
//! C object.

use core::marker::PhantomData;

macro_rules! witness {
    ($(#[$meta:meta])* $name:ident { $($field:ident),* } safety $must:literal) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub(crate) struct $name<'a> {
            ino: u64,
            $($field: u64,)*
            _held: PhantomData<&'a ()>,
        }

        impl $name<'_> {
            #[doc = concat!("Asserts that ", $must, " for as long as the value lives.")]
            ///
            /// # Safety
            ///
            #[doc = concat!("The caller guarantees that ", $must, " for the whole lifetime.")]
            pub(crate) unsafe fn assume(ino: u64, $($field: u64),*) -> Self {
                Self { ino, $($field,)* _held: PhantomData }
            }

            /// Number of the inode.
            pub(crate) fn ino(&self) -> u64 {
                self.ino
            }
        }
    };
}

witness! {
    /// `inode->i_rwsem` is held exclusively.
    IolockExcl {} safety "`i_rwsem` of the inode is held exclusively"
}

witness! {
    /// `mapping->invalidate_lock` is held exclusively: nobody can bring a folio of the file into
    /// the page cache, and no fault is between its mapping and its folio.
    InvalidateExcl {} safety "`invalidate_lock` of the inode's mapping is held exclusively"
}

witness! {
    /// A folio of the file is locked. It covers bytes `pos .. pos + len`.
    LockedFolio { pos, len }
    safety "the folio of the inode over these bytes is locked"
}

witness! {
    /// No byte of `start .. end` is dirty in the page cache, and none can become dirty while this
    /// lives: the scan that found it holds the invalidate lock exclusively, and the lock of each
    /// folio over it.
    CleanRange { start, end }
    safety "no byte of the range is dirty in the page cache, nor can become so,"
}

impl LockedFolio<'_> {
    /// First byte of the file the folio covers.
    pub(crate) fn pos(&self) -> u64 {
        self.pos
    }

    /// First byte behind the folio.
    pub(crate) fn end(&self) -> u64 {
        self.pos.saturating_add(self.len)
    }

    /// Whether the folio covers all of `pos .. pos + len`.
    pub(crate) fn covers(&self, pos: u64, len: u64) -> bool {
        pos >= self.pos && pos.saturating_add(len) <= self.end()
    }
}

impl CleanRange<'_> {
    /// First clean byte.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// First byte behind the range.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }
}
