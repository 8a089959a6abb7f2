/* ptrace(2) as user-mode Linux 6.1 needs it, loaded before its libc (LD_PRELOAD).
 *
 * The kernel takes a process's extended registers only whole (xstateregs_set: EFAULT for fewer bytes). User-mode Linux
 * keeps the first 2696 bytes, all there was before AMX: x87, SSE, AVX, AVX-512 and the protection keys, each at the place
 * it has in any standard-format XSAVE area. On a processor with AMX it then panics at its first process. Here its bytes
 * are handed on within as many as the kernel wants; the tiles behind them are empty, for nothing under a user-mode kernel
 * may use them. One buffer is enough: its kernel has one processor and does not preempt itself. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

/* The tiles' bits in XSTATE_BV, the first word behind the 512 bytes of the legacy area. */
static const uint64_t TILES = UINT64_C(3) << 17;
static const size_t XSTATE_BV = 512;

static unsigned char area[64 << 10] __attribute__((aligned(64)));
static size_t whole;

typedef long ptrace_function(enum __ptrace_request, ...);

long ptrace(enum __ptrace_request request, ...)
{
	va_list words;
	va_start(words, request);
	pid_t pid = va_arg(words, pid_t);
	void *addr = va_arg(words, void *);
	void *data = va_arg(words, void *);
	va_end(words);

	static ptrace_function *next;
	if (!next)
		next = (ptrace_function *)dlsym(RTLD_NEXT, "ptrace");
	if (request != PTRACE_SETREGSET || (uintptr_t)addr != NT_X86_XSTATE)
		return next(request, pid, addr, data);

	const struct iovec *given = data;
	struct iovec all = { area, sizeof area };
	if (!whole) {
		if (next(PTRACE_GETREGSET, pid, addr, &all) == -1)
			return -1;
		whole = all.iov_len;
	}
	if (whole <= given->iov_len || given->iov_len < XSTATE_BV + sizeof(uint64_t))
		return next(request, pid, addr, data);

	uint64_t present;
	memset(area, 0, whole);
	memcpy(area, given->iov_base, given->iov_len);
	memcpy(&present, area + XSTATE_BV, sizeof present);
	present &= ~TILES;
	memcpy(area + XSTATE_BV, &present, sizeof present);
	all.iov_len = whole;
	return next(request, pid, addr, &all);
}
