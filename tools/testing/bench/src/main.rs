// SPDX-License-Identifier: GPL-2.0

//! Figures of the engine in userspace, over sparse devices in memory.
//!
//! What counts in them is how they grow and how many blocks are touched; the times are those of a
//! host without I/O. Comparisons with other file systems are made in one VM, not here; for them
//! `latchfs-bench --image FILE` makes a file system of a tebibyte with a million files in it, and
//! `latchfs-bench --fill-log FILE` leaves the one in FILE with a full log.

mod fill_log;

use latchfs_engine::engine::{
    inode::{self, InodeRef},
    mount::{Mount, MountOpts},
    namespace::{self, NewInode},
};
use latchfs_engine::format::{
    make::{make, MakeParams},
    Block as FormatBlock, DiskBlock, Geometry,
};
use latchfs_host::{device::MemDisk, now, random_u64, Arc, Block, Device, BLOCK_BYTES};
use std::time::{Duration, Instant};

type AnyError = Box<dyn std::error::Error>;

/// Blocks of a tebibyte.
const TEBIBYTE: u64 = 1 << 28;

fn fail<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> AnyError {
    move |e| format!("{what}: {e}").into()
}

fn mkfs(blocks: u64) -> Result<Arc<MemDisk>, AnyError> {
    let disk = Arc::new(MemDisk::new(blocks));
    make_on(&Device::new(disk.clone(), false))?;
    Ok(disk)
}

fn make_on(dev: &Device) -> Result<(), AnyError> {
    let blocks = dev.blocks();
    let geometry = Geometry::for_device(blocks, None).ok_or("no geometry for this size")?;
    let time = now();
    let params = MakeParams {
        uuid: [1; 16],
        instance: random_u64(),
        hash_seed: random_u64(),
        label: b"bench",
        now: (time.secs, time.nanos),
        uid: 0,
        gid: 0,
        root_mode: 0o755,
        root_generation: 1,
    };
    let mut scratch = Block::try_zeroed().map_err(fail("memory"))?;
    let mut out = Block::try_zeroed().map_err(fail("memory"))?;
    make(
        &geometry,
        &params,
        &mut scratch,
        &mut |at: DiskBlock, block: &FormatBlock| {
            out.copy_from_slice(&block[..]);
            dev.write_block(at.0, &out)
        },
    )
    .map_err(fail("mkfs"))?
    .ok_or("mkfs: the parameters do not fit")?;
    Ok(())
}

fn mount(disk: &Arc<MemDisk>) -> Result<Arc<Mount>, AnyError> {
    let dev = Device::new(disk.clone(), false);
    Mount::open(dev, MountOpts::default()).map_err(fail("mount"))
}

fn file() -> NewInode {
    NewInode {
        mode: 0o100644,
        uid: 0,
        gid: 0,
        projid: 0,
        rdev: 0,
        flags: 0,
        now: now(),
    }
}

fn directory() -> NewInode {
    NewInode {
        mode: 0o040755,
        ..file()
    }
}

fn root(m: &Arc<Mount>) -> Result<InodeRef, AnyError> {
    inode::iget(m, m.root_ino()).map_err(fail("root directory"))
}

fn micros(total: Duration, n: u32) -> f64 {
    total.as_secs_f64() * 1e6 / f64::from(n)
}

fn row(what: &str, figure: String) {
    println!("{what:<52} {figure:>24}");
}

/// mkfs and mount of an empty file system of a tebibyte.
fn empty_tebibyte() -> Result<(), AnyError> {
    let start = Instant::now();
    let disk = mkfs(TEBIBYTE)?;
    let (_, writes) = disk.io_counts();
    row(
        "mkfs, 1 TiB",
        format!(
            "{:.1} ms, {writes} blocks",
            start.elapsed().as_secs_f64() * 1e3
        ),
    );
    let (before, _) = disk.io_counts();
    let start = Instant::now();
    let m = mount(&disk)?;
    row(
        "mount, 1 TiB, empty",
        format!(
            "{:.2} ms, {} blocks read",
            start.elapsed().as_secs_f64() * 1e3,
            disk.io_counts().0 - before
        ),
    );
    m.unmount().map_err(fail("unmount"))
}

/// `dirs` directories of `files` empty files each.
fn populate(m: &Arc<Mount>, dirs: u32, files: u32) -> Result<(), AnyError> {
    let root = root(m)?;
    for d in 0..dirs {
        let dir = namespace::create(m, &root, format!("dir-{d}").as_bytes(), &directory())
            .map_err(fail("mkdir"))?;
        for f in 0..files {
            let file = namespace::create(m, &dir, format!("file-{f}").as_bytes(), &file())
                .map_err(fail("create"))?;
            namespace::inactivate_later(m, file);
        }
        namespace::inactivate_later(m, dir);
        if d % 50 == 49 {
            // What a timer and a shrinker would do.
            m.sync().map_err(fail("sync"))?;
            inode::reclaim(m, usize::MAX);
        }
    }
    Ok(())
}

/// Makes a file system of a tebibyte with a million files in the sparse file `path`.
fn image(path: &str) -> Result<(), AnyError> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .map_err(fail("image"))?;
    file.set_len(TEBIBYTE * BLOCK_BYTES as u64)
        .map_err(fail("image"))?;
    let dev = Device::file(file, TEBIBYTE, false);
    make_on(&dev)?;
    let m = Mount::open(dev, MountOpts::default()).map_err(fail("mount"))?;
    populate(&m, 1_000, 1_000)?;
    m.unmount().map_err(fail("unmount"))
}

/// A file system of a tebibyte with `dirs` directories of `files` files.
fn many_inodes(dirs: u32, files: u32) -> Result<(), AnyError> {
    let disk = mkfs(TEBIBYTE)?;
    let m = mount(&disk)?;
    let n = dirs * files;
    let start = Instant::now();
    populate(&m, dirs, files)?;
    m.sync().map_err(fail("sync"))?;
    row(
        &format!("create and sync, {n} files in {dirs} directories"),
        format!("{:.2} us each", micros(start.elapsed(), n)),
    );
    m.unmount().map_err(fail("unmount"))?;
    drop(m);
    let (before, _) = disk.io_counts();
    let start = Instant::now();
    let m = mount(&disk)?;
    row(
        &format!("mount, 1 TiB, {n} files"),
        format!(
            "{:.2} ms, {} blocks read",
            start.elapsed().as_secs_f64() * 1e3,
            disk.io_counts().0 - before
        ),
    );
    m.unmount().map_err(fail("unmount"))
}

/// Lookups in one directory of `n` names, each with nothing of the directory cached.
fn cold_lookups(n: u32) -> Result<(), AnyError> {
    let disk = mkfs(1 << 20)?;
    let m = mount(&disk)?;
    {
        let root = root(&m)?;
        for f in 0..n {
            let file = namespace::create(&m, &root, format!("file-{f:07}").as_bytes(), &file())
                .map_err(fail("create"))?;
            namespace::inactivate_later(&m, file);
        }
    }
    m.unmount().map_err(fail("unmount"))?;
    drop(m);

    let (mut total, mut most) = (0, 0);
    const SAMPLES: u32 = 200;
    for i in 0..SAMPLES {
        let m = mount(&disk)?;
        {
            let root = root(&m)?;
            let (before, _) = disk.io_counts();
            let name = format!(
                "file-{:07}",
                u64::from(i) * u64::from(n) / u64::from(SAMPLES)
            );
            namespace::lookup_ino(&m, &root, name.as_bytes())
                .map_err(fail("lookup"))?
                .ok_or("a name is missing")?;
            let reads = disk.io_counts().0 - before;
            total += reads;
            most = most.max(reads);
        }
        m.unmount().map_err(fail("unmount"))?;
    }
    row(
        &format!("lookup, nothing cached, {n} names"),
        format!(
            "{:.2} blocks, at most {most}",
            total as f64 / f64::from(SAMPLES)
        ),
    );
    Ok(())
}

/// Single blocks taken and given back, in a file system with that many free extents.
fn space(holes: u32) -> Result<(), AnyError> {
    let disk = mkfs(1 << 22)?;
    let m = mount(&disk)?;
    let goal = DiskBlock(100_000);
    let mut kept = Vec::new();
    let mut given = Vec::new();
    for i in 0..holes * 2 {
        let claim = m.claim(goal, 1, 1).map_err(fail("claim"))?;
        if i % 2 == 0 {
            kept.push(claim);
        } else {
            given.push(claim);
        }
    }
    drop(given);
    const ROUNDS: u32 = 200_000;
    let start = Instant::now();
    for i in 0..ROUNDS {
        let at = DiskBlock(goal.0 + u64::from(i) * 7919 % (1 << 20));
        drop(m.claim(at, 1, 1).map_err(fail("claim"))?);
    }
    row(
        &format!("take and give back a block, {holes} free extents"),
        format!("{:.2} us", micros(start.elapsed(), ROUNDS)),
    );
    drop(kept);
    m.unmount().map_err(fail("unmount"))
}

fn run() -> Result<(), AnyError> {
    row(
        "engine inode (userspace locks)",
        format!("{} bytes", std::mem::size_of::<inode::Inode>()),
    );
    empty_tebibyte()?;
    for holes in [100, 1_000, 10_000, 100_000] {
        space(holes)?;
    }
    for names in [1_000, 10_000, 100_000] {
        cold_lookups(names)?;
    }
    many_inodes(100, 100)?;
    many_inodes(1_000, 1_000)
}

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run(),
        ["--image", path] => image(path),
        ["--fill-log", path] => fill_log::fill_log(path),
        _ => Err("usage: latchfs-bench [--image FILE | --fill-log FILE]".into()),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("latchfs-bench: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}
