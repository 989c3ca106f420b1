// SPDX-License-Identifier: GPL-2.0

//! Direct writes: ring 3's choice of locks, and `iomap_dio_rw`.

use crate::{errno, Errno, File, Ioends, Result, EFAULT, PAGE};
use latchfs_engine::engine::file::{self, Bmap, BmapKind, DirectHow, NOTBLK};
use latchfs_host::{relax, Block, IolockExcl};
use std::sync::{
    atomic::{AtomicBool, AtomicU64, Ordering},
    Arc,
};

/// `bdev_logical_block_size`.
const SECTOR: u64 = 512;

/// Largest bio.
const BIO: usize = 16 * 1024;

/// A direct write on its way: `struct iomap_dio`.
pub(crate) struct Dio {
    pos: u64,
    /// Bytes submitted.
    size: u64,
    /// `IOMAP_DIO_UNWRITTEN`
    unwritten: bool,
    error: Option<Errno>,
    bios: Vec<Bio>,
    end: Arc<DioEnd>,
}

struct Bio {
    addr: u64,
    data: Vec<u8>,
}

/// What the submitter of a direct write waits for.
pub struct DioEnd {
    done: AtomicBool,
    /// Bytes, or an errno in the upper half.
    result: AtomicU64,
}

impl DioEnd {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            done: AtomicBool::new(false),
            result: AtomicU64::new(0),
        })
    }

    fn finish(&self, result: Result<usize>) {
        let word = match result {
            Ok(n) => n as u64,
            Err(e) => (e.raw() as u64) << 32,
        };
        self.result.store(word, Ordering::Relaxed);
        self.done.store(true, Ordering::Release);
    }

    /// The result, if the write has ended: `ki_complete`.
    pub fn result(&self) -> Option<Result<usize>> {
        if !self.done.load(Ordering::Acquire) {
            return None;
        }
        let word = self.result.load(Ordering::Relaxed);
        Some(match (word >> 32) as i32 {
            0 => Ok(word as usize),
            e => Err(Errno::from_raw(e)),
        })
    }
}

/// How a submission went.
pub enum Direct {
    /// It is over, with so many bytes.
    Done(usize),
    /// `-EIOCBQUEUED`.
    Queued(Arc<DioEnd>),
}

/// What a write asks of `iomap_dio_rw`.
#[derive(Clone, Copy)]
struct Flags {
    overwrite_only: bool,
    wait: bool,
}

/// A user buffer of which all from `resident` on has to be faulted in.
struct Buffer<'a> {
    bytes: &'a [u8],
    resident: usize,
}

impl File {
    /// write(2) with O_DIRECT.
    pub fn write_direct(&self, pos: u64, bytes: &[u8]) -> Result<usize> {
        self.write_direct_from(pos, bytes, bytes.len())
    }

    /// [`Self::write_direct`] from a buffer of which only the first `resident` bytes are in memory.
    pub fn write_direct_from(&self, pos: u64, bytes: &[u8], resident: usize) -> Result<usize> {
        match self.direct(pos, bytes, resident, true)? {
            Direct::Done(n) => Ok(n),
            Direct::Queued(_) => panic!("a synchronous write was queued"),
        }
    }

    /// io_submit(2) or io_uring.
    pub fn submit_direct(&self, pos: u64, bytes: &[u8]) -> Result<Direct> {
        self.direct(pos, bytes, bytes.len(), false)
    }

    fn direct(&self, pos: u64, bytes: &[u8], resident: usize, sync: bool) -> Result<Direct> {
        let len = bytes.len() as u64;
        if !(pos | len).is_multiple_of(SECTOR) {
            return Err(Errno::INVAL);
        }
        let buffer = Buffer { bytes, resident };
        let mut shared = pos + len <= self.i_size();
        let done = loop {
            let result = if shared {
                self.direct_shared(pos, &buffer, sync)
            } else {
                self.direct_excl(pos, &buffer, sync)
            };
            match result {
                Err(Errno::AGAIN) if shared => shared = false,
                Ok(Direct::Done(n)) => break n,
                other => return other,
            }
        };
        if done == bytes.len() {
            return Ok(Direct::Done(done));
        }
        // The rest goes through the page cache: direct_write_fallback.
        let at = pos + done as u64;
        match self.write(at, &bytes[done..]) {
            Err(e) if done == 0 => Err(e),
            Err(_) => Ok(Direct::Done(done)),
            Ok(n) => {
                self.write_and_wait(at, at + (n as u64).max(1) - 1);
                self.invalidate_pages(at, n as u64);
                Ok(Direct::Done(done + n))
            }
        }
    }

    /// Inside of the file, i_rwsem shared. EAGAIN: it has to be exclusive.
    fn direct_shared(&self, pos: u64, buffer: &Buffer<'_>, sync: bool) -> Result<Direct> {
        let _iolock = self.iolock.read();
        let len = buffer.bytes.len() as u64;
        if pos + len > self.i_size() {
            return Err(Errno::AGAIN);
        }
        let flags = Flags {
            overwrite_only: !(pos | len).is_multiple_of(PAGE),
            wait: sync,
        };
        self.dio_faulting(pos, buffer, None, flags)
    }

    fn direct_excl(&self, pos: u64, buffer: &Buffer<'_>, sync: bool) -> Result<Direct> {
        let _iolock = self.iolock.write();
        let len = buffer.bytes.len() as u64;
        let size = self.i_size();
        let unaligned = !(pos | len).is_multiple_of(PAGE);
        if unaligned || pos > size {
            self.dio_wait();
        }
        if pos > size {
            let _invalidate = self.invalidate.write();
            self.zero_gap(size, pos)?;
        }
        let flags = Flags {
            overwrite_only: false,
            wait: sync || unaligned || pos + len > size,
        };
        let lock = IolockExcl::assume(self.ino());
        self.dio_faulting(pos, buffer, Some(&lock), flags)
    }

    /// The loop around `iomap_dio_rw(IOMAP_DIO_PARTIAL)` with `nofault`: user memory is brought in
    /// while nothing is in flight that is not submitted.
    fn dio_faulting(
        &self,
        pos: u64,
        buffer: &Buffer<'_>,
        lock: Option<&IolockExcl<'_>>,
        flags: Flags,
    ) -> Result<Direct> {
        let mut done = 0;
        let mut resident = buffer.resident;
        loop {
            let left = Buffer {
                bytes: &buffer.bytes[done..],
                resident: resident.saturating_sub(done),
            };
            let short = match self.dio_rw(pos + done as u64, &left, lock, flags) {
                Ok(Direct::Done(n)) => {
                    done += n;
                    done < buffer.bytes.len()
                }
                Err(EFAULT) => true,
                Err(NOTBLK) => return Ok(Direct::Done(done)),
                Err(_) if done > 0 => return Ok(Direct::Done(done)),
                other => return other,
            };
            if !short || resident == buffer.bytes.len() {
                return Ok(Direct::Done(done));
            }
            resident = buffer.bytes.len();
        }
    }

    /// `iomap_dio_rw`.
    fn dio_rw(
        &self,
        pos: u64,
        buffer: &Buffer<'_>,
        lock: Option<&IolockExcl<'_>>,
        flags: Flags,
    ) -> Result<Direct> {
        let end = pos + buffer.bytes.len() as u64;
        if flags.overwrite_only && end > self.i_size() {
            return Err(Errno::AGAIN);
        }
        // kiocb_invalidate_pages
        self.write_and_wait(pos, end - 1);
        if !self.invalidate_pages(pos, end - pos) {
            return Err(NOTBLK);
        }
        self.dios.fetch_add(1, Ordering::AcqRel);
        let mut dio = Dio {
            pos,
            size: 0,
            unwritten: false,
            error: None,
            bios: Vec::new(),
            end: DioEnd::new(),
        };
        let mut wait = flags.wait;
        match self.dio_submit(&mut dio, pos, buffer, lock, flags) {
            Err(EFAULT) if dio.size > 0 => wait = true,
            Err(NOTBLK) => wait = true,
            Err(e) => dio.error = Some(e),
            Ok(()) => {}
        }
        let state = dio.end.clone();
        if self.ioends == Ioends::Now || dio.bios.is_empty() {
            self.dio_finish(dio);
        } else {
            self.dio_queue.lock().push(dio);
            if !wait {
                return Ok(Direct::Queued(state));
            }
        }
        loop {
            if let Some(result) = state.result() {
                return result.map(Direct::Done);
            }
            if !self.run_direct_one() {
                relax();
            }
        }
    }

    /// The iterations of `iomap_dio_rw`.
    fn dio_submit(
        &self,
        dio: &mut Dio,
        pos: u64,
        buffer: &Buffer<'_>,
        lock: Option<&IolockExcl<'_>>,
        flags: Flags,
    ) -> Result {
        let end = pos + buffer.bytes.len() as u64;
        let how = DirectHow {
            nowait: false,
            overwrite_only: flags.overwrite_only,
        };
        let mut at = pos;
        while at < end {
            let (m, inode) = (&self.m, &self.inode);
            let map = file::direct_write_begin(m, inode, lock, at, end - at, how).map_err(errno)?;
            assert!(map.offset <= at && at < map.offset + map.len);
            assert!(
                matches!(map.kind, BmapKind::Mapped | BmapKind::Unwritten),
                "iomap would fail the write"
            );
            let len = (end - at).min(map.offset + map.len - at);
            let skip = (at - pos) as usize;
            let bytes = &buffer.bytes[skip..skip + len as usize];
            let resident = buffer.resident.saturating_sub(skip).min(bytes.len());
            let written = self.dio_bio_iter(dio, &map, at, bytes, resident);
            file::direct_write_end(m, inode, at, len, written, map.new);
            if written < len {
                return Err(EFAULT);
            }
            at += len;
        }
        Ok(())
    }

    /// `iomap_dio_bio_iter`. Returns how much of it could be submitted.
    fn dio_bio_iter(
        &self,
        dio: &mut Dio,
        map: &Bmap,
        pos: u64,
        bytes: &[u8],
        resident: usize,
    ) -> u64 {
        let unwritten = map.kind == BmapKind::Unwritten;
        dio.unwritten |= unwritten;
        let zeroes = unwritten || map.new;
        let addr = |at: u64| map.addr + at - map.offset;
        let mut zero = |from: u64, to: u64| {
            if from < to {
                dio.bios.push(Bio {
                    addr: addr(from),
                    data: vec![0; (to - from) as usize],
                });
            }
        };
        if zeroes {
            zero(pos / PAGE * PAGE, pos);
        }
        let copied = resident as u64 / SECTOR * SECTOR;
        let end = pos + copied;
        if zeroes || end >= self.i_size() {
            zero(end, end.next_multiple_of(PAGE));
        }
        for (n, part) in bytes[..copied as usize].chunks(BIO).enumerate() {
            dio.bios.push(Bio {
                addr: addr(pos + (n * BIO) as u64),
                data: part.to_vec(),
            });
        }
        dio.size += copied;
        copied
    }

    /// `invalidate_inode_pages2_range`: whether no page is left.
    fn invalidate_pages(&self, pos: u64, len: u64) -> bool {
        let mut all = true;
        for folio in self.mapping.all(pos / PAGE, (pos + len).div_ceil(PAGE)) {
            let mut data = folio.lock();
            if !data.mapped {
                continue;
            }
            self.wait_folio(&folio);
            if data.dirty {
                all = false;
            } else {
                self.mapping.remove(&folio, &mut data);
            }
        }
        all
    }

    /// Carries out one bio of a direct write, and its completion if it was the last; `false` if
    /// there is none.
    pub fn run_direct_one(&self) -> bool {
        let picked = {
            let mut queue = self.dio_queue.lock();
            if queue.is_empty() {
                None
            } else {
                let n = self.random() as usize % queue.len();
                Some(queue.swap_remove(n))
            }
        };
        let Some(mut dio) = picked else {
            return false;
        };
        if dio.bios.is_empty() {
            self.dio_complete(dio);
            return true;
        }
        let n = self.random() as usize % dio.bios.len();
        let bio = dio.bios.swap_remove(n);
        self.dio_bio(&mut dio, bio);
        if dio.bios.is_empty() {
            self.dio_complete(dio);
        } else {
            self.dio_queue.lock().push(dio);
        }
        true
    }

    fn dio_finish(&self, mut dio: Dio) {
        for bio in std::mem::take(&mut dio.bios) {
            self.dio_bio(&mut dio, bio);
        }
        self.dio_complete(dio);
    }

    fn dio_bio(&self, dio: &mut Dio, bio: Bio) {
        let failed = self.fail.data_writes.load(Ordering::Relaxed);
        let done = if failed {
            Err(Errno::IO)
        } else {
            self.write_bytes(bio.addr, &bio.data)
        };
        if let Err(e) = done {
            dio.error.get_or_insert(e);
        }
    }

    /// Sectors to the device.
    fn write_bytes(&self, addr: u64, bytes: &[u8]) -> Result {
        let dev = self.m.buf().device();
        let mut at = 0;
        while at < bytes.len() {
            let place = addr + at as u64;
            let inside = (place % PAGE) as usize;
            let n = (bytes.len() - at).min(PAGE as usize - inside);
            let mut block = Block::try_zeroed()?;
            if n < PAGE as usize {
                dev.read_block(place / PAGE, &mut block)?;
            }
            block[inside..inside + n].copy_from_slice(&bytes[at..at + n]);
            dev.write_block(place / PAGE, &block)?;
            at += n;
        }
        Ok(())
    }

    /// `iomap_dio_complete`, with ring 3's `end_io`.
    fn dio_complete(&self, dio: Dio) {
        let end = dio.pos + dio.size;
        let mut result = dio.error.map_or(Ok(dio.size as usize), Err);
        let task = dio.unwritten || dio.error.is_some() || end > self.i_size();
        let inode = &self.inode;
        if file::direct_write_needs_completion(inode, end, dio.unwritten, dio.error) {
            assert!(task, "iomap may end this in interrupt context");
            match file::direct_write_complete(&self.m, inode, dio.pos, dio.size, dio.error) {
                Ok(Some(size)) => self.set_i_size(size),
                Ok(None) => {}
                Err(e) => result = Err(errno(e)),
            }
        }
        if dio.error.is_none() && dio.size > 0 {
            // kiocb_invalidate_post_direct_write: what cannot go stays.
            self.invalidate_pages(dio.pos, dio.size);
        }
        self.dios.fetch_sub(1, Ordering::AcqRel);
        dio.end.finish(result);
    }

    /// `inode_dio_wait`.
    pub fn dio_wait(&self) {
        while self.dios.load(Ordering::Acquire) != 0 {
            if !self.run_direct_one() {
                relax();
            }
        }
    }
}
