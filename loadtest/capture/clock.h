/* What a workload says about itself, and when it begins. */
#ifndef CLOCK_H
#define CLOCK_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline double seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static inline double cpu_seconds(void)
{
	return seconds(CLOCK_THREAD_CPUTIME_ID);
}

/* Says that the process can be profiled from now on; nothing has happened in it yet. */
static inline void say_ready(void)
{
	printf("ready\n");
	fflush(stdout);
}

/* Waits until the test knows that the capture has begun. Before the first thread is made. */
static inline void await_start(void)
{
	sigset_t start;
	int received;

	sigemptyset(&start);
	sigaddset(&start, SIGUSR1);
	sigprocmask(SIG_BLOCK, &start, NULL);
	say_ready();
	if (sigwait(&start, &received) != 0)
		exit(1);
}

#endif
