/* Shows a process fewer instruction sets than its processor has, so that libraries take the kernels
   they have for older ones. Loaded by LD_PRELOAD; INSTRUCTIONS says what is left: avx, avx2 or avx512
   (with VNNI, without AMX). Linux lets CPUID fault (arch_prctl, ARCH_SET_CPUID) on Intel processors;
   the handler asks the processor, and clears bits in the answer. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { ARCH_SET_CPUID = 0x1012, CPUID_LENGTH = 2 };
enum { AVX, AVX2, AVX512 };

static int left;

static void clear(unsigned *registers, unsigned leaf, unsigned part) {
    unsigned *a = &registers[0], *b = &registers[1], *c = &registers[2], *d = &registers[3];
    if (leaf == 1 && left < AVX2) *c &= ~(1u << 12); /* FMA */
    if (leaf == 7 && part == 0) {
        *d &= ~(1u << 22 | 1u << 24 | 1u << 25); /* AMX */
        if (left < AVX512) {
            *b &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31);
            *c &= ~(1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14); /* VNNI is bit 11 */
            *d &= ~(1u << 2 | 1u << 3 | 1u << 8 | 1u << 23);
        }
        if (left < AVX2) *b &= ~(1u << 5);
    }
    if (leaf == 7 && part == 1) {
        *a &= ~(1u << 21); /* AMX in half */
        if (left < AVX512) *a &= ~(1u << 4 | 1u << 5); /* AVX-VNNI, AVX-512 in bfloat16 */
        *d &= ~(1u << 4 | 1u << 5 | 1u << 8 | 1u << 10);
    }
}

static void answer(int signal_number, siginfo_t *info, void *context) {
    greg_t *saved = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *at = (const unsigned char *)saved[REG_RIP];
    if (at[0] != 0x0f || at[1] != 0xa2) { /* a fault of another kind: let it happen again */
        signal(signal_number, SIG_DFL);
        return;
    }
    unsigned leaf = saved[REG_RAX], part = saved[REG_RCX], r[4] = {leaf, 0, part, 0};
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
    __asm__ volatile("cpuid" : "+a"(r[0]), "=b"(r[1]), "+c"(r[2]), "=d"(r[3]));
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
    clear(r, leaf, part);
    saved[REG_RAX] = r[0];
    saved[REG_RBX] = r[1];
    saved[REG_RCX] = r[2];
    saved[REG_RDX] = r[3];
    saved[REG_RIP] += CPUID_LENGTH;
    (void)info;
}

__attribute__((constructor)) static void begin(void) {
    const char *asked = getenv("INSTRUCTIONS");
    if (!asked) return;
    left = !strcmp(asked, "avx") ? AVX : !strcmp(asked, "avx2") ? AVX2 : AVX512;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, NULL);
    if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0)) {
        fputs("this processor or its kernel cannot hide instructions (cpuid_fault)\n", stderr);
        _exit(1);
    }
}
