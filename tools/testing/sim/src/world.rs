// SPDX-License-Identifier: GPL-2.0

//! The mounted file system with its users: operations on the engine as the VFS calls it, each noted
//! in the [`Model`].
//!
//! Locks are the VFS's: i_rwsem of the directories and inodes that an operation changes, and
//! s_vfs_rename_mutex ([`Locks`]). fsync, sync and writeback take none. Regular files have the model
//! page cache, so their data path is that of the kernel.

mod attributes;
mod data;
mod fallocate;
mod flusher;
mod locks;
mod names;

pub use attributes::{attr_value, SPACE};
pub use data::{Stamp, Write};
pub use flusher::Flusher;
pub use locks::Locks;

use crate::{
    disk::SimDisk,
    model::{Kind, Model, ObjId, OpId, ROOT},
};
use latchfs_engine::engine::{
    file,
    inode::{self, InodeRef},
    mount::MountOpts,
    namespace, Error, Mount,
};
use latchfs_host::{Device, Errno, Spin, SpinGuard, Time};
use latchfs_pagecache::{File, Ioends};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

/// Result of an operation: whether it was done. Nothing is said about one that was not; what is not
/// as it should be is in [`World::wrong`].
pub type Done = bool;

/// An object in use.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) inode: InodeRef,
    /// Of a regular file.
    pub(crate) file: Option<Arc<File>>,
}

/// How the world is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Ends of data writeback come late.
    pub late_ioends: bool,
    /// Largest folio, in pages.
    pub folio_pages: u64,
    /// Files are open for writing: they have a window of blocks behind their end.
    pub writers: bool,
    /// Log worker and pusher run.
    pub background: bool,
    /// Requests may fail.
    pub faulty: bool,
}

/// See the module.
pub struct World {
    /// The disk.
    pub disk: Arc<SimDisk>,
    /// The oracle's memory.
    model: Spin<Model, ModelLock>,
    setup: Setup,
    mount: Mutex<Option<Arc<Mount>>>,
    locks: Locks,
    handles: Mutex<BTreeMap<ObjId, Handle>>,
    /// Unlinked files that somebody still uses.
    closing: Mutex<Vec<Handle>>,
    wrong: Mutex<Vec<String>>,
}

latchfs_host::lock_class! {
    /// The oracle's memory: nothing is taken under it.
    ModelLock = "model", rank 1000;
}

fn get<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

/// The time that says which operation it was.
pub(crate) fn time(op: OpId) -> Time {
    Time {
        secs: op as i64,
        nanos: 0,
    }
}

/// The identity of an inode.
pub(crate) fn key(inode: &InodeRef) -> (u64, u32) {
    (inode.ino.0, inode.generation())
}

/// Mounts, as ring 3 does it.
pub(crate) fn mount(disk: Arc<SimDisk>, background: bool) -> Result<Arc<Mount>, Error> {
    let opts = MountOpts {
        background,
        ..MountOpts::default()
    };
    let m = Mount::open(Device::new(disk, false), opts)?;
    namespace::recover_orphans(&m)?;
    if background {
        namespace::start_inodegc(&m)?;
    }
    Ok(m)
}

impl World {
    /// Mounts what is on `disk`: a new file system.
    pub fn new(disk: Arc<SimDisk>, setup: Setup) -> Result<Self, Error> {
        let m = mount(disk.clone(), setup.background)?;
        let root = inode::iget(&m, m.root_ino())?;
        let mut model = Model::new(key(&root));
        // A nearly full file system has a file that nothing is done with.
        let names = crate::check::list(&m, &root)?;
        for (name, ino) in names {
            let inode = inode::iget(&m, ino)?;
            model.add_foreign(name, key(&inode), inode.attrs());
        }
        let handle = Handle {
            inode: root,
            file: None,
        };
        Ok(Self {
            disk,
            model: Spin::new(model),
            setup,
            mount: Mutex::new(Some(m)),
            locks: Locks::new(),
            handles: Mutex::new(BTreeMap::from([(ROOT, handle)])),
            closing: Mutex::new(Vec::new()),
            wrong: Mutex::new(Vec::new()),
        })
    }

    /// Mounts what is on `disk`, of which `model` has the history. Complains if that fails.
    pub fn resume(disk: Arc<SimDisk>, setup: Setup, model: Model) -> Self {
        let world = Self {
            disk,
            model: Spin::new(model),
            setup,
            mount: Mutex::new(None),
            locks: Locks::new(),
            handles: Mutex::new(BTreeMap::new()),
            closing: Mutex::new(Vec::new()),
            wrong: Mutex::new(Vec::new()),
        };
        world.remount();
        world
    }

    /// Whether it is mounted.
    pub fn is_mounted(&self) -> bool {
        get(&self.mount).is_some()
    }

    /// The mount.
    pub(crate) fn m(&self) -> Arc<Mount> {
        get(&self.mount).clone().expect("mounted")
    }

    /// The oracle's memory; not to be kept across anything that waits.
    pub fn model(&self) -> SpinGuard<'_, Model> {
        self.model.lock()
    }

    /// What went wrong while it ran.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = get(&self.wrong).clone();
        wrong.extend(self.disk.misuse());
        wrong
    }

    pub(crate) fn complain(&self, what: String) {
        get(&self.wrong).push(what);
    }

    pub(crate) fn handle(&self, id: ObjId) -> Option<Handle> {
        get(&self.handles).get(&id).cloned()
    }

    /// Takes an inode in use.
    pub(crate) fn open(&self, id: ObjId, inode: InodeRef) {
        let regular = self.model().objects[id].kind == Kind::File;
        let file = regular.then(|| {
            let mut file = File::over(self.m(), inode.clone());
            file.folio_pages = self.setup.folio_pages;
            if self.setup.late_ioends {
                file.set_ioends(Ioends::Later(id as u64));
            }
            if self.setup.writers {
                file.opened();
            }
            Arc::new(file)
        });
        get(&self.handles).insert(id, Handle { inode, file });
    }

    /// The last name is gone: closes it as soon as nobody uses it.
    pub(crate) fn release(&self, id: ObjId) {
        if let Some(handle) = get(&self.handles).remove(&id) {
            get(&self.closing).push(handle);
        }
        self.close_unused();
    }

    /// Closes what nobody uses any more.
    pub(crate) fn close_unused(&self) {
        let unused: Vec<Handle> = {
            let mut closing = get(&self.closing);
            let busy = |h: &Handle| h.file.as_ref().is_some_and(|f| Arc::strong_count(f) > 1);
            let (busy, unused) = closing.drain(..).partition(busy);
            *closing = busy;
            unused
        };
        for handle in unused {
            self.close(handle);
        }
    }

    fn close(&self, handle: Handle) {
        match handle.file {
            Some(file) => match Arc::try_unwrap(file) {
                Ok(file) => {
                    drop(handle.inode);
                    if self.setup.writers {
                        file.released();
                    }
                    file.close();
                }
                Err(_) => self.complain("a file is still in use".to_string()),
            },
            None => namespace::inactivate_later(&self.m(), handle.inode),
        }
    }

    /// An operation begins. The number is its time.
    pub(crate) fn begin(&self, what: String) -> (OpId, u64) {
        let tick = self.disk.tick();
        (self.model().begin(what, tick), tick)
    }

    /// An operation on `ids` has ended: adds what it did to the history, under its locks.
    /// `expected`: an error that leaves everything as it was.
    pub(crate) fn end<T>(
        &self,
        op: OpId,
        ids: &[ObjId],
        result: Result<T, Errno>,
        expected: &[Errno],
        note: impl FnOnce(&mut Model, T),
    ) -> Done {
        let tick = self.disk.tick();
        let mut model = self.model();
        match result {
            Ok(value) => {
                model.ops[op as usize].returned = tick;
                note(&mut model, value);
                true
            }
            Err(e) if expected.contains(&e) => false,
            Err(e) => {
                let what = model.ops[op as usize].what.clone();
                let begun = model.ops[op as usize].invoked;
                model.lose(ids, begun);
                drop(model);
                if !self.setup.faulty {
                    self.complain(format!("op {op} {what}: {e:?}"));
                }
                false
            }
        }
    }

    /// fsync(2) of a directory.
    pub fn fsync_dir(&self, id: ObjId) -> Done {
        let Some(handle) = self.handle(id) else {
            return false;
        };
        let begin = self.disk.tick();
        let result = file::fsync_metadata(&self.m(), &handle.inode, file::Upto::NONE, false);
        self.synced(
            &format!("fsync of directory {id}"),
            begin,
            result.map_err(|e| e.errno()),
            |model, times| {
                model.objects[id].syncs.push(times);
            },
        )
    }

    /// sync(2).
    pub fn sync(&self) -> Done {
        let begin = self.disk.tick();
        let files: Vec<(ObjId, Arc<File>)> = get(&self.handles)
            .iter()
            .filter_map(|(id, h)| Some((*id, h.file.clone()?)))
            .collect();
        let mut lost = Vec::new();
        for (id, file) in files {
            file.write_and_wait(0, u64::MAX);
            if file.take_error().is_err() {
                lost.push(id);
            }
            drop(file);
            self.close_unused();
        }
        let mut result = self.m().sync().map_err(|e| e.errno());
        for id in lost {
            self.model().objects[id].lossy = true;
            result = result.and(Err(Errno::IO));
        }
        self.synced("sync", begin, result, |model, times| {
            model.syncs.push(times)
        })
    }

    pub(crate) fn synced(
        &self,
        what: &str,
        begin: u64,
        result: Result<(), Errno>,
        note: impl FnOnce(&mut Model, (u64, u64)),
    ) -> Done {
        let end = self.disk.tick();
        match result {
            Ok(()) => {
                note(&mut self.model(), (begin, end));
                true
            }
            Err(e) => {
                if !self.setup.faulty {
                    self.complain(format!("{what}: {e:?}"));
                }
                false
            }
        }
    }

    /// Unmounts. Nobody else is at work. False if something could not be written.
    pub fn unmount(&self) -> Done {
        let begin = self.disk.tick();
        let handles = std::mem::take(&mut *get(&self.handles));
        let mut lossy = false;
        for (id, handle) in handles {
            if let Some(file) = &handle.file {
                file.write_and_wait(0, u64::MAX);
                if file.take_error().is_err() {
                    self.model().objects[id].lossy = true;
                    lossy = true;
                }
            }
            self.close(handle);
        }
        self.close_unused();
        let m = get(&self.mount).take().expect("mounted");
        let mut result = m.unmount().map_err(|e| e.errno());
        if lossy || m.is_shutdown() {
            result = result.and(Err(Errno::IO));
        }
        self.synced("unmount", begin, result, |model, times| {
            model.syncs.push(times)
        })
    }

    /// Mounts again.
    pub fn remount(&self) -> Done {
        let m = match mount(self.disk.clone(), self.setup.background) {
            Ok(m) => m,
            Err(e) => {
                if !self.setup.faulty {
                    self.complain(format!("mount: {e}"));
                }
                return false;
            }
        };
        *get(&self.mount) = Some(m);
        let live: Vec<(ObjId, u64)> = {
            let model = self.model();
            let objects = model.objects.iter().enumerate();
            objects
                .filter(|(_, o)| o.is_linked())
                .map(|(id, o)| (id, o.key.0))
                .collect()
        };
        for (id, ino) in live {
            match inode::iget(&self.m(), latchfs_engine::format::Ino(ino)) {
                Ok(inode) => self.open(id, inode),
                Err(e) if self.setup.faulty => {
                    let tick = self.disk.tick();
                    self.model().lose(&[id], tick);
                    let _ = e;
                }
                Err(e) => self.complain(format!("object {id} after a mount: {e}")),
            }
        }
        true
    }
}
