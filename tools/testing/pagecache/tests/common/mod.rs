// SPDX-License-Identifier: GPL-2.0

//! What the tests share.

#![allow(dead_code)]

use latchfs_host::{
    device::{Backend as _, MemDisk},
    Device,
};
use latchfs_pagecache::{File, Fs};
use std::sync::Arc;

/// What the disk is filled with before mkfs: a byte no test writes.
pub const POISON: u8 = 0xee;

/// xorshift64*: a test is its seed.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Bytes that are neither zero nor poison.
    pub fn bytes(&mut self, len: u64) -> Vec<u8> {
        let seed = self.next();
        (0..len)
            .map(|n| 1 + ((seed >> (n % 7)) as u8).wrapping_add(n as u8) % 200)
            .collect()
    }
}

/// The whole file against the model.
pub fn compare(file: &File, model: &[u8], what: &str) {
    assert_eq!(file.i_size(), model.len() as u64, "{what}: size");
    let read = file.read(0, model.len() as u64).expect("read");
    assert_eq!(read.len(), model.len(), "{what}: read");
    if let Some(at) = read.iter().zip(model).position(|(a, b)| a != b) {
        panic!(
            "{what}: byte {at} (block {}) is {:#x}, should be {:#x}",
            at / 4096,
            read[at],
            model[at]
        );
    }
}

/// What a power cut leaves now, mounted.
pub fn after_a_cut(disk: &MemDisk) -> Fs {
    let copy = Arc::new(MemDisk::new(disk.blocks()));
    for (block, data) in disk.snapshot() {
        copy.write(block, &data).expect("a disk in memory");
    }
    let m = Fs::mount(&copy);
    Fs { disk: copy, m }
}

/// The unmounted file system is consistent.
pub fn fsck(fs: &Fs) {
    fs.m.unmount().expect("unmount");
    let dev = Device::new(fs.disk.clone(), true);
    let report = latchfs_fsck::check(&dev, &latchfs_fsck::Options::default());
    match report {
        Ok(report) => assert!(report.is_clean(), "fsck: {:?}", report.messages),
        Err(_) => panic!("fsck could not look"),
    }
}
