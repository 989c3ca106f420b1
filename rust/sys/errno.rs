// SPDX-License-Identifier: GPL-2.0

//! Error numbers, Linux's values.

/// A positive Linux errno.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $val:literal;)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Errno = Errno($val);)*

            /// The symbolic name, `E?` if it is not one of the constants.
            pub fn name(self) -> &'static str {
                match self.0 {
                    $($val => concat!("E", stringify!($name)),)*
                    _ => "E?",
                }
            }
        }
    };
}

errnos! {
    /// Operation not permitted.
    PERM = 1;
    /// No such file or directory.
    NOENT = 2;
    /// Interrupted.
    INTR = 4;
    /// I/O error.
    IO = 5;
    /// No such device or address (SEEK_DATA beyond the last data).
    NXIO = 6;
    /// Argument list too long; of an attribute's value (E2BIG).
    TOOBIG = 7;
    /// Try again.
    AGAIN = 11;
    /// Out of memory.
    NOMEM = 12;
    /// Permission denied.
    ACCES = 13;
    /// Device or resource busy.
    BUSY = 16;
    /// File exists.
    EXIST = 17;
    /// Cross-device link.
    XDEV = 18;
    /// No such device.
    NODEV = 19;
    /// Not a directory.
    NOTDIR = 20;
    /// Is a directory.
    ISDIR = 21;
    /// Invalid argument.
    INVAL = 22;
    /// File too large.
    FBIG = 27;
    /// No space left on device.
    NOSPC = 28;
    /// Read-only file system.
    ROFS = 30;
    /// Too many links.
    MLINK = 31;
    /// Out of range.
    RANGE = 34;
    /// File name too long.
    NAMETOOLONG = 36;
    /// Directory not empty.
    NOTEMPTY = 39;
    /// Too many levels of symbolic links.
    LOOP = 40;
    /// No data available (no such attribute).
    NODATA = 61;
    /// Value too large.
    OVERFLOW = 75;
    /// Bad message: a checksum does not match.
    BADMSG = 74;
    /// Operation not supported.
    OPNOTSUPP = 95;
    /// Stale file handle.
    STALE = 116;
    /// Structure needs cleaning: the file system is corrupt.
    UCLEAN = 117;
    /// Quota exceeded.
    DQUOT = 122;
}

impl Errno {
    /// The positive number.
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// From a positive number; 0 and negatives become [`Errno::IO`].
    pub const fn from_raw(n: i32) -> Errno {
        if n > 0 {
            Errno(n)
        } else {
            Errno::IO
        }
    }
}

impl core::fmt::Debug for Errno {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

impl core::fmt::Display for Errno {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
