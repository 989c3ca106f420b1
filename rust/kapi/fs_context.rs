// SPDX-License-Identifier: GPL-2.0

//! Mount, remount, unmount.
//!
//! C header: `include/linux/fs_context.h`.

use super::exportfs::ExportTable;
use super::fs::FileSystem;
use super::inode::IRef;
use super::inode::Inodes;
use super::super_types::NewSuper;
use super::super_types::SuperBlock;
use super::super_types::SuperOps;
use super::super_types::SuperTable;
use crate::bindings;
use core::marker::PhantomData;
use core::ptr;
use kernel::error::from_result;
use kernel::error::to_result;
use kernel::ffi::c_int;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::types::Opaque;

/// A mount option that the table in `helpers/vfs.c` knows.
pub enum Parameter {
    /// `errors=`, the number of the value.
    Errors(u32),
    /// `discard` or `nodiscard`.
    Discard(bool),
    /// `norecovery`.
    NoRecovery,
    /// `commit=`, in seconds.
    Commit(u32),
}

/// Where messages about a mount go: the log of the context (fsmount(2)) or the kernel log.
#[repr(transparent)]
pub struct MountLog(Opaque<bindings::fs_context>);

impl MountLog {
    /// Reports why a mount or remount failed.
    pub fn error(&self, message: &CStr) {
        // SAFETY: the context is valid, the message is terminated.
        unsafe { bindings::errorfc(self.0.get(), message.as_char_ptr()) };
    }
}

/// Mount and remount of a file system. All may sleep; s_umount is held except in parsing.
pub trait ContextOps: FileSystem {
    /// The options before the first is parsed: defaults, or those of the mounted super block.
    fn options(mounted: Option<&SuperBlock<Self>>) -> Self::Options;

    /// Takes an option.
    fn set_option(options: &mut Self::Options, parameter: Parameter) -> Result;

    /// Opens the file system. The private part it returns is torn down by
    /// [`SuperOps::put_super`] if anything fails later.
    fn open(sb: &NewSuper<'_, Self>, options: Self::Options, log: &MountLog)
        -> Result<Self::Super>;

    /// The root directory.
    fn root(sb: &SuperBlock<Self>) -> Result<IRef<Self>>;

    /// What has to be done before anybody looks: the engine is open, there is no inode yet.
    fn mounted(sb: &SuperBlock<Self>) -> Result;

    /// Remount with new options. `rdonly` is the state that is asked for; VFS changes `SB_RDONLY`
    /// after this returns.
    fn reconfigure(
        sb: &SuperBlock<Self>,
        options: Self::Options,
        rdonly: bool,
        log: &MountLog,
    ) -> Result;
}

struct ContextTable<T>(PhantomData<T>);

impl<T: Inodes + ContextOps> ContextTable<T> {
    const TABLE: bindings::fs_context_operations = bindings::fs_context_operations {
        free: Some(free::<T>),
        parse_param: Some(parse_param::<T>),
        get_tree: Some(get_tree::<T>),
        reconfigure: Some(reconfigure::<T>),
        // SAFETY: a table of function pointers: all zeroes are `None`.
        ..unsafe { core::mem::zeroed() }
    };
}

/// The kernel crate only knows the name of `struct fs_context`.
pub(super) unsafe extern "C" fn init<T: Inodes + ContextOps>(
    fc: *mut kernel::bindings::fs_context,
) -> c_int {
    let fc = fc.cast::<bindings::fs_context>();
    from_result(|| {
        // SAFETY: VFS passes a fresh context; `root` is set if it is for a remount.
        let mounted = unsafe {
            let root = (*fc).root;
            if root.is_null() {
                None
            } else {
                Some(SuperBlock::<T>::from_raw((*root).d_sb))
            }
        };
        let options = KBox::new(Some(T::options(mounted)), GFP_KERNEL)?;
        // SAFETY: the context is ours until this returns.
        unsafe {
            (*fc).fs_private = KBox::into_raw(options).cast();
            (*fc).ops = &ContextTable::<T>::TABLE;
        }
        Ok(0)
    })
}

/// The options of a context.
///
/// # Safety
///
/// `fc` was set up by [`init`], the caller is in one of its callbacks.
unsafe fn options<'a, T: FileSystem>(fc: *mut bindings::fs_context) -> &'a mut Option<T::Options> {
    // SAFETY: by the contract; callbacks of a context are serialised by its mutex.
    unsafe { &mut *(*fc).fs_private.cast() }
}

unsafe extern "C" fn free<T: FileSystem>(fc: *mut bindings::fs_context) {
    // SAFETY: `fs_private` is what init() put there, and this is its last use.
    unsafe {
        let private = (*fc).fs_private.cast::<Option<T::Options>>();
        (*fc).fs_private = ptr::null_mut();
        if !private.is_null() {
            drop(KBox::from_raw(private));
        }
    }
}

unsafe extern "C" fn parse_param<T: ContextOps>(
    fc: *mut bindings::fs_context,
    param: *mut bindings::fs_parameter,
) -> c_int {
    from_result(|| {
        let mut value = 0;
        // SAFETY: VFS passes valid objects.
        let opt = unsafe { bindings::parse_parameter(fc, param, &mut value) };
        to_result(opt)?;
        let parameter = match opt {
            0 => Parameter::Errors(value),
            1 => Parameter::Discard(value != 0),
            2 => Parameter::NoRecovery,
            3 => Parameter::Commit(value),
            _ => return Err(EINVAL),
        };
        // SAFETY: this is a callback of the context.
        let options = unsafe { options::<T>(fc) }.as_mut().ok_or(EINVAL)?;
        T::set_option(options, parameter)?;
        Ok(0)
    })
}

unsafe extern "C" fn get_tree<T: Inodes + ContextOps>(fc: *mut bindings::fs_context) -> c_int {
    // SAFETY: VFS passes a valid context.
    unsafe { bindings::get_tree_bdev(fc, Some(fill_super::<T>)) }
}

unsafe extern "C" fn fill_super<T: Inodes + ContextOps>(
    sb: *mut bindings::super_block,
    fc: *mut bindings::fs_context,
) -> c_int {
    from_result(|| {
        // SAFETY: this is a callback of the context.
        let options = unsafe { options::<T>(fc) }.take().ok_or(EINVAL)?;
        // SAFETY: `fc` is valid, the type transparent.
        let log = unsafe { &*fc.cast::<MountLog>() };
        // SAFETY: get_tree_bdev() passes a fresh super block, s_umount held.
        let new = unsafe { NewSuper::<T>::from_raw(sb) };
        let slot = KBox::<T::Super>::new_uninit(GFP_KERNEL)?;
        let data = slot.write(T::open(&new, options, log)?);
        // SAFETY: the super block is ours until it is born.
        unsafe {
            (*sb).s_fs_info = KBox::into_raw(data).cast();
            (*sb).s_op = &SuperTable::<T>::TABLE;
            // The kernel crate only knows the name of the structure.
            (*sb).s_export_op = core::ptr::from_ref(&ExportTable::<T>::TABLE).cast();
        }
        // SAFETY: the private part is in place.
        let sb = unsafe { SuperBlock::<T>::from_raw(sb) };
        T::mounted(sb)
            .and_then(|()| make_root(sb))
            .inspect_err(|_| T::put_super(sb))?;
        Ok(0)
    })
}

/// Gets the root inode and makes the root dentry.
fn make_root<T: Inodes + ContextOps>(sb: &SuperBlock<T>) -> Result {
    let root = T::root(sb)?;
    // SAFETY: d_make_root() takes over the reference, also if it fails.
    let dentry = unsafe { bindings::d_make_root(root.into_raw()) };
    if dentry.is_null() {
        return Err(ENOMEM);
    }
    // SAFETY: the super block is ours until it is born.
    unsafe { (*sb.as_ptr()).s_root = dentry };
    Ok(())
}

unsafe extern "C" fn reconfigure<T: ContextOps>(fc: *mut bindings::fs_context) -> c_int {
    from_result(|| {
        // SAFETY: this is a callback of the context.
        let options = unsafe { options::<T>(fc) }.take().ok_or(EINVAL)?;
        // SAFETY: a context for a remount has the root of a mounted super block.
        let (sb, log, flags, mask) = unsafe {
            (
                SuperBlock::<T>::from_raw((*(*fc).root).d_sb),
                &*fc.cast::<MountLog>(),
                (*fc).sb_flags,
                (*fc).sb_flags_mask,
            )
        };
        let rdonly = if mask & bindings::SB_RDONLY != 0 {
            flags & bindings::SB_RDONLY != 0
        } else {
            sb.rdonly()
        };
        T::reconfigure(sb, options, rdonly, log)?;
        // SAFETY: the context is ours in this callback.
        unsafe { (*fc).sb_flags |= bindings::SB_I_VERSION };
        Ok(0)
    })
}

pub(super) unsafe extern "C" fn kill_sb<T: SuperOps>(sb: *mut bindings::super_block) {
    // SAFETY: the last reference is gone. kill_block_super() calls put_super if the mount was
    // complete; fill_super() did so if it failed half-way. After it no inode is left, and nobody
    // else reads the private part.
    unsafe {
        let data = (*sb).s_fs_info.cast::<T::Super>();
        bindings::kill_block_super(sb);
        if !data.is_null() {
            drop(KBox::from_raw(data));
        }
    }
}
