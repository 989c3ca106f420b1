// SPDX-License-Identifier: GPL-2.0

//! What is there after a crash against what may be there.

use std::collections::{
    BTreeMap,
    HashMap, //
};

use super::{
    history::History,
    model::{
        read_stamp,
        FileId,
        Namespace,
        Node,
        Stamp,
        UNIT, //
    },
};

/// What was found under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A directory.
    Dir,
    /// A regular file.
    File {
        /// Inode number.
        ino: u64,
        /// Permission bits.
        mode: u32,
        /// Link count.
        nlink: u32,
    },
    /// A symlink and its target.
    Symlink(Vec<u8>),
    /// Anything else: there is nothing else.
    Other,
}

/// Everything below one directory.
#[derive(Default)]
pub struct Tree {
    /// By path, relative to it.
    pub names: BTreeMap<String, Found>,
    /// Content of the regular files by inode number.
    pub content: HashMap<u64, Vec<u8>>,
}

/// A file system as it is after a crash.
pub trait View {
    /// Reads everything below the worker's directory, which lies in the root; `None` if there is no
    /// such directory.
    fn tree(&mut self, name: &str) -> Result<Option<Tree>, String>;
}

/// Name of a worker's directory.
pub fn worker_dir(worker: u32) -> String {
    format!("w{worker}")
}

/// How many operations of each worker are known to be done, and how many more than the next
/// acknowledgment may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acks {
    /// By worker; a worker that is not there has acknowledged nothing.
    pub done: BTreeMap<u32, u64>,
}

impl Acks {
    /// Takes a line `ack WORKER OPS`; whether it was one.
    pub fn line(&mut self, line: &str) -> bool {
        let mut words = line.split_ascii_whitespace();
        let (Some("ack"), Some(worker), Some(ops)) = (words.next(), words.next(), words.next())
        else {
            return false;
        };
        let (Ok(worker), Ok(ops)) = (worker.parse::<u32>(), ops.parse::<u64>()) else {
            return false;
        };
        let done = self.done.entry(worker).or_insert(0);
        *done = ops.max(*done);
        true
    }

    /// All lines of a text.
    pub fn of(text: &str) -> Self {
        let mut acks = Self::default();
        for line in text.lines() {
            acks.line(line);
        }
        acks
    }

    /// Of one worker.
    pub fn of_worker(&self, worker: u32) -> u64 {
        self.done.get(&worker).copied().unwrap_or(0)
    }

    /// Of all workers together.
    pub fn total(&self) -> u64 {
        self.done.values().sum()
    }
}

/// Knows what the workers did.
pub struct Verifier {
    histories: Vec<History>,
}

/// What a verification looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looked {
    /// Names.
    pub names: u64,
    /// Bytes.
    pub bytes: u64,
    /// Operations beyond the promised ones that survived.
    pub beyond: u64,
}

impl Verifier {
    /// For a load with that seed and number of workers.
    pub fn new(seed: u64, workers: u32) -> Self {
        Self {
            histories: (0..workers).map(|w| History::new(seed, w)).collect(),
        }
    }

    /// Compares. `low`: what was acknowledged before the crash; `high`: what may have been
    /// acknowledged at most (the same, unless the crash was not in one moment).
    pub fn verify(
        &mut self,
        view: &mut dyn View,
        low: &Acks,
        high: &Acks,
    ) -> Result<Looked, String> {
        let mut looked = Looked::default();
        for (worker, history) in self.histories.iter_mut().enumerate() {
            let worker = worker as u32;
            let dir = worker_dir(worker);
            let started = low.done.contains_key(&worker);
            let (low, high) = (low.of_worker(worker), high.of_worker(worker));
            let high = history.at_most(high);
            let Some(tree) = view.tree(&dir)? else {
                // before the first acknowledgment even the directory need not be there
                if started {
                    return Err(format!("{dir} is gone"));
                }
                continue;
            };
            verify_worker(history, worker, &tree, low, high, &mut looked).map_err(|why| {
                format!("{dir}: {why} (of operations {low} are acknowledged, {high} possible)")
            })?;
        }
        Ok(looked)
    }
}

/// Which file each inode says that it is.
fn identities(tree: &Tree, worker: u32) -> HashMap<u64, FileId> {
    let mut found = HashMap::new();
    for (ino, content) in &tree.content {
        let stamp = content
            .chunks(UNIT as usize)
            .map(read_stamp)
            .find(|stamp| *stamp != Stamp::Zero);
        if let Some(Stamp::Of {
            worker: w, file, ..
        }) = stamp
        {
            if w == worker {
                found.insert(*ino, file);
            }
        }
    }
    found
}

/// The differences between the names on disk and those after some number of operations.
fn differences(space: &Namespace, tree: &Tree, ids: &HashMap<u64, FileId>) -> Vec<String> {
    let mut out = Vec::new();
    for path in tree.names.keys() {
        if !space.names.contains_key(path) {
            out.push(format!("{path} is there"));
        }
    }
    let mut inodes: HashMap<FileId, u64> = HashMap::new();
    for (path, node) in &space.names {
        let Some(found) = tree.names.get(path) else {
            out.push(format!("{path} is missing"));
            continue;
        };
        let same = match (node, found) {
            (Node::Dir, Found::Dir) => true,
            (Node::Symlink(target), Found::Symlink(got)) => target.as_bytes() == got,
            (Node::File(file), Found::File { ino, mode, nlink }) => {
                let inode = space.inodes.get(file);
                inode.is_some_and(|i| (i.mode, i.nlink) == (*mode, *nlink))
                    && ids.get(ino).is_none_or(|id| id == file)
                    && *inodes.entry(*file).or_insert(*ino) == *ino
            }
            _ => false,
        };
        if !same {
            let id = match found {
                Found::File { ino, .. } => ids.get(ino),
                _ => None,
            };
            let inode = match node {
                Node::File(file) => space.inodes.get(file),
                _ => None,
            };
            out.push(format!(
                "{path} is {found:?}, content of file {id:?}, not {node:?} {inode:?}"
            ));
        }
    }
    out
}

fn verify_worker(
    history: &mut History,
    worker: u32,
    tree: &Tree,
    low: u64,
    high: u64,
    looked: &mut Looked,
) -> Result<(), String> {
    let ids = identities(tree, worker);
    let promised = history.promised(low);
    let mut space = history.names(promised);
    // the moment that comes closest
    let mut best: Option<(usize, String)> = None;
    loop {
        let wrong = differences(&space, tree, &ids);
        let (count, why) = if wrong.is_empty() {
            match verify_content(history, &space, tree, low, high) {
                Ok(bytes) => {
                    looked.beyond += space.ops - promised;
                    looked.names += space.names.len() as u64;
                    looked.bytes += bytes;
                    return Ok(());
                }
                // these are the names; still, other operations may lead to the same
                Err(why) => (0, why),
            }
        } else {
            let some = wrong.iter().take(4).map(String::as_str);
            let some = some.collect::<Vec<_>>().join("; ");
            (wrong.len(), format!("{} names differ: {some}", wrong.len()))
        };
        if best.as_ref().is_none_or(|(least, _)| count < *least) {
            best = Some((count, format!("after operation {}: {why}", space.ops)));
        }
        if space.ops >= high {
            let ops: Vec<String> = (promised..high)
                .map(|n| format!("{:?}", history.op(n)))
                .collect();
            let names = history.names(low);
            let strangers = tree
                .names
                .keys()
                .filter(|path| !names.names.contains_key(*path));
            let gone: Vec<String> = strangers
                .take(6)
                .map(|path| format!("{path}: {}", history.last_use(path, low)))
                .collect();
            return Err(format!(
                "{}; possible were {}; names that are too many: {}",
                best.unwrap_or_default().1,
                ops.join(", "),
                gone.join(", ")
            ));
        }
        let op = history.op(space.ops).clone();
        space.apply(&op);
    }
}

/// Checks what is in the files; returns how many bytes that is.
fn verify_content(
    history: &mut History,
    space: &Namespace,
    tree: &Tree,
    low: u64,
    high: u64,
) -> Result<u64, String> {
    let mut bytes = 0;
    for (path, node) in &space.names {
        let (Node::File(file), Some(Found::File { ino, .. })) = (node, tree.names.get(path)) else {
            continue;
        };
        let content = tree
            .content
            .get(ino)
            .ok_or_else(|| format!("{path}: not read"))?;
        bytes += content.len() as u64;
        history
            .check_content(*file, content, low, high)
            .map_err(|why| format!("{path}: {why}"))?;
    }
    Ok(bytes)
}
