// SPDX-License-Identifier: GPL-2.0

//! Directories of numbers in sysfs.
//!
//! C headers: `include/linux/kobject.h`, `include/linux/sysfs.h`.
//!
//! Every file that latchfs has in sysfs holds one integer, so that is what [`Directory`] deals in.

use crate::bindings;
use core::marker::PhantomPinned;
use core::ptr;
use core::ptr::NonNull;
use kernel::error::to_result;
use kernel::ffi::c_char;
use kernel::ffi::c_int;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::str::CStrExt as _;
use kernel::types::Opaque;

/// A file of a directory.
#[repr(transparent)]
pub struct Attr(bindings::attribute);

impl Attr {
    /// A file that root may write and everybody read.
    #[allow(
        clippy::needless_update,
        reason = "a kernel with lockdep has more fields"
    )]
    pub const fn rw(name: &'static CStr) -> Self {
        Self(bindings::attribute {
            name: name.to_bytes_with_nul().as_ptr().cast(),
            mode: 0o644,
            // SAFETY: a structure of numbers and pointers: zeroes are "none".
            ..unsafe { core::mem::zeroed() }
        })
    }
}

/// What is behind the files of a directory.
///
/// Both functions run in the task that reads or writes the file. They may sleep, but removal of the
/// directory waits for them.
pub trait Directory: Send + Sync + 'static {
    /// The files.
    const FILES: &'static [Attr];

    /// What reading the file shows.
    fn show(&self, file: &[u8]) -> Result<i32>;

    /// A number was written to the file. EINVAL if it is not a legal one.
    fn store(&self, file: &[u8], value: i32) -> Result;
}

/// A directory of nothing but directories.
impl Directory for () {
    const FILES: &'static [Attr] = &[];

    fn show(&self, _file: &[u8]) -> Result<i32> {
        Err(EIO)
    }

    fn store(&self, _file: &[u8], _value: i32) -> Result {
        Err(EIO)
    }
}

/// A directory in sysfs. Drop removes it, and waits for whoever is in one of its files.
///
/// # Invariants
///
/// `node` is a live allocation whose object is initialised and was added.
pub struct Dir<D: Directory> {
    node: NonNull<Node<D>>,
}

/// The object first, so that its address is that of the node.
#[repr(C)]
struct Node<D> {
    kobj: Opaque<bindings::kobject>,
    /// Completed when the last reference to the object is gone.
    released: Opaque<bindings::completion>,
    data: D,
    _pin: PhantomPinned,
}

// SAFETY: the C object may be used by any task; the data is shared by the files' readers.
unsafe impl<D: Directory> Send for Dir<D> {}
// SAFETY: as above.
unsafe impl<D: Directory> Sync for Dir<D> {}

/// Something that a directory can be in.
pub trait Parent {
    /// The C object, which lives as long as `self`.
    fn kobject(&self) -> *mut bindings::kobject;
}

impl<D: Directory> Parent for Dir<D> {
    fn kobject(&self) -> *mut bindings::kobject {
        // SAFETY: by the invariant.
        unsafe { (*self.node.as_ptr()).kobj.get() }
    }
}

/// `/sys/fs/NAME` of a file system type, which exists as long as the module is loaded.
pub(super) struct Root(pub(super) *mut bindings::kobject);

impl Parent for Root {
    fn kobject(&self) -> *mut bindings::kobject {
        self.0
    }
}

impl<D: Directory> Dir<D> {
    /// Makes the directory `name` in `parent`, which must outlive it. May sleep. ENOMEM; EEXIST.
    pub fn new(name: &CStr, parent: &impl Parent, data: D) -> Result<Self> {
        let node = KBox::new(
            Node {
                kobj: Opaque::zeroed(),
                released: Opaque::zeroed(),
                data,
                _pin: PhantomPinned,
            },
            GFP_KERNEL,
        )?;
        let node = NonNull::from(KBox::leak(node));
        // INVARIANT: the object is initialised from here on, also if adding it fails; removing what
        // was not added does nothing.
        let this = Self { node };
        // SAFETY: the node stays where it is until drop has seen the release of the object.
        unsafe {
            let node = node.as_ptr();
            bindings::init_completion((*node).released.get());
            to_result(bindings::kobject_init_and_add(
                (*node).kobj.get(),
                &Tables::<D>::TYPE,
                parent.kobject(),
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            ))?;
        }
        for file in D::FILES {
            // SAFETY: the object was added, the attribute is static.
            to_result(unsafe {
                bindings::sysfs_create_file_ns(this.kobject(), &file.0, ptr::null())
            })?;
        }
        Ok(this)
    }
}

impl<D: Directory> Drop for Dir<D> {
    fn drop(&mut self) {
        // SAFETY: by the invariant. After the removal no callback runs, after the release nobody
        // knows the object, so that the node, which new() leaked, is ours again.
        unsafe {
            let node = self.node.as_ptr();
            bindings::kobject_del((*node).kobj.get());
            bindings::kobject_put((*node).kobj.get());
            bindings::wait_for_completion((*node).released.get());
            drop(KBox::from_raw(node));
        }
    }
}

struct Tables<D>(core::marker::PhantomData<D>);

impl<D: Directory> Tables<D> {
    const OPS: bindings::sysfs_ops = bindings::sysfs_ops {
        show: Some(show::<D>),
        store: Some(store::<D>),
    };

    const TYPE: bindings::kobj_type = bindings::kobj_type {
        release: Some(release::<D>),
        sysfs_ops: &Self::OPS,
        // SAFETY: a table of pointers: zeroes are "none".
        ..unsafe { core::mem::zeroed() }
    };
}

unsafe extern "C" fn release<D: Directory>(kobj: *mut bindings::kobject) {
    // SAFETY: the object is the beginning of a node, whose drop waits for this.
    unsafe { bindings::complete((*kobj.cast::<Node<D>>()).released.get()) };
}

/// The name of a file.
///
/// # Safety
///
/// `attr` is one of ours, whose name is static.
unsafe fn file_name(attr: *const bindings::attribute) -> &'static [u8] {
    // SAFETY: by the contract.
    unsafe { CStr::from_char_ptr((*attr).name) }.to_bytes()
}

unsafe extern "C" fn show<D: Directory>(
    kobj: *mut bindings::kobject,
    attr: *mut bindings::attribute,
    buf: *mut c_char,
) -> isize {
    // SAFETY: sysfs passes an object and an attribute of ours; drop waits for this call.
    let shown = unsafe { (*kobj.cast::<Node<D>>()).data.show(file_name(attr)) };
    match shown {
        // SAFETY: the buffer is the page that sysfs_emit() wants.
        Ok(value) => unsafe { bindings::sysfs_emit(buf, c"%d\n".as_char_ptr(), value) as isize },
        Err(e) => e.to_errno() as isize,
    }
}

unsafe extern "C" fn store<D: Directory>(
    kobj: *mut bindings::kobject,
    attr: *mut bindings::attribute,
    buf: *const c_char,
    count: usize,
) -> isize {
    let mut value: c_int = 0;
    // SAFETY: sysfs passes an object and an attribute of ours, drop waits for this call; the text is
    // terminated.
    let stored = unsafe {
        to_result(bindings::kstrtoint(buf, 0, &mut value))
            .and_then(|()| (*kobj.cast::<Node<D>>()).data.store(file_name(attr), value))
    };
    match stored {
        Ok(()) => count as isize,
        Err(e) => e.to_errno() as isize,
    }
}
