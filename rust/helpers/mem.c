// SPDX-License-Identifier: GPL-2.0

unsigned int latchfs_helper_memalloc_nofs_save(void)
{
	return memalloc_nofs_save();
}

void latchfs_helper_memalloc_nofs_restore(unsigned int flags)
{
	memalloc_nofs_restore(flags);
}
