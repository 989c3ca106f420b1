// SPDX-License-Identifier: GPL-2.0
/*
 * What rust/kapi/direct.rs needs of C: direct I/O that does not fault user
 * memory in.  Where it would have to, it ends early, with what was transferred
 * or with -EFAULT.
 */
#include <linux/fs.h>
#include <linux/iomap.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

const u32 LATCHFS_CONST_IOCB_APPEND = (__force u32)IOCB_APPEND;
const u32 LATCHFS_CONST_FMODE_WRITE = (__force u32)FMODE_WRITE;

ssize_t latchfs_helper_dio_read(struct kiocb *iocb, struct iov_iter *to,
				const struct iomap_ops *ops, size_t done)
{
	ssize_t ret;

	/* iov_iter_zero(), for holes, does not look at nofault. */
	pagefault_disable();
	to->nofault = true;
	ret = iomap_dio_rw(iocb, to, ops, NULL, IOMAP_DIO_PARTIAL, NULL, done);
	to->nofault = false;
	pagefault_enable();
	return ret;
}

ssize_t latchfs_helper_dio_write(struct kiocb *iocb, struct iov_iter *from,
				 const struct iomap_ops *ops,
				 const struct iomap_dio_ops *dops,
				 unsigned int flags, size_t done)
{
	ssize_t ret;

	from->nofault = true;
	ret = iomap_dio_rw(iocb, from, ops, dops, flags | IOMAP_DIO_PARTIAL,
			   NULL, done);
	from->nofault = false;
	return ret;
}
