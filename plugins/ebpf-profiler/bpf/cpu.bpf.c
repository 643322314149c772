/* SPDX-License-Identifier: (Apache-2.0 OR BSD-2-Clause OR GPL-2.0) */
/* Samples of running threads and waits of others, counted by stack. */
#include "unwind.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* What to sample. Filled by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct target_key);
	__type(value, struct target);
} targets SEC(".maps");

/* Processes whose mappings are known. Filled by user space; emptied here when a program starts or ends. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct process);
} processes SEC(".maps");

/* Samples by stack. Emptied by user space; a sample that finds it full is counted in `counts_full`. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct count_key);
	__type(value, struct count);
} counts SEC(".maps");

/* Stacks that user space has. Where one is pushed out it is sent again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u32);
} known SEC(".maps");

/* Threads of targets that left their CPU, by tid; gone when they come back or end. One that finds it full is
 * counted in `waits_full`. Emptied by user space before it has waits counted. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct wait);
} waits SEC(".maps");

/* Processes that user space has not told of, so that none of them takes the whole ring. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct unknown);
} unknowns SEC(".maps");

/* To user space. What finds it full is lost and counted in `ring_full`. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

/* Events under construction. A perf event may interrupt a switch of threads, so each has its own. */
enum { ROOM_SAMPLE = 0, ROOM_SWITCH = 1 };
struct room {
	struct stack_event user, kernel;
	__u64 copies; /* how many copies were made: their numbers */
	struct trail trail;
	struct copy_event copy;
	__u8 beyond[COPY_PAGE]; /* never written: the verifier knows sums of lengths less well than we do */
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct room);
} rooms SEC(".maps");

#define WAKE_AT (256 << 10)
#define COPIES_A_SECOND 48
#define TELL_OF_COUNTS 1024
#define COPY_ID (1ULL << 63)
#define TASK_DEAD 0x80
#define HASH_START 0xcbf29ce484222325ULL

static __always_inline struct counters *my_counters(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counters, &zero);
}

static __always_inline struct room *my_room(__u32 number)
{
	return bpf_map_lookup_elem(&rooms, &number);
}

static __always_inline struct settings *my_settings(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

/* User space reads at its own pace; it is woken before the ring fills up. */
static __always_inline __u64 wake(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= WAKE_AT ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* How often a process has become another program, its ancestors' times included, for `count_key.flags`. */
static __always_inline __u32 exec_of(const struct task_struct *task)
{
	return (__u32)task->self_exec_id << COUNT_EXEC_SHIFT;
}

/* The same of the current process, for kernels that do not let programs read it directly. */
static __always_inline __u32 read_exec(void)
{
	struct task_struct *task = bpf_get_current_task();
	__u64 times = 0;

	bpf_probe_read_kernel(&times, sizeof(times), &task->self_exec_id);
	return (__u32)times << COUNT_EXEC_SHIFT;
}

static __always_inline struct target *find_target(const struct settings *set, __u32 tgid, __u32 period)
{
	struct target_key key = { .tgid = tgid, .period = period };
	struct target *target = bpf_map_lookup_elem(&targets, &key);

	if (target || !set->every || tgid == set->own_tgid)
		return target;
	key.tgid = 0;
	return bpf_map_lookup_elem(&targets, &key);
}

/* Functions that are not static are verified by themselves, once, whatever calls them. */

/* Puts a room's stack, of the kernel or of the program, into the dictionary under a number made of `id`,
 * which is the answer; 0 when it could not be sent. */
__noinline __u64 remember(__u32 number, __u32 of_kernel, __u32 tgid, __u64 id)
{
	struct counters *mine = my_counters();
	struct room *room = my_room(number);
	struct stack_event *stack;
	__u32 one = 1, frames;

	if (!room || !mine)
		return 0;
	stack = of_kernel ? &room->kernel : &room->user;
	frames = stack->frames;
	/* The uppermost bit is for copies; 0 is for no stack. */
	id = (id & ~COPY_ID) | 1;
	if (bpf_map_lookup_elem(&known, &id))
		return id;
	if (frames > DEPTH)
		return 0;
	stack->head.kind = EVENT_STACK;
	stack->head.tgid = tgid;
	stack->id = id;
	if (bpf_ringbuf_output(&events, stack, 24 + 8 * frames, wake())) {
		mine->ring_full++;
		return 0;
	}
	bpf_map_update_elem(&known, &id, &one, BPF_ANY);
	return id;
}

/* Whether one more copy of a process may be sent that user space has not told of. */
static __always_inline bool may_copy(__u32 tgid)
{
	struct unknown *unknown = bpf_map_lookup_elem(&unknowns, &tgid), first = { .copies = 1 };
	__u64 now = bpf_ktime_get_ns();

	if (!unknown || now - unknown->since > 1000000000ULL) {
		first.since = now;
		bpf_map_update_elem(&unknowns, &tgid, &first, BPF_ANY);
		return 1;
	}
	/* Two CPUs may both be the last: it is no exact number. */
	return unknown->copies++ < COPIES_A_SECOND;
}

/* Hands registers and stack to user space. Returns the number under which it will know the stack. `missing`:
 * what no mapping has, or 0. */
__noinline __u64 leave_to_user(const struct registers *at, __u32 number, __u32 tgid, __u64 missing)
{
	struct counters *mine = my_counters();
	struct room *room = my_room(number);
	__u32 length = 0, part;
	struct copy_event *copy;

	if (!at || !room || !mine)
		return 0;
	if (!missing && !may_copy(tgid)) {
		mine->too_many++;
		return 0;
	}
	copy = &room->copy;
	copy->missing = missing;
	copy->head.kind = EVENT_COPY;
	copy->head.tgid = tgid;
	copy->id = COPY_ID | (__u64)number << 60 | (__u64)bpf_get_smp_processor_id() << 40 | ++room->copies;
	copy->ip = at->ip;
	copy->sp = at->sp;
	copy->fp = at->fp;
	copy->link = at->link;
	copy->code_before = CODE_BEFORE;
	if (bpf_probe_read_user(copy->code, CODE, (void *)(at->ip - CODE_BEFORE)))
		copy->code_before = 0;
	/* Page by page: beyond a stack's end nothing can be read. */
	part = COPY_PAGE - (at->sp & (COPY_PAGE - 1));
	if (part <= COPY_PAGE && !bpf_probe_read_user(copy->stack, part, (void *)at->sp)) {
		length = part;
#pragma unroll
		for (int page = 1; page < COPY_PAGES; page++) {
			if (length > COPY - COPY_PAGE ||
			    bpf_probe_read_user(copy->stack + length, COPY_PAGE, (void *)(at->sp + length)))
				break;
			length += COPY_PAGE;
		}
	}
	copy->length = length;
	if (length > COPY || bpf_ringbuf_output(&events, copy, sizeof(*copy) - COPY + length, BPF_RB_FORCE_WAKEUP)) {
		mine->ring_full++;
		return 0;
	}
	mine->copies++;
	return copy->id;
}

static __always_inline void count_end(struct counters *counters, __u32 end)
{
	if (end == END_UNREADABLE)
		counters->unreadable++;
	else if (end == END_NO_RULE)
		counters->no_rule++;
	else if (end == END_LOST)
		counters->lost++;
}

static __always_inline void user_registers(struct registers *at, const struct pt_regs *regs)
{
	at->ip = REGS_IP(regs);
	at->sp = REGS_SP(regs);
	at->fp = REGS_FP(regs);
	at->link = REGS_LINK(regs);
}

/* The number of a user stack; 0 when it is lost. */
__noinline __u64 user_stack(const struct registers *at, __u32 number, __u32 tgid)
{
	struct process *process = bpf_map_lookup_elem(&processes, &tgid);
	struct counters *mine = my_counters();
	struct room *room = my_room(number);
	struct walk walk = { .hash = HASH_START, .process = process };

	if (!at || !room || !mine)
		return 0;
	if (process && process->first == DENIED)
		return 0;
	if (process) {
		walk.at = *at;
		walk.ip = room->user.ip;
		walk.trail = &room->trail;
		walk.first = process->first;
		walk.count = process->count;
		walk_stack(&walk);
		if (walk.end != END_UNMAPPED) {
			count_end(mine, walk.end);
			room->user.frames = walk.frames;
			room->user.end = walk.end;
			return remember(number, 0, tgid, walk.hash);
		}
	}
	return leave_to_user(at, number, tgid, process ? walk.at.ip : 0);
}

struct hashing {
	__u64 *ip;
	__u64 hash;
};

static long hash_frame(__u32 i, struct hashing *hashing)
{
	if (i >= DEPTH || !hashing->ip)
		return 1;
	hashing->hash = (hashing->hash ^ hashing->ip[i]) * 0x9e3779b97f4a7c15ULL;
	hashing->hash ^= hashing->hash >> 29;
	return 0;
}

/* The number of a stack that a helper of the kernel has left in `out`. `loops`: whether there is bpf_loop. */
static __always_inline __u64 hash_of(struct stack_event *out, const bool loops)
{
	struct hashing hashing = { .ip = out->ip, .hash = HASH_START };

	if (loops) {
		bpf_loop(out->frames, hash_frame, &hashing, 0);
	} else {
		for (__u32 i = 0; i < DEPTH; i++) {
			if (i >= out->frames || hash_frame(i, &hashing))
				break;
		}
	}
	return hashing.hash;
}

static __always_inline __u64 kernel_stack(void *ctx, struct room *room, __u32 number, __u32 tgid, const bool loops)
{
	struct stack_event *out = &room->kernel;
	long bytes = bpf_get_stack(ctx, out->ip, sizeof(out->ip), 0);

	if (bytes <= 0)
		return 0;
	out->frames = (__u32)bytes >> 3;
	out->end = END_KERNEL;
	return remember(number, 1, tgid, hash_of(out, loops));
}

/* By frame pointers alone: for kernels without bpf_loop, which the tables need. */
static __always_inline __u64 user_frames(void *ctx, struct room *room, __u32 number, __u32 tgid)
{
	struct stack_event *out = &room->user;
	long bytes = bpf_get_stack(ctx, out->ip, sizeof(out->ip), BPF_F_USER_STACK);

	if (bytes <= 0)
		return 0;
	out->frames = (__u32)bytes >> 3;
	out->end = END_UNKNOWN;
	return remember(number, 0, tgid, hash_of(out, 0));
}

static __always_inline long tell(__u32 kind, __u32 tgid, __u64 flags)
{
	struct event event = { .kind = kind, .tgid = tgid };

	return bpf_ringbuf_output(&events, &event, sizeof(event), flags);
}

static __always_inline void add(struct counters *mine, const struct count_key *key, __u64 nanos)
{
	struct count *count = bpf_map_lookup_elem(&counts, key), first = { .count = 1, .nanos = nanos };

	if (!count) {
		if (!bpf_map_update_elem(&counts, key, &first, BPF_NOEXIST)) {
			/* User space has to collect before the map is full. */
			if (++mine->inserted % TELL_OF_COUNTS == 0)
				tell(EVENT_COUNTS, 0, BPF_RB_FORCE_WAKEUP);
			return;
		}
		/* Full, or another CPU was first. */
		count = bpf_map_lookup_elem(&counts, key);
		if (!count) {
			mine->counts_full++;
			return;
		}
	}
	__sync_fetch_and_add(&count->count, 1);
	__sync_fetch_and_add(&count->nanos, nanos);
}

static __always_inline int sample(struct bpf_perf_event_data *ctx, const bool tables)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct settings *set = my_settings();
	struct counters *mine = my_counters();
	struct count_key key = { .tgid = tgid, .period = ctx->sample_period };
	struct room *room = my_room(ROOM_SAMPLE);
	bool in_user = REGS_IN_USER(&ctx->regs);
	struct registers at = {
		.ip = REGS_IP(&ctx->regs),
		.sp = REGS_SP(&ctx->regs),
		.fp = REGS_FP(&ctx->regs),
		.link = REGS_LINK(&ctx->regs),
	};
	struct task_struct *task;

	/* The compiler must not choose between the context's registers and others below. */
	barrier();
	if (!tgid || !set || !mine || !room || !find_target(set, tgid, key.period))
		return 0;
	mine->samples++;
	if (!in_user) {
		key.kernel = kernel_stack(ctx, room, ROOM_SAMPLE, tgid, tables);
		if (!key.kernel)
			return 0;
	}
	if (!tables) {
		key.flags = read_exec();
		key.user = user_frames(ctx, room, ROOM_SAMPLE, tgid);
	} else {
		task = bpf_get_current_task_btf();
		key.flags = exec_of(task);
		if (!in_user) {
			/* A thread of the kernel has no user stack. */
			in_user = task->mm != NULL;
			user_registers(&at, (struct pt_regs *)bpf_task_pt_regs(task));
		}
		if (in_user) {
			key.user = user_stack(&at, ROOM_SAMPLE, tgid);
			if (!key.user)
				return 0;
		}
	}
	key.epoch = set->epoch;
	add(mine, &key, key.period);
	return 0;
}

SEC("perf_event")
int on_cpu(struct bpf_perf_event_data *ctx)
{
	return sample(ctx, 1);
}

SEC("perf_event")
int on_cpu_frames(struct bpf_perf_event_data *ctx)
{
	return sample(ctx, 0);
}

static __always_inline void leave_cpu(void *ctx, struct settings *set, bool ready, const bool tables)
{
	__u64 who = bpf_get_current_pid_tgid();
	__u32 tgid = who >> 32, tid = (__u32)who;
	struct wait wait = { .tgid = tgid, .flags = ready ? COUNT_PREEMPTED : 0 };
	struct counters *mine = my_counters();
	struct room *room = my_room(ROOM_SWITCH);
	bool task_has_user = 0;
	struct task_struct *task;
	struct registers at;

	if (!tgid || !mine || !room || !find_target(set, tgid, 0))
		return;
	wait.kernel = kernel_stack(ctx, room, ROOM_SWITCH, tgid, tables);
	if (tables) {
		task = bpf_get_current_task_btf();
		task_has_user = task->mm != NULL;
		if (task_has_user) {
			user_registers(&at, (struct pt_regs *)bpf_task_pt_regs(task));
			wait.user = user_stack(&at, ROOM_SWITCH, tgid);
		}
	} else {
		wait.user = user_frames(ctx, room, ROOM_SWITCH, tgid);
	}
	/* Lost, or denied. */
	if (task_has_user && !wait.user)
		return;
	wait.since = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&waits, &tid, &wait, BPF_ANY))
		mine->waits_full++;
}

static __always_inline void enter_cpu(struct settings *set, const struct task_struct *next)
{
	__u32 tid = next->pid;
	struct wait *wait = bpf_map_lookup_elem(&waits, &tid);
	struct counters *mine = my_counters();
	struct count_key key = {};
	struct target *target;
	__u64 nanos, since;

	if (!wait || !mine)
		return;
	since = wait->since;
	nanos = bpf_ktime_get_ns() - since;
	key.tgid = wait->tgid;
	key.user = wait->user;
	key.kernel = wait->kernel;
	key.flags = wait->flags | exec_of(next);
	key.epoch = set->epoch;
	bpf_map_delete_elem(&waits, &tid);
	target = find_target(set, key.tgid, 0);
	if (!target || key.tgid != (__u32)next->tgid || nanos < target->minimum || since < target->since ||
	    (!key.user && !key.kernel))
		return;
	mine->samples++;
	add(mine, &key, nanos);
}

/* Whether a thread could go on and only has to make room for another. The tracepoint's own argument says
 * so of preemption within the kernel alone. */
static __always_inline bool is_ready(__u32 state)
{
	return state == 0;
}

static __always_inline __u32 state_of(struct task_struct *task)
{
	if (field_exists(task->__state))
		return task->__state;
	return ((struct task_struct___before_5_14 *)task)->state;
}

/* Arguments: preempt, prev, next. `prev` is still the current thread: its memory can be read. */
static __always_inline int change_thread(__u64 *args, const bool tables)
{
	struct task_struct *prev = (struct task_struct *)args[1], *next = (struct task_struct *)args[2];
	struct settings *set = my_settings();
	__u32 state = state_of(prev);

	if (!set)
		return 0;
	/* One that ends does not wait. */
	if (!(state & TASK_DEAD))
		leave_cpu(args, set, args[0] || is_ready(state), tables);
	enter_cpu(set, next);
	return 0;
}

SEC("tp_btf/sched_switch")
int off_cpu(__u64 *args)
{
	return change_thread(args, 1);
}

SEC("tp_btf/sched_switch")
int off_cpu_frames(__u64 *args)
{
	return change_thread(args, 0);
}

/* Arguments: the parent, the child. A process begins with its parent's mappings. */
SEC("tp_btf/sched_process_fork")
int process_fork(__u64 *args)
{
	__u32 parent = ((struct task_struct *)args[0])->tgid, child = ((struct task_struct *)args[1])->tgid;
	struct process *process, copy;
	struct fork_event event = { .head = { .kind = EVENT_FORK, .tgid = child }, .parent = parent };

	if (parent == child)
		return 0;
	process = bpf_map_lookup_elem(&processes, &parent);
	if (!process)
		return 0;
	copy = *process;
	/* User space has to know first whose mappings the child has: without the event it would not. */
	if (!bpf_ringbuf_output(&events, &event, sizeof(event), wake()))
		bpf_map_update_elem(&processes, &child, &copy, BPF_ANY);
	return 0;
}

/* Arguments: the task, its former pid, the program. Its mappings are new from here on. */
SEC("tp_btf/sched_process_exec")
int process_exec(__u64 *args)
{
	struct task_struct *task = (struct task_struct *)args[0];
	__u32 tgid = task->tgid;
	struct exec_event event = { .head = { .kind = EVENT_EXEC, .tgid = tgid }, .exec = exec_of(task) };
	struct counters *mine = my_counters();
	struct settings *set = my_settings();
	bool watched = set && set->watch_exec, was_known = !bpf_map_delete_elem(&processes, &tgid);

	if (!watched && !was_known)
		return 0;
	bpf_get_current_comm(event.comm, sizeof(event.comm));
	if (bpf_ringbuf_output(&events, &event, sizeof(event), watched ? BPF_RB_FORCE_WAKEUP : wake()) && mine)
		mine->untold++;
	return 0;
}

/* Argument: the task. */
SEC("tp_btf/sched_process_exit")
int process_exit(__u64 *args)
{
	struct task_struct *task = (struct task_struct *)args[0];
	__u32 tgid = task->tgid, tid = task->pid;
	struct counters *mine = my_counters();
	struct settings *set = my_settings();

	bpf_map_delete_elem(&waits, &tid);
	if (task->signal->live.counter > 0)
		return 0;
	if ((bpf_map_delete_elem(&processes, &tgid) == 0 || (set && set->watch_exec)) &&
	    tell(EVENT_EXIT, tgid, wake()) && mine)
		mine->untold++;
	return 0;
}
