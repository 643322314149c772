/* SPDX-License-Identifier: (Apache-2.0 OR BSD-2-Clause OR GPL-2.0) */
/* Walks a user stack by the tables of `unwind.rs`, step for step as `unwind/walk.rs` does. */
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

struct registers {
	__u64 ip, sp, fp, link;
};

struct walk {
	struct registers at;
	__u64 hash;
	__u64 *ip; /* DEPTH of them, in a map */
	__u32 first, count; /* the process's mappings */
	__u32 frames, end;
	struct mapping *mapping; /* where the last frame was */
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

/* To the caller by frame pointer. Returns 1 when this is the end. */
static __always_inline long follow_frame_pointer(struct walk *walk)
{
	__u64 saved[2];

	if (walk->at.fp == 0) {
		walk->end = END_BOTTOM;
		return 1;
	}
	if (walk->at.fp + 8 <= walk->at.sp || (walk->at.fp & 7) || walk->at.fp - walk->at.sp > (8 << 20) ||
	    bpf_probe_read_user(saved, sizeof(saved), (void *)walk->at.fp)) {
		walk->end = END_LOST;
		return 1;
	}
	if (saved[1] < 4096) {
		walk->end = END_BOTTOM;
		return 1;
	}
	walk->at.sp = walk->at.fp + 16;
	walk->at.fp = saved[0];
	walk->at.ip = saved[1];
	return 0;
}

#if defined(__TARGET_ARCH_x86)
/* Before its frame is set up or after it is gone, a function's return address is at the stack pointer. */
static __always_inline __s32 frameless(const __u8 *code)
{
	if (code[0] == 0x55 || code[0] == 0xc3 || code[0] == 0xc2) /* push rbp; ret; ret n */
		return 0;
	if (code[0] == 0x48 && ((code[1] == 0x89 && code[2] == 0xe5) || (code[1] == 0x8b && code[2] == 0xec)))
		return 8; /* mov rbp, rsp */
	return -1;
}

static __always_inline long leave_generated(struct walk *walk)
{
	__u8 code[4];
	__u64 caller;
	__s32 offset = -1;

	if (!bpf_probe_read_user(code, sizeof(code), (void *)walk->at.ip))
		offset = frameless(code);
	if (offset < 0 || bpf_probe_read_user(&caller, sizeof(caller), (void *)(walk->at.sp + offset)))
		return follow_frame_pointer(walk);
	walk->at.sp += offset + 8;
	walk->at.ip = caller;
	return 0;
}
#else
static __always_inline long leave_generated(struct walk *walk)
{
	return follow_frame_pointer(walk);
}
#endif

static __always_inline __u64 canonical_frame(const struct walk *walk, const struct rule *rule)
{
	switch (rule->cfa) {
	case CFA_STACK:
		return walk->at.sp + rule->cfa_offset;
	case CFA_FRAME:
		return walk->at.fp + rule->cfa_offset;
	case CFA_PLT:
		return walk->at.sp + 8 + (((walk->at.ip & 15) >= 11) << 3);
	default:
		return 0;
	}
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

static __always_inline long apply(struct walk *walk, const struct rule *rule)
{
	__u64 cfa = canonical_frame(walk, rule), caller = walk->at.link, fp = walk->at.fp, both[2];

	if (!cfa) {
		walk->end = rule->cfa == CFA_END ? END_BOTTOM : END_NO_RULE;
		return 1;
	}
	if (rule->frame_pointer == FP_SAVED && rule->return_address == RA_SAVED &&
	    rule->frame_pointer_offset + 8 == rule->return_address_offset) {
		if (bpf_probe_read_user(both, sizeof(both), (void *)(cfa + rule->frame_pointer_offset)))
			goto unreadable;
		fp = both[0];
		caller = both[1];
	} else {
		if (rule->return_address == RA_SAVED &&
		    bpf_probe_read_user(&caller, sizeof(caller), (void *)(cfa + rule->return_address_offset)))
			goto unreadable;
		if (rule->frame_pointer == FP_SAVED &&
		    bpf_probe_read_user(&fp, sizeof(fp), (void *)(cfa + rule->frame_pointer_offset)))
			goto unreadable;
	}
	caller = strip_signature(caller);
	if (caller < 4096) {
		walk->end = END_BOTTOM;
		return 1;
	}
	walk->at.ip = caller;
	walk->at.sp = cfa;
	walk->at.fp = fp;
	return 0;
unreadable:
	walk->end = END_UNREADABLE;
	return 1;
}

static long step(__u32 i, struct walk *walk)
{
	struct mapping *mapping;
	struct rule *rule;
	__s64 found;
	__u32 number;
	__u64 pc;

	if (i >= DEPTH || !walk->ip)
		return 1;
	walk->ip[i] = walk->at.ip;
	walk->frames = i + 1;
	walk->hash = (walk->hash ^ walk->at.ip) * 0x9e3779b97f4a7c15ULL;
	walk->hash ^= walk->hash >> 29;
	/* A call may be its function's last instruction: what it returns to is another function's. */
	pc = walk->at.ip - (i ? 1 : 0);
	mapping = find_mapping(walk, pc);
	walk->mapping = mapping;
	if (!mapping) {
		walk->end = END_UNMAPPED;
		return 1;
	}
	if (mapping->walk == WALK_FRAME_POINTERS)
		return i ? follow_frame_pointer(walk) : leave_generated(walk);
	found = mapping->walk == WALK_RULE ? mapping->word : find_rule(mapping, pc - mapping->base);
	if (found < 0)
		return follow_frame_pointer(walk);
	number = found;
	rule = bpf_map_lookup_elem(&rules, &number);
	if (!rule || rule->cfa == CFA_UNKNOWN)
		return follow_frame_pointer(walk);
	return apply(walk, rule);
}

static __always_inline void walk_stack(struct walk *walk)
{
	walk->end = END_DEPTH;
	bpf_loop(DEPTH, step, walk, 0);
	/* Two stacks of the same frames that ended otherwise are two stacks. */
	walk->hash = (walk->hash ^ walk->end) * 0x9e3779b97f4a7c15ULL;
}
#endif
