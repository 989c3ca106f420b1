// SPDX-License-Identifier: GPL-2.0

//! Operations on names.

use super::{key, locks::RENAME, time, Done, World};
use crate::model::{Kind, Meta, Model, ObjId, OpId, Ranged, NEVER};
use latchfs_engine::engine::{
    inode::InodeRef,
    namespace::{self, Change, NewInode, RenameArgs, RenameFlags},
};
use latchfs_host::Errno;
use std::sync::Arc;

pub(super) const FULL: &[Errno] = &[Errno::NOSPC];

impl World {
    pub(super) fn inode(&self, id: ObjId) -> Option<InodeRef> {
        Some(self.handle(id)?.inode)
    }

    fn name(&self, dir: ObjId, name: &[u8]) -> String {
        let short = name.len().min(12);
        format!("{dir}/{}", String::from_utf8_lossy(&name[..short]))
    }

    /// Creates a file, a directory or a symlink; the number of the new object.
    pub fn create(&self, dir: ObjId, name: &[u8], kind: Kind) -> Option<ObjId> {
        let _locks = self.locks.take(&[dir]);
        let parent = self.inode(dir)?;
        let usable = {
            let model = self.model();
            model.objects[dir].is_linked() && model.lookup(dir, name).is_none()
        };
        if !usable {
            return None;
        }
        let (op, _) = self.begin(format!("create {} {kind:?}", self.name(dir, name)));
        let (mode, nlink) = match &kind {
            Kind::Dir => (0o040755, 2),
            Kind::File => (0o100644, 1),
            Kind::Symlink(_) => (0o120777, 1),
        };
        let new = NewInode {
            mode,
            now: time(op),
            ..NewInode::default()
        };
        let m = self.m();
        let result = match &kind {
            Kind::Symlink(to) => namespace::symlink(&m, &parent, name, &new, to),
            _ => namespace::create(&m, &parent, name, &new),
        };
        let result = result.map(|inode| (key(&inode), inode));
        let mut made = None;
        self.end(
            op,
            &[dir],
            result.map_err(|e| e.errno()),
            FULL,
            |model, (key, inode)| {
                let state = Meta {
                    op,
                    nlink,
                    mode: mode & 0o7777,
                    entries: Arc::default(),
                    attributes: Arc::default(),
                };
                let is_dir = kind == Kind::Dir;
                let id = model.add(key, kind, state);
                model.push(dir, op, |state| {
                    let mut entries = (*state.entries).clone();
                    entries.insert(name.to_vec(), id);
                    state.entries = Arc::new(entries);
                    state.nlink += u32::from(is_dir);
                });
                made = Some((id, inode));
            },
        );
        let (id, inode) = made?;
        self.open(id, inode);
        Some(id)
    }

    /// Another name for a file.
    pub fn link(&self, id: ObjId, dir: ObjId, name: &[u8]) -> Done {
        let _locks = self.locks.take(&[dir, id]);
        let (Some(inode), Some(parent)) = (self.inode(id), self.inode(dir)) else {
            return false;
        };
        let usable = {
            let model = self.model();
            model.objects[dir].is_linked()
                && model.objects[id].is_linked()
                && model.objects[id].kind != Kind::Dir
                && model.lookup(dir, name).is_none()
        };
        if !usable {
            return false;
        }
        let (op, _) = self.begin(format!("link {id} to {}", self.name(dir, name)));
        let result = namespace::link(&self.m(), &inode, &parent, name, time(op));
        self.end(
            op,
            &[dir, id],
            result.map_err(|e| e.errno()),
            FULL,
            |model, ()| {
                model.push(id, op, |state| state.nlink += 1);
                model.push_entries(dir, op, |entries| {
                    entries.insert(name.to_vec(), id);
                });
            },
        )
    }

    /// unlink(2) or rmdir(2), whichever is right. Directories must be empty.
    pub fn remove(&self, dir: ObjId, name: &[u8]) -> Done {
        let Some(victim) = self.model().lookup(dir, name) else {
            return false;
        };
        let gone = {
            let _locks = self.locks.take(&[dir, victim]);
            let (Some(inode), Some(parent)) = (self.inode(victim), self.inode(dir)) else {
                return false;
            };
            let is_dir = {
                let model = self.model();
                let object = &model.objects[victim];
                let same = model.lookup(dir, name) == Some(victim);
                if !same || !object.now().entries.is_empty() {
                    return false;
                }
                object.kind == Kind::Dir
            };
            let (op, _) = self.begin(format!("remove {} ({victim})", self.name(dir, name)));
            let m = self.m();
            let result = if is_dir {
                namespace::rmdir(&m, &parent, name, &inode, time(op))
            } else {
                namespace::unlink(&m, &parent, name, &inode, time(op))
            };
            let done = self.end(
                op,
                &[dir, victim],
                result.map_err(|e| e.errno()),
                FULL,
                |model, ()| {
                    model.push(dir, op, |state| {
                        let mut entries = (*state.entries).clone();
                        entries.remove(name);
                        state.entries = Arc::new(entries);
                        state.nlink -= u32::from(is_dir);
                    });
                    drop_link(model, victim, op, is_dir);
                },
            );
            if !done {
                return false;
            }
            !self.model().objects[victim].is_linked()
        };
        if gone {
            self.release(victim);
        }
        true
    }

    /// rename(2), or an exchange of two names.
    pub fn rename(&self, from: (ObjId, &[u8]), to: (ObjId, &[u8]), exchange: bool) -> Done {
        let (source, target) = {
            let model = self.model();
            (model.lookup(from.0, from.1), model.lookup(to.0, to.1))
        };
        let Some(source) = source else {
            return false;
        };
        if Some(source) == target || (exchange && target.is_none()) {
            return false;
        }
        let mut ids = vec![from.0, to.0, source];
        ids.extend(target);
        if ids[..2].contains(&source) || target.is_some_and(|t| ids[..2].contains(&t)) {
            return false;
        }
        let mut locks = ids.clone();
        if from.0 != to.0 {
            locks.push(RENAME);
        }
        {
            let _locks = self.locks.take(&locks);
            if !self.rename_is_legal(from, to, source, target, exchange) {
                return false;
            }
            // First the content, then the clock: it is of what had returned.
            let bytes = (0, NEVER);
            let size = self.model().objects[source].data.end_of_data(bytes);
            let flushed = self.disk.tick();
            let flush = if exchange || target.is_none() {
                Ok(false)
            } else {
                self.write_before_replacing(source)
            };
            let Ok(flush) = flush else {
                if !self.setup.faulty {
                    self.complain(format!("rename of {source}: {flush:?}"));
                }
                return false;
            };
            let what = match (exchange, flush) {
                (true, _) => "exchange",
                (_, true) => "rename, data first,",
                _ => "rename",
            };
            let (op, begun) = self.begin(format!(
                "{what} {} ({source}) to {} ({target:?})",
                self.name(from.0, from.1),
                self.name(to.0, to.1),
            ));
            let inodes = (self.inode(from.0), self.inode(to.0), self.inode(source));
            let (Some(old_dir), Some(new_dir), Some(inode)) = inodes else {
                return false;
            };
            let target_inode = target.and_then(|t| self.inode(t));
            let args = RenameArgs {
                old_dir: &old_dir,
                old_name: from.1,
                inode: &inode,
                new_dir: &new_dir,
                new_name: to.1,
                target: target_inode.as_ref(),
                flags: RenameFlags {
                    exchange,
                    ..RenameFlags::default()
                },
                uid: 0,
                gid: 0,
                now: time(op),
            };
            let result = namespace::rename(&self.m(), &args);
            let done = self.end(
                op,
                &ids,
                result.map_err(|e| e.errno()),
                FULL,
                |model, ()| {
                    note_rename(model, op, from, to, source, target, exchange);
                    if flush {
                        let times = (flushed, begun);
                        let range = Ranged { times, bytes, size };
                        model.objects[source].replaced.push((op, range));
                    }
                },
            );
            if !done {
                return false;
            }
        }
        if let Some(target) = target {
            if !self.model().objects[target].is_linked() {
                self.release(target);
            }
        }
        true
    }

    /// What ring 3 does before a rename that replaces a file. Whether all data was written.
    fn write_before_replacing(&self, id: ObjId) -> Result<bool, Errno> {
        let file = self.handle(id).and_then(|handle| handle.file);
        let result = file.as_ref().map(|file| file.write_before_replacing());
        drop(file);
        self.close_unused();
        result.unwrap_or(Ok(false))
    }

    /// What the VFS checks.
    fn rename_is_legal(
        &self,
        from: (ObjId, &[u8]),
        to: (ObjId, &[u8]),
        source: ObjId,
        target: Option<ObjId>,
        exchange: bool,
    ) -> bool {
        let model = self.model();
        let same = model.lookup(from.0, from.1) == Some(source)
            && model.lookup(to.0, to.1) == target
            && model.objects[from.0].is_linked()
            && model.objects[to.0].is_linked();
        let is_dir = |id: ObjId| model.objects[id].kind == Kind::Dir;
        let into_itself = is_dir(source) && model.is_below(to.0, source);
        let fits = match target {
            None => true,
            Some(t) if exchange => !(is_dir(t) && model.is_below(from.0, t)),
            Some(t) => {
                is_dir(t) == is_dir(source)
                    && model.objects[t].now().entries.is_empty()
                    && !model.is_below(from.0, t)
            }
        };
        same && !into_itself && fits
    }

    /// chmod(2).
    pub fn chmod(&self, id: ObjId, mode: u16) -> Done {
        let _locks = self.locks.take(&[id]);
        let Some(inode) = self.inode(id) else {
            return false;
        };
        if !self.model().objects[id].is_linked() {
            return false;
        }
        let (op, _) = self.begin(format!("chmod {id}"));
        let change = Change {
            mode: Some(mode),
            ctime: Some(time(op)),
            ..Change::default()
        };
        let result = namespace::setattr(&self.m(), &inode, &change);
        self.end(
            op,
            &[id],
            result.map_err(|e| e.errno()),
            FULL,
            |model, ()| model.push(id, op, |state| state.mode = mode),
        )
    }
}

fn drop_link(model: &mut Model, id: ObjId, op: OpId, is_dir: bool) {
    model.push(id, op, |state| {
        state.nlink = if is_dir { 0 } else { state.nlink - 1 };
    });
}

fn note_rename(
    model: &mut Model,
    op: OpId,
    from: (ObjId, &[u8]),
    to: (ObjId, &[u8]),
    source: ObjId,
    target: Option<ObjId>,
    exchange: bool,
) {
    let is_dir = |model: &Model, id: ObjId| u32::from(model.objects[id].kind == Kind::Dir);
    let moved = is_dir(model, source);
    let back = target.map_or(0, |t| is_dir(model, t));
    let mut dirs = vec![from.0];
    if to.0 != from.0 {
        dirs.push(to.0);
    }
    for dir in dirs {
        model.push(dir, op, |state| {
            let mut entries = (*state.entries).clone();
            // Links: what leaves, what comes; signed only in between.
            let mut nlink = i64::from(state.nlink);
            if dir == from.0 {
                entries.remove(from.1);
                nlink -= i64::from(moved);
            }
            if dir == to.0 {
                entries.insert(to.1.to_vec(), source);
                nlink += i64::from(moved) - i64::from(back);
            }
            if let (true, Some(target)) = (exchange && dir == from.0, target) {
                entries.insert(from.1.to_vec(), target);
                nlink += i64::from(back);
            }
            state.entries = Arc::new(entries);
            state.nlink = nlink as u32;
        });
    }
    model.push(source, op, |_| {});
    match target {
        Some(target) if exchange => model.push(target, op, |_| {}),
        Some(target) => drop_link(model, target, op, back != 0),
        None => {}
    }
}
