// SPDX-License-Identifier: GPL-2.0

//! The load: does the operations of [`super::model`] and acknowledges what is durable.

use std::{
    collections::VecDeque,
    fs::{
        self,
        DirBuilder,
        File,
        OpenOptions,
        Permissions, //
    },
    io::{
        self,
        BufRead,
        BufReader,
        Write, //
    },
    os::unix::fs::{
        symlink,
        FileExt,
        OpenOptionsExt,
        PermissionsExt, //
    },
    path::{
        Path,
        PathBuf, //
    },
    process::{
        Child,
        ChildStdin,
        ChildStdout,
        Command,
        Stdio, //
    },
    sync::Mutex,
    time::{
        Duration,
        Instant, //
    },
};

use super::{
    model::{
        stamps,
        Generator,
        Op,
        UNIT, //
    },
    verify::worker_dir,
};

/// Bytes between the acknowledgments of two workers on a disk.
const SLOT: u64 = 4096;
/// `O_SYNC` of Linux.
const O_SYNC: i32 = 0o4_010_000;

/// Where acknowledgments go. Each is there for good when [`Sink::ack`] returns.
pub enum Sink {
    /// Standard output.
    Output,
    /// A file that outlives the crash, such as one on tmpfs.
    File(File),
    /// A disk of its own: one slot for each worker, and standard output as well.
    Disk(File),
    /// A program that takes a line, and answers with a line when it is done with it.
    Program(Box<Program>),
}

/// A running program with its pipes.
pub struct Program {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Sink {
    /// Appends to a file.
    pub fn file(path: &str) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self::File(file))
    }

    /// Writes to a disk.
    pub fn disk(path: &str) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(O_SYNC)
            .open(path)?;
        Ok(Self::Disk(file))
    }

    /// Starts a program; the words are separated by blanks.
    pub fn program(command: &str) -> io::Result<Self> {
        let mut words = command.split_ascii_whitespace();
        let mut child = Command::new(words.next().unwrap_or_default())
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("no pipes"));
        };
        Ok(Self::Program(Box::new(Program {
            child,
            to,
            from: BufReader::new(from),
        })))
    }

    fn ack(&mut self, worker: u32, ops: u64) -> io::Result<()> {
        let line = format!("ack {worker} {ops}\n");
        match self {
            Self::Output => print(&line),
            Self::File(file) => file.write_all(line.as_bytes()),
            Self::Disk(file) => {
                let mut sector = line.clone().into_bytes();
                sector.resize(512, 0);
                file.write_all_at(&sector, u64::from(worker) * SLOT)?;
                print(&line)
            }
            Self::Program(program) => {
                program.to.write_all(line.as_bytes())?;
                program.to.flush()?;
                let mut answer = String::new();
                program.from.read_line(&mut answer)?;
                if answer.trim() == "ok" {
                    Ok(())
                } else {
                    Err(io::Error::other(format!("no acknowledgment: {answer}")))
                }
            }
        }
    }
}

fn print(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long, and where to.
pub struct Plan {
    /// Directory for the workers' own.
    pub root: PathBuf,
    /// Seed.
    pub seed: u64,
    /// Threads.
    pub workers: u32,
    /// Most operations of a worker.
    pub ops: u64,
    /// End of the load.
    pub end: Instant,
    /// The load ends as well when this file is there.
    pub stop: Option<PathBuf>,
}

impl Plan {
    fn is_over(&self) -> bool {
        Instant::now() >= self.end || self.stop.as_ref().is_some_and(|file| file.exists())
    }
}

/// What became of it.
#[derive(Default)]
pub struct Result {
    /// Operations done.
    pub ops: u64,
    /// Acknowledgments.
    pub acks: u64,
    /// Why workers stopped before the end.
    pub errors: Vec<String>,
}

struct Worker<'a> {
    dir: PathBuf,
    id: u32,
    held: VecDeque<File>,
    sink: &'a Mutex<Sink>,
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

fn syncfs(dir: &Path) -> io::Result<()> {
    let status = Command::new("sync").arg("-f").arg(dir).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other("sync -f failed"))
    }
}

impl Worker<'_> {
    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() {
            self.dir.clone()
        } else {
            self.dir.join(path)
        }
    }

    fn perform(&mut self, n: u64, op: &Op) -> io::Result<()> {
        match op {
            Op::Mkdir(path) => DirBuilder::new().create(self.path(path)),
            Op::Create(path, _) => OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o644)
                .open(self.path(path))
                .map(drop),
            Op::Write {
                path,
                file,
                at,
                len,
            } => open(&self.path(path))?
                .write_all_at(&stamps(self.id, *file, n, *at, *len), at * UNIT),
            Op::Truncate(path, _, to) => open(&self.path(path))?.set_len(to * UNIT),
            Op::Rename(from, to) => fs::rename(self.path(from), self.path(to)),
            Op::Link(from, to) => fs::hard_link(self.path(from), self.path(to)),
            Op::Unlink { path, held } => {
                if *held {
                    self.held.push_back(open(&self.path(path))?);
                }
                fs::remove_file(self.path(path))
            }
            Op::Release => {
                self.held.pop_front();
                Ok(())
            }
            Op::Rmdir(path) => fs::remove_dir(self.path(path)),
            Op::Symlink(path, target) => symlink(target, self.path(path)),
            Op::Chmod(path, mode) => {
                fs::set_permissions(self.path(path), Permissions::from_mode(*mode))
            }
            // a file may be read-only by now: root opens it all the same
            Op::Fsync(path, _) | Op::FsyncDir(path) => File::open(self.path(path))?.sync_all(),
            Op::Sync => syncfs(&self.dir),
        }
    }

    fn ack(&self, ops: u64) -> io::Result<()> {
        let mut sink = self.sink.lock().unwrap_or_else(|e| e.into_inner());
        sink.ack(self.id, ops)
    }

    fn run(&mut self, plan: &Plan, result: &Mutex<Result>) {
        let mut done = 0;
        let mut acks = 0;
        let mut error = None;
        for (n, op) in Generator::new(plan.seed, self.id).enumerate() {
            let n = n as u64;
            if n >= plan.ops || plan.is_over() {
                break;
            }
            if let Err(e) = self.perform(n, &op) {
                error = Some(format!("worker {}: operation {n}, {op:?}: {e}", self.id));
                break;
            }
            done = n + 1;
            if op.is_mark() {
                if let Err(e) = self.ack(done) {
                    error = Some(format!("worker {}: acknowledgment: {e}", self.id));
                    break;
                }
                acks += 1;
            }
        }
        let mut result = result.lock().unwrap_or_else(|e| e.into_inner());
        result.ops += done;
        result.acks += acks;
        result.errors.extend(error);
    }
}

/// Makes the directories of the workers and acknowledges that they are there; then the load.
pub fn run(plan: &Plan, sink: Sink) -> io::Result<Result> {
    let sink = Mutex::new(sink);
    let mut workers = Vec::new();
    for id in 0..plan.workers {
        let dir = plan.root.join(worker_dir(id));
        fs::create_dir(&dir)?;
        workers.push(Worker {
            dir,
            id,
            held: VecDeque::new(),
            sink: &sink,
        });
    }
    syncfs(&plan.root)?;
    for worker in &workers {
        worker.ack(0)?;
    }
    let result = Mutex::new(Result::default());
    std::thread::scope(|scope| {
        for worker in &mut workers {
            scope.spawn(|| worker.run(plan, &result));
        }
    });
    Ok(result.into_inner().unwrap_or_else(|e| e.into_inner()))
}

/// The moment in that many seconds.
pub fn in_seconds(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}
