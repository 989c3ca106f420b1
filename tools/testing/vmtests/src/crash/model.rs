// SPDX-License-Identifier: GPL-2.0

//! The operations of one worker: which they are follows from the seed and the worker's number.

use std::collections::BTreeMap;

use crate::rng::Rng;

/// Bytes that carry one stamp; all writes and truncations are multiples of it.
pub const UNIT: u64 = 16;
/// Largest file, in units.
const MAX_UNITS: u64 = (256 << 10) / UNIT;
/// Largest single write, in units.
const MAX_WRITE: u64 = (48 << 10) / UNIT;
/// What all files of a worker may have together, in units.
const MAX_TOTAL: u64 = (3 << 20) / UNIT;
/// Names a worker may have.
const MAX_NAMES: usize = 160;
/// Unlinked files it keeps open.
const MAX_HELD: usize = 5;

/// Number of a file, never used again.
pub type FileId = u32;

/// One operation. Paths are relative to the worker's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// mkdir
    Mkdir(String),
    /// open with O_CREAT | O_EXCL
    Create(String, FileId),
    /// pwrite of stamped units
    Write {
        /// Name that is opened for it.
        path: String,
        /// The file behind it.
        file: FileId,
        /// First unit.
        at: u64,
        /// Units.
        len: u64,
    },
    /// truncate to that many units
    Truncate(String, FileId, u64),
    /// rename, over whatever is there
    Rename(String, String),
    /// link
    Link(String, String),
    /// unlink; the file is kept open for a while if `held`
    Unlink {
        /// The name.
        path: String,
        /// Whether it was opened before and stays open.
        held: bool,
    },
    /// close of the oldest file that is held
    Release,
    /// rmdir
    Rmdir(String),
    /// symlink: path, target
    Symlink(String, String),
    /// chmod of a regular file
    Chmod(String, u32),
    /// fsync of a file
    Fsync(String, FileId),
    /// fsync of a directory
    FsyncDir(String),
    /// syncfs
    Sync,
}

impl Op {
    /// Whether everything that was done before is durable after it, which is then acknowledged.
    pub fn is_mark(&self) -> bool {
        matches!(self, Op::Fsync(..) | Op::FsyncDir(_) | Op::Sync)
    }
}

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Dir,
    /// A regular file.
    File(FileId),
    /// A symlink with its target.
    Symlink(String),
}

/// A regular file as the namespace sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Permission bits.
    pub mode: u32,
    /// Names.
    pub nlink: u32,
}

/// All names of a worker after some number of operations.
#[derive(Clone, Debug, Default)]
pub struct Namespace {
    /// By path.
    pub names: BTreeMap<String, Node>,
    /// Files that have a name.
    pub inodes: BTreeMap<FileId, Inode>,
    /// How many operations this is the result of.
    pub ops: u64,
}

impl Namespace {
    fn drop_name(&mut self, path: &str) {
        if let Some(Node::File(file)) = self.names.remove(path) {
            if let Some(inode) = self.inodes.get_mut(&file) {
                inode.nlink -= 1;
                if inode.nlink == 0 {
                    self.inodes.remove(&file);
                }
            }
        }
    }

    /// The next operation.
    pub fn apply(&mut self, op: &Op) {
        self.ops += 1;
        match op {
            Op::Mkdir(path) => {
                self.names.insert(path.clone(), Node::Dir);
            }
            Op::Create(path, file) => {
                self.names.insert(path.clone(), Node::File(*file));
                self.inodes.insert(
                    *file,
                    Inode {
                        mode: 0o644,
                        nlink: 1,
                    },
                );
            }
            Op::Rename(from, to) => self.rename(from, to),
            Op::Link(from, to) => {
                if let Some(Node::File(file)) = self.names.get(from).cloned() {
                    self.names.insert(to.clone(), Node::File(file));
                    if let Some(inode) = self.inodes.get_mut(&file) {
                        inode.nlink += 1;
                    }
                }
            }
            Op::Unlink { path, .. } => self.drop_name(path),
            Op::Rmdir(path) => {
                self.names.remove(path);
            }
            Op::Symlink(path, target) => {
                self.names
                    .insert(path.clone(), Node::Symlink(target.clone()));
            }
            Op::Chmod(path, mode) => {
                if let Some(Node::File(file)) = self.names.get(path) {
                    if let Some(inode) = self.inodes.get_mut(file) {
                        inode.mode = *mode;
                    }
                }
            }
            Op::Write { .. }
            | Op::Truncate(..)
            | Op::Release
            | Op::Fsync(..)
            | Op::FsyncDir(_)
            | Op::Sync => {}
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        if self.names.get(from) == self.names.get(to)
            && matches!(self.names.get(from), Some(Node::File(_)))
        {
            // two names of one file: rename does nothing
            return;
        }
        self.drop_name(to);
        let Some(node) = self.names.remove(from) else {
            return;
        };
        if node == Node::Dir {
            let prefix = format!("{from}/");
            let below: Vec<String> = self
                .names
                .range(prefix.clone()..)
                .take_while(|(path, _)| path.starts_with(&prefix))
                .map(|(path, _)| path.clone())
                .collect();
            for path in below {
                if let Some(child) = self.names.remove(&path) {
                    self.names
                        .insert(format!("{to}/{}", &path[prefix.len()..]), child);
                }
            }
        }
        self.names.insert(to.to_string(), node);
    }

    fn is_empty_dir(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        !self
            .names
            .range(prefix.clone()..)
            .next()
            .is_some_and(|(path, _)| path.starts_with(&prefix))
    }
}

/// Makes the operations, one after the other.
pub struct Generator {
    rng: Rng,
    /// What the operations so far lead to.
    pub space: Namespace,
    sizes: BTreeMap<FileId, u64>,
    next_file: FileId,
    next_name: u64,
    held: usize,
    /// Names to make in a row: many small transactions.
    burst: u32,
}

impl Generator {
    /// For one worker.
    pub fn new(seed: u64, worker: u32) -> Self {
        Self {
            rng: Rng::new(seed.wrapping_mul(1_000_003) ^ (u64::from(worker) << 40) ^ 0xc4a5),
            space: Namespace::default(),
            sizes: BTreeMap::new(),
            next_file: 1,
            next_name: 0,
            held: 0,
            burst: 0,
        }
    }

    fn pick(&mut self, wanted: impl Fn(&Node) -> bool) -> Option<String> {
        let found: Vec<&String> = self
            .space
            .names
            .iter()
            .filter(|(_, node)| wanted(node))
            .map(|(path, _)| path)
            .collect();
        let n = self.rng.below(found.len() as u64) as usize;
        found.get(n).map(|path| path.to_string())
    }

    fn pick_file(&mut self) -> Option<(String, FileId)> {
        let path = self.pick(|node| matches!(node, Node::File(_)))?;
        match self.space.names.get(&path) {
            Some(Node::File(file)) => Some((path.clone(), *file)),
            _ => None,
        }
    }

    /// A directory: the worker's own (empty path) or one below.
    fn pick_dir(&mut self) -> String {
        if self.rng.below(4) == 0 {
            return String::new();
        }
        self.pick(|node| *node == Node::Dir).unwrap_or_default()
    }

    /// A name nobody has. Most are short, some are long.
    fn new_path(&mut self, kind: char) -> String {
        let dir = self.pick_dir();
        self.next_name += 1;
        let long = if self.rng.below(12) == 0 {
            "-a-rather-long-name-so-that-blocks-of-directories-fill".repeat(3)
        } else {
            String::new()
        };
        let name = format!("{kind}{}{long}", self.next_name);
        if dir.is_empty() {
            name
        } else {
            format!("{dir}/{name}")
        }
    }

    fn create(&mut self) -> Op {
        let path = self.new_path('f');
        let file = self.next_file;
        self.next_file += 1;
        Op::Create(path, file)
    }

    fn write(&mut self) -> Option<Op> {
        let (path, file) = self.pick_file()?;
        let size = self.sizes.get(&file).copied().unwrap_or(0);
        let len = match self.rng.below(4) {
            0 => 1 + self.rng.below(16),
            1 => 256 * (1 + self.rng.below(4)),
            _ => 1 + self.rng.below(MAX_WRITE),
        };
        let at = match self.rng.below(8) {
            // append
            0..=3 => size,
            // overwrite
            4..=6 => self.rng.below(size + 1),
            // leave a hole
            _ => size + self.rng.below(2048),
        };
        let len = len.min(MAX_UNITS.saturating_sub(at));
        let total: u64 = self.sizes.values().sum();
        (len != 0 && total + len <= MAX_TOTAL).then_some(Op::Write {
            path,
            file,
            at,
            len,
        })
    }

    fn truncate(&mut self) -> Option<Op> {
        let (path, file) = self.pick_file()?;
        let size = self.sizes.get(&file).copied().unwrap_or(0);
        let to = match self.rng.below(4) {
            0 => 0,
            1 => (size + self.rng.below(1024)).min(MAX_UNITS),
            _ => self.rng.below(size + 1),
        };
        Some(Op::Truncate(path, file, to))
    }

    fn rename(&mut self) -> Option<Op> {
        if self.rng.below(5) == 0 {
            // a directory, to a new name beside it: never below itself
            let from = self.pick(|node| *node == Node::Dir)?;
            self.next_name += 1;
            let name = format!("d{}", self.next_name);
            let to = match from.rfind('/') {
                Some(at) => format!("{}/{name}", &from[..at]),
                None => name,
            };
            return Some(Op::Rename(from, to));
        }
        let from = self.pick(|node| *node != Node::Dir)?;
        let to = if self.rng.below(3) == 0 {
            self.pick(|node| *node != Node::Dir)?
        } else {
            self.new_path('f')
        };
        (from != to).then_some(Op::Rename(from, to))
    }

    fn unlink(&mut self) -> Option<Op> {
        let path = self.pick(|node| *node != Node::Dir)?;
        let is_file = matches!(self.space.names.get(&path), Some(Node::File(_)));
        let held = is_file && self.held < MAX_HELD && self.rng.below(4) == 0;
        Some(Op::Unlink { path, held })
    }

    fn choose(&mut self) -> Option<Op> {
        if self.burst > 0 {
            self.burst -= 1;
            return Some(self.create());
        }
        let full = self.space.names.len() >= MAX_NAMES;
        match self.rng.below(1000) {
            0..=139 if !full => Some(self.create()),
            0..=139 => self.unlink(),
            140..=409 => self.write().or_else(|| self.truncate()),
            410..=469 => self.truncate(),
            470..=569 => self.rename(),
            570..=609 if !full => {
                let (path, _) = self.pick_file()?;
                let to = self.new_path('f');
                Some(Op::Link(path, to))
            }
            570..=709 => self.unlink(),
            710..=749 if !full => Some(Op::Mkdir(self.new_path('d'))),
            710..=779 => {
                let path = self.pick(|node| *node == Node::Dir)?;
                self.space.is_empty_dir(&path).then_some(Op::Rmdir(path))
            }
            780..=799 if !full => {
                let target = format!("to/{}", "x".repeat(1 + self.rng.below(600) as usize));
                Some(Op::Symlink(self.new_path('s'), target))
            }
            780..=829 => {
                let (path, _) = self.pick_file()?;
                Some(Op::Chmod(path, 0o600 | self.rng.below(64) as u32))
            }
            830..=849 if self.held > 0 => Some(Op::Release),
            850..=854 if !full => {
                self.burst = 30;
                None
            }
            855..=959 => {
                let (path, file) = self.pick_file()?;
                Some(Op::Fsync(path, file))
            }
            960..=989 => Some(Op::FsyncDir(self.pick_dir())),
            990..=999 => Some(Op::Sync),
            _ => None,
        }
    }

    fn resize(&mut self, op: &Op) {
        match op {
            Op::Write { file, at, len, .. } => {
                let size = self.sizes.entry(*file).or_insert(0);
                *size = (*size).max(at + len);
            }
            Op::Truncate(_, file, to) => {
                self.sizes.insert(*file, *to);
            }
            Op::Unlink { held: true, .. } => self.held += 1,
            Op::Release => self.held -= 1,
            _ => {}
        }
    }
}

impl Iterator for Generator {
    type Item = Op;

    /// There is always a next one.
    fn next(&mut self) -> Option<Op> {
        loop {
            if let Some(op) = self.choose() {
                self.space.apply(&op);
                self.resize(&op);
                let inodes = &self.space.inodes;
                self.sizes.retain(|file, _| inodes.contains_key(file));
                return Some(op);
            }
        }
    }
}

/// The bytes of `len` units from unit `at` on, as operation `op` writes them.
pub fn stamps(worker: u32, file: FileId, op: u64, at: u64, len: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity((len * UNIT) as usize);
    for unit in at..at + len {
        out.extend_from_slice(&(0x1a7c_0000 | worker).to_le_bytes());
        out.extend_from_slice(&file.to_le_bytes());
        out.extend_from_slice(&(op as u32 + 1).to_le_bytes());
        out.extend_from_slice(&(unit as u32).to_le_bytes());
    }
    out
}

/// What a unit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Zeroes.
    Zero,
    /// Written by this worker to this file by this operation at this unit.
    Of {
        /// Worker.
        worker: u32,
        /// File.
        file: FileId,
        /// Operation.
        op: u64,
        /// Place.
        unit: u64,
    },
    /// Nothing of ours.
    Alien,
}

/// Reads one unit.
pub fn read_stamp(unit: &[u8]) -> Stamp {
    let word = |n: usize| {
        let bytes = unit.get(n * 4..n * 4 + 4).and_then(|b| b.try_into().ok());
        u32::from_le_bytes(bytes.unwrap_or_default())
    };
    match word(0) {
        0 if unit.iter().all(|b| *b == 0) => Stamp::Zero,
        tag if tag & 0xffff_0000 == 0x1a7c_0000 && word(2) != 0 => Stamp::Of {
            worker: tag & 0xffff,
            file: word(1),
            op: u64::from(word(2)) - 1,
            unit: u64::from(word(3)),
        },
        _ => Stamp::Alien,
    }
}
