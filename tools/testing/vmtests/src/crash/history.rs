// SPDX-License-Identifier: GPL-2.0

//! What a worker did, made again from its seed, and what its files may contain.

use std::collections::BTreeMap;

use super::model::{
    FileId,
    Generator,
    Namespace,
    Node,
    Op,
    Stamp,
    UNIT, //
};

/// Something that changed a file's content.
#[derive(Clone, Copy, Debug)]
enum Event {
    Write { at: u64, len: u64 },
    Truncate(u64),
}

#[derive(Default)]
struct FileHistory {
    /// By operation.
    events: Vec<(u64, Event)>,
    /// Operations after which all before was durable.
    durable: Vec<u64>,
    /// The content as of the last sync that was asked for, to not make it anew.
    base: Base,
}

/// Content after some number of operations: the operation (plus one) that wrote each unit.
#[derive(Clone, Default)]
struct Base {
    ops: u64,
    events: usize,
    units: Vec<u32>,
}

impl Base {
    fn apply(&mut self, op: u64, event: Event) {
        match event {
            Event::Write { at, len } => {
                let end = (at + len) as usize;
                if self.units.len() < end {
                    self.units.resize(end, 0);
                }
                self.units[at as usize..end].fill(op as u32 + 1);
            }
            Event::Truncate(to) => self.units.resize(to as usize, 0),
        }
    }
}

/// The operations of one worker.
pub struct History {
    worker: u32,
    generator: Generator,
    ops: Vec<Op>,
    syncs: Vec<u64>,
    files: BTreeMap<FileId, FileHistory>,
    cursor: Namespace,
    promises: Promises,
}

/// What an fsync promises about names. File systems with one log keep the order of everything that
/// goes into it, but an fsync need not write what its inode has no part in: it promises everything
/// up to the last change of the inode, and a sync everything.
#[derive(Default)]
struct Promises {
    /// The names before the operation that is looked at.
    space: Namespace,
    /// Number of operations up to the last change of an inode, by file and by path of a directory.
    files: BTreeMap<FileId, u64>,
    dirs: BTreeMap<String, u64>,
    /// How many operations' names are promised after each number of operations.
    upto: Vec<u64>,
}

/// The directory a path is in.
fn parent(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..at])
}

impl Promises {
    fn touch_parent(&mut self, path: &str, ops: u64) {
        self.dirs.insert(parent(path).to_string(), ops);
    }

    fn touch_file(&mut self, path: &str, ops: u64) {
        if let Some(Node::File(file)) = self.space.names.get(path) {
            self.files.insert(*file, ops);
        }
    }

    fn rename(&mut self, from: &str, to: &str, ops: u64) {
        let (old, new) = (self.space.names.get(from), self.space.names.get(to));
        if old == new && matches!(old, Some(Node::File(_))) {
            return;
        }
        if old == Some(&Node::Dir) {
            let prefix = format!("{from}/");
            let below = self.dirs.keys().filter(|path| path.starts_with(&prefix));
            for path in below.cloned().chain([from.to_string()]).collect::<Vec<_>>() {
                if let Some(change) = self.dirs.remove(&path) {
                    self.dirs
                        .insert(format!("{to}{}", &path[from.len()..]), change);
                }
            }
        }
        self.touch_file(from, ops);
        self.touch_file(to, ops);
        self.touch_parent(from, ops);
        self.touch_parent(to, ops);
    }

    /// The next operation; `ops` with it.
    fn add(&mut self, op: &Op, ops: u64) {
        let mut promised = self.upto.last().copied().unwrap_or(0);
        match op {
            Op::Mkdir(path) => {
                self.dirs.insert(path.clone(), ops);
                self.touch_parent(path, ops);
            }
            Op::Create(path, file) => {
                self.files.insert(*file, ops);
                self.touch_parent(path, ops);
            }
            Op::Truncate(path, ..) | Op::Chmod(path, _) => self.touch_file(path, ops),
            Op::Rename(from, to) => self.rename(from, to, ops),
            Op::Link(from, to) => {
                self.touch_file(from, ops);
                self.touch_parent(to, ops);
            }
            Op::Unlink { path, .. } => {
                self.touch_file(path, ops);
                self.touch_parent(path, ops);
            }
            Op::Rmdir(path) => {
                self.dirs.remove(path);
                self.touch_parent(path, ops);
            }
            Op::Symlink(path, _) => self.touch_parent(path, ops),
            Op::Fsync(_, file) => {
                promised = promised.max(self.files.get(file).copied().unwrap_or(0));
            }
            Op::FsyncDir(path) => {
                promised = promised.max(self.dirs.get(path).copied().unwrap_or(0));
            }
            Op::Sync => promised = ops,
            Op::Write { .. } | Op::Release => {}
        }
        self.space.apply(op);
        self.upto.push(promised);
    }
}

impl History {
    /// Of one worker.
    pub fn new(seed: u64, worker: u32) -> Self {
        Self {
            worker,
            generator: Generator::new(seed, worker),
            ops: Vec::new(),
            syncs: Vec::new(),
            files: BTreeMap::new(),
            cursor: Namespace::default(),
            promises: Promises::default(),
        }
    }

    /// Operation `n`, counted from zero.
    pub fn op(&mut self, n: u64) -> &Op {
        while self.ops.len() as u64 <= n {
            let at = self.ops.len() as u64;
            let Some(op) = self.generator.next() else {
                unreachable!("operations never end");
            };
            match &op {
                Op::Create(_, file) => {
                    self.files.insert(*file, FileHistory::default());
                }
                Op::Write {
                    file,
                    at: unit,
                    len,
                    ..
                } => {
                    let event = Event::Write {
                        at: *unit,
                        len: *len,
                    };
                    self.files
                        .entry(*file)
                        .or_default()
                        .events
                        .push((at, event));
                }
                Op::Truncate(_, file, to) => {
                    let event = Event::Truncate(*to);
                    self.files
                        .entry(*file)
                        .or_default()
                        .events
                        .push((at, event));
                }
                Op::Fsync(_, file) => self.files.entry(*file).or_default().durable.push(at),
                Op::Sync => self.syncs.push(at),
                _ => {}
            }
            self.promises.add(&op, at + 1);
            self.ops.push(op);
        }
        &self.ops[n as usize]
    }

    /// How many operations can have been done at most when `acknowledged` were acknowledged: up to
    /// the next one that is acknowledged, itself included.
    pub fn at_most(&mut self, acknowledged: u64) -> u64 {
        let mut n = acknowledged;
        while !self.op(n).is_mark() {
            n += 1;
        }
        n + 1
    }

    /// How many operations' names are promised when `acknowledged` operations were acknowledged.
    pub fn promised(&mut self, acknowledged: u64) -> u64 {
        if acknowledged == 0 {
            return 0;
        }
        self.op(acknowledged - 1);
        self.promises.upto[acknowledged as usize - 1]
    }

    /// The names after `ops` operations.
    pub fn names(&mut self, ops: u64) -> Namespace {
        if self.cursor.ops > ops {
            self.cursor = Namespace::default();
        }
        let mut space = std::mem::take(&mut self.cursor);
        while space.ops < ops {
            let op = self.op(space.ops).clone();
            space.apply(&op);
        }
        self.cursor = space.clone();
        space
    }

    /// The last of the first `ops` operations in which the last component of `path` occurs: where
    /// it went, for the reader of a report.
    pub fn last_use(&mut self, path: &str, ops: u64) -> String {
        let name = path.rsplit('/').next().unwrap_or(path).to_string();
        for n in (0..ops).rev() {
            let text = format!("{:?}", self.op(n));
            if text.contains(&format!("{name}\"")) {
                return format!("operation {n}, {text}");
            }
        }
        String::from("never made")
    }

    /// Checks the content of a file, when `low` operations are known to be done and `high` may be.
    /// Says what is wrong with it.
    pub fn check_content(
        &mut self,
        file: FileId,
        content: &[u8],
        low: u64,
        high: u64,
    ) -> Result<(), String> {
        if high > 0 {
            self.op(high - 1);
        }
        let worker = self.worker;
        let last_sync = last_below(&self.syncs, low);
        let Some(history) = self.files.get_mut(&file) else {
            return Err(format!("file {file} was never made"));
        };
        // everything before that operation is durable
        let durable = last_below(&history.durable, low).max(last_sync);
        history.advance(durable);
        let window: Vec<(u64, Event)> = history.events[history.base.events..]
            .iter()
            .take_while(|(op, _)| *op < high)
            .copied()
            .collect();
        let units = &history.base.units;
        check_size(units.len() as u64, &window, content.len() as u64)?;
        for (n, unit) in content.chunks(UNIT as usize).enumerate() {
            let wanted = units.get(n).copied();
            let got = super::model::read_stamp(unit);
            let good = match got {
                Stamp::Zero => {
                    wanted.unwrap_or(0) == 0
                        || window
                            .iter()
                            .any(|(_, e)| matches!(e, Event::Truncate(to) if *to <= n as u64))
                }
                Stamp::Of {
                    worker: w,
                    file: f,
                    op,
                    unit: u,
                } if w == worker && f == file && u == n as u64 => {
                    wanted == Some(op as u32 + 1)
                        || window.iter().any(|(at, e)| {
                            *at == op
                                && matches!(e, Event::Write { at, len }
                                    if (*at..at + len).contains(&(n as u64)))
                        })
                }
                _ => false,
            };
            if !good {
                return Err(format!(
                    "file {file}, byte {}: {got:?}, durable is {}{}",
                    n as u64 * UNIT,
                    match wanted {
                        None => String::from("the end of the file"),
                        Some(0) => String::from("a hole"),
                        Some(op) => format!("operation {}", op - 1),
                    },
                    if window.is_empty() {
                        String::new()
                    } else {
                        format!(", later {window:?}")
                    }
                ));
            }
        }
        Ok(())
    }
}

/// The last of the (ascending) operations that is among the first `count`, as a number of
/// operations; 0 if there is none.
fn last_below(list: &[u64], count: u64) -> u64 {
    match list.partition_point(|op| *op < count) {
        0 => 0,
        n => list[n - 1],
    }
}

impl FileHistory {
    /// Makes `base` the content before operation `op`.
    fn advance(&mut self, op: u64) {
        if self.base.ops > op {
            self.base = Base::default();
        }
        while let Some((at, event)) = self.events.get(self.base.events) {
            if *at >= op {
                break;
            }
            self.base.apply(*at, *event);
            self.base.events += 1;
        }
        self.base.ops = op;
    }
}

/// A size is that of the last sync or lies among those since.
fn check_size(durable: u64, window: &[(u64, Event)], bytes: u64) -> Result<(), String> {
    let (mut now, mut least, mut most) = (durable, durable, durable);
    for (_, event) in window {
        now = match event {
            Event::Write { at, len } => now.max(at + len),
            Event::Truncate(to) => *to,
        };
        least = least.min(now);
        most = most.max(now);
    }
    if (least * UNIT..=most * UNIT).contains(&bytes) {
        Ok(())
    } else {
        Err(format!(
            "size {bytes}, must be {} to {} (durable {})",
            least * UNIT,
            most * UNIT,
            durable * UNIT
        ))
    }
}
