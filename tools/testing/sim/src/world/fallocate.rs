// SPDX-License-Identifier: GPL-2.0

//! fallocate(2).

use super::{time, Done, World};
use crate::model::{Model, ObjId, OpId};
use latchfs_host::Errno;
use latchfs_pagecache::{Falloc, FallocMode};

impl World {
    /// fallocate(2) of bytes `from .. to`. A collapse or an insert is followed by an fsync before
    /// anything else happens to the file: what is then written in place goes to blocks that a crash
    /// would show elsewhere in the file.
    pub fn fallocate(
        &self,
        id: ObjId,
        mode: FallocMode,
        keep_size: bool,
        (from, to): (usize, usize),
    ) -> Done {
        let moves = matches!(mode, FallocMode::Collapse | FallocMode::Insert);
        let _locks = self.locks.take(&[id]);
        let Some(file) = self.file(id) else {
            return false;
        };
        if from >= to || !self.model().objects[id].is_linked() {
            return false;
        }
        let size = file.i_size() as usize;
        if moves && (from >= size || (mode == FallocMode::Collapse && to >= size)) {
            return false;
        }
        let keep = if keep_size { ", KEEP_SIZE" } else { "" };
        let (op, begun) = self.begin(format!("{mode:?}{keep} {id} from {from} to {to}"));
        let call = Falloc {
            mode,
            pos: from as u64,
            len: (to - from) as u64,
            keep_size,
        };
        let result = file.fallocate_at(&call, time(op));
        let end = self.disk.tick();
        // It may have found nothing to do.
        let logged = file.inode.attrs().ctime.secs as OpId == op;
        // What did not get to its end has done something.
        let harmless: &[Errno] = match mode {
            FallocMode::Allocate => &[Errno::NOSPC],
            _ if logged => &[],
            _ => &[Errno::NOSPC],
        };
        let failed = result.is_err();
        let done = self.end(op, &[id], result, harmless, |model, ()| {
            if logged {
                model.push(id, op, |_| {});
            }
            let times = (begun, end);
            note(model, id, op, times, &call, size);
        });
        if failed && logged && mode == FallocMode::Allocate {
            // Some of it, and not the size.
            let mut model = self.model();
            model.push(id, op, |_| {});
            let data = &mut model.objects[id].data;
            data.fallocate(op, (begun, end), (from, to), false, true, size);
        }
        drop(file);
        if done && moves && !self.fsync(id) {
            let tick = self.disk.tick();
            self.model().lose(&[id], tick);
        }
        done
    }
}

/// What became of the content of a file of `size` bytes.
fn note(model: &mut Model, id: ObjId, op: OpId, times: (u64, u64), call: &Falloc, size: usize) {
    let data = &mut model.objects[id].data;
    let (from, to) = (call.pos as usize, (call.pos + call.len) as usize);
    match call.mode {
        FallocMode::Allocate | FallocMode::Zero | FallocMode::Punch => {
            let grows = !call.keep_size && call.mode != FallocMode::Punch;
            let size = if grows { size.max(to) } else { size };
            let zero = call.mode != FallocMode::Allocate;
            let allocates = call.mode != FallocMode::Punch;
            data.fallocate(op, times, (from, to), zero, allocates, size);
        }
        FallocMode::Collapse => {
            let mut content = data.now().to_vec();
            content.drain(from..to);
            data.shift(op, times, from, content);
        }
        FallocMode::Insert => {
            let mut content = data.now().to_vec();
            content.splice(from..from, std::iter::repeat_n(0, to - from));
            data.shift(op, times, from, content);
        }
    }
}
