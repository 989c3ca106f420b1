// SPDX-License-Identifier: GPL-2.0

//! Seed 001: direct writes and fsync. T-001-A to T-001-E.
//!
//! fsync here does not wait for direct writes (rules M16). So where btrfs's reproducer expects it to
//! block, these expect it to return, and the write to have left no trace.

use super::*;
use crate::races::{hits, reproduce, until, Race};
use latchfs_engine::engine::{
    inode,
    mount::{Mount, MountOpts},
};
use latchfs_host::{
    device::{Backend, MemDisk},
    mutant, sync_point,
    sync_point::points::Mutant,
    Block, Device, SysResult,
};
use latchfs_pagecache::{Errno, FallocMode, Ioends};
use std::{
    collections::HashMap,
    sync::{atomic::Ordering, Arc, Mutex},
    thread,
};

const LEN: usize = 64 * 1024;

/// Where the write is held between its mapping and its I/O: with the mutant, where its ordered
/// extent is missing.
fn held_at() -> &'static str {
    if mutant!(Seed001) {
        "dio.pair.between"
    } else {
        "dio.after_publish"
    }
}

/// The file as it is in `fs`.
fn content(fs: &Fs, b: &Bench) -> Vec<u8> {
    let file = fs.open(b.file.inode.ino);
    let read = file.read(0, LEN as u64).unwrap_or_default();
    file.close();
    read
}

#[test]
fn t_001_a_fsync_while_a_direct_write_is_in_flight() {
    let race = Race {
        name: "T-001-A",
        mutant: Mutant::Seed001,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let b = Bench::new();
        // Over blocks of which the device has something else.
        let done = b.file.fallocate(FallocMode::Allocate, true, 0, LEN as u64);
        seen.reached(done.is_ok());
        s.command(&format!("arm {} park key={}", held_at(), b.ino()));
        thread::scope(|scope| {
            let write = scope.spawn(|| b.file.write_direct(0, &[1; LEN]));
            s.command(&format!("wait {}", held_at()));
            seen.must(b.file.fsync(0, u64::MAX - 1) == Ok(()), "fsync fails");
            let cut = after_a_cut(&b.fs.disk);
            let read = content(&cut, &b);
            seen.must(!read.contains(&POISON), "stale data of the device");
            seen.must(read.iter().all(|b| *b == 0), "data that was not written");
            s.command(&format!("release {}", held_at()));
            seen.must(write.join().unwrap() == Ok(LEN), "the write fails");
        });
        seen.passed(s, held_at());
        seen.must(b.file.fsync(0, u64::MAX - 1) == Ok(()), "fsync fails");
        let read = content(&after_a_cut(&b.fs.disk), &b);
        seen.must(read == vec![1; LEN], "written data is lost");
        b.end(&mut seen);
        seen
    });
}

#[test]
fn t_001_b_read_while_a_direct_write_is_in_flight() {
    let race = Race {
        name: "T-001-B",
        mutant: Mutant::Seed001,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let b = Bench::new();
        s.command(&format!("arm {} park key={}", held_at(), b.ino()));
        thread::scope(|scope| {
            let write = scope.spawn(|| b.file.write_direct(0, &[1; LEN]));
            s.command(&format!("wait {}", held_at()));
            let read = b.file.read(0, LEN as u64).unwrap_or_default();
            seen.must(!read.contains(&POISON), "stale data of the device");
            seen.must(read == vec![0; LEN], "data that was not written");
            s.command(&format!("release {}", held_at()));
            seen.must(write.join().unwrap() == Ok(LEN), "the write fails");
        });
        seen.passed(s, held_at());
        seen.must(b.reread(0, LEN as u64) == vec![1; LEN], "data is lost");
        b.end(&mut seen);
        seen
    });
}

#[test]
fn t_001_c_error_of_an_ordered_extent_while_fsync_waits() {
    let race = Race {
        name: "T-001-C",
        mutant: Mutant::Seed001Error,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let mut b = Bench::new();
        b.file.set_ioends(Ioends::Later(1));
        b.file.write(0, &[1; 8192]).expect("write");
        b.file.writepages(0, u64::MAX, 1);
        b.file.fail.data_writes.store(true, Ordering::Relaxed);
        let at = format!("key={} until=wb.waits", b.ino());
        s.command(&format!("arm ordered.before_finish park {at}"));
        thread::scope(|scope| {
            // The write has failed, and is about to be completed as that.
            let completion = scope.spawn(|| b.file.run_ioends(1));
            s.command("wait ordered.before_finish");
            seen.must(
                b.file.fsync(0, u64::MAX - 1) == Err(Errno::IO),
                "fsync does not hear of an error",
            );
            completion.join().unwrap();
        });
        seen.passed(s, "ordered.before_finish");
        b.file.fail.data_writes.store(false, Ordering::Relaxed);
        seen.must(
            b.file.fsync(0, u64::MAX - 1) == Ok(()),
            "an error was told twice",
        );
        let read = content(&after_a_cut(&b.fs.disk), &b);
        seen.must(!read.contains(&POISON), "stale data of the device");
        b.end(&mut seen);
        seen
    });
}

/// A disk with a cache that a power cut takes, but for what was flushed or written with FUA.
struct Volatile {
    durable: Arc<MemDisk>,
    cache: Mutex<HashMap<u64, Box<[u8; 4096]>>>,
}

impl Backend for Volatile {
    fn blocks(&self) -> u64 {
        self.durable.blocks()
    }

    fn read(&self, block: u64, buf: &mut [u8; 4096]) -> SysResult<()> {
        match self.cache.lock().unwrap().get(&block) {
            Some(data) => buf.copy_from_slice(&data[..]),
            None => self.durable.read(block, buf)?,
        }
        Ok(())
    }

    fn write(&self, block: u64, buf: &[u8; 4096]) -> SysResult<()> {
        self.cache.lock().unwrap().insert(block, Box::new(*buf));
        Ok(())
    }

    fn flush(&self) -> SysResult<()> {
        for (block, data) in self.cache.lock().unwrap().drain() {
            self.durable.write(block, &data)?;
        }
        Ok(())
    }

    fn discard(&self, _start: u64, _len: u64) -> SysResult<()> {
        Ok(())
    }

    fn write_log(&self, start: u64, blocks: &[Block], preflush: bool, fua: bool) -> SysResult<()> {
        if preflush {
            self.flush()?;
        }
        sync_point!("disk.flushed", 0);
        for (i, block) in blocks.iter().enumerate() {
            let at = start + i as u64;
            if fua {
                self.cache.lock().unwrap().remove(&at);
                self.durable.write(at, block)?;
            } else {
                self.write(at, block)?;
            }
        }
        Ok(())
    }
}

#[test]
fn t_001_d_fsync_while_a_checkpoint_of_the_file_is_written() {
    let race = Race {
        name: "T-001-D",
        mutant: Mutant::Seed001Flush,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let fs = Fs::new(8192, Some(POISON));
        let ino = fs.create(b"file").inode.ino;
        fs.m.unmount().expect("unmount");
        let disk = Arc::new(Volatile {
            durable: fs.disk.clone(),
            cache: Mutex::default(),
        });
        let dev = Device::new(disk.clone(), false);
        let m = Mount::open(dev, MountOpts::default()).expect("mount");
        let file = File::over(m.clone(), inode::iget(&m, ino).expect("iget"));
        file.write(0, &[1; 8192]).expect("write");
        file.fsync(0, 8191).expect("fsync");
        file.write(8192, &[1; 4096]).expect("write");
        s.command("arm disk.flushed park until=fsync.before_force");
        thread::scope(|scope| {
            // It has a checkpoint written, whose flush of the disk is over.
            let first = scope.spawn(|| file.fsync(8192, 12_287));
            s.command("wait disk.flushed");
            // Only data, in place: no transaction.
            file.write(0, &[2; 4096]).expect("write");
            seen.must(file.fsync(0, 4095) == Ok(()), "fsync fails");
            seen.must(first.join().unwrap() == Ok(()), "fsync fails");
        });
        seen.passed(s, "disk.flushed");
        let cut = after_a_cut(&disk.durable);
        let after = cut.open(ino);
        let read = after.read(0, 12_288).unwrap_or_default();
        let whole = read.len() == 12_288 && read[..4096] == [2; 4096] && read[4096..] == [1; 8192];
        seen.must(whole, "data is lost that fsync has acknowledged");
        after.close();
        file.close();
        seen.must(m.unmount().is_ok(), "unmount fails");
        seen
    });
}

#[test]
fn t_001_e_direct_write_and_fsync_of_one_file() {
    let race = Race {
        name: "T-001-E",
        mutant: Mutant::Seed001Wait,
    };
    reproduce(&race, |s| {
        let mut seen = Seen::new();
        let b = Bench::new();
        b.file.write(0, &[2; 4096]).expect("write");
        s.command(&format!("arm dio.after_publish park key={}", b.ino()));
        thread::scope(|scope| {
            let write = scope.spawn(|| b.file.write_direct(32 * KB, &[1; 4096]));
            s.command("wait dio.after_publish");
            let fsync = scope.spawn(|| b.file.fsync(0, u64::MAX - 1));
            seen.reached(until(|| fsync.is_finished() || hits("fsync.waits") != 0));
            seen.must(
                hits("fsync.waits") == 0,
                "fsync waits for a direct write of somebody else",
            );
            s.command("release dio.after_publish");
            seen.must(write.join().unwrap() == Ok(4096), "the write fails");
            seen.must(fsync.join().unwrap() == Ok(()), "fsync fails");
        });
        seen.passed(s, "dio.after_publish");
        seen.must(b.file.fsync(0, u64::MAX - 1) == Ok(()), "fsync fails");
        let read = content(&after_a_cut(&b.fs.disk), &b);
        let whole =
            read.len() == LEN && read[..4096] == [2; 4096] && read[0x8000..0x9000] == [1; 4096];
        seen.must(whole, "data is lost");
        b.end(&mut seen);
        seen
    });
}
