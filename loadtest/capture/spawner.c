/*
 * spawner COUNT AT_ONCE PROGRAM ARGUMENTS: runs PROGRAM COUNT times, AT_ONCE of them at a time, and
 * prints the CPU time that they really used.
 */
#define _GNU_SOURCE
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "clock.h"

extern char **environ;

static double reap(void)
{
	struct rusage usage;
	int status;

	if (wait4(-1, &status, 0, &usage) < 0 || status != 0)
		exit(1);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	int count = atoi(argv[1]), at_once = atoi(argv[2]);
	double used = 0;

	await_start();
	for (int started = 0; started < count; started++) {
		pid_t child;

		if (started >= at_once)
			used += reap();
		if (posix_spawn(&child, argv[3], NULL, NULL, argv + 3, environ) != 0)
			return 1;
	}
	for (int left = count < at_once ? count : at_once; left > 0; left--)
		used += reap();
	printf("truth %d %.6f\n", count, used);
	return 0;
}
