// SPDX-License-Identifier: GPL-2.0

//! Operations on the content of files.

use super::{time, Done, World};
use crate::model::{ObjId, OpId};
use latchfs_host::Errno;
use latchfs_pagecache::File;
use std::sync::Arc;

/// Bytes that say who wrote them: file, operation and position, in each eight of them. Never a
/// sector of poison, never a sector of zeros.
pub fn stamp(id: ObjId, op: OpId, pos: usize, len: usize) -> Vec<u8> {
    (pos..pos + len)
        .map(|at| {
            let word = (0x40 | (id as u64 & 0x3f))
                | (op & 0xff_ffff) << 8
                | ((at / 8) as u64 & 0xffff) << 32
                | 0x1d_00 << 48;
            word.to_le_bytes()[at % 8]
        })
        .collect()
}

impl World {
    fn file(&self, id: ObjId) -> Option<Arc<File>> {
        self.handle(id)?.file
    }

    /// write(2) of `len` bytes.
    pub fn write(&self, id: ObjId, pos: usize, len: usize) -> Done {
        let _locks = self.locks.take(&[id]);
        let Some(file) = self.file(id) else {
            return false;
        };
        let (op, begun) = self.begin(format!("write {id} at {pos} + {len}"));
        let bytes = stamp(id, op, pos, len);
        let result = file.write(pos as u64, &bytes);
        let end = self.disk.tick();
        self.end(op, &[id], result, &[Errno::NOSPC], |model, n| {
            let data = &mut model.objects[id].data;
            data.write(op, (begun, end), pos, &bytes[..n]);
        })
    }

    /// A store through a shared mapping, inside of the file.
    pub fn store(&self, id: ObjId, pos: usize, len: usize) -> Done {
        let _locks = self.locks.take(&[id]);
        let Some(file) = self.file(id) else {
            return false;
        };
        let size = file.i_size() as usize;
        let len = len.min(size.saturating_sub(pos));
        if len == 0 {
            return false;
        }
        let (op, begun) = self.begin(format!("store {id} at {pos} + {len}"));
        let bytes = stamp(id, op, pos, len);
        // Page by page, as the CPU does it: each is a step of its own, or SIGBUS.
        let mut at = pos;
        while at < pos + len {
            let to = (pos + len).min((at / 4096 + 1) * 4096);
            let piece = &bytes[at - pos..to - pos];
            let result = file.store(at as u64, piece);
            let end = self.disk.tick();
            let done = self.end(op, &[id], result, &[Errno::NOSPC], |model, ()| {
                let data = &mut model.objects[id].data;
                data.write(op, (begun, end), at, piece);
            });
            if !done {
                return false;
            }
            at = to;
        }
        true
    }

    /// truncate(2).
    pub fn truncate(&self, id: ObjId, size: usize) -> Done {
        let _locks = self.locks.take(&[id]);
        let Some(file) = self.file(id) else {
            return false;
        };
        if !self.model().objects[id].is_linked() {
            return false;
        }
        let (op, begun) = self.begin(format!("truncate {id} to {size}"));
        let result = file.truncate_at(size as u64, time(op));
        let end = self.disk.tick();
        self.end(op, &[id], result, &[Errno::NOSPC], |model, ()| {
            model.push(id, op, |_| {});
            let data = &mut model.objects[id].data;
            data.truncate(op, (begun, end), size);
        })
    }

    /// fsync(2) of a file.
    pub fn fsync(&self, id: ObjId) -> Done {
        let Some(file) = self.file(id) else {
            return false;
        };
        let begin = self.disk.tick();
        let result = file.fsync(0, u64::MAX - 1);
        drop(file);
        self.close_unused();
        if result.is_err() {
            self.model().objects[id].lossy = true;
        }
        self.synced(&format!("fsync of {id}"), begin, result, |model, times| {
            model.objects[id].syncs.push(times);
        })
    }

    /// Background writeback of some of a file's folios.
    pub fn writeback(&self, id: ObjId, one_in: u64) -> Done {
        let Some(file) = self.file(id) else {
            return false;
        };
        file.writepages(0, u64::MAX, one_in);
        drop(file);
        self.close_unused();
        true
    }

    /// Some pending ends of I/O of a file happen; some clean folios go.
    pub fn page_cache(&self, id: ObjId) -> Done {
        let Some(file) = self.file(id) else {
            return false;
        };
        file.run_ioends(2);
        file.reclaim(2);
        drop(file);
        self.close_unused();
        true
    }

    /// Reads a file and compares: what is there while nothing crashes.
    pub fn read(&self, id: ObjId) -> Done {
        let _locks = self.locks.take(&[id]);
        let Some(file) = self.file(id) else {
            return false;
        };
        let result = file.read(0, file.i_size());
        let model = self.model();
        let object = &model.objects[id];
        if object.lossy || model.data_errors || object.unknown != crate::model::NEVER {
            return false;
        }
        let wrong = match result {
            Ok(bytes) if bytes == object.data.now() => return true,
            Ok(bytes) => {
                let at = bytes
                    .iter()
                    .zip(object.data.now())
                    .position(|(a, b)| a != b);
                format!(
                    "file {id} reads wrong: {} bytes for {}, first at {at:?}",
                    bytes.len(),
                    object.data.now().len()
                )
            }
            Err(_) if self.setup.faulty => return false,
            Err(e) => format!("file {id}: read: {e:?}"),
        };
        drop(model);
        self.complain(wrong);
        false
    }
}
