// SPDX-License-Identifier: GPL-2.0

//! Who else is at work on the page cache: the flusher, which writes dirty pages back, and the ends of
//! its I/O. Each is a virtual thread, beside the users'.

use super::{get, World};
use crate::model::ObjId;
use latchfs_host::sim::{self, Handle, Rng};
use latchfs_pagecache::File;
use std::sync::{
    atomic::{AtomicBool, Ordering},
    Arc,
};

/// The threads, at work.
pub struct Flusher {
    stop: Arc<AtomicBool>,
    threads: Vec<Handle<()>>,
}

impl Flusher {
    /// Starts them: each looks at a file about every `pause` nanoseconds.
    pub fn start(world: &Arc<World>, pause: u64, rng: &mut Rng) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |name: &str, work: fn(&File, &mut Rng), mut rng: Rng| {
            let (world, stop) = (world.clone(), stop.clone());
            sim::spawn(name, move || {
                while !stop.load(Ordering::Relaxed) {
                    sim::block(key(&stop), Some(1 + rng.below(pause * 2)));
                    if let Some((_, file)) = world.any_file(&mut rng) {
                        work(&file, &mut rng);
                    }
                    world.close_unused();
                }
            })
        };
        let threads = vec![
            start("flusher", flush, Rng::new(rng.next())),
            start("ioend", finish, Rng::new(rng.next())),
        ];
        Self { stop, threads }
    }

    /// Stops them and waits for their end.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        sim::wake(key(&self.stop));
        for thread in self.threads {
            thread.join();
        }
    }
}

fn key(stop: &Arc<AtomicBool>) -> usize {
    Arc::as_ptr(stop) as usize
}

/// wb_workfn: all of a file, or some of it.
fn flush(file: &File, rng: &mut Rng) {
    file.writepages(0, u64::MAX, 1 + rng.below(3));
}

/// The workers of data completions.
fn finish(file: &File, rng: &mut Rng) {
    file.run_ioends(1 + rng.below(4) as usize);
}

impl World {
    /// One of the open files.
    fn any_file(&self, rng: &mut Rng) -> Option<(ObjId, Arc<File>)> {
        let handles = get(&self.handles);
        let files: Vec<_> = handles
            .iter()
            .filter_map(|(id, handle)| Some((*id, handle.file.as_ref()?)))
            .collect();
        let n = rng.below(files.len() as u64) as usize;
        files.get(n).map(|(id, file)| (*id, (*file).clone()))
    }
}
