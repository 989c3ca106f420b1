// SPDX-License-Identifier: GPL-2.0

//! The workloads of `make bench`: one call does one of them and prints how long it took.
//!
//! Each thread has a directory of its own, made before the clock starts. What is still to be
//! written when the last thread is done is not part of the time; the caller measures a sync.

mod age;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Barrier,
    time::{Duration, Instant},
};

use crate::{
    Options,
    Outcome, //
};

/// Bytes in a small file.
const SMALL: usize = 1000;
/// Bytes that are appended before each fsync.
const RECORD: usize = 200;
/// Bytes of a file that is written and synced as a whole.
const MAIL: usize = 6000;

/// What a thread does `count` times.
type Work = fn(dir: &Path, count: u64) -> io::Result<()>;

fn name(dir: &Path, kind: &str, n: u64) -> PathBuf {
    dir.join(format!("{kind}{n:06}"))
}

fn create(dir: &Path, count: u64) -> io::Result<()> {
    for n in 0..count {
        File::create_new(name(dir, "file", n))?.write_all(&[b'x'; SMALL])?;
    }
    Ok(())
}

fn rename(dir: &Path, count: u64) -> io::Result<()> {
    for n in 0..count {
        fs::rename(name(dir, "file", n), name(dir, "renamed", n))?;
    }
    Ok(())
}

fn stat(dir: &Path, count: u64) -> io::Result<()> {
    for n in 0..count {
        fs::symlink_metadata(name(dir, "renamed", n))?;
    }
    Ok(())
}

fn unlink(dir: &Path, count: u64) -> io::Result<()> {
    for n in 0..count {
        fs::remove_file(name(dir, "renamed", n))?;
    }
    Ok(())
}

fn mkdir(dir: &Path, count: u64) -> io::Result<()> {
    for n in 0..count {
        fs::create_dir(name(dir, "dir", n))?;
    }
    Ok(())
}

fn rmdir(dir: &Path, count: u64) -> io::Result<()> {
    for n in 0..count {
        fs::remove_dir(name(dir, "dir", n))?;
    }
    Ok(())
}

fn append(dir: &Path, count: u64) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(dir.join("log"))?;
    for _ in 0..count {
        file.write_all(&[b'a'; RECORD])?;
        file.sync_all()?;
    }
    Ok(())
}

/// Many small files, each one durable before the next: a mail server.
fn store(dir: &Path, count: u64) -> io::Result<()> {
    for n in 0..count {
        let mut file = File::create_new(name(dir, "mail", n))?;
        file.write_all(&[b'm'; MAIL])?;
        file.sync_all()?;
    }
    Ok(())
}

/// Lets `threads` threads do `work` with `count` files together.
fn measure(dir: &Path, work: Work, count: u64, threads: u64) -> io::Result<Duration> {
    let mut dirs = Vec::new();
    for t in 0..threads {
        let dir = dir.join(format!("thread{t}"));
        match fs::create_dir(&dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => dirs.push(dir),
        }
    }
    let barrier = Barrier::new(dirs.len() + 1);
    std::thread::scope(|scope| {
        let running: Vec<_> = dirs
            .iter()
            .map(|dir| {
                scope.spawn(|| {
                    barrier.wait();
                    work(dir, count / threads)
                })
            })
            .collect();
        barrier.wait();
        let start = Instant::now();
        for thread in running {
            thread
                .join()
                .map_err(|_| io::Error::other("a thread panicked"))??;
        }
        Ok(start.elapsed())
    })
}

/// `bench DIR --what VERB`: prints microseconds.
pub(crate) fn run(dir: &Path, options: &Options) -> Outcome {
    let what = options.text("what").unwrap_or_default();
    let work: Work = match what {
        "create" => create,
        "rename" => rename,
        "stat" => stat,
        "unlink" => unlink,
        "mkdir" => mkdir,
        "rmdir" => rmdir,
        "append" => append,
        "store" => store,
        "age" => {
            println!("{}", age::run(dir)?.as_micros());
            return Ok(());
        }
        _ => return Err(format!("--what: no such work: '{what}'")),
    };
    let files = options.number("files", 1000)?;
    let threads = options.number("threads", 1)?.max(1);
    let time = measure(dir, work, files, threads).map_err(|e| format!("{what}: {e}"))?;
    println!("{}", time.as_micros());
    Ok(())
}
