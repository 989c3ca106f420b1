// SPDX-License-Identifier: GPL-2.0

//! `/sys/fs/latchfs/<device>/`: what is done about metadata that cannot be written. Names and
//! meaning are those of XFS.
//!
//! ```text
//! error/fail_at_unmount
//! error/metadata/{default,EIO,ENOSPC,ENODEV}/{max_retries,retry_timeout_seconds}
//! ```

use super::error::to_errno;
use crate::engine::ail::policy::ErrnoClass;
use crate::engine::ail::policy::ErrorPolicy;
use crate::engine::mount::Mount;
use crate::kapi::sysfs::Attr;
use crate::kapi::sysfs::Dir;
use crate::kapi::sysfs::Directory;
use crate::sys::Arc;
use kernel::prelude::*;
use kernel::str::CStr;

/// `error/`.
pub struct Unmount(Arc<Mount>);

impl Directory for Unmount {
    const FILES: &'static [Attr] = &[Attr::rw(c"fail_at_unmount")];

    fn show(&self, _file: &[u8]) -> Result<i32> {
        Ok(i32::from(policy(&self.0).fail_at_unmount()))
    }

    fn store(&self, _file: &[u8], value: i32) -> Result {
        let on = match value {
            0 => false,
            1 => true,
            _ => return Err(EINVAL),
        };
        policy(&self.0).set_fail_at_unmount(on);
        Ok(())
    }
}

/// `error/metadata/<class>/`.
pub struct Class {
    mount: Arc<Mount>,
    class: ErrnoClass,
}

impl Directory for Class {
    const FILES: &'static [Attr] = &[Attr::rw(c"max_retries"), Attr::rw(c"retry_timeout_seconds")];

    fn show(&self, file: &[u8]) -> Result<i32> {
        let (retries, seconds) = policy(&self.mount).get(self.class);
        match file {
            b"max_retries" => Ok(retries),
            b"retry_timeout_seconds" => Ok(seconds),
            _ => Err(EIO),
        }
    }

    fn store(&self, file: &[u8], value: i32) -> Result {
        let policy = policy(&self.mount);
        match file {
            b"max_retries" => policy.set_max_retries(self.class, value),
            b"retry_timeout_seconds" => policy.set_retry_timeout(self.class, value),
            _ => return Err(EIO),
        }
        .map_err(to_errno)
    }
}

fn policy(m: &Mount) -> &ErrorPolicy {
    m.error_policy()
}

/// Name of the directory of a class.
fn name(class: ErrnoClass) -> &'static CStr {
    match class {
        ErrnoClass::Default => c"default",
        ErrnoClass::Io => c"EIO",
        ErrnoClass::NoSpace => c"ENOSPC",
        ErrnoClass::NoDevice => c"ENODEV",
    }
}

/// The directories of a mount. The fields are dropped in this order: a directory goes before the
/// one it is in.
pub struct Tree {
    _classes: KVec<Dir<Class>>,
    _metadata: Dir<()>,
    _error: Dir<Unmount>,
    _device: Dir<()>,
}

impl Tree {
    /// Makes what is in `device`, the directory of the mount. May sleep. ENOMEM.
    pub fn new(device: Dir<()>, mount: &Arc<Mount>) -> Result<Self> {
        let error = Dir::new(c"error", &device, Unmount(mount.clone()))?;
        let metadata = Dir::new(c"metadata", &error, ())?;
        let mut classes = KVec::with_capacity(ErrnoClass::ALL.len(), GFP_KERNEL)?;
        for class in ErrnoClass::ALL {
            let mount = mount.clone();
            let dir = Dir::new(name(class), &metadata, Class { mount, class })?;
            classes.push(dir, GFP_KERNEL)?;
        }
        Ok(Self {
            _classes: classes,
            _metadata: metadata,
            _error: error,
            _device: device,
        })
    }
}
