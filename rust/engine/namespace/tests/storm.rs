// SPDX-License-Identifier: GPL-2.0

//! Threads on the same directories.

use super::*;
use crate::engine::dir::EntryBuf;
use crate::sys::Errno;
use std::thread;

/// A small generator; the seeds make the threads differ.
struct Rng(u64);

impl Rng {
    fn next(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Errors that somebody else's operation can cause.
fn benign(e: crate::engine::Error) {
    let ok = [
        Errno::EXIST,
        Errno::NOENT,
        Errno::NOTEMPTY,
        Errno::ISDIR,
        Errno::NOTDIR,
        Errno::PERM,
        Errno::INVAL,
        Errno::STALE,
    ];
    assert!(ok.contains(&e.errno()), "{e}");
}

fn play(m: &Arc<Mount>, dirs: &[InodeRef], seed: u64, rounds: u32) {
    let mut rng = Rng(seed * 0x9e37_79b9 + 1);
    let mut buf = EntryBuf::try_new().unwrap();
    for _ in 0..rounds {
        let d = &dirs[rng.next(dirs.len() as u64) as usize];
        let e = &dirs[rng.next(dirs.len() as u64) as usize];
        let name = format!("n{}", rng.next(40));
        let other = format!("n{}", rng.next(40));
        let (name, other) = (name.as_bytes(), other.as_bytes());
        match rng.next(12) {
            0..=3 => match create(m, d, name, &new_file()) {
                Ok(inode) => put(m, inode),
                Err(e) => benign(e),
            },
            4..=6 => {
                if let Some(inode) = lookup(m, d, name).unwrap() {
                    if let Err(e) = unlink(m, d, name, &inode, at(1)) {
                        benign(e);
                    }
                    put(m, inode);
                }
            }
            7..=8 => {
                let Some(inode) = lookup(m, d, name).unwrap() else {
                    continue;
                };
                let target = lookup(m, e, other).unwrap();
                let args = RenameArgs {
                    old_dir: d,
                    old_name: name,
                    inode: &inode,
                    new_dir: e,
                    new_name: other,
                    target: target.as_ref(),
                    flags: RenameFlags {
                        exchange: target.is_some() && rng.next(4) == 0,
                        whiteout: rng.next(8) == 0,
                        ..RenameFlags::default()
                    },
                    uid: 0,
                    gid: 0,
                    now: at(2),
                };
                let flags = args.flags;
                let args = RenameArgs {
                    flags: RenameFlags {
                        whiteout: flags.whiteout && !flags.exchange,
                        ..flags
                    },
                    ..args
                };
                if let Err(e) = rename(m, &args) {
                    benign(e);
                }
                put(m, inode);
                if let Some(t) = target {
                    put(m, t);
                }
            }
            9 => {
                if let Some(inode) = lookup(m, d, name).unwrap() {
                    if let Err(e) = link(m, &inode, e, other, at(3)) {
                        benign(e);
                    }
                    put(m, inode);
                }
            }
            10 => {
                let mut from = 0;
                loop {
                    readdir(m, d, from, &mut buf).unwrap();
                    if buf.is_empty() {
                        break;
                    }
                    for entry in buf.iter() {
                        assert!(entry.key >= from);
                        from = entry.key + 1;
                    }
                }
            }
            _ => {
                if rng.next(20) == 0 {
                    m.sync().unwrap();
                } else if rng.next(4) == 0 {
                    inode::reclaim(m, 16);
                    m.buf().reclaim(16);
                } else {
                    let t = tmpfile(m, d, &new_file()).unwrap();
                    put(m, t);
                }
            }
        }
    }
}

fn storm(background: bool) {
    let mut f = Fixture::with_groups(16384, Some(4096));
    if background {
        start_inodegc(&f.m).unwrap();
    }
    let root = root(&f.m);
    let mut dirs: std::vec::Vec<InodeRef> = (0..3)
        .map(|i| create(&f.m, &root, format!("dir{i}").as_bytes(), &new_dir()).unwrap())
        .collect();
    dirs.push(root);
    thread::scope(|s| {
        for t in 0..4 {
            let (m, dirs) = (&f.m, &dirs);
            s.spawn(move || play(m, dirs, t + 1, 3000));
        }
    });
    drop(dirs);
    if background {
        stop_inodegc(&f.m);
    }
    remount(&mut f);
}

#[test]
fn four_threads_in_the_same_directories() {
    storm(false);
}

#[test]
fn four_threads_and_background_deletion() {
    storm(true);
}

#[test]
fn many_lookups_give_one_object() {
    let mut f = Fixture::new(16384);
    {
        let root = root(&f.m);
        for i in 0..50 {
            create(&f.m, &root, format!("f{i}").as_bytes(), &new_file()).unwrap();
        }
    }
    remount(&mut f);
    let m = &f.m;
    for i in 0..50 {
        let name = format!("f{i}");
        let barrier = std::sync::Barrier::new(4);
        let found: std::vec::Vec<InodeRef> = thread::scope(|s| {
            let all: std::vec::Vec<_> = (0..4)
                .map(|_| {
                    s.spawn(|| {
                        barrier.wait();
                        lookup(m, &root(m), name.as_bytes()).unwrap().unwrap()
                    })
                })
                .collect();
            all.into_iter().map(|h| h.join().unwrap()).collect()
        });
        assert!(found.iter().all(|i| i.same(&found[0])));
    }
}
