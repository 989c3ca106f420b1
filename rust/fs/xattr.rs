// SPDX-License-Identifier: GPL-2.0

//! Extended attributes and ACLs.

use super::error::Edge as _;
use super::inode;
use super::mount_of;
use super::Inode;
use super::Latchfs;
use crate::engine::namespace::Change;
use crate::engine::xattr;
use crate::engine::xattr::Name;
use crate::format::xattr::AttrSpace;
use crate::kapi::acl::AclOps;
use crate::kapi::acl::AclType;
use crate::kapi::xattr::How;
use crate::kapi::xattr::List;
use crate::kapi::xattr::Space;
use crate::kapi::xattr::XattrOps;
use crate::sys::Errno;
use kernel::prelude::*;

/// The name space of the format.
pub fn space_of(space: Space) -> AttrSpace {
    match space {
        Space::User => AttrSpace::User,
        Space::Trusted => AttrSpace::Trusted,
        Space::Security => AttrSpace::Security,
    }
}

/// The attribute that has an ACL.
pub fn acl_name(which: AclType) -> Name<'static> {
    let space = match which {
        AclType::Access => AttrSpace::AclAccess,
        AclType::Default => AttrSpace::AclDefault,
    };
    Name::new(space, b"")
}

/// The time and version of the inode for a change of its attributes that happens now. Both are in
/// the VFS inode, too.
fn touch(inode: &Inode) -> Change {
    let now = inode.touch_ctime();
    inode.inc_version();
    Change {
        ctime: Some(now),
        version: Some(inode.version()),
        ..Change::default()
    }
}

/// What follows a change: blocks, and durability if the mount or the inode asks for it.
fn changed(inode: &Inode) -> Result {
    inode::refresh(inode);
    if inode.is_sync() || inode.is_dirsync() {
        mount_of(inode).sync_log().at(inode)?;
    }
    Ok(())
}

fn check_up(inode: &Inode) -> Result {
    if mount_of(inode).is_shutdown() {
        return Err(EIO);
    }
    Ok(())
}

impl XattrOps for Latchfs {
    fn xattr_get(inode: &Inode, space: Space, name: &[u8], out: &mut [u8]) -> Result<usize> {
        check_up(inode)?;
        let name = Name::new(space_of(space), name);
        xattr::get(mount_of(inode), inode.data(), name, out).at(inode)
    }

    fn xattr_set(
        inode: &Inode,
        space: Space,
        name: &[u8],
        value: Option<&[u8]>,
        how: How,
    ) -> Result {
        let (m, r) = (mount_of(inode), inode.data());
        let name = Name::new(space_of(space), name);
        let how = match how {
            How::Any => xattr::How::Any,
            How::Create => xattr::How::Create,
            How::Replace => xattr::How::Replace,
        };
        let change = touch(inode);
        match value {
            Some(value) => xattr::set(m, r, name, value, how, &change).at(inode)?,
            None => xattr::remove(m, r, name, &change).at(inode)?,
        }
        changed(inode)
    }

    fn xattr_list(inode: &Inode, trusted: bool, out: &mut List<'_>) -> Result {
        check_up(inode)?;
        xattr::list(mount_of(inode), inode.data(), |space, name| {
            if space != AttrSpace::Trusted || trusted {
                out.push(space.prefix().as_bytes(), name);
            }
        })
        .at(inode)
    }
}

impl AclOps for Latchfs {
    fn acl_get(inode: &Inode, which: AclType) -> Result<Option<KVec<u8>>> {
        check_up(inode)?;
        let (m, r) = (mount_of(inode), inode.data());
        let name = acl_name(which);
        let mut bytes = KVec::new();
        loop {
            let len = match xattr::get(m, r, name, &mut []) {
                Err(e) if e.is(Errno::NODATA) => return Ok(None),
                other => other.at(inode)?,
            };
            bytes.resize(len, 0, GFP_KERNEL)?;
            match xattr::get(m, r, name, &mut bytes) {
                // It has become longer, or went away: again.
                Err(e) if e.is(Errno::RANGE) || e.is(Errno::NODATA) => {}
                other => {
                    bytes.truncate(other.at(inode)?);
                    return Ok(Some(bytes));
                }
            }
        }
    }

    fn acl_set(inode: &Inode, which: AclType, value: Option<&[u8]>, mode: Option<u16>) -> Result {
        let (m, r) = (mount_of(inode), inode.data());
        let change = Change {
            mode,
            ..touch(inode)
        };
        xattr::set_acl(m, r, acl_name(which), value, &change).at(inode)?;
        if let Some(mode) = mode {
            inode.set_mode(mode);
        }
        changed(inode)
    }
}
