// SPDX-License-Identifier: GPL-2.0

//! The log of dm-log-writes: what was written, in the order in which it became durable.
//!
//! A super sector, then for each entry one sector that describes it and its data. Writes are logged
//! when a flush that was issued after their completion completes, just before that flush; writes
//! with FUA and marks at once. All numbers are little endian; see
//! `Documentation/admin-guide/device-mapper/log-writes.rst` and `drivers/md/dm-log-writes.c` of the
//! kernel.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt, //
};

use super::verify::Acks;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First byte on the device.
    pub at: u64,
    /// Bytes.
    pub len: u64,
    flags: u64,
    /// Where the data is in the log.
    data: u64,
    /// Text of a mark.
    pub mark: Option<String>,
}

impl Entry {
    /// Whether all before it is durable with it.
    pub fn is_flush(&self) -> bool {
        self.flags & FLUSH != 0
    }

    /// Whether it is durable by itself.
    pub fn is_fua(&self) -> bool {
        self.flags & FUA != 0
    }

    /// Whether it discards.
    pub fn is_discard(&self) -> bool {
        self.flags & DISCARD != 0
    }

    /// Whether it has data.
    pub fn is_write(&self) -> bool {
        self.len != 0 && !self.is_discard() && self.mark.is_none()
    }

    /// Whether the state with everything up to it is one that a crash can leave.
    pub fn is_point(&self) -> bool {
        self.is_flush() || self.is_fua()
    }
}

/// A log.
pub struct Log {
    file: File,
    /// All entries.
    pub entries: Vec<Entry>,
}

fn word(bytes: &[u8], n: usize) -> u64 {
    let bytes = bytes.get(n * 8..n * 8 + 8).and_then(|b| b.try_into().ok());
    u64::from_le_bytes(bytes.unwrap_or_default())
}

impl Log {
    /// Reads all entries, without their data.
    pub fn open(file: File) -> io::Result<Self> {
        let mut sector = [0; 512];
        file.read_exact_at(&mut sector, 0)?;
        let size = word(&sector, 3) & 0xffff_ffff;
        if word(&sector, 0) != MAGIC || word(&sector, 1) != 1 || !(512..=4096).contains(&size) {
            return Err(io::Error::other("this is no log of dm-log-writes"));
        }
        let count = word(&sector, 2);
        let mut entries = Vec::new();
        let mut at = size;
        for _ in 0..count {
            file.read_exact_at(&mut sector, at)?;
            let (flags, text) = (word(&sector, 2), word(&sector, 3) as usize);
            let mark = (flags & MARK != 0)
                .then(|| sector.get(32..32 + text.min(480)).unwrap_or_default())
                .map(|text| String::from_utf8_lossy(text).into_owned());
            let entry = Entry {
                at: word(&sector, 0) * size,
                len: word(&sector, 1) * size,
                flags,
                data: at + size,
                mark,
            };
            at += size;
            if !entry.is_discard() {
                at += entry.len;
            }
            entries.push(entry);
        }
        Ok(Self { file, entries })
    }

    /// The data of an entry.
    pub fn data(&self, entry: &Entry) -> io::Result<Vec<u8>> {
        let mut data = vec![0; entry.len as usize];
        self.file.read_exact_at(&mut data, entry.data)?;
        Ok(data)
    }

    /// The next entry from `from` on that ends a crash state.
    pub fn next_point(&self, from: usize) -> Option<usize> {
        let rest = self.entries.get(from..)?;
        rest.iter().position(Entry::is_point).map(|n| from + n)
    }

    /// What the marks among the first `count` entries acknowledge.
    pub fn acks(&self, count: usize) -> Acks {
        let mut acks = Acks::default();
        for mark in self.entries[..count].iter().filter_map(|e| e.mark.as_ref()) {
            acks.line(mark);
        }
        acks
    }

    /// Writes the entries of a range to a device or image.
    pub fn replay(&self, to: &File, range: std::ops::Range<usize>) -> io::Result<()> {
        for entry in &self.entries[range] {
            if entry.is_discard() {
                let zeroes = vec![0; 1 << 20];
                let end = entry.at + entry.len;
                let mut at = entry.at;
                while at < end {
                    let len = (end - at).min(zeroes.len() as u64);
                    to.write_all_at(&zeroes[..len as usize], at)?;
                    at += len;
                }
            } else if entry.is_write() {
                to.write_all_at(&self.data(entry)?, entry.at)?;
            }
        }
        Ok(())
    }
}
