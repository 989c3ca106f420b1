// SPDX-License-Identifier: GPL-2.0

//! Extended attributes, and what security modules want of a new inode.
//!
//! C headers: `include/linux/xattr.h`, `include/linux/security.h`.

use super::dcache::Dentry;
use super::fs::FileSystem;
use super::inode::Inode;
use super::inode::UnhashedInode;
use crate::bindings;
use core::marker::PhantomData;
use core::ptr;
use kernel::error::from_result;
use kernel::error::to_result;
use kernel::ffi::c_char;
use kernel::ffi::c_int;
use kernel::ffi::c_void;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::str::CStrExt as _;

/// Name space of an attribute. Those of ACLs do not come this way, see [`super::acl`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    /// `user.`
    User,
    /// `trusted.`
    Trusted,
    /// `security.`
    Security,
}

/// Whether an attribute must or must not exist before it is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Either.
    Any,
    /// `XATTR_CREATE`.
    Create,
    /// `XATTR_REPLACE`.
    Replace,
}

/// Attributes of a file system's inodes. VFS has checked permissions and the lengths of names and
/// values. All may sleep; buffers are the kernel's.
pub trait XattrOps: FileSystem {
    /// Copies the value to the beginning of `out` and returns its length; with an empty `out` only
    /// the length. ENODATA, ERANGE.
    fn xattr_get(inode: &Inode<Self>, space: Space, name: &[u8], out: &mut [u8]) -> Result<usize>;

    /// Sets the value, or removes the attribute (`None`). The `i_rwsem` is held exclusively.
    fn xattr_set(
        inode: &Inode<Self>,
        space: Space,
        name: &[u8],
        value: Option<&[u8]>,
        how: How,
    ) -> Result;

    /// Adds the names of all attributes that the caller may know of. `trusted`: those of that name
    /// space, too.
    fn xattr_list(inode: &Inode<Self>, trusted: bool, out: &mut List<'_>) -> Result;
}

/// The answer to listxattr(2): names, each with its NUL.
pub struct List<'a> {
    out: &'a mut [u8],
    used: usize,
}

impl List<'_> {
    /// Adds a name. Any context: nothing sleeps, the buffer is the kernel's.
    pub fn push(&mut self, prefix: &[u8], name: &[u8]) {
        for part in [prefix, name, b"\0"] {
            let end = self.used.saturating_add(part.len());
            if let Some(to) = self.out.get_mut(self.used..end) {
                to.copy_from_slice(part);
            }
            self.used = end;
        }
    }
}

/// The C tables of a file system: one for each name space, and their list.
struct Handlers<T>(PhantomData<T>);

impl<T: XattrOps> Handlers<T> {
    const USER: bindings::xattr_handler = handler::<T>(b"user.\0", Space::User);
    const TRUSTED: bindings::xattr_handler = handler::<T>(b"trusted.\0", Space::Trusted);
    const SECURITY: bindings::xattr_handler = handler::<T>(b"security.\0", Space::Security);

    const LIST: [*const bindings::xattr_handler; 4] =
        [&Self::USER, &Self::TRUSTED, &Self::SECURITY, ptr::null()];
}

/// The table of a name space. `prefix` is terminated: CStr has no pointer to give in a constant.
const fn handler<T: XattrOps>(prefix: &'static [u8], space: Space) -> bindings::xattr_handler {
    bindings::xattr_handler {
        name: ptr::null(),
        prefix: prefix.as_ptr().cast(),
        flags: space as c_int,
        list: None,
        get: Some(get::<T>),
        set: Some(set::<T>),
    }
}

/// What `s_xattr` is set to.
pub(super) fn table<T: XattrOps>() -> *const *const bindings::xattr_handler {
    Handlers::<T>::LIST.as_ptr()
}

/// The name space that a handler is for.
///
/// # Safety
///
/// `handler` is one of [`Handlers`].
unsafe fn space_of(handler: *const bindings::xattr_handler) -> Space {
    const TRUSTED: c_int = Space::Trusted as c_int;
    const SECURITY: c_int = Space::Security as c_int;
    // SAFETY: by the contract of this function.
    match unsafe { (*handler).flags } {
        TRUSTED => Space::Trusted,
        SECURITY => Space::Security,
        _ => Space::User,
    }
}

unsafe extern "C" fn get<T: XattrOps>(
    handler: *const bindings::xattr_handler,
    _dentry: *mut bindings::dentry,
    inode: *mut bindings::inode,
    name: *const c_char,
    buffer: *mut c_void,
    size: usize,
) -> c_int {
    from_result(|| {
        // SAFETY: VFS passes one of our handlers, an inode of this file system, a terminated name,
        // and a buffer of the size, which may be null if that is 0.
        unsafe {
            let out = if size == 0 || buffer.is_null() {
                &mut []
            } else {
                core::slice::from_raw_parts_mut(buffer.cast(), size)
            };
            let name = CStr::from_char_ptr(name).to_bytes();
            let len = T::xattr_get(Inode::from_raw(inode), space_of(handler), name, out)?;
            c_int::try_from(len).map_err(|_| ERANGE)
        }
    })
}

unsafe extern "C" fn set<T: XattrOps>(
    handler: *const bindings::xattr_handler,
    _idmap: *mut bindings::mnt_idmap,
    _dentry: *mut bindings::dentry,
    inode: *mut bindings::inode,
    name: *const c_char,
    buffer: *const c_void,
    size: usize,
    flags: c_int,
) -> c_int {
    from_result(|| {
        let how = match flags as u32 {
            bindings::XATTR_CREATE => How::Create,
            bindings::XATTR_REPLACE => How::Replace,
            _ => How::Any,
        };
        // SAFETY: as for get(); a null buffer is a removal. VFS holds `i_rwsem`.
        unsafe {
            let value =
                (!buffer.is_null()).then(|| core::slice::from_raw_parts(buffer.cast(), size));
            let name = CStr::from_char_ptr(name).to_bytes();
            T::xattr_set(Inode::from_raw(inode), space_of(handler), name, value, how)?;
        }
        Ok(0)
    })
}

pub(super) unsafe extern "C" fn listxattr<T: XattrOps>(
    dentry: *mut bindings::dentry,
    buffer: *mut c_char,
    size: usize,
) -> isize {
    // SAFETY: the dentry holds the inode; the buffer has the size, or is null and that is 0.
    let (inode, out) = unsafe {
        let out = if size == 0 || buffer.is_null() {
            &mut []
        } else {
            core::slice::from_raw_parts_mut(buffer.cast(), size)
        };
        (Inode::<T>::from_raw((*dentry).d_inode), out)
    };
    // SAFETY: looks at the current task.
    let trusted = unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) };
    let room = out.len();
    let mut list = List { out, used: 0 };
    if let Err(e) = T::xattr_list(inode, trusted, &mut list) {
        return e.to_errno() as isize;
    }
    if room != 0 && list.used > room {
        return ERANGE.to_errno() as isize;
    }
    list.used as isize
}

/// An attribute that a security module wants a new inode to have.
pub struct SecurityXattr {
    /// Name without `security.`.
    pub name: KVec<u8>,
    /// Value.
    pub value: KVec<u8>,
}

impl<T: FileSystem> UnhashedInode<T> {
    /// Lets the security modules see a new inode of `dir`, whose owner and mode are set, and returns
    /// the attributes that they want it to have. `dentry` is missing for a file without a name. May
    /// sleep.
    pub fn init_security(
        &self,
        dir: &Inode<T>,
        dentry: Option<&Dentry<T>>,
    ) -> Result<KVec<SecurityXattr>> {
        let mut wanted: KVec<SecurityXattr> = KVec::new();
        let name = match dentry {
            // SAFETY: the dentry is valid, its name stable.
            Some(dentry) => unsafe {
                ptr::addr_of!((*dentry.as_ptr()).__bindgen_anon_1.d_name).cast()
            },
            None => ptr::null(),
        };
        let data = ptr::from_mut(&mut wanted).cast();
        // SAFETY: the inodes are valid and the new one is ours; the callback gets `data` back while
        // this call lasts.
        to_result(unsafe {
            bindings::init_security(self.as_ptr(), dir.as_ptr(), name, Some(collect), data)
        })?;
        Ok(wanted)
    }
}

/// Copies what the security modules want.
unsafe extern "C" fn collect(
    _inode: *mut bindings::inode,
    xattrs: *const bindings::xattr,
    data: *mut c_void,
) -> c_int {
    from_result(|| {
        // SAFETY: from init_security() above.
        let wanted = unsafe { &mut *data.cast::<KVec<SecurityXattr>>() };
        let mut at = xattrs;
        // SAFETY: the array ends with an entry without a name; names are terminated, values have
        // their length.
        unsafe {
            while !(*at).name.is_null() {
                let (mut name, mut value) = (KVec::new(), KVec::new());
                name.extend_from_slice(CStr::from_char_ptr((*at).name).to_bytes(), GFP_KERNEL)?;
                if !(*at).value.is_null() {
                    let bytes =
                        core::slice::from_raw_parts((*at).value.cast::<u8>(), (*at).value_len);
                    value.extend_from_slice(bytes, GFP_KERNEL)?;
                }
                wanted.push(SecurityXattr { name, value }, GFP_KERNEL)?;
                at = at.add(1);
            }
        }
        Ok(0)
    })
}
