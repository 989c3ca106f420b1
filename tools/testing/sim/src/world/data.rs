// SPDX-License-Identifier: GPL-2.0

//! Operations on the content of files.

use super::{time, Done, World};
use crate::model::{ObjId, OpId, Ranged, NEVER};
use latchfs_host::Errno;
use latchfs_pagecache::{File, EFAULT};
use std::sync::Arc;

/// Errors that leave a file as it was.
const REFUSED: &[Errno] = &[Errno::NOSPC, EFAULT];

/// What each eight bytes of a file say: which file, which operation, and for which position it wrote
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The file, modulo 64.
    pub id: u64,
    /// The operation.
    pub op: OpId,
    /// The position, a multiple of eight.
    pub pos: u64,
}

impl Stamp {
    const MARK: u64 = 0x1d00;

    /// `len` bytes for position `pos`. Never a sector of poison, never a sector of zeros.
    pub fn bytes(id: ObjId, op: OpId, pos: usize, len: usize) -> Vec<u8> {
        (pos..pos + len)
            .map(|at| {
                let word = (0x40 | (id as u64 & 0x3f))
                    | (op & 0xff_ffff) << 8
                    | ((at / 8) as u64 & 0xffff) << 32
                    | Self::MARK << 48;
                word.to_le_bytes()[at % 8]
            })
            .collect()
    }

    /// What eight bytes say; [`None`] if they are none of ours.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let word = u64::from_le_bytes(bytes.try_into().ok()?);
        (word >> 48 == Self::MARK && word & 0xc0 == 0x40).then_some(Self {
            id: word & 0x3f,
            op: word >> 8 & 0xff_ffff,
            pos: (word >> 32 & 0xffff) * 8,
        })
    }
}

/// A write(2).
#[derive(Clone, Copy, Debug, Default)]
pub struct Write {
    /// Where; [`None`]: O_APPEND.
    pub pos: Option<usize>,
    /// How many bytes.
    pub len: usize,
    /// Of so many bytes at the end of the buffer the memory cannot be read.
    pub faults: usize,
    /// O_DSYNC.
    pub dsync: bool,
    /// O_DIRECT.
    pub direct: bool,
}

impl World {
    pub(super) fn file(&self, id: ObjId) -> Option<Arc<File>> {
        self.handle(id)?.file
    }

    /// write(2) of `len` bytes at `pos`.
    pub fn write(&self, id: ObjId, pos: usize, len: usize) -> Done {
        self.write_as(
            id,
            Write {
                pos: Some(pos),
                len,
                ..Write::default()
            },
        )
    }

    /// write(2).
    pub fn write_as(&self, id: ObjId, how: Write) -> Done {
        let written = {
            let _locks = self.locks.take(&[id]);
            let Some(file) = self.file(id) else {
                return false;
            };
            let pos = how.pos.unwrap_or(file.i_size() as usize);
            let (len, faults) = (how.len, how.faults);
            let what = format!(
                "{}{}{}{} {id} at {pos} + {len}",
                if how.direct { "direct " } else { "" },
                if how.pos.is_none() { "append" } else { "write" },
                if how.dsync { " with O_DSYNC" } else { "" },
                if faults != 0 { " that faults" } else { "" },
            );
            let (op, begun) = self.begin(what);
            let bytes = Stamp::bytes(id, op, pos, len);
            let readable = len.saturating_sub(faults);
            let result = if how.direct {
                file.write_direct_from(pos as u64, &bytes, readable)
            } else {
                file.write_from(pos as u64, &bytes, readable)
            };
            let end = self.disk.tick();
            let mut written = 0;
            let done = self.end(op, &[id], result, REFUSED, |model, n| {
                written = n;
                let data = &mut model.objects[id].data;
                data.write(op, (begun, end), pos, &bytes[..n]);
            });
            if !done {
                return false;
            }
            (pos as u64, (pos + written) as u64)
        };
        // generic_write_sync, with i_rwsem released.
        if how.dsync && written.0 < written.1 {
            return self.fdatasync(id, written);
        }
        true
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
        let bytes = Stamp::bytes(id, op, pos, len);
        // Page by page, as the CPU does it: each is a step of its own, or SIGBUS.
        let mut at = pos;
        while at < pos + len {
            let to = (pos + len).min((at / 4096 + 1) * 4096);
            let piece = &bytes[at - pos..to - pos];
            let result = file.store(at as u64, piece);
            let end = self.disk.tick();
            let done = self.end(op, &[id], result, REFUSED, |model, ()| {
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
        self.end(op, &[id], result, REFUSED, |model, ()| {
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

    /// fdatasync(2), or msync(2), or what O_DSYNC does after a write, of bytes from .. to.
    pub fn fdatasync(&self, id: ObjId, bytes: (u64, u64)) -> Done {
        let Some(file) = self.file(id) else {
            return false;
        };
        // First the content, then the clock: it is of what had returned.
        let size = self.model().objects[id].data.end_of_data(bytes);
        let begin = self.disk.tick();
        let last = bytes.1.min(NEVER - 1).saturating_sub(1);
        let result = file.fdatasync(bytes.0, last);
        drop(file);
        self.close_unused();
        if result.is_err() {
            self.model().objects[id].lossy = true;
        }
        let what = format!("fdatasync of {id} from {} to {}", bytes.0, bytes.1);
        self.synced(&what, begin, result, |model, times| {
            model.objects[id].ranged.push(Ranged { times, bytes, size });
        })
    }

    /// sync_file_range(2): starts writeback of some of a file's folios.
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

    /// Reads a file, through the page cache or not, and compares: what is there while nothing
    /// crashes.
    pub fn read(&self, id: ObjId, direct: bool) -> Done {
        let _locks = self.locks.take(&[id]);
        let Some(file) = self.file(id) else {
            return false;
        };
        let size = file.i_size();
        let result = if direct {
            file.read_direct(0, size.next_multiple_of(4096).max(4096))
        } else {
            file.read(0, size)
        };
        let lost = direct && file.take_error().is_err();
        let mut model = self.model();
        let object = &mut model.objects[id];
        object.lossy |= lost;
        let object = &model.objects[id];
        if object.lossy || model.data_errors || object.unknown != NEVER {
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
