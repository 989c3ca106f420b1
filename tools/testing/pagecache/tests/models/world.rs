// SPDX-License-Identifier: GPL-2.0

//! A mounted file system for each schedule: the image is made once, and only what a schedule writes
//! is its own.

use latchfs_engine::{
    engine::{
        alloc::Reservation,
        inode,
        mount::{Mount, MountOpts},
    },
    format::Ino,
};
use latchfs_host::{device::Backend, Arc, Device, SysResult};
use latchfs_pagecache::{File, Fs, Ioends, PAGE};
use shuttle::rand::Rng;
use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock},
};

/// Blocks of the device.
const BLOCKS: u64 = 4096;
/// What the device has where nobody has written.
pub const POISON: u8 = 0xee;
/// Half a block: what writes are made of, so that they meet inside of blocks.
pub const CELL: u64 = PAGE / 2;
/// Cells of the file.
pub const CELLS: u64 = 6;

type Blocks = HashMap<u64, Box<[u8; PAGE as usize]>>;

struct Image {
    blocks: Blocks,
    ino: Ino,
}

/// Made by the first schedule of all: a file whose first block is written, the rest is a hole.
fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let fs = Fs::new(BLOCKS, Some(POISON));
        let file = fs.create(b"file");
        let ino = file.inode.ino;
        file.write(0, &[1; PAGE as usize]).expect("write");
        file.truncate(CELLS * CELL).expect("truncate");
        file.close();
        fs.m.unmount().expect("unmount");
        Image {
            blocks: fs.disk.snapshot().into_iter().collect(),
            ino,
        }
    })
}

/// A disk over the image.
struct Disk {
    image: &'static Image,
    own: Mutex<Blocks>,
}

impl Backend for Disk {
    fn blocks(&self) -> u64 {
        BLOCKS
    }

    fn read(&self, block: u64, buf: &mut [u8; PAGE as usize]) -> SysResult<()> {
        let own = self.own.lock().expect("disk");
        match own.get(&block).or_else(|| self.image.blocks.get(&block)) {
            Some(data) => buf.copy_from_slice(&data[..]),
            None => buf.fill(0),
        }
        Ok(())
    }

    fn write(&self, block: u64, buf: &[u8; PAGE as usize]) -> SysResult<()> {
        self.own.lock().expect("disk").insert(block, Box::new(*buf));
        Ok(())
    }

    fn flush(&self) -> SysResult<()> {
        Ok(())
    }

    fn discard(&self, _start: u64, _len: u64) -> SysResult<()> {
        Ok(())
    }
}

/// The file system of one schedule, and its file.
pub struct World {
    pub m: Arc<Mount>,
    pub file: Arc<File>,
    /// What somebody else has, in half of the schedules: space is short, and everything is paid for
    /// in advance.
    hoard: Option<Reservation>,
    /// Free blocks and those of the file together.
    space: u64,
}

fn open(m: &Arc<Mount>) -> File {
    let inode = inode::iget(m, image().ino).expect("iget");
    let mut file = File::over(m.clone(), inode);
    file.folio_pages = 1;
    file.set_ioends(Ioends::Later(shuttle::rand::thread_rng().gen()));
    file
}

impl World {
    /// Makes what all schedules share.
    pub fn prepare() {
        image();
    }

    pub fn new() -> Self {
        let disk = Disk {
            image: image(),
            own: Mutex::default(),
        };
        let dev = Device::new(Arc::new(disk), false);
        let m = Mount::open(dev, MountOpts::default()).expect("mount");
        let file = Arc::new(open(&m));
        let space = m.alloc().available() + file.inode.attrs().blocks;
        let short = shuttle::rand::thread_rng().gen::<bool>();
        let hoard = short.then(|| latchfs_pagecache::hoard(&m));
        Self {
            m,
            file,
            hoard,
            space,
        }
    }

    /// The cells of the file; what is behind its end reads as zeroes. No cell has more than one
    /// value, and none what the device had before.
    pub fn cells(file: &File) -> Vec<u8> {
        let mut bytes = file.read(0, CELLS * CELL).expect("read");
        bytes.resize((CELLS * CELL) as usize, 0);
        bytes
            .chunks(CELL as usize)
            .map(|cell| {
                assert!(cell.iter().all(|b| *b == cell[0]), "two values in one cell");
                assert_ne!(cell[0], POISON, "what the device had before");
                cell[0]
            })
            .collect()
    }

    /// Nobody is at work any more: checks the observables, and that the page cache, the extent index
    /// and the disk say the same; unmounts. Returns what the cells are.
    pub fn end(self) -> Vec<u8> {
        let Self {
            m,
            file,
            hoard,
            space,
        } = self;
        let file = Arc::into_inner(file).expect("nobody else has the file");
        file.write_and_wait(0, u64::MAX);
        file.take_error().expect("writeback");
        file.check();
        let counts = file.inode.ilock.read().index.counts();
        let unsettled = (counts.delayed, counts.in_flight, counts.converting);
        assert_eq!(unsettled, (0, 0, 0), "something is on its way");
        let sizes = (file.i_size(), file.inode.file.disk_size());
        assert_eq!(sizes.0, sizes.1, "the size on disk is not the file's");
        let cached = Self::cells(&file);
        file.reclaim(1);
        let read = Self::cells(&file);
        assert_eq!(cached, read, "page cache against disk");
        file.close();
        let file = open(&m);
        let read = Self::cells(&file);
        assert_eq!(cached, read, "extent index against the map on disk");
        drop(hoard);
        let now = m.alloc().available() + file.inode.attrs().blocks;
        assert_eq!(now, space, "reserved space without an owner");
        file.close();
        // Also because a mount that was not unmounted keeps its memory.
        m.unmount().expect("unmount");
        cached
    }
}
