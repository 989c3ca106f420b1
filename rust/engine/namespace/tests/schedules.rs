// SPDX-License-Identifier: GPL-2.0

//! A whole mount under shuttle: unmount while a deleted file is being freed in the background.
//!
//! Each schedule mounts, deletes, unmounts and checks the image, which is as small as can be.

use super::*;
use crate::engine::{mount::MountOpts, testing::schedules};
use crate::sys::device::{Backend, MemDisk};
use std::sync::OnceLock;

/// Schedules, random and biased to few preemptions each half.
const SCHEDULES: usize = 100_000;

const BLOCKS: u64 = 4096;

/// A disk with a file system that has one file.
fn disk() -> Arc<MemDisk> {
    type Image = Vec<(u64, Box<[u8; 4096]>)>;
    static IMAGE: OnceLock<Image> = OnceLock::new();
    let image = IMAGE.get_or_init(|| {
        let f = Fixture::new(BLOCKS);
        let dir = root(&f.m);
        drop(create(&f.m, &dir, b"name", &new_file()).unwrap());
        drop(dir);
        f.m.unmount().unwrap();
        // a block that was never written reads as zeroes
        let written = f.disk.snapshot().into_iter();
        written.filter(|(_, data)| **data != [0; 4096]).collect()
    });
    let disk = Arc::new(MemDisk::new(BLOCKS));
    for (block, data) in image {
        disk.write(*block, data).unwrap();
    }
    disk
}

fn delete_and_unmount() {
    let disk = disk();
    let dev = Device::new(disk.clone(), false);
    let m = Mount::open(dev, MountOpts::default()).unwrap();
    start_inodegc(&m).unwrap();
    let dir = root(&m);
    let file = lookup(&m, &dir, b"name").unwrap().unwrap();
    unlink(&m, &dir, b"name", &file, at(20)).unwrap();
    drop(dir);
    put(&m, file);
    m.unmount().unwrap();
    let image = check::check(&Device::new(disk, false), false);
    assert!(image.is_ok(), "the image is not sound: {:?}", image.err());
}

fn explore(model: fn()) {
    let number = schedules::schedules(SCHEDULES);
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 20;
    config.max_steps = shuttle::MaxSteps::FailAfter(10_000_000);
    schedules::prepare(&config, || drop(disk()));
    schedules::explore(number, &config, model);
}

#[cfg(not(latchfs_races))]
#[test]
fn nothing_comes_after_the_last_push() {
    explore(delete_and_unmount);
}

/// What has to be caught, and the model of it on the real build.
#[cfg(latchfs_races)]
mod mutants {
    use super::*;
    use crate::engine::testing::race_table::Model;
    use crate::sys::sync_point::points::Mutant;

    #[test]
    fn push_before_the_background_work_has_stopped() {
        Model {
            mutants: &[Mutant::UnmountOrder],
            name: "delete, unmount",
            with: "shuttle",
        }
        .check(|| explore(delete_and_unmount));
    }
}
