// SPDX-License-Identifier: GPL-2.0

//! Figures, not assertions: `cargo test --release -- --ignored figures --nocapture`.

use super::*;
use std::time::Instant;

/// Time this thread has run: other load on the machine does not count.
struct Cpu(u64);

impl Cpu {
    fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        Self(
            stat.split(' ')
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0),
        )
    }
}

/// Microseconds for each of `n` since `start`.
fn per(n: u32, start: Cpu) -> f64 {
    (Cpu::now().0 - start.0) as f64 / f64::from(n) / 1000.0
}

fn one_directory(n: u32) {
    let mut f = Fixture::new(1 << 20);
    let m = f.m.clone();
    let root = self::root(&m);
    let start = Cpu::now();
    for i in 0..n {
        let inode = create(&m, &root, format!("file-{i}").as_bytes(), &new_file()).unwrap();
        put(&m, inode);
    }
    println!(
        "create {n} files in one directory: {:.2} us each",
        per(n, start)
    );
    let start = Cpu::now();
    m.sync().unwrap();
    println!(
        "  sync: {:.2} us each, {} inodes cached",
        per(n, start),
        inode::cached(&m)
    );
    drop((root, m));
    remount(&mut f);

    let m = f.m.clone();
    let root = self::root(&m);
    let before = f.reads();
    let start = Cpu::now();
    for i in 0..n {
        drop(
            lookup(&m, &root, format!("file-{i}").as_bytes())
                .unwrap()
                .unwrap(),
        );
    }
    let reads = (f.reads() - before) as f64 / f64::from(n);
    println!(
        "  lookup, cold: {:.2} us each, {reads:.3} blocks read each",
        per(n, start)
    );
    let start = Cpu::now();
    for i in 0..n {
        drop(
            lookup(&m, &root, format!("file-{i}").as_bytes())
                .unwrap()
                .unwrap(),
        );
    }
    println!("  lookup, cached: {:.2} us each", per(n, start));
    let start = Cpu::now();
    for i in 0..n {
        let (old, new) = (format!("file-{i}"), format!("moved-{i}"));
        let inode = lookup(&m, &root, old.as_bytes()).unwrap().unwrap();
        let args = RenameArgs {
            old_dir: &root,
            old_name: old.as_bytes(),
            inode: &inode,
            new_dir: &root,
            new_name: new.as_bytes(),
            target: None,
            flags: RenameFlags::default(),
            uid: 0,
            gid: 0,
            now: at(1),
        };
        rename(&m, &args).unwrap();
    }
    println!("  rename: {:.2} us each", per(n, start));
    let start = Cpu::now();
    for i in 0..n {
        let name = format!("moved-{i}");
        let inode = lookup(&m, &root, name.as_bytes()).unwrap().unwrap();
        unlink(&m, &root, name.as_bytes(), &inode, at(1)).unwrap();
        put(&m, inode);
    }
    println!("  unlink: {:.2} us each", per(n, start));
    let start = Cpu::now();
    inodegc_flush(&m).unwrap();
    println!("  inodegc: {:.2} us each", per(n, start));
    m.sync().unwrap();
    drop((root, m));
    remount(&mut f);
}

fn many_directories(dirs: u32, files: u32) {
    let f = Fixture::new(1 << 20);
    let m = f.m.clone();
    let root = self::root(&m);
    let n = dirs * files;
    let start = Cpu::now();
    for d in 0..dirs {
        let dir = create(&m, &root, format!("dir-{d}").as_bytes(), &new_dir()).unwrap();
        for i in 0..files {
            let inode = create(&m, &dir, format!("file-{i}").as_bytes(), &new_file()).unwrap();
            put(&m, inode);
        }
    }
    println!(
        "create {files} files in each of {dirs} directories: {:.2} us each",
        per(n, start)
    );
    let (_, before) = f.disk.io_counts();
    m.sync().unwrap();
    let (_, after) = f.disk.io_counts();
    println!(
        "  sync writes {:.3} blocks for each",
        (after - before) as f64 / f64::from(n)
    );
    drop(root);
    m.unmount().unwrap();
    let (reads, _) = f.disk.io_counts();
    let start = Instant::now();
    let m = Fixture::mount(&f.disk);
    let took = start.elapsed();
    println!(
        "  mount with {n} inodes: {took:?}, {} blocks read",
        f.disk.io_counts().0 - reads
    );
    drop(m);
}

#[test]
#[ignore = "prints figures"]
fn figures() {
    use core::mem::size_of;
    println!(
        "inode in memory {} bytes, of these core {}, allocation group {} bytes",
        size_of::<inode::Inode>(),
        size_of::<inode::Core>(),
        size_of::<crate::engine::ialloc::Group>(),
    );
    one_directory(10_000);
    one_directory(100_000);
    many_directories(1000, 100);
}
