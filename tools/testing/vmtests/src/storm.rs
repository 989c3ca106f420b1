// SPDX-License-Identifier: GPL-2.0

//! A namespace storm: processes create, rename, link, unlink and list in the
//! same few directories, with few names, so that they meet.
//!
//! Each regular file's content is its own identity (`worker sequence`), which
//! shows a name that leads to another file's data.  Files named `keep-*` are
//! never touched: every listing must have each of them exactly once, however
//! the directory changes meanwhile.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, DirBuilder, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{symlink, MetadataExt},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use crate::{
    rng::Rng,
    Options,
    Outcome, //
};

const DIRS: u64 = 4;
const NAMES: u64 = 60;
const KEEP: u64 = 100;

/// Errors that a race with the other process explains.
fn expected(e: &io::Error) -> bool {
    const EMLINK: i32 = 31;
    const ELOOP: i32 = 40;
    matches!(
        e.kind(),
        ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::DirectoryNotEmpty
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::InvalidInput
    ) || matches!(e.raw_os_error(), Some(EMLINK | ELOOP))
}

fn tolerate(what: &str, path: &Path, result: io::Result<()>) -> Result<bool, String> {
    match result {
        Ok(()) => Ok(true),
        Err(e) if expected(&e) => Ok(false),
        Err(e) => Err(format!("{what} {}: {e}", path.display())),
    }
}

fn top(dir: &Path, n: u64) -> PathBuf {
    dir.join(format!("d{n}"))
}

/// One process of the storm.
struct Worker<'a> {
    dir: &'a Path,
    rng: Rng,
    id: u64,
    seq: u64,
    counts: BTreeMap<&'static str, (u64, u64)>,
}

impl Worker<'_> {
    /// A name both processes use; some lie one directory deeper.
    fn path(&mut self) -> PathBuf {
        let dir = top(self.dir, self.rng.below(DIRS));
        let name = self.rng.below(NAMES);
        if self.rng.below(5) == 0 {
            dir.join(format!("n{}", self.rng.below(8)))
                .join(format!("n{name}"))
        } else {
            dir.join(format!("n{name}"))
        }
    }

    fn create(&mut self) -> Result<bool, String> {
        let path = self.path();
        self.seq += 1;
        let content = format!("{} {}\n", self.id, self.seq);
        let result = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .and_then(|mut f| f.write_all(content.as_bytes()));
        tolerate("create", &path, result)
    }

    /// Reads an existing file, if there is one: the content must be whole.
    fn read(&mut self) -> Result<bool, String> {
        let path = self.path();
        match fs::read(&path) {
            Ok(content) => check_content(&path, &content).map(|()| true),
            Err(e) => tolerate("read", &path, Err(e)),
        }
    }

    /// Every listing has the untouched files exactly once.
    fn list(&mut self) -> Result<bool, String> {
        let dir = top(self.dir, self.rng.below(DIRS));
        let mut kept = vec![0u32; KEEP as usize];
        let entries = fs::read_dir(&dir).map_err(|e| format!("list {}: {e}", dir.display()))?;
        for entry in entries {
            let entry = entry.map_err(|e| format!("readdir {}: {e}", dir.display()))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if let Some(n) = name.strip_prefix("keep-") {
                let slot = n.parse().ok().and_then(|n: usize| kept.get_mut(n));
                *slot.ok_or_else(|| format!("{}: alien name {name}", dir.display()))? += 1;
            } else {
                tolerate("stat", &entry.path(), entry.metadata().map(drop))?;
            }
        }
        match kept.iter().position(|&n| n != 1) {
            None => Ok(true),
            Some(n) => Err(format!(
                "{}: keep-{n} listed {} times",
                dir.display(),
                kept[n]
            )),
        }
    }

    fn sync(&mut self) -> Result<bool, String> {
        let dir = top(self.dir, self.rng.below(DIRS));
        let result = fs::File::open(&dir).and_then(|f| f.sync_all());
        tolerate("fsync", &dir, result)
    }

    fn step(&mut self) -> Outcome {
        let (name, done) = match self.rng.below(100) {
            0..=24 => ("create", self.create()?),
            25..=39 => {
                let (a, b) = (self.path(), self.path());
                ("rename", tolerate("rename", &a, fs::rename(&a, &b))?)
            }
            40..=51 => {
                let (a, b) = (self.path(), self.path());
                ("link", tolerate_link(&a, fs::hard_link(&a, &b))?)
            }
            52..=69 => {
                let a = self.path();
                ("unlink", tolerate_link(&a, fs::remove_file(&a))?)
            }
            70..=75 => {
                let a = self.path();
                (
                    "mkdir",
                    tolerate("mkdir", &a, DirBuilder::new().create(&a))?,
                )
            }
            76..=81 => {
                let a = self.path();
                ("rmdir", tolerate("rmdir", &a, fs::remove_dir(&a))?)
            }
            82..=85 => {
                let a = self.path();
                ("symlink", tolerate("symlink", &a, symlink("keep-0", &a))?)
            }
            86..=92 => ("read", self.read()?),
            93..=98 => ("list", self.list()?),
            _ => ("fsync", self.sync()?),
        };
        let count = self.counts.entry(name).or_default();
        count.0 += 1;
        count.1 += u64::from(done);
        Ok(())
    }
}

/// link(2) and unlink(2) of a directory are EPERM or EISDIR.
fn tolerate_link(path: &Path, result: io::Result<()>) -> Result<bool, String> {
    match result {
        Err(e) if e.kind() == ErrorKind::PermissionDenied => Ok(false),
        other => tolerate("link or unlink", path, other),
    }
}

/// A file is empty (its writer has not come that far) or one whole line.
fn check_content(path: &Path, content: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(content);
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let numbers = line.split(' ').filter(|w| w.parse::<u64>().is_ok()).count();
    if content.is_empty() || line == "keep" || (text.ends_with('\n') && numbers == 2) {
        Ok(())
    } else {
        Err(format!(
            "{}: content '{}'",
            path.display(),
            text.escape_debug()
        ))
    }
}

/// `storm-worker`: one process, until its time is over.
pub(crate) fn worker(dir: &Path, options: &Options) -> Outcome {
    let id = options.number("id", 0)?;
    let end = Instant::now() + Duration::from_secs(options.number("seconds", 30)?);
    let mut worker = Worker {
        dir,
        rng: Rng::new(options.number("seed", 1)? ^ (id << 32)),
        id,
        seq: 0,
        counts: BTreeMap::new(),
    };
    while Instant::now() < end {
        worker.step()?;
    }
    let text: Vec<String> = worker
        .counts
        .iter()
        .map(|(name, (all, done))| format!("{name} {done}/{all}"))
        .collect();
    println!("worker {id}: {}", text.join(", "));
    Ok(())
}

fn prepare(dir: &Path) -> io::Result<()> {
    for d in 0..DIRS {
        fs::create_dir(top(dir, d))?;
        for n in 0..KEEP {
            fs::write(top(dir, d).join(format!("keep-{n}")), "keep\n")?;
        }
    }
    Ok(())
}

/// What a walk found of one inode.
#[derive(Default)]
struct Found {
    names: Vec<PathBuf>,
    nlink: u64,
    is_dir: bool,
}

/// Everything below `dir`, by inode number.
fn walk(dir: &Path, found: &mut HashMap<u64, Found>) -> Outcome {
    let fail = |path: &Path, e: io::Error| format!("walk {}: {e}", path.display());
    let mut names = HashMap::new();
    for entry in fs::read_dir(dir).map_err(|e| fail(dir, e))? {
        let entry = entry.map_err(|e| fail(dir, e))?;
        let path = entry.path();
        if names.insert(entry.file_name(), ()).is_some() {
            return Err(format!("{}: listed twice", path.display()));
        }
        // nothing changes now: what is listed must be there
        let meta = fs::symlink_metadata(&path).map_err(|e| fail(&path, e))?;
        let kind = entry.file_type().map_err(|e| fail(&path, e))?;
        if kind != meta.file_type() {
            return Err(format!(
                "{}: type differs from the listing's",
                path.display()
            ));
        }
        let inode = found.entry(meta.ino()).or_default();
        inode.names.push(path.clone());
        inode.nlink = meta.nlink();
        inode.is_dir = kind.is_dir();
        if kind.is_dir() {
            walk(&path, found)?;
        } else if kind.is_file() {
            let content = fs::read(&path).map_err(|e| fail(&path, e))?;
            check_content(&path, &content)?;
            if content.is_empty() {
                return Err(format!(
                    "{}: empty, its create had succeeded",
                    path.display()
                ));
            }
        }
    }
    Ok(())
}

fn check(dir: &Path) -> Outcome {
    let mut found = HashMap::new();
    walk(dir, &mut found)?;
    for (ino, inode) in &found {
        let names = inode.names.len() as u64;
        let wrong = if inode.is_dir {
            names != 1
        } else {
            names != inode.nlink
        };
        if wrong {
            return Err(format!(
                "inode {ino}: {names} names, link count {}: {}",
                inode.nlink,
                inode
                    .names
                    .first()
                    .map(|p| p.display().to_string())
                    .unwrap_or_default()
            ));
        }
    }
    println!("{} inodes left after the storm", found.len());
    Ok(())
}

fn wait(children: Vec<Child>) -> Outcome {
    let mut failed = 0;
    for mut child in children {
        let status = child.wait().map_err(|e| format!("wait: {e}"))?;
        failed += u32::from(!status.success());
    }
    match failed {
        0 => Ok(()),
        n => Err(format!("{n} processes failed, see above")),
    }
}

/// `storm`: the processes, then the checks, then everything is removed.
pub(crate) fn run(dir: &Path, options: &Options) -> Outcome {
    let seed = options.number("seed", 1)?;
    let seconds = options.number("seconds", 30)?;
    let dir = dir.join("storm");
    fs::create_dir(&dir).map_err(|e| format!("mkdir {}: {e}", dir.display()))?;
    prepare(&dir).map_err(|e| format!("prepare: {e}"))?;
    let program = std::env::current_exe().map_err(|e| format!("current_exe: {e}"))?;
    let mut children = Vec::new();
    for id in 0..options.number("processes", 2)? {
        let child = Command::new(&program)
            .arg("storm-worker")
            .arg(&dir)
            .args(["--seconds", &seconds.to_string()])
            .args(["--seed", &seed.to_string()])
            .args(["--id", &id.to_string()])
            .spawn()
            .map_err(|e| format!("spawn: {e}"))?;
        children.push(child);
    }
    wait(children)?;
    check(&dir)?;
    if !options.flag("keep") {
        fs::remove_dir_all(&dir).map_err(|e| format!("remove: {e}"))?;
    }
    Ok(())
}
