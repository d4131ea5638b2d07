//! What glibc's allocator is told (docs/adr/0005-one-arena.md).
#![expect(unsafe_code, reason = "mallopt, which no safe crate offers; the call says why it is sound")]

/// All threads allocate from one heap, so that what one of them frees the others use. Call it before the
/// first thread is started; it does nothing with other C libraries.
pub(crate) fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt takes two integers and may be called at any time; it fails by returning 0, and
        // then there are several heaps, as without it.
        let _accepted = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}
