// SPDX-License-Identifier: GPL-2.0

//! Lock classes.
//!
//! A class is a type: its name, its rank in the lock hierarchy (Documentation/locking.rst) and its
//! static `lock_class_key`. lockdep learns the order from what happens and complains about a
//! cycle; the host's locks check the ranks themselves on every acquisition.

use crate::bindings;
use kernel::prelude::*;
use kernel::types::Opaque;

/// A class of locks. Declared with [`lock_class!`] only.
pub(crate) trait LockClass: 'static {
    /// Name as lockdep prints it.
    const NAME: &'static str;
    /// Place in the hierarchy: a lock may be taken while only lower ranks are held.
    const RANK: u32;
    /// The class as C sees it.
    fn class() -> &'static Class;
}

/// Name and lockdep key of one lock class, for C.
#[repr(transparent)]
pub(crate) struct Class(Opaque<bindings::latchfs_lock_class>);

// SAFETY: The name is never written, and lockdep synchronises its accesses to the key.
unsafe impl Sync for Class {}

impl Class {
    /// The class called `name`, with a key of zeroes as a static one has to be.
    pub(crate) const fn new(name: &'static CStr) -> Self {
        // SAFETY: The struct is a pointer and a union of integers and pointers: zeroes are valid.
        let mut class: bindings::latchfs_lock_class = unsafe { core::mem::zeroed() };
        class.name = name.to_bytes_with_nul().as_ptr().cast();
        Self(Opaque::new(class))
    }

    /// For C.  The object behind it is static.
    pub(crate) fn as_ptr(&'static self) -> *mut bindings::latchfs_lock_class {
        self.0.get()
    }
}

/// `text`, which ends with a NUL, as a C string; for [`lock_class!`].
pub(crate) const fn class_name(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(name) => name,
        Err(_) => c"latchfs",
    }
}

/// Declares lock classes: `lock_class! { /// doc \n pub Ilock = "ilock", rank 80; }`.
macro_rules! lock_class {
    ($($(#[$meta:meta])* $vis:vis $name:ident = $text:literal, rank $rank:expr;)*) => {
        $(
            $(#[$meta])*
            #[derive(Debug)]
            $vis enum $name {}
            impl $crate::sys::LockClass for $name {
                const NAME: &'static str = $text;
                const RANK: u32 = $rank;
                fn class() -> &'static $crate::sys::rank::Class {
                    static CLASS: $crate::sys::rank::Class = $crate::sys::rank::Class::new(
                        $crate::sys::rank::class_name(concat!($text, "\0")),
                    );
                    &CLASS
                }
            }
        )*
    };
}
pub(crate) use lock_class;

/// Complains if the task may not sleep here: the kernel's `might_sleep()`.
pub(crate) fn might_sleep() {
    // SAFETY: No requirements.
    unsafe { bindings::might_sleep() };
}
