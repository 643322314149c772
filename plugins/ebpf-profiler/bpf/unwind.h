/* SPDX-License-Identifier: (Apache-2.0 OR BSD-2-Clause OR GPL-2.0) */
/* Walks a user stack by the tables of `unwind.rs`, in the steps that `unwind/walk.rs` documents. */
#ifndef PERIGEE_UNWIND_H
#define PERIGEE_UNWIND_H
#include "profiler.h"

/* Rules of all tables, by number. Filled by user space, only ever appended to. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_RULES);
	__type(key, __u32);
	__type(value, struct rule);
} rules SEC(".maps");

/* Tables lie in arenas of one size, which user space adds as they are needed. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 64);
	__type(key, __u32);
	/* Without a name: of a named type only the name would be left. */
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(map_flags, BPF_F_MMAPABLE);
		__uint(max_entries, ARENA_WORDS / 2);
		__uint(key_size, sizeof(__u32));
		__uint(value_size, sizeof(struct words));
	});
} arenas SEC(".maps");

/* Mappings of all processes, each process's together and ascending. Filled by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1 << 14);
	__type(key, __u32);
	__type(value, struct mapping);
} mappings SEC(".maps");

#define LOWEST 4096	/* no code lies below */
#define FARTHEST (8 << 20) /* no frame record is this far from the stack pointer */
#define LOST 1		/* in place of a frame pointer: no multiple of 8 */
#define ASK_AGAIN 100000000ULL /* ns between two questions about one process */

struct registers {
	__u64 ip, sp, fp, link;
};

/* What was seen on the way. The verifier follows every value on the stack, and none in a map. */
struct trail {
	__u32 chained; /* whether the last caller was found by frame pointer */
	__u32 strayed; /* whether an address was in no mapping */
};

struct walk {
	struct registers at;
	__u64 hash;
	__u64 *ip; /* DEPTH of them, in a map */
	__u32 first, count; /* the process's mappings */
	__u32 frames, end;
	struct trail *trail; /* in a map */
	__u32 interrupted; /* whether `at` is where a frame was interrupted, not what a call returns to */
	struct mapping *mapping; /* where the last frame was */
	struct process *process;
};

struct search {
	__u64 pc;
	__u32 low, high;
};

/* Each search runs in a bpf_loop: the verifier looks at a callback once instead of at every path. */
static long search_mapping(__u32 i, struct search *search)
{
	struct mapping *mapping;
	__u32 middle;

	if (search->low >= search->high)
		return 1;
	middle = search->low + ((search->high - search->low) >> 1);
	mapping = bpf_map_lookup_elem(&mappings, &middle);
	if (!mapping)
		return 1;
	if (mapping->start <= search->pc)
		search->low = middle + 1;
	else
		search->high = middle;
	return 0;
}

static __always_inline struct mapping *find_mapping(struct walk *walk, __u64 pc)
{
	struct search search = { .pc = pc, .low = walk->first, .high = walk->first + walk->count };
	struct mapping *mapping = walk->mapping;
	__u32 found;

	if (mapping && pc >= mapping->start && pc < mapping->end)
		return mapping;
	bpf_loop(15, search_mapping, &search, 0);
	if (search.low == walk->first)
		return NULL;
	found = search.low - 1;
	mapping = bpf_map_lookup_elem(&mappings, &found);
	if (!mapping || pc < mapping->start || pc >= mapping->end)
		return NULL;
	return mapping;
}

struct row_search {
	void *arena;
	__u32 low, high;
	__u32 key; /* the greatest row that can hold */
};

static __always_inline __u32 *word_at(void *arena, __u32 index)
{
	__u32 element = index >> 1;
	struct words *words = bpf_map_lookup_elem(arena, &element);

	return words ? &words->word[index & 1] : NULL;
}

static long search_row(__u32 i, struct row_search *search)
{
	__u32 middle, *word;

	if (search->low >= search->high)
		return 1;
	middle = search->low + ((search->high - search->low) >> 1);
	word = word_at(search->arena, middle);
	if (!word)
		return 1;
	if (*word <= search->key)
		search->low = middle + 1;
	else
		search->high = middle;
	return 0;
}

/* The number of the rule for `offset` into a table, or -1. */
static __always_inline __s64 find_rule(const struct mapping *mapping, __u64 offset)
{
	__u32 page = offset >> PAGE_SHIFT, number = mapping->arena, *low, *high, *row;
	struct row_search search;

	if (page >= mapping->pages)
		return -1;
	search.arena = bpf_map_lookup_elem(&arenas, &number);
	if (!search.arena)
		return -1;
	low = word_at(search.arena, mapping->word + page);
	high = word_at(search.arena, mapping->word + page + 1);
	if (!low || !high)
		return -1;
	search.low = mapping->word + *low;
	search.high = mapping->word + *high;
	search.key = ((__u32)offset & ((1 << PAGE_SHIFT) - 1)) << 16 | 0xffff;
	bpf_loop(PAGE_SHIFT + 1, search_row, &search, 0);
	row = word_at(search.arena, search.low - 1);
	return row ? *row & 0xffff : -1;
}

static __always_inline __u64 strip_signature(__u64 address)
{
#if defined(__TARGET_ARCH_arm64)
	/* Pointer authentication signs return addresses in their unused upper bits. */
	return address & ((1ULL << 48) - 1);
#else
	return address;
#endif
}

/* A call returns to `ip`. Returns 1 when this is the end. */
static __always_inline long called(struct walk *walk, __u64 ip, __u64 sp, __u64 fp)
{
	ip = strip_signature(ip);
	if (ip < LOWEST) {
		walk->end = END_BOTTOM;
		return 1;
	}
	walk->at.ip = ip;
	walk->at.sp = sp;
	walk->at.fp = fp;
	return 0;
}

static __always_inline long stop(struct walk *walk, __u32 end)
{
	walk->end = end;
	return 1;
}

static __always_inline long follow_frame_pointer(struct walk *walk, bool innermost)
{
	__u64 saved[2], fp = walk->at.fp;

	/* Elsewhere it is a register like others. */
	if (fp == 0 && !innermost && walk->trail->chained)
		return stop(walk, END_BOTTOM);
	if (fp < walk->at.sp || fp - walk->at.sp >= FARTHEST || (fp & 7))
		return stop(walk, END_LOST);
	if (bpf_probe_read_user(saved, sizeof(saved), (void *)fp))
		return stop(walk, END_UNREADABLE);
	walk->trail->chained = 1;
	return called(walk, saved[1], fp + 16, saved[0]);
}

/* How many bytes above the stack pointer the return address lies, if the code at `ip` shows that the
 * function's frame is not made yet or no more; else -1. */
static __always_inline __s32 frameless(const __u8 *code)
{
#if defined(__TARGET_ARCH_x86)
	const __u8 *next = code + CODE_BEFORE;

	/* endbr64 */
	if (next[0] == 0xf3 && next[1] == 0x0f && next[2] == 0x1e && next[3] == 0xfa)
		next += 4;
	/* push rbp; mov rbp, rsp */
	if (next[0] == 0x55 && next[1] == 0x48 &&
	    ((next[2] == 0x89 && next[3] == 0xe5) || (next[2] == 0x8b && next[3] == 0xec)))
		return 0;
	next = code + CODE_BEFORE;
	/* ret; ret n; rep ret */
	if (next[0] == 0xc3 || next[0] == 0xc2 || (next[0] == 0xf3 && next[1] == 0xc3))
		return 0;
	/* mov rbp, rsp after push rbp */
	if (code[CODE_BEFORE - 1] == 0x55 && next[0] == 0x48 &&
	    ((next[1] == 0x89 && next[2] == 0xe5) || (next[1] == 0x8b && next[2] == 0xec)))
		return 8;
#endif
	return -1;
}

/* Nothing is known of the innermost frame but its code. */
static __always_inline long leave_unknown(struct walk *walk)
{
	__u64 saved[2];
	__u8 code[CODE];
	__s32 offset = -1;

	if (!bpf_probe_read_user(code, sizeof(code), (void *)(walk->at.ip - CODE_BEFORE)))
		offset = frameless(code);
	if (offset < 0)
		return follow_frame_pointer(walk, 1);
	if (bpf_probe_read_user(saved, sizeof(saved), (void *)walk->at.sp))
		return stop(walk, END_UNREADABLE);
	if (offset == 0)
		return called(walk, saved[0], walk->at.sp + 8, walk->at.fp);
	return called(walk, saved[1], walk->at.sp + 16, saved[0]);
}

/* Where the CFA is; 0 where it cannot be told. */
static __always_inline __u64 canonical_frame(const struct walk *walk, const struct rule *rule)
{
	__u64 base = walk->at.sp, cfa;

	switch (rule->cfa) {
	case CFA_STACK:
		return base + rule->cfa_offset;
	case CFA_FRAME:
		return walk->at.fp + rule->cfa_offset;
	case CFA_PLT:
		return base + 8 + (((walk->at.ip & 15) >= (__u64)rule->cfa_offset) << 3);
	case CFA_FRAME_INDIRECT:
		base = walk->at.fp;
		/* fallthrough */
	case CFA_STACK_INDIRECT:
		if (bpf_probe_read_user(&cfa, sizeof(cfa), (void *)(base + rule->cfa_offset)))
			return 0;
		return cfa + rule->cfa_addend;
	default:
		return 0;
	}
}

/* The kernel has put the registers of the interrupted frame on the stack. */
static __always_inline long leave_signal(struct walk *walk, const struct rule *rule)
{
	struct registers at = walk->at;
	__u64 sp = at.sp;

	if (bpf_probe_read_user(&at.sp, 8, (void *)(sp + rule->cfa_offset)) ||
	    bpf_probe_read_user(&at.fp, 8, (void *)(sp + rule->frame_pointer_offset)) ||
	    bpf_probe_read_user(&at.ip, 8, (void *)(sp + rule->return_address_offset)) ||
	    (rule->return_address == RA_LINK &&
	     bpf_probe_read_user(&at.link, 8, (void *)(sp + rule->frame_pointer_offset + 8)))) {
		walk->end = END_UNREADABLE;
		return 1;
	}
	walk->at = at;
	walk->interrupted = 1;
	return 0;
}

static __always_inline long apply(struct walk *walk, const struct rule *rule, bool interrupted)
{
	__u64 cfa, caller = walk->at.link, fp = walk->at.fp, both[2];

	if (rule->cfa == CFA_END || rule->cfa == CFA_UNSUPPORTED)
		return stop(walk, rule->cfa == CFA_END ? END_BOTTOM : END_NO_RULE);
	if (rule->cfa == CFA_SIGNAL)
		return leave_signal(walk, rule);
	if ((rule->cfa == CFA_FRAME || rule->cfa == CFA_FRAME_INDIRECT) && (!fp || (fp & 7)))
		return stop(walk, END_LOST);
	if (rule->return_address == RA_LINK && !interrupted)
		return stop(walk, END_LOST);
	cfa = canonical_frame(walk, rule);
	if (!cfa)
		return stop(walk, END_UNREADABLE);
	if (rule->frame_pointer == FP_SAVED && rule->return_address == RA_SAVED &&
	    rule->frame_pointer_offset + 8 == rule->return_address_offset) {
		if (bpf_probe_read_user(both, sizeof(both), (void *)(cfa + rule->frame_pointer_offset)))
			return stop(walk, END_UNREADABLE);
		return called(walk, both[1], cfa, both[0]);
	}
	if (rule->return_address == RA_SAVED &&
	    bpf_probe_read_user(&caller, sizeof(caller), (void *)(cfa + rule->return_address_offset)))
		return stop(walk, END_UNREADABLE);
	if (rule->frame_pointer == FP_LOST)
		fp = LOST;
	else if ((rule->frame_pointer == FP_SAVED &&
		  bpf_probe_read_user(&fp, sizeof(fp), (void *)(cfa + rule->frame_pointer_offset))) ||
		 (rule->frame_pointer == FP_SAVED_AT_FRAME &&
		  bpf_probe_read_user(&fp, sizeof(fp), (void *)(walk->at.fp + rule->frame_pointer_offset))))
		return stop(walk, END_UNREADABLE);
	return called(walk, caller, cfa, fp);
}

/* An address outside of all mappings that we know: user space is asked, but not for every sample. */
static __always_inline bool may_ask(struct walk *walk)
{
	__u64 now = bpf_ktime_get_ns();

	if (!walk->process || now - walk->process->asked < ASK_AGAIN)
		return 0;
	walk->process->asked = now;
	return 1;
}

static long step(__u32 i, struct walk *walk)
{
	bool interrupted = walk->interrupted, innermost = i == 0;
	struct mapping *mapping;
	struct rule *rule;
	__s64 found = -1;
	__u64 pc, shown;
	__u32 number;

	if (i >= DEPTH || !walk->ip || !walk->trail)
		return 1;
	/* Who takes 1 off a return address shall find the function of an interrupted frame, too. */
	shown = walk->at.ip + (interrupted && !innermost);
	walk->ip[i] = shown;
	walk->frames = i + 1;
	walk->hash = (walk->hash ^ shown) * 0x9e3779b97f4a7c15ULL;
	walk->hash ^= walk->hash >> 29;
	walk->interrupted = 0;
	/* A call may be its function's last instruction: what it returns to is another function's. */
	pc = walk->at.ip - !interrupted;
	mapping = find_mapping(walk, pc);
	walk->mapping = mapping;
	if (!mapping) {
		if (may_ask(walk))
			return stop(walk, END_UNMAPPED);
		walk->trail->strayed = 1;
	}
	if (mapping && mapping->walk == WALK_RULE)
		found = mapping->word;
	else if (mapping && mapping->walk == WALK_TABLE)
		found = find_rule(mapping, pc - mapping->base);
	number = found;
	rule = found < 0 ? NULL : bpf_map_lookup_elem(&rules, &number);
	if (rule && rule->cfa != CFA_UNKNOWN) {
		walk->trail->chained = 0;
		return apply(walk, rule, interrupted);
	}
	return innermost ? leave_unknown(walk) : follow_frame_pointer(walk, 0);
}

static __always_inline void walk_stack(struct walk *walk)
{
	walk->end = END_DEPTH;
	walk->interrupted = 1;
	walk->trail->chained = 0;
	walk->trail->strayed = 0;
	bpf_loop(DEPTH, step, walk, 0);
	if (walk->trail->strayed && walk->end == END_BOTTOM)
		walk->end = END_LOST;
	/* Two stacks of the same frames that ended otherwise are two stacks. */
	walk->hash = (walk->hash ^ walk->end) * 0x9e3779b97f4a7c15ULL;
}
#endif
