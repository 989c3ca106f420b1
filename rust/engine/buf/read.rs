// SPDX-License-Identifier: GPL-2.0

//! Lookup, read and verification; new blocks.

use super::*;
use crate::format::{defect::DefectKind, verify_block, Defect};
use crate::sys::device::IoToken;
use crate::sys::{BlockIo, Report, SysResult};

impl BlockIo for Buf {
    type Class = BufContent;

    fn content(&self) -> &ContentLock<Block, BufContent> {
        &self.content
    }

    fn complete(this: Arc<Self>, token: IoToken, result: SysResult<()>) {
        match token {
            IoToken::Read(token) => this.read_done(token, result),
            IoToken::Write(token) => this.write_done(token, result),
        }
    }
}

impl Buf {
    fn new(
        cache: &Arc<BufCache>,
        block: DiskBlock,
        kind: BlockKind,
        owner: Owner,
        state: BufState,
        content: Block,
    ) -> Self {
        Self {
            state: state.keyed(block.get()),
            block,
            owner: AtomicU64::new(owner.0),
            kind: AtomicU32::new(kind::code(kind)),
            error: AtomicU32::new(0),
            item: LogItem::new(),
            flight: Spin::new(None),
            cache: cache.clone(),
            content: ContentLock::new(content),
        }
    }

    pub(super) fn kind(&self) -> BlockKind {
        kind::kind(self.kind.load(Ordering::Relaxed))
    }

    pub(super) fn owner(&self) -> Owner {
        Owner(self.owner.load(Ordering::Relaxed))
    }

    /// Logs and records damage of the block and gives the error for it.
    #[track_caller]
    pub(super) fn damaged(&self, when: &str, defect: Defect) -> Error {
        self.cache.damaged(self.block, self.kind(), when, defect)
    }

    /// The end of the read that made the buffer. In task context; does not wait for other I/O.
    fn read_done(self: Arc<Self>, mut token: sys::ExclToken, result: SysResult<()>) {
        let verdict = match result {
            Ok(()) => {
                let content = self.content.access(&mut token);
                verify_block(
                    &content,
                    self.kind(),
                    &self.cache.context,
                    self.block,
                    Some(self.owner()),
                )
                .map_err(|defect| self.damaged("read", defect))
            }
            Err(errno) => {
                sys::pr_err!(
                    "block {} ({}) could not be read: {}\n",
                    self.block,
                    self.kind().as_str(),
                    errno
                );
                let error = Error::new(errno);
                self.cache.dev.report(Report::Metadata(errno));
                self.cache.faults.note(&error, 0, self.block.get());
                Err(error)
            }
        };
        if let Err(error) = &verdict {
            // Visible to whoever sees READING gone: the step that ends the read releases.
            self.error
                .store(error.errno().raw() as u32, Ordering::Relaxed);
        }

        sys::sync_point!("eb.read.before_end", self.block.get());
        self.content.unlock(token);
        let dead = self.state.end_read(verdict.is_ok());
        self.cache.read_queue(self.block).wake_all();
        if let Some(token) = dead {
            self.cache.bury(&self, token);
        }
    }
}

impl BufCache {
    pub(super) fn read_queue(&self, block: DiskBlock) -> &WaitQueue {
        // The mask keeps the number below the length of the array.
        &self.read_queues[block.get() as usize & (READ_QUEUES - 1)]
    }

    /// Logs and records damage found in a block and gives the error for it: EBADMSG for a bad
    /// checksum, else EUCLEAN.
    #[track_caller]
    pub(crate) fn damaged(
        &self,
        block: DiskBlock,
        kind: BlockKind,
        when: &str,
        defect: Defect,
    ) -> Error {
        let errno = if defect.is_checksum() {
            Errno::BADMSG
        } else {
            Errno::UCLEAN
        };
        let error = Error::new(errno);
        sys::pr_err!(
            "corruption in block {} ({}) on {}: {}\n",
            block,
            kind.as_str(),
            when,
            defect
        );
        self.faults.note(&error, 0, block.get());
        error
    }

    /// The buffer of `block`, if it is cached and its content is valid. Does not sleep.
    pub fn find(&self, block: DiskBlock) -> Option<BufRef> {
        let buf = self.peek(block)?;
        let state = buf.buf.state.load();
        (state.is_uptodate() && !state.is_stale()).then_some(buf)
    }

    /// The buffer of `block`, which the caller knows to be a `kind` of `owner`: from the cache or
    /// from the disk, verified.
    ///
    /// May sleep for I/O and memory; with a transaction open it does not fail for memory.
    /// Errors: EIO; EBADMSG for a bad checksum; EUCLEAN if the block is not what the caller was
    /// told it is, with block and field in the log; ENOMEM.
    pub fn read(
        self: &Arc<Self>,
        block: DiskBlock,
        kind: BlockKind,
        owner: Owner,
    ) -> Result<BufRef> {
        let buf = match self.peek(block) {
            Some(buf) => buf,
            None => self.start_read(block, kind, owner, sys::in_txn())?,
        };
        self.read_queue(block)
            .wait(|| !buf.buf.state.load().is_reading());
        self.check_identity(buf, kind, owner)
    }

    /// Starts reading `block` into the cache if it is not there. Errors are those of a later
    /// [`Self::read`]. May sleep for memory, not for the I/O.
    pub fn readahead(self: &Arc<Self>, block: DiskBlock, kind: BlockKind, owner: Owner) {
        if self.peek(block).is_none() {
            let _ = self.start_read(block, kind, owner, false);
        }
    }

    fn start_read(
        self: &Arc<Self>,
        block: DiskBlock,
        kind: BlockKind,
        owner: Owner,
        must: bool,
    ) -> Result<BufRef> {
        kind::place(kind, &self.context, block)
            .map_err(|defect| self.damaged(block, kind, "lookup", defect))?;
        let content = if must {
            Block::must_zeroed()
        } else {
            Block::try_zeroed()?
        };
        let new = Buf::new(self, block, kind, owner, BufState::new_reading(), content);

        match self.insert(new, must)? {
            Ok(buf) => {
                // READING keeps everybody else off the content, so there is nothing to wait for, and
                // it does not matter which other block's content the caller holds.
                let token = match buf.buf.content.try_lock_owned() {
                    Some(token) => token,
                    None => buf.buf.content.lock_owned(),
                };
                self.dev.submit_read(block.get(), buf.buf.clone(), token);
                Ok(buf)
            }
            Err(other) => Ok(other),
        }
    }

    /// What is cached must be what the caller expects: the second use of a block that an image
    /// claims twice ends here.
    fn check_identity(&self, buf: BufRef, kind: BlockKind, owner: Owner) -> Result<BufRef> {
        let state = buf.buf.state.load();
        if !state.is_uptodate() {
            let errno = buf.buf.error.load(Ordering::Relaxed);
            if errno != 0 {
                return Err(Error::new(Errno::from_raw(errno as i32)));
            }
            let defect = Defect::new("pointer to a freed block", DefectKind::Address);
            return Err(self.damaged(buf.block(), kind, "lookup", defect));
        }
        if buf.kind() != kind {
            let defect = Defect::new("magic", DefectKind::Magic);
            return Err(self.damaged(buf.block(), kind, "lookup", defect));
        }
        if buf.owner() != owner {
            let defect = Defect::new("owner", DefectKind::Owner);
            return Err(self.damaged(buf.block(), kind, "lookup", defect));
        }
        Ok(buf)
    }

    /// A buffer for a block that was just allocated: zeroes behind the common header, valid, not
    /// dirty. Its first change makes it dirty.
    ///
    /// May sleep; never fails for memory. Errors: EUCLEAN if the cache knows that the block is in
    /// use.
    pub fn fresh(
        self: &Arc<Self>,
        block: DiskBlock,
        kind: BlockKind,
        owner: Owner,
    ) -> Result<BufRef> {
        kind::place(kind, &self.context, block)
            .map_err(|defect| self.damaged(block, kind, "allocation", defect))?;

        let buf = match self.peek(block) {
            Some(buf) => buf,
            None => {
                let mut content = Block::must_zeroed();
                self.head(&mut content, block, kind, owner);
                let new = Buf::new(self, block, kind, owner, BufState::new_uptodate(), content);
                match self.insert(new, true)? {
                    Ok(buf) => return Ok(buf),
                    Err(other) => other,
                }
            }
        };
        self.renew(buf, kind, owner)
    }

    /// Gives a cached buffer of a free block its new life.
    fn renew(&self, buf: BufRef, kind: BlockKind, owner: Owner) -> Result<BufRef> {
        self.read_queue(buf.block())
            .wait(|| !buf.buf.state.load().is_reading());

        let mut content = buf.write();
        let state = buf.buf.state.load();
        // Somebody may still look at a freed block, but nobody can have plans with it.
        if state.is_dirty() || (!state.is_stale() && state.refs() > 1) {
            let defect = Defect::new("free block in use", DefectKind::Mismatch);
            return Err(self.damaged(buf.block(), kind, "allocation", defect));
        }
        self.head(&mut content, buf.block(), kind, owner);
        buf.buf.kind.store(kind::code(kind), Ordering::Relaxed);
        buf.buf.owner.store(owner.0, Ordering::Relaxed);
        buf.buf.error.store(0, Ordering::Relaxed);
        buf.buf.state.revive();
        drop(content);
        Ok(buf)
    }

    /// The block was freed: what is cached of it is never written again and goes with its last
    /// user. Returns the buffer if there is one. May sleep: waits for readers and for the end of
    /// writeback.
    pub(crate) fn forget(&self, block: DiskBlock) -> Option<BufRef> {
        let buf = self.peek(block)?;
        self.read_queue(block)
            .wait(|| !buf.buf.state.load().is_reading());
        let mut content = buf.write();
        buf.mark_stale(&mut content);
        drop(content);
        Some(buf)
    }

    fn head(&self, content: &mut Block, block: DiskBlock, kind: BlockKind, owner: Owner) {
        content.fill(0);
        if kind.magic().is_some() {
            *BlockHeader::of_mut(content) =
                BlockHeader::new(kind, self.context.instance, block, owner);
        }
    }
}
