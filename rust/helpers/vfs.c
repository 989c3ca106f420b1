// SPDX-License-Identifier: GPL-2.0
/*
 * What rust/kapi needs of the VFS and of iomap that C has only as static
 * inline functions or macros.  No logic here: one call each, and the table of
 * mount options, which only C macros can write.
 */
#include <linux/backing-dev.h>
#include <linux/blkdev.h>
#include <linux/compat.h>
#include <linux/exportfs.h>
#include <linux/fileattr.h>
#include <linux/filelock.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/fserror.h>
#include <linux/iomap.h>
#include <linux/iversion.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/posix_acl.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/statfs.h>
#include <linux/uuid.h>
#include <linux/workqueue.h>

/* Constants that bindgen cannot evaluate. */
const u32 LATCHFS_CONST_SB_RDONLY = SB_RDONLY;
const u32 LATCHFS_CONST_SB_SILENT = SB_SILENT;
const u32 LATCHFS_CONST_SB_ACTIVE = SB_ACTIVE;
const u32 LATCHFS_CONST_SB_I_VERSION = SB_I_VERSION;
const u32 LATCHFS_CONST_SB_NOSEC = SB_NOSEC;
const u32 LATCHFS_CONST_SB_I_CGROUPWB = SB_I_CGROUPWB;
const u32 LATCHFS_CONST_FMODE_CAN_ODIRECT = (__force u32)FMODE_CAN_ODIRECT;
const u32 LATCHFS_CONST_FMODE_NOWAIT = (__force u32)FMODE_NOWAIT;
const u32 LATCHFS_CONST_FMODE_32BITHASH = (__force u32)FMODE_32BITHASH;
const u32 LATCHFS_CONST_FMODE_64BITHASH = (__force u32)FMODE_64BITHASH;
const u32 LATCHFS_CONST_IOCB_NOWAIT = (__force u32)IOCB_NOWAIT;
const u32 LATCHFS_CONST_IOCB_DSYNC = (__force u32)IOCB_DSYNC;
const u32 LATCHFS_CONST_FOP_BUFFER_RASYNC = (__force u32)FOP_BUFFER_RASYNC;
const u32 LATCHFS_CONST_FOP_BUFFER_WASYNC = (__force u32)FOP_BUFFER_WASYNC;
const u32 LATCHFS_CONST_FOP_DONTCACHE = (__force u32)FOP_DONTCACHE;
const loff_t LATCHFS_CONST_MAX_LFS_FILESIZE = MAX_LFS_FILESIZE;
const u32 LATCHFS_CONST_I_NEW = I_NEW;
const u32 LATCHFS_CONST_UUID_SIZE = UUID_SIZE;

/* inode cache */

struct kmem_cache *latchfs_helper_inode_cache(const char *name,
					      unsigned int size,
					      void (*ctor)(void *))
{
	return kmem_cache_create(name, size, 0,
				 SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT, ctor);
}

void *latchfs_helper_alloc_inode_sb(struct super_block *sb,
				    struct kmem_cache *cache)
{
	return alloc_inode_sb(sb, cache, GFP_KERNEL);
}

/* ioend queue of an inode */

void latchfs_helper_ioends_init(spinlock_t *lock, struct list_head *list,
				struct work_struct *work, work_func_t fn)
{
	spin_lock_init(lock);
	INIT_LIST_HEAD(list);
	INIT_WORK(work, fn);
}

/*
 * Queues @work for the first entry.  Under the lock, since the inode may be
 * gone as soon as the worker can see @entry.
 */
void latchfs_helper_ioends_add(spinlock_t *lock, struct list_head *list,
			       struct list_head *entry,
			       struct workqueue_struct *wq,
			       struct work_struct *work)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	if (list_empty(list))
		queue_work(wq, work);
	list_add_tail(entry, list);
	spin_unlock_irqrestore(lock, flags);
}

void latchfs_helper_ioends_take(spinlock_t *lock, struct list_head *list,
				struct list_head *to)
{
	unsigned long flags;

	INIT_LIST_HEAD(to);
	spin_lock_irqsave(lock, flags);
	list_splice_tail_init(list, to);
	spin_unlock_irqrestore(lock, flags);
}

struct iomap_ioend *latchfs_helper_ioends_pop(struct list_head *list)
{
	struct iomap_ioend *ioend;

	ioend = list_first_entry_or_null(list, struct iomap_ioend, io_list);
	if (ioend)
		list_del_init(&ioend->io_list);
	return ioend;
}

struct workqueue_struct *latchfs_helper_ioend_workqueue(const char *id)
{
	return alloc_workqueue("latchfs-conv/%s",
			       WQ_FREEZABLE | WQ_MEM_RECLAIM | WQ_UNBOUND, 0,
			       id);
}

struct iomap_ioend *latchfs_helper_ioend_from_bio(struct bio *bio)
{
	return iomap_ioend_from_bio(bio);
}

int latchfs_helper_bio_errno(struct bio *bio)
{
	return blk_status_to_errno(bio->bi_status);
}

void latchfs_helper_bio_complete_here(struct bio *bio)
{
	bio_clear_flag(bio, BIO_COMPLETE_IN_TASK);
}

/* inodes */

void latchfs_helper_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}

bool latchfs_helper_inode_trylock(struct inode *inode)
{
	return inode_trylock(inode);
}

void latchfs_helper_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}

void latchfs_helper_inode_lock_shared(struct inode *inode)
{
	inode_lock_shared(inode);
}

bool latchfs_helper_inode_trylock_shared(struct inode *inode)
{
	return inode_trylock_shared(inode);
}

void latchfs_helper_inode_unlock_shared(struct inode *inode)
{
	inode_unlock_shared(inode);
}

void latchfs_helper_assert_inode_locked_excl(struct inode *inode)
{
	lockdep_assert_held_write(&inode->i_rwsem);
	WARN_ON_ONCE(!rwsem_is_locked(&inode->i_rwsem));
}

void latchfs_helper_assert_invalidate_excl(struct inode *inode)
{
	lockdep_assert_held_write(&inode->i_mapping->invalidate_lock);
	WARN_ON_ONCE(!rwsem_is_locked(&inode->i_mapping->invalidate_lock));
}

void latchfs_helper_assert_folio_locked(struct folio *folio)
{
	WARN_ON_ONCE(!folio_test_locked(folio));
}

void latchfs_helper_invalidate_lock(struct inode *inode)
{
	filemap_invalidate_lock(inode->i_mapping);
}

void latchfs_helper_invalidate_unlock(struct inode *inode)
{
	filemap_invalidate_unlock(inode->i_mapping);
}

void latchfs_helper_invalidate_lock_shared(struct inode *inode)
{
	filemap_invalidate_lock_shared(inode->i_mapping);
}

void latchfs_helper_invalidate_unlock_shared(struct inode *inode)
{
	filemap_invalidate_unlock_shared(inode->i_mapping);
}

unsigned int latchfs_helper_inode_state(struct inode *inode)
{
	return inode_state_read_once(inode);
}

loff_t latchfs_helper_i_size_read(const struct inode *inode)
{
	return i_size_read(inode);
}

void latchfs_helper_i_size_write(struct inode *inode, loff_t size)
{
	spin_lock(&inode->i_lock);
	i_size_write(inode, size);
	spin_unlock(&inode->i_lock);
}

void latchfs_helper_i_blocks_write(struct inode *inode, blkcnt_t sectors)
{
	spin_lock(&inode->i_lock);
	inode->i_blocks = sectors;
	spin_unlock(&inode->i_lock);
}

u32 latchfs_helper_i_uid_read(const struct inode *inode)
{
	return i_uid_read(inode);
}

u32 latchfs_helper_i_gid_read(const struct inode *inode)
{
	return i_gid_read(inode);
}

void latchfs_helper_i_uid_write(struct inode *inode, u32 uid)
{
	i_uid_write(inode, uid);
}

void latchfs_helper_i_gid_write(struct inode *inode, u32 gid)
{
	i_gid_write(inode, gid);
}

void latchfs_helper_inode_set_ctime(struct inode *inode, time64_t sec,
				    u32 nsec)
{
	inode_set_ctime(inode, sec, nsec);
}

void latchfs_helper_inode_get_ctime(struct inode *inode, struct timespec64 *ts)
{
	*ts = inode_get_ctime(inode);
}

void latchfs_helper_inode_set_flags(struct inode *inode, unsigned int flags,
				    unsigned int mask)
{
	inode_set_flags(inode, flags, mask);
}

void latchfs_helper_set_iversion_queried(struct inode *inode, u64 version)
{
	inode_set_iversion_queried(inode, version);
}

u64 latchfs_helper_peek_iversion(const struct inode *inode)
{
	return inode_peek_iversion(inode);
}

bool latchfs_helper_maybe_inc_iversion(struct inode *inode, bool force)
{
	return inode_maybe_inc_iversion(inode, force);
}

void latchfs_helper_inode_has_no_xattr(struct inode *inode)
{
	inode_has_no_xattr(inode);
}

u32 latchfs_helper_new_encode_dev(dev_t dev)
{
	return new_encode_dev(dev);
}

dev_t latchfs_helper_new_decode_dev(u32 dev)
{
	return new_decode_dev(dev);
}

void latchfs_helper_cache_no_acl(struct inode *inode)
{
	cache_no_acl(inode);
}

bool latchfs_helper_is_dirsync(const struct inode *inode)
{
	return IS_DIRSYNC(inode);
}

bool latchfs_helper_is_sync(const struct inode *inode)
{
	return IS_SYNC(inode);
}

u32 latchfs_helper_logical_block_size(struct block_device *bdev)
{
	return bdev_logical_block_size(bdev);
}

bool latchfs_helper_bdev_read_only(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}

/* page cache of an inode */

void latchfs_helper_mapping_init(struct inode *inode)
{
	mapping_set_large_folios(inode->i_mapping);
}

void latchfs_helper_mapping_set_error(struct inode *inode, int error)
{
	mapping_set_error(inode->i_mapping, error);
}

bool latchfs_helper_mapping_empty(struct inode *inode)
{
	return inode->i_mapping->nrpages == 0;
}

/* folios */

struct inode *latchfs_helper_folio_inode(struct folio *folio)
{
	return folio->mapping->host;
}

loff_t latchfs_helper_folio_pos(struct folio *folio)
{
	return folio_pos(folio);
}

size_t latchfs_helper_folio_size(struct folio *folio)
{
	return folio_size(folio);
}

void latchfs_helper_iomap_bio_read_folio(struct folio *folio,
					 const struct iomap_ops *ops)
{
	iomap_bio_read_folio(folio, ops);
}

void latchfs_helper_iomap_bio_readahead(struct readahead_control *rac,
					const struct iomap_ops *ops)
{
	iomap_bio_readahead(rac, ops);
}

struct inode *latchfs_helper_readahead_inode(struct readahead_control *rac)
{
	return rac->mapping->host;
}

/* files */

struct inode *latchfs_helper_file_inode(const struct file *file)
{
	return file_inode(file);
}

void latchfs_helper_file_accessed(struct file *file)
{
	file_accessed(file);
}

int latchfs_helper_finish_open_simple(struct file *file, int error)
{
	return finish_open_simple(file, error);
}

ssize_t latchfs_helper_generic_write_sync(struct kiocb *iocb, ssize_t count)
{
	return generic_write_sync(iocb, count);
}

bool latchfs_helper_dir_emit_dots(struct file *file, struct dir_context *ctx)
{
	return dir_emit_dots(file, ctx);
}

bool latchfs_helper_dir_emit(struct dir_context *ctx, const char *name,
			     int len, u64 ino, unsigned int type)
{
	return dir_emit(ctx, name, len, ino, type);
}

size_t latchfs_helper_iov_iter_count(const struct iov_iter *iter)
{
	return iov_iter_count(iter);
}


/* The symbolic link body of ->get_link, freed by the VFS. */
void latchfs_helper_set_delayed_kfree(struct delayed_call *call, char *link)
{
	set_delayed_call(call, kfree_link, link);
}

/* @name: a path component, not terminated */
char *latchfs_helper_kmemdup_nul(const char *name, size_t len)
{
	return kmemdup_nul(name, len, GFP_KERNEL);
}

u32 latchfs_helper_file_mode(const struct file *file)
{
	return (__force u32)file->f_mode;
}

void latchfs_helper_file_set_mode(struct file *file, u32 mode)
{
	file->f_mode |= (__force fmode_t)mode;
}

bool latchfs_helper_in_compat_syscall(void)
{
	return in_compat_syscall();
}

vm_fault_t latchfs_helper_page_mkwrite(struct vm_fault *vmf,
				       const struct iomap_ops *ops)
{
	struct inode *inode = file_inode(vmf->vma->vm_file);
	vm_fault_t ret;

	sb_start_pagefault(inode->i_sb);
	file_update_time(vmf->vma->vm_file);
	filemap_invalidate_lock_shared(inode->i_mapping);
	ret = iomap_page_mkwrite(vmf, ops, NULL);
	filemap_invalidate_unlock_shared(inode->i_mapping);
	sb_end_pagefault(inode->i_sb);
	return ret;
}

/* freeze protection */

void latchfs_helper_sb_start_write(struct super_block *sb)
{
	sb_start_write(sb);
}

void latchfs_helper_sb_end_write(struct super_block *sb)
{
	sb_end_write(sb);
}

void latchfs_helper_sb_start_pagefault(struct super_block *sb)
{
	sb_start_pagefault(sb);
}

void latchfs_helper_sb_end_pagefault(struct super_block *sb)
{
	sb_end_pagefault(sb);
}

void latchfs_helper_sb_start_intwrite(struct super_block *sb)
{
	sb_start_intwrite(sb);
}

void latchfs_helper_sb_end_intwrite(struct super_block *sb)
{
	sb_end_intwrite(sb);
}

/* super blocks */

bool latchfs_helper_sb_rdonly(const struct super_block *sb)
{
	return sb_rdonly(sb);
}

void latchfs_helper_super_set_identity(struct super_block *sb, const u8 *uuid)
{
	super_set_uuid(sb, uuid, 16);
	super_set_sysfs_name_bdev(sb);
}

void latchfs_helper_statfs_fsid(struct kstatfs *buf, const u8 *uuid)
{
	uuid_t id;

	import_uuid(&id, uuid);
	buf->f_fsid = uuid_to_fsid(id.b);
}

void latchfs_helper_sync_filesystem_data(struct super_block *sb)
{
	sync_inodes_sb(sb);
}

void latchfs_helper_report_damage(struct super_block *sb, struct inode *inode,
				  int error)
{
	fserror_report(sb, inode, FSERR_METADATA, 0, 0, error, GFP_NOFS);
}


/*
 * Mount options.  The numbers are those of enum in rust/kapi/fs_context.rs;
 * what they mean is decided in rust/fs/options.rs.
 */
enum {
	LATCHFS_OPT_ERRORS,
	LATCHFS_OPT_DISCARD,
	LATCHFS_OPT_NORECOVERY,
	LATCHFS_OPT_COMMIT,
};

static const struct constant_table latchfs_errors_values[] = {
	{ "continue",	0 },
	{ "remount-ro",	1 },
	{ "shutdown",	2 },
	{ "panic",	3 },
	{}
};

static const struct fs_parameter_spec latchfs_parameters[] = {
	fsparam_enum("errors", LATCHFS_OPT_ERRORS, latchfs_errors_values),
	fsparam_flag_no("discard", LATCHFS_OPT_DISCARD),
	fsparam_flag("norecovery", LATCHFS_OPT_NORECOVERY),
	fsparam_u32("commit", LATCHFS_OPT_COMMIT),
	{}
};

const struct fs_parameter_spec *latchfs_helper_parameters(void)
{
	return latchfs_parameters;
}

/*
 * @value: the number, or the number of an enum; 0 or 1 for a flag
 * @return the number of the option, or a negative errno (the message is in
 * the log of the context)
 */
int latchfs_helper_parse_parameter(struct fs_context *fc,
				   struct fs_parameter *param, u32 *value)
{
	struct fs_parse_result result;
	int opt;

	opt = fs_parse(fc, latchfs_parameters, param, &result);
	if (opt < 0)
		return opt;
	if (opt == LATCHFS_OPT_ERRORS || opt == LATCHFS_OPT_COMMIT)
		*value = result.uint_32;
	else
		*value = !result.negated;
	return opt;
}

int latchfs_helper_invalfc(struct fs_context *fc, const char *message)
{
	return invalfc(fc, "%s", message);
}

void latchfs_helper_errorfc(struct fs_context *fc, const char *message)
{
	errorfc(fc, "%s", message);
}

bool latchfs_helper_fileattr_has_fsx(const struct file_kattr *fa)
{
	return fileattr_has_fsx(fa);
}

void latchfs_helper_seq_puts(struct seq_file *seq, const char *text)
{
	seq_puts(seq, text);
}

void latchfs_helper_seq_u64(struct seq_file *seq, const char *name, u64 value)
{
	seq_printf(seq, "%s%llu", name, value);
}
