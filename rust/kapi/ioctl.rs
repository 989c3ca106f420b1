// SPDX-License-Identifier: GPL-2.0

//! ioctl(2) of files and directories, beside those that the VFS does itself (FS_IOC_GETFLAGS,
//! FS_IOC_FIEMAP, FS_IOC_GETFSUUID, FS_IOC_GETFSSYSFSPATH, ...).
//!
//! C headers: `include/uapi/linux/fs.h`, `include/linux/uaccess.h`.

use super::file::File;
use super::fs::FileSystem;
use super::super_types::SuperBlock;
use crate::bindings;
use core::mem::size_of;
use kernel::error::to_result;
use kernel::ffi::c_long;
use kernel::ffi::c_uint;
use kernel::ffi::c_ulong;
use kernel::ffi::c_void;
use kernel::prelude::*;

/// How FS_IOC_SHUTDOWN (XFS_IOC_GOINGDOWN) stops a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shutdown {
    /// Everything is written first: data and metadata.
    Default,
    /// What is committed is made durable first, data is not.
    LogFlush,
    /// At once.
    NoLogFlush,
}

/// What FITRIM asks for, in bytes of the device. `len` comes back as what was discarded.
pub struct TrimRange {
    /// Where to begin.
    pub start: u64,
    /// How far to go; `u64::MAX` is to the end.
    pub len: u64,
    /// Free runs that are shorter are left alone.
    pub min: u64,
}

/// Bytes of a label in FS_IOC_GETFSLABEL, terminated.
pub const LABEL_MAX: usize = bindings::FSLABEL_MAX as usize;

/// ioctls that need the file system. The caller has CAP_SYS_ADMIN; no lock is held, user memory is
/// copied before and after. All may sleep.
pub trait IoctlOps: FileSystem {
    /// Stops the file system.
    fn goingdown(sb: &SuperBlock<Self>, how: Shutdown) -> Result;

    /// Discards free space.
    fn trim(sb: &SuperBlock<Self>, range: &mut TrimRange) -> Result;

    /// Copies the volume label to the beginning of `out`, which has [`LABEL_MAX`] zeroes. Anybody may.
    fn label(sb: &SuperBlock<Self>, out: &mut [u8; LABEL_MAX]) -> Result;

    /// Changes the volume label. EINVAL if it is too long.
    fn set_label(sb: &SuperBlock<Self>, label: &[u8]) -> Result;
}

/// Copies a plain structure from user memory. EFAULT.
///
/// # Safety
///
/// Any bytes are a legal `V`.
unsafe fn from_user<V: Default>(arg: c_ulong) -> Result<V> {
    let mut value = V::default();
    let to = core::ptr::from_mut(&mut value).cast::<c_void>();
    // SAFETY: the destination is ours and has the size; any bytes are a legal value.
    match unsafe { bindings::copy_from_user(to, arg as *const c_void, size_of::<V>()) } {
        0 => Ok(value),
        _ => Err(EFAULT),
    }
}

/// Copies a plain structure to user memory. EFAULT.
///
/// # Safety
///
/// `V` has no padding.
unsafe fn to_user<V>(arg: c_ulong, value: &V) -> Result {
    let from = core::ptr::from_ref(value).cast::<c_void>();
    // SAFETY: the source is initialised to its last byte.
    match unsafe { bindings::copy_to_user(arg as *mut c_void, from, size_of::<V>()) } {
        0 => Ok(()),
        _ => Err(EFAULT),
    }
}

fn admin() -> Result {
    // SAFETY: looks at the current task.
    if unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as i32) } {
        Ok(())
    } else {
        Err(EPERM)
    }
}

/// Whether long work for the current task should stop: it is being killed, or the machine goes to
/// sleep.
pub fn interrupted() -> bool {
    // SAFETY: looks at the current task.
    unsafe { bindings::task_interrupted() }
}

fn goingdown<T: IoctlOps>(sb: &SuperBlock<T>, arg: c_ulong) -> Result {
    admin()?;
    // SAFETY: a number.
    let how = match unsafe { from_user::<u32>(arg) }? {
        bindings::FS_SHUTDOWN_FLAGS_DEFAULT => Shutdown::Default,
        bindings::FS_SHUTDOWN_FLAGS_LOGFLUSH => Shutdown::LogFlush,
        bindings::FS_SHUTDOWN_FLAGS_NOLOGFLUSH => Shutdown::NoLogFlush,
        _ => return Err(EINVAL),
    };
    T::goingdown(sb, how)
}

fn trim<T: IoctlOps>(sb: &SuperBlock<T>, arg: c_ulong) -> Result {
    admin()?;
    let granularity = sb.discard_granularity().ok_or(EOPNOTSUPP)?;
    // SAFETY: three numbers.
    let mut user = unsafe { from_user::<bindings::fstrim_range>(arg) }?;
    let mut range = TrimRange {
        start: user.start,
        len: user.len,
        min: user.minlen.max(u64::from(granularity)),
    };
    T::trim(sb, &mut range)?;
    user.len = range.len;
    user.minlen = range.min;
    // SAFETY: three numbers of 64 bits.
    unsafe { to_user(arg, &user) }
}

fn get_label<T: IoctlOps>(sb: &SuperBlock<T>, arg: c_ulong) -> Result {
    let mut label = [0; LABEL_MAX];
    T::label(sb, &mut label)?;
    // SAFETY: bytes.
    unsafe { to_user(arg, &label) }
}

/// # Safety
///
/// `file` is the open file of an ioctl.
unsafe fn set_label<T: IoctlOps>(
    sb: &SuperBlock<T>,
    file: *mut bindings::file,
    arg: c_ulong,
) -> Result {
    admin()?;
    let mut label = [0_u8; LABEL_MAX];
    let to = label.as_mut_ptr().cast::<c_void>();
    // SAFETY: the destination is ours and has the size.
    if unsafe { bindings::copy_from_user(to, arg as *const c_void, LABEL_MAX) } != 0 {
        return Err(EFAULT);
    }
    let end = label.iter().position(|byte| *byte == 0).ok_or(EINVAL)?;
    // SAFETY: the caller's file is open.
    to_result(unsafe { bindings::mnt_want_write_file(file) })?;
    let result = T::set_label(sb, label.get(..end).unwrap_or(&[]));
    // SAFETY: the counterpart.
    unsafe { bindings::mnt_drop_write_file(file) };
    result
}

pub(super) unsafe extern "C" fn ioctl<T: IoctlOps>(
    file: *mut bindings::file,
    cmd: c_uint,
    arg: c_ulong,
) -> c_long {
    // SAFETY: VFS passes an open file of this file system.
    let sb = unsafe { File::<T>::from_raw(file) }.inode().sb();
    let result = match cmd {
        bindings::FS_IOC_SHUTDOWN => goingdown(sb, arg),
        bindings::FITRIM => trim(sb, arg),
        bindings::FS_IOC_GETFSLABEL => get_label(sb, arg),
        // SAFETY: the file is open.
        bindings::FS_IOC_SETFSLABEL => unsafe { set_label(sb, file, arg) },
        _ => Err(ENOTTY),
    };
    match result {
        Ok(()) => 0,
        Err(e) => e.to_errno() as c_long,
    }
}
