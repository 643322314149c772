/* SPDX-License-Identifier: (Apache-2.0 OR BSD-2-Clause OR GPL-2.0) */
/* What our programs and `src/bpf/layout.rs` agree on. */
#ifndef PERIGEE_PROFILER_H
#define PERIGEE_PROFILER_H
#include "kernel.h"

#define DEPTH 127
#define PAGE_SHIFT 10
#define ARENA_WORDS (1 << 18)
#define MAX_RULES 8192
#define COPY_PAGE 4096
#define COPY_PAGES 4
#define COPY (COPY_PAGE * COPY_PAGES)
#define CODE_BEFORE 4
#define CODE 16

/* `unwind::Rule` */
enum {
	CFA_END = 0,
	CFA_STACK = 1,
	CFA_FRAME = 2,
	CFA_PLT = 3,
	CFA_UNSUPPORTED = 4,
	CFA_UNKNOWN = 5,
	CFA_SIGNAL = 6,
	CFA_STACK_INDIRECT = 7,
	CFA_FRAME_INDIRECT = 8,
};
enum { FP_SAME = 0, FP_SAVED = 1, FP_LOST = 2, FP_SAVED_AT_FRAME = 3 };
enum { RA_SAVED = 0, RA_LINK = 1 };
struct rule {
	__u8 cfa, frame_pointer, return_address, cfa_addend;
	__s32 cfa_offset, frame_pointer_offset, return_address_offset;
};
_Static_assert(sizeof(struct rule) == 16, "rule: fixed layout");

/* `unwind::Mapping` */
enum { WALK_FRAME_POINTERS = 0, WALK_TABLE = 1, WALK_RULE = 2 };
struct mapping {
	__u64 start, end, base;
	__u32 arena, word, pages;
	__u8 walk, padding[3];
};
_Static_assert(sizeof(struct mapping) == 40, "mapping: fixed layout");

/* Two words of a table: an element of an array takes eight bytes at least. */
struct words {
	__u32 word[2];
};

#define DENIED 0xffffffff /* as `first`: the process may not be looked at */

/* A process that user space has told of: its mappings are `mappings[first .. first + count]`. */
struct process {
	__u32 first, count;
	__u64 asked; /* when a program last found an address outside of them */
};
_Static_assert(sizeof(struct process) == 16, "process: fixed layout");

/* What is sampled: a process, or all with tgid 0, every `period` nanoseconds (0: off-CPU). */
struct target_key {
	__u32 tgid, period;
};
struct target {
	__u64 minimum; /* shorter waits are left out */
	__u64 since;   /* waits that began before are left out */
};

/* How the walk of a user stack ended. */
enum {
	END_BOTTOM = 1,  /* at the thread's first frame */
	END_NO_RULE = 2, /* the compiler's rule is one that we do not have */
	END_UNREADABLE = 3,
	END_DEPTH = 4,
	END_LOST = 5,	 /* frame pointers led nowhere */
	END_UNMAPPED = 6, /* an address outside of all mappings that we know */
	END_KERNEL = 7,	 /* it is the kernel's stack */
	END_UNKNOWN = 8, /* the kernel walked by frame pointers and does not say */
};

/* Samples of one stack. `user` and `kernel` name stacks of the dictionary; 0 is none. */
enum { COUNT_PREEMPTED = 1 };
#define COUNT_EXEC_SHIFT 8 /* above it in `flags`: which of the process's programs it was, see `exec_of` */
struct count_key {
	__u32 tgid, period;
	__u64 user, kernel;
	__u32 flags, epoch;
};
_Static_assert(sizeof(struct count_key) == 32, "count_key: fixed layout");
struct count {
	__u64 count, nanos;
};

/* Copies of a process that user space has not told of yet. */
struct unknown {
	__u64 since;
	__u64 copies;
};

/* Where a thread left its CPU. */
struct wait {
	__u64 since, user, kernel;
	__u32 tgid, flags;
};

/* Events to user space; each begins with this. */
enum { EVENT_STACK = 1, EVENT_COPY = 2, EVENT_EXEC = 3, EVENT_EXIT = 4, EVENT_FORK = 5, EVENT_COUNTS = 6 };
struct event {
	__u32 kind, tgid;
};

/* A process became another program. */
struct exec_event {
	struct event head;
	__u32 exec, padding;
	char comm[16];
};

/* A process began as a copy of another. */
struct fork_event {
	struct event head;
	__u32 parent, padding;
};

/* A stack that the dictionary did not have. */
struct stack_event {
	struct event head;
	__u64 id;
	__u32 frames, end;
	__u64 ip[DEPTH];
};
_Static_assert(sizeof(struct stack_event) == 24 + 8 * DEPTH, "stack_event: fixed layout");

/* A stack that could not be walked here: user space has to tell of the process first, and walks it. */
struct copy_event {
	struct event head;
	__u64 id;
	__u64 ip, sp, fp, link;
	__u64 missing; /* an address that lies in no mapping that was told; 0: the process is unknown */
	__u32 length; /* bytes of `stack` */
	__u32 code_before; /* bytes of `code` before `ip`; 0: there are none */
	__u8 code[CODE];
	__u8 stack[COPY];
};
_Static_assert(sizeof(struct copy_event) == 80 + COPY, "copy_event: fixed layout");

/* Settings that change while the programs run. */
struct settings {
	__u32 epoch;	    /* which samples `count_key` belongs to: user space collects the other one */
	__u32 watch_exec;   /* whether starts of programs are told at once */
	__u32 every;	    /* whether there may be a target with tgid 0 */
	__u32 own_tgid;	    /* never sampled with tgid 0 */
};

/* What happened, by CPU. */
struct counters {
	__u64 samples;	     /* of targets */
	__u64 ring_full;     /* stacks that were lost because user space was slow */
	__u64 counts_full;   /* samples that found no room */
	__u64 waits_full;    /* waits that found no room */
	__u64 copies;	     /* stacks left to user space */
	__u64 unreadable;    /* walks that ended at memory that could not be read */
	__u64 no_rule;
	__u64 lost;
	__u64 inserted;	     /* stacks that were counted for the first time */
	__u64 too_many;	     /* samples of unknown processes that were not copied: there were too many */
	__u64 untold;	     /* starts and ends of programs that user space was not told of */
};
_Static_assert(sizeof(struct counters) == 88, "counters: fixed layout");
#endif
