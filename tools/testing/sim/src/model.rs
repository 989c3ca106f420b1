// SPDX-License-Identifier: GPL-2.0

//! What was done, and what was promised: the oracle's memory.
//!
//! Each operation has a number, which is also the time it gives to everything it changes: the ctime
//! of an inode tells which operation was the last that changed it. So after a recovery each inode
//! says itself up to where its history got to the disk, and the whole can be compared exactly.
//!
//! Per object there is the list of its states, one per operation that changed it, in the order in
//! which that happened (the object was locked as the VFS locks it), and for files the history of each
//! sector ([`Data`]).

mod data;

pub use data::{Data, Promise, Ranged, Window};

use latchfs_engine::engine::inode::Attrs;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Number of an operation; from 1.
pub type OpId = u64;

/// Index of an object.
pub type ObjId = usize;

/// The root directory.
pub const ROOT: ObjId = 0;

/// Tick of something that has not happened.
pub const NEVER: u64 = u64::MAX;

/// An operation.
#[derive(Clone, Debug)]
pub struct Op {
    /// For people.
    pub what: String,
    /// When it began.
    pub invoked: u64,
    /// When it had succeeded, or [`NEVER`].
    pub returned: u64,
}

/// A kind of object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File,
    /// A symlink, and where to.
    Symlink(Vec<u8>),
}

/// Entries of a directory.
pub type Entries = BTreeMap<Vec<u8>, ObjId>;

/// Extended attributes of an inode: the operation that set each, and the length of its value, which
/// is made from both ([`crate::world::attr_value`]).
pub type Attributes = BTreeMap<Vec<u8>, (OpId, usize)>;

/// An object after an operation.
#[derive(Clone, Debug)]
pub struct Meta {
    /// The operation: the ctime.
    pub op: OpId,
    /// Links.
    pub nlink: u32,
    /// Permissions.
    pub mode: u16,
    /// Of a directory; empty otherwise.
    pub entries: Arc<Entries>,
    /// Extended attributes.
    pub attributes: Arc<Attributes>,
}

/// Something with an inode.
#[derive(Clone)]
pub struct Object {
    /// Number and generation.
    pub key: (u64, u32),
    /// What it is.
    pub kind: Kind,
    /// Its states, oldest first; never empty.
    pub states: Vec<Meta>,
    /// Begin and end of each fsync of it that succeeded.
    pub syncs: Vec<(u64, u64)>,
    /// Each sync of a part of its content that succeeded.
    pub ranged: Vec<Ranged>,
    /// Operations that put it in the place of another file: they wrote its content first.
    pub replaced: Vec<(OpId, Ranged)>,
    /// Content, of files.
    pub data: Data,
    /// From this tick on it is not known what it is: an operation on it failed half way.
    pub unknown: u64,
    /// Writeback lost some of its data, and said so.
    pub lossy: bool,
    /// It was there before, and nothing is known about its content.
    pub foreign: bool,
}

impl Object {
    /// The newest state.
    pub fn now(&self) -> &Meta {
        &self.states[self.states.len() - 1]
    }

    /// Whether it has a name.
    pub fn is_linked(&self) -> bool {
        self.now().nlink > 0
    }
}

/// Everything.
#[derive(Clone, Default)]
pub struct Model {
    /// Operation `n` is at `n`; the first entry is mkfs.
    pub ops: Vec<Op>,
    /// Objects, unlinked ones too.
    pub objects: Vec<Object>,
    /// Begin and end of each sync that succeeded.
    pub syncs: Vec<(u64, u64)>,
    by_key: HashMap<(u64, u32), ObjId>,
    /// From this tick on an operation may have been done that is not in the histories.
    pub failed: u64,
    /// Whether data writes may fail.
    pub data_errors: bool,
}

impl Model {
    /// A new file system, whose root directory is `key`.
    pub fn new(key: (u64, u32)) -> Self {
        let mut model = Self {
            failed: NEVER,
            ..Self::default()
        };
        model.ops.push(Op {
            what: "mkfs".to_string(),
            invoked: 0,
            returned: 0,
        });
        model.syncs.push((0, 0));
        let state = Meta {
            op: 0,
            nlink: 2,
            mode: 0o755,
            entries: Arc::default(),
            attributes: Arc::default(),
        };
        model.add(key, Kind::Dir, state);
        model
    }

    /// An operation begins.
    pub fn begin(&mut self, what: String, tick: u64) -> OpId {
        self.ops.push(Op {
            what,
            invoked: tick,
            returned: NEVER,
        });
        self.ops.len() as OpId - 1
    }

    /// A new object.
    pub fn add(&mut self, key: (u64, u32), kind: Kind, state: Meta) -> ObjId {
        let op = state.op;
        self.objects.push(Object {
            key,
            kind,
            states: vec![state],
            syncs: Vec::new(),
            ranged: Vec::new(),
            replaced: Vec::new(),
            data: Data::new(op),
            unknown: NEVER,
            lossy: false,
            foreign: false,
        });
        let id = self.objects.len() - 1;
        self.by_key.insert(key, id);
        id
    }

    /// Something the file system began with, in the root directory.
    pub fn add_foreign(&mut self, name: Vec<u8>, key: (u64, u32), attrs: Attrs) {
        let op = attrs.ctime.secs as OpId;
        let state = Meta {
            op,
            nlink: attrs.nlink,
            mode: attrs.mode & 0o7777,
            entries: Arc::default(),
            attributes: Arc::default(),
        };
        let id = self.add(key, Kind::File, state);
        self.objects[id].foreign = true;
        let root = &mut self.objects[ROOT].states[0];
        let mut entries = (*root.entries).clone();
        entries.insert(name, id);
        root.entries = Arc::new(entries);
    }

    /// The object of an inode.
    pub fn find(&self, key: (u64, u32)) -> Option<ObjId> {
        self.by_key.get(&key).copied()
    }

    /// Adds a state to an object: the newest one, changed.
    pub fn push(&mut self, id: ObjId, op: OpId, change: impl FnOnce(&mut Meta)) {
        let object = &mut self.objects[id];
        let mut state = object.now().clone();
        state.op = op;
        change(&mut state);
        object.states.push(state);
    }

    /// Changes entries of a directory.
    pub fn push_entries(&mut self, id: ObjId, op: OpId, change: impl FnOnce(&mut Entries)) {
        self.push(id, op, |state| {
            let mut entries = (*state.entries).clone();
            change(&mut entries);
            state.entries = Arc::new(entries);
        });
    }

    /// What `name` is in a directory.
    pub fn lookup(&self, dir: ObjId, name: &[u8]) -> Option<ObjId> {
        self.objects[dir].now().entries.get(name).copied()
    }

    /// Whether a directory is `above` or is in it.
    pub fn is_below(&self, id: ObjId, above: ObjId) -> bool {
        id == above
            || self.objects[above]
                .now()
                .entries
                .values()
                .any(|child| self.objects[*child].kind == Kind::Dir && self.is_below(id, *child))
    }

    /// Until when what was done to an object has been promised to survive a crash at `tick`.
    pub fn promised(&self, id: ObjId, tick: u64) -> u64 {
        let all = self.fsyncs_of(id, tick).chain(self.syncs_of_all(tick));
        all.map(|(begin, _)| begin).max().unwrap_or(0)
    }

    /// Begin and end of each fsync of an object that had succeeded at `tick`.
    pub fn fsyncs_of(&self, id: ObjId, tick: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let all = self.objects[id].syncs.iter().copied();
        all.filter(move |(_, end)| *end < tick)
    }

    /// The same for syncs of everything.
    pub fn syncs_of_all(&self, tick: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let all = self.syncs.iter().copied();
        all.filter(move |(_, end)| *end < tick)
    }

    /// What of the content of a file must be there after a crash at `tick`, if `recovered` is the
    /// last operation on its inode that was recovered.
    pub fn promise(&self, id: ObjId, tick: u64, recovered: OpId) -> Promise {
        let object = &self.objects[id];
        if object.lossy {
            return Promise::default();
        }
        let data = &object.data;
        let of_file = || self.fsyncs_of(id, tick);
        let of_all = || self.syncs_of_all(tick);
        let ranged = object.ranged.iter().filter(|s| s.times.1 < tick);
        let mut promise = Promise {
            content: data.promised(of_file().chain(of_all())),
            size: data.promised(of_file()).max(data.promised_size(of_all())),
            ranges: data.promised_ranges(ranged.copied()),
        };
        let replaced = object.replaced.iter().filter(|(op, _)| *op <= recovered);
        promise.ranges.extend(replaced.map(|(_, range)| *range));
        promise
    }

    /// How many promises there are at `tick`.
    pub fn promises(&self, tick: u64) -> usize {
        let of = |syncs: &[(u64, u64)]| syncs.iter().filter(|(_, end)| *end < tick).count();
        let ranged = |o: &Object| o.ranged.iter().filter(|s| s.times.1 < tick).count();
        let objects = self.objects.iter().map(|o| of(&o.syncs) + ranged(o));
        of(&self.syncs) + objects.sum::<usize>()
    }

    /// Nobody knows what became of these objects.
    pub fn lose(&mut self, ids: &[ObjId], tick: u64) {
        for id in ids {
            let object = &mut self.objects[*id];
            object.unknown = object.unknown.min(tick);
        }
        self.failed = self.failed.min(tick);
    }
}
