// SPDX-License-Identifier: GPL-2.0

unsigned int latchfs_helper_memalloc_nofs_save(void)
{
	return memalloc_nofs_save();
}

void latchfs_helper_memalloc_nofs_restore(unsigned int flags)
{
	memalloc_nofs_restore(flags);
}

unsigned int latchfs_helper_memalloc_noreclaim_save(void)
{
	return memalloc_noreclaim_save();
}

void latchfs_helper_memalloc_noreclaim_restore(unsigned int flags)
{
	memalloc_noreclaim_restore(flags);
}

/* NULL when there is no memory. */
void *latchfs_helper_try_alloc(size_t size)
{
	gfp_t gfp = GFP_KERNEL | __GFP_NOWARN;

	return size <= PAGE_SIZE ? kmalloc(size, gfp) : kvmalloc(size, gfp);
}

/* Never NULL.  A few KiB at most. */
void *latchfs_helper_must_alloc(size_t size)
{
	gfp_t gfp = GFP_NOFS | __GFP_NOFAIL;

	return size <= PAGE_SIZE ? kmalloc(size, gfp) : kvmalloc(size, gfp);
}

/* A zeroed block of 4096 bytes that a bio can carry. */
void *latchfs_helper_block_alloc(bool must)
{
	gfp_t gfp = must ? GFP_NOFS | __GFP_NOFAIL : GFP_KERNEL | __GFP_NOWARN;

	if (PAGE_SIZE == 4096)
		return (void *)get_zeroed_page(gfp);
	return kzalloc(4096, gfp);
}

void latchfs_helper_block_free(void *block)
{
	if (PAGE_SIZE == 4096)
		free_page((unsigned long)block);
	else
		kfree(block);
}
