// SPDX-License-Identifier: GPL-2.0

//! From the blocks of a checkpoint to its records.
//!
//! A checkpoint may have a quarter of the log, so it is never in memory as a whole: payloads are
//! fed to a [`Decoder`] block by block, and records come out as they become complete. The decoder
//! has room for one record. Whatever it is fed, it ends with a [`Defect`] or with a commit record
//! that is the last thing in the payload.

#[cfg(doc)]
use super::record::MAX_RECORD;
use super::record::{CommitBody, Record, RecordHead, RecordKind, RECORD_HEAD};
use crate::format::{
    defect::{ensure, Defect, DefectKind},
    header::Context,
};

/// Takes payloads, gives records.
pub struct Decoder<'b> {
    /// The beginning of the record that is being collected.
    bytes: &'b mut [u8],
    have: usize,
    /// The bytes are those of a record that was given out: the next call forgets them.
    given: bool,
    records: u32,
    /// The commit record, when it has been seen; nothing may follow.
    commit: Option<CommitBody>,
}

impl<'b> Decoder<'b> {
    /// A decoder at the beginning of a checkpoint. `bytes` is where it collects a record that is
    /// split over blocks, [`MAX_RECORD`] bytes; with less, it fails over longer records.
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self {
            bytes,
            have: 0,
            given: false,
            records: 0,
            commit: None,
        }
    }

    /// Begins with another checkpoint.
    pub fn reset(&mut self) {
        self.have = 0;
        self.given = false;
        self.records = 0;
        self.commit = None;
    }

    /// Bytes that the record being collected lacks, as far as it is known.
    fn missing(&self) -> Result<usize, Defect> {
        let len = match RecordHead::parse(self.bytes.get(..self.have).unwrap_or(&[])) {
            None => RECORD_HEAD,
            Some(head) => head?.1,
        };
        Ok(len.saturating_sub(self.have))
    }

    /// Takes bytes off the front of `payload` until a record is complete, and gives it out; or
    /// takes all of them and gives [`None`].
    pub fn next(
        &mut self,
        payload: &mut &[u8],
        context: &Context,
    ) -> Result<Option<Record<'_>>, Defect> {
        use DefectKind::Mismatch;

        if self.given {
            (self.have, self.given) = (0, false);
        }
        loop {
            // Once for the head, once for the rest.
            let missing = self.missing()?;
            if missing == 0 {
                break;
            }
            if payload.is_empty() {
                return Ok(None);
            }
            ensure(self.commit.is_none(), "commit", Mismatch)?;
            let n = missing.min(payload.len());
            let (now, later) = payload
                .split_at_checked(n)
                .ok_or(Defect::new("len", Mismatch))?;
            let end = self.have.saturating_add(n);
            self.bytes
                .get_mut(self.have..end)
                .ok_or(Defect::new("len", Mismatch))?
                .copy_from_slice(now);
            self.have = end;
            *payload = later;
        }
        self.given = true;
        self.records = self.records.saturating_add(1);
        let bytes = self.bytes.get(..self.have).unwrap_or(&[]);
        let record = Record::parse(bytes, context)?;
        if let Record::Commit(body) = record {
            ensure(body.records.get() == self.records, "records", Mismatch)?;
            self.commit = Some(*body);
        }
        Ok(Some(record))
    }

    /// The end of the checkpoint: its commit record. Fails if there was none, or if something is
    /// behind it.
    pub fn finish(&self) -> Result<CommitBody, Defect> {
        let missing = Defect::new(RecordKind::Commit.as_str(), DefectKind::Mismatch);
        ensure(self.given || self.have == 0, missing.field, missing.kind)?;
        self.commit.ok_or(missing)
    }

    /// Records so far, the commit record included.
    pub fn records(&self) -> u32 {
        self.records
    }
}
