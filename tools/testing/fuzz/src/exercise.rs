// SPDX-License-Identifier: GPL-2.0

//! What is done with an image: everything that a user of it would.

use std::collections::BTreeSet;
use std::sync::Arc;

use latchfs_engine::engine::{
    dir::EntryBuf,
    file,
    inode::{self, InodeRef},
    mount::{Mount, MountOpts},
    namespace::{self, Change, NewInode, RenameArgs, RenameFlags},
    xattr::{self, How, Name},
};
use latchfs_engine::format::{AttrSpace, FileType, Ino};
use latchfs_fsck::{check, repair, Options};
use latchfs_host::{now, Device, Errno};

use crate::base::Base;
use crate::disk::Disk;
use crate::mutate::Patch;

/// What became of the images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Images.
    pub images: u64,
    /// fsck found nothing wrong.
    pub clean: u64,
    /// fsck refused to look.
    pub refused: u64,
    /// fsck -y left nothing wrong.
    pub repaired: u64,
    /// The engine mounted it.
    pub mounted: u64,
    /// Something failed on the way through the mounted file system.
    pub failed: u64,
    /// Inodes seen.
    pub inodes: u64,
}

/// Checks, repairs, mounts and uses the image. Panics if something that must hold does not.
pub fn exercise(base: &Base, patch: &Patch, size: u64, tally: &mut Tally) {
    tally.images += 1;
    let options = Options::default();
    let dev = Disk::device(base, patch, size);
    let clean = match check(&dev, &options) {
        Ok(report) => report.is_clean(),
        Err(_) => {
            tally.refused += 1;
            false
        }
    };
    tally.clean += u64::from(clean);

    use_mounted(&dev, clean, tally);

    // What a repair calls clean is clean, and can be used.
    let dev = Disk::device(base, patch, size);
    if let Ok(outcome) = repair(&dev, &options) {
        let last = check(&dev, &options).expect("it was checked before");
        assert_eq!(last.problems, outcome.last.problems);
        if last.is_clean() {
            tally.repaired += 1;
            let mut whole = Tally::default();
            use_mounted(&dev, true, &mut whole);
            assert_eq!(whole.failed, 0, "sound, but not usable");
            let after = check(&dev, &options).expect("it was clean before");
            assert!(after.is_clean(), "{:#?}", after.messages);
        }
    }
}

/// Mounts and uses what is on the device. `sound`: fsck says that nothing is wrong.
fn use_mounted(dev: &Device, sound: bool, tally: &mut Tally) {
    let opts = MountOpts::default();
    let m = match Mount::open(dev.clone(), opts) {
        Ok(m) => m,
        Err(error) => {
            // Features that a writer must know are no damage.
            let allowed = !sound || error.errno() == Errno::ROFS;
            assert!(allowed, "sound, but not mounted: {error:?}");
            return;
        }
    };
    tally.mounted += 1;
    let mut user = User {
        m,
        seen: BTreeSet::new(),
        failures: Vec::new(),
    };
    user.walk();
    user.change();
    tally.inodes += user.seen.len() as u64;
    tally.failed += u64::from(!user.failures.is_empty());
    assert!(!sound || user.failures.is_empty(), "{:?}", user.failures);
    let _ = user.m.sync();
    let unmounted = user.m.unmount();
    assert!(!sound || unmounted.is_ok(), "{unmounted:?}");
}

struct User {
    m: Arc<Mount>,
    seen: BTreeSet<Ino>,
    failures: Vec<String>,
}

impl User {
    fn note<T>(&mut self, what: &str, result: latchfs_engine::engine::Result<T>) -> Option<T> {
        result
            .map_err(|error| self.failures.push(format!("{what}: {error:?}")))
            .ok()
    }

    /// Lists and reads everything below the root.
    fn walk(&mut self) {
        let root = self.m.root_ino();
        let mut todo = vec![root];
        while let Some(ino) = todo.pop() {
            if self.seen.len() > 3000 || !self.seen.insert(ino) {
                continue;
            }
            let result = inode::iget(&self.m, ino);
            let Some(inode) = self.note("iget", result) else {
                continue;
            };
            self.attributes(&inode);
            let attrs = inode.attrs();
            match FileType::from_mode(attrs.mode) {
                Some(FileType::Directory) => self.list(&inode, &mut todo),
                Some(FileType::Regular) => self.map(&inode, attrs.size),
                Some(FileType::Symlink) => {
                    let mut target = vec![0; 5000];
                    let result = namespace::readlink(&self.m, &inode, &mut target);
                    self.note("readlink", result);
                }
                _ => {}
            }
        }
    }

    /// Reads all attributes; each that is listed is there.
    fn attributes(&mut self, inode: &InodeRef) {
        let mut names = Vec::new();
        let result = xattr::list(&self.m, inode, |space, name| {
            names.push((space, name.to_vec()));
        });
        self.note("listxattr", result);
        let mut value = vec![0; 65536];
        for (space, name) in names.into_iter().take(1000) {
            let result = xattr::get(&self.m, inode, Name::new(space, &name), &mut value);
            self.note("getxattr", result);
        }
    }

    /// Sets, replaces and removes attributes, its own and those that are there.
    fn change_attributes(&mut self, inode: &InodeRef) {
        let m = self.m.clone();
        let mut names = Vec::new();
        let _ = xattr::list(&m, inode, |space, name| names.push((space, name.to_vec())));
        let change = Change::default();
        for (n, (space, name)) in names.into_iter().take(30).enumerate() {
            let name = Name::new(space, &name);
            // What is not an ACL may not stand for one.
            let what = if space.is_acl() { 0 } else { n % 3 };
            let result = match what {
                0 => xattr::remove(&m, inode, name, &change),
                _ => xattr::set(&m, inode, name, &[7; 5000][..n * 150], How::Any, &change),
            };
            self.note("setxattr", result);
        }
        for n in 0..12 {
            let name = format!("hostile {n}");
            let name = Name::new(AttrSpace::User, name.as_bytes());
            let value = vec![n as u8; n * n * 300];
            let result = xattr::set(&m, inode, name, &value, How::Any, &change);
            self.note("setxattr", result);
        }
    }

    fn list(&mut self, dir: &InodeRef, todo: &mut Vec<Ino>) {
        let mut buf = EntryBuf::try_new().expect("memory");
        let mut from = 0;
        for _ in 0..2000 {
            buf.clear();
            let result = namespace::readdir(&self.m, dir, from, &mut buf);
            if self.note("readdir", result).is_none() || buf.is_empty() {
                return;
            }
            let mut found = Vec::new();
            for entry in buf.iter() {
                assert!(entry.key >= from, "cookies go back");
                from = entry.key + 1;
                todo.push(entry.ino);
                found.push((entry.name.to_vec(), entry.ino));
            }
            for (name, ino) in found {
                let result = namespace::lookup_ino(&self.m, dir, &name);
                match self.note("lookup", result) {
                    Some(Some(named)) if named.ino == ino => {}
                    Some(_) => self.failures.push("lookup: not what readdir says".into()),
                    None => {}
                }
            }
        }
    }

    fn map(&mut self, inode: &InodeRef, size: u64) {
        let mut pos = 0;
        for _ in 0..300 {
            if pos >= size {
                return;
            }
            let result = file::bmap_read(&self.m, inode, pos, 4096);
            let Some(map) = self.note("bmap", result) else {
                return;
            };
            let end = map.offset.saturating_add(map.len);
            assert!(map.offset <= pos && end > pos, "no progress at {pos}");
            pos = end;
        }
    }

    /// Makes, renames, links and removes some things.
    fn change(&mut self) {
        let m = self.m.clone();
        let Ok(root) = inode::iget(&m, m.root_ino()) else {
            return;
        };
        let new = |mode| NewInode {
            mode,
            now: now(),
            ..NewInode::default()
        };
        let dir = namespace::create(&m, &root, b"hostile dir", &new(0o040755));
        let dir = self.note("mkdir", dir);
        let dir = dir.as_ref().unwrap_or(&root);
        for n in 0..40 {
            let name = format!("hostile file with a long name {n}");
            let file = namespace::create(&m, dir, name.as_bytes(), &new(0o100644));
            let Some(file) = self.note("create", file) else {
                break;
            };
            if n % 3 == 0 {
                let result = namespace::unlink(&m, dir, name.as_bytes(), &file, now());
                self.note("unlink", result);
                namespace::inactivate_later(&m, file);
            } else if n % 5 == 0 {
                let result = namespace::link(&m, &file, &root, name.as_bytes(), now());
                self.note("link", result);
            }
        }
        let link = namespace::symlink(&m, dir, b"link", &new(0o120777), &[b'x'; 4000]);
        self.note("symlink", link);
        let old: Vec<(Vec<u8>, Ino)> = self.some_names(&root);
        for (name, ino) in old {
            let result = inode::iget(&m, ino);
            let Some(inode) = self.note("iget", result) else {
                continue;
            };
            self.change_attributes(&inode);
            let is_dir = FileType::from_mode(inode.attrs().mode) == Some(FileType::Directory);
            if is_dir {
                let args = RenameArgs {
                    old_dir: &root,
                    old_name: &name,
                    inode: &inode,
                    new_dir: &root,
                    new_name: b"renamed",
                    target: None,
                    flags: RenameFlags::default(),
                    uid: 0,
                    gid: 0,
                    now: now(),
                };
                // The second one finds the name taken.
                let _ = namespace::rename(&m, &args);
                continue;
            }
            let result = namespace::unlink(&m, &root, &name, &inode, now());
            self.note("unlink", result);
            namespace::inactivate_later(&m, inode);
        }
        let _ = m.statfs();
    }

    /// The first names of a directory.
    fn some_names(&mut self, dir: &InodeRef) -> Vec<(Vec<u8>, Ino)> {
        let mut buf = EntryBuf::try_new().expect("memory");
        let result = namespace::readdir(&self.m, dir, 0, &mut buf);
        self.note("readdir", result);
        let old = buf
            .iter()
            .filter(|entry| !entry.name.starts_with(b"hostile"));
        old.take(10)
            .map(|entry| (entry.name.to_vec(), entry.ino))
            .collect()
    }
}
