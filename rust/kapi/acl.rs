// SPDX-License-Identifier: GPL-2.0

//! POSIX ACLs.
//!
//! C headers: `include/linux/posix_acl.h`, `include/linux/posix_acl_xattr.h`.
//!
//! The C object has ids of kernel type; what is stored is the format of the attribute, with ids of
//! the initial user namespace. VFS translates the ids of an idmapped mount before it calls.

use super::fs::FileSystem;
use super::idmap::Idmap;
use super::inode::Inode;
use crate::bindings;
use core::ops::Deref;
use core::ptr;
use core::ptr::NonNull;
use kernel::error::from_result;
use kernel::error::to_result;
use kernel::ffi::c_int;
use kernel::ffi::c_void;
use kernel::prelude::*;

/// Which of the two ACLs of an inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AclType {
    /// Who may access the inode.
    Access,
    /// What new entries of a directory get.
    Default,
}

impl AclType {
    /// The number C has for it.
    fn number(self) -> c_int {
        match self {
            AclType::Access => bindings::ACL_TYPE_ACCESS,
            AclType::Default => bindings::ACL_TYPE_DEFAULT,
        }
    }

    fn from_number(number: c_int) -> Result<Self> {
        match number {
            bindings::ACL_TYPE_ACCESS => Ok(AclType::Access),
            bindings::ACL_TYPE_DEFAULT => Ok(AclType::Default),
            _ => Err(EINVAL),
        }
    }
}

/// Where a file system keeps ACLs. Both may sleep.
pub trait AclOps: FileSystem {
    /// The stored bytes of an ACL; [`None`] if the inode has none.
    fn acl_get(inode: &Inode<Self>, which: AclType) -> Result<Option<KVec<u8>>>;

    /// Stores an ACL, or removes it, and with it sets the mode of the inode, in one transaction; in
    /// the VFS inode, too. The `i_rwsem` is held exclusively.
    fn acl_set(
        inode: &Inode<Self>,
        which: AclType,
        value: Option<&[u8]>,
        mode: Option<u16>,
    ) -> Result;
}

/// A counted reference to a `struct posix_acl`, which does not change.
pub struct Acl(NonNull<bindings::posix_acl>);

impl Acl {
    /// Takes over a reference; [`None`] for null.
    ///
    /// # Safety
    ///
    /// `ptr` is null, or an ACL of which the caller owns a reference.
    unsafe fn from_raw(ptr: *mut bindings::posix_acl) -> Option<Self> {
        NonNull::new(ptr).map(Self)
    }

    /// [`Self::from_raw`] of a pointer that may be an error.
    ///
    /// # Safety
    ///
    /// As there, or `ptr` is an error pointer.
    unsafe fn from_result(ptr: *mut bindings::posix_acl) -> Result<Option<Self>> {
        let ptr = kernel::error::from_err_ptr(ptr)?;
        // SAFETY: by the contract of this function.
        Ok(unsafe { Self::from_raw(ptr) })
    }

    /// The ACL that these stored bytes are; [`None`] if it has no entries. May sleep. EUCLEAN if they
    /// are none.
    fn from_bytes(bytes: &[u8]) -> Result<Option<Self>> {
        // SAFETY: `bytes` is valid for its length. The result is a new object, null or an error.
        let acl = unsafe {
            let acl = bindings::acl_from_xattr(bytes.as_ptr().cast(), bytes.len());
            Self::from_result(acl)
        };
        // A version that C does not know is EOPNOTSUPP, which VFS takes for a file system without ACLs.
        acl.map_err(|e| match e {
            e if e == ENOMEM => e,
            _ => EUCLEAN,
        })
    }

    /// The bytes to store. May sleep. ENOMEM.
    pub fn to_bytes(&self) -> Result<AclBytes> {
        // SAFETY: the reference keeps the object.
        unsafe { bytes_of(self.0.as_ptr()) }
    }

    /// The access ACL of `inode` as it is to be after the permissions became `mode`; [`None`] if it
    /// has no ACL. May sleep.
    pub fn for_mode<T: FileSystem>(inode: &Inode<T>, mode: u16) -> Result<Option<Self>> {
        // SAFETY: the inode is valid.
        let acl = unsafe {
            let acl = bindings::get_inode_acl(inode.as_ptr(), bindings::ACL_TYPE_ACCESS);
            Self::from_result(acl)
        };
        let acl = match acl {
            Err(e) if e == EOPNOTSUPP => None,
            other => other?,
        };
        let Some(acl) = acl else {
            return Ok(None);
        };
        let mut ptr = acl.0.as_ptr();
        core::mem::forget(acl);
        // SAFETY: `ptr` is an ACL with a reference, which the function takes; it leaves another
        // one, or null after an error.
        to_result(unsafe { bindings::acl_chmod(&mut ptr, mode) })?;
        // SAFETY: as said.
        Ok(unsafe { Self::from_raw(ptr) })
    }

    /// Lets VFS know an ACL of the inode, or that it has none. The caller holds `i_rwsem`, or nobody
    /// else knows the inode.
    pub fn cache<T: FileSystem>(inode: &Inode<T>, which: AclType, acl: Option<&Self>) {
        let ptr = acl.map_or(ptr::null_mut(), |acl| acl.0.as_ptr());
        // SAFETY: both objects are valid; the function takes a reference of its own.
        unsafe { bindings::set_cached_acl(inode.as_ptr(), which.number(), ptr) };
    }
}

impl Drop for Acl {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { bindings::acl_release(self.0.as_ptr()) };
    }
}

/// The stored form of an ACL, made by C.
pub struct AclBytes(NonNull<u8>, usize);

/// The bytes of an ACL.
///
/// # Safety
///
/// `acl` is valid.
unsafe fn bytes_of(acl: *const bindings::posix_acl) -> Result<AclBytes> {
    let mut size = 0;
    // SAFETY: by the contract of this function; the size is ours.
    let bytes = kernel::error::from_err_ptr(unsafe { bindings::acl_to_xattr(acl, &mut size) })?;
    Ok(AclBytes(NonNull::new(bytes.cast()).ok_or(ENOMEM)?, size))
}

impl Deref for AclBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: C made so many bytes there.
        unsafe { core::slice::from_raw_parts(self.0.as_ptr(), self.1) }
    }
}

impl Drop for AclBytes {
    fn drop(&mut self) {
        // SAFETY: made by kmalloc() for us.
        unsafe { bindings::kfree(self.0.as_ptr().cast::<c_void>()) };
    }
}

/// The ACLs that a new inode inherits.
pub struct Inherited {
    /// Mode of the inode: as the default ACL of the directory says, or after the umask without one.
    pub mode: u16,
    /// Who may access it.
    pub access: Option<Acl>,
    /// Of a directory, what its own new entries get.
    pub default: Option<Acl>,
}

/// What a new inode of `mode` inherits from `dir`. May sleep.
pub fn inherit<T: FileSystem>(dir: &Inode<T>, mode: u16) -> Result<Inherited> {
    let mut mode = mode;
    let (mut default, mut access) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: the directory is valid, the rest is ours.
    to_result(unsafe { bindings::acl_create(dir.as_ptr(), &mut mode, &mut default, &mut access) })?;
    // SAFETY: the function gave references, or null.
    unsafe {
        Ok(Inherited {
            mode,
            access: Acl::from_raw(access),
            default: Acl::from_raw(default),
        })
    }
}

pub(super) unsafe extern "C" fn get_inode_acl<T: AclOps>(
    inode: *mut bindings::inode,
    which: c_int,
    rcu: bool,
) -> *mut bindings::posix_acl {
    if rcu {
        // It may not sleep; VFS comes again.
        return ECHILD.to_ptr();
    }
    let get = || {
        // SAFETY: VFS passes an inode of this file system.
        let inode = unsafe { Inode::<T>::from_raw(inode) };
        match T::acl_get(inode, AclType::from_number(which)?)? {
            Some(bytes) => Acl::from_bytes(&bytes),
            None => Ok(None),
        }
    };
    match get() {
        Ok(Some(acl)) => {
            let ptr = acl.0.as_ptr();
            core::mem::forget(acl);
            ptr
        }
        Ok(None) => ptr::null_mut(),
        Err(e) => e.to_ptr(),
    }
}

pub(super) unsafe extern "C" fn set_acl<T: AclOps>(
    idmap: *mut bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    acl: *mut bindings::posix_acl,
    which: c_int,
) -> c_int {
    from_result(|| {
        // SAFETY: VFS holds `i_rwsem` of the inode; all objects are valid.
        let (idmap, inode) = unsafe {
            (
                Idmap::from_raw(idmap),
                Inode::<T>::from_raw((*dentry).d_inode),
            )
        };
        let which = AclType::from_number(which)?;
        let (mut acl, mut mode) = (acl, None);
        if which == AclType::Access && !acl.is_null() {
            let mut new = inode.mode();
            // SAFETY: all objects are valid. An ACL that says no more than the mode becomes null;
            // the reference stays VFS's.
            to_result(unsafe {
                bindings::acl_update_mode(idmap.as_ptr(), inode.as_ptr(), &mut new, &mut acl)
            })?;
            mode = Some(new);
        }
        let bytes = if acl.is_null() {
            None
        } else {
            // SAFETY: VFS's ACL is valid.
            Some(unsafe { bytes_of(acl) }?)
        };
        T::acl_set(inode, which, bytes.as_deref(), mode)?;
        // SAFETY: both are valid; the function takes a reference of its own.
        unsafe { bindings::set_cached_acl(inode.as_ptr(), which.number(), acl) };
        Ok(0)
    })
}
