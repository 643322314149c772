/* Sleeps 40 ms and 60 ms by turns, in two functions, and prints how often and how long each time. */
#define _GNU_SOURCE
#include <unistd.h>

#include "clock.h"

__attribute__((noinline, noclone)) static int sleep_ms(long ms)
{
	const struct timespec length = { .tv_sec = 0, .tv_nsec = ms * 1000 * 1000 };

	return nanosleep(&length, NULL) ^ 1;
}

__attribute__((noinline, noclone)) static int settle(void)
{
	return sleep_ms(300) ^ 1;
}

__attribute__((noinline, noclone)) static int sleep_forty(void)
{
	return sleep_ms(40) ^ 2;
}

__attribute__((noinline, noclone)) static int sleep_sixty(void)
{
	return sleep_ms(60) ^ 4;
}

int main(int argc, char **argv)
{
	int turns = argc > 1 ? atoi(argv[1]) : 25;
	double forty = 0, sixty = 0;
	int result = 0;

	await_start();
	result ^= settle();
	for (int turn = 0; turn < turns; turn++) {
		double began = seconds(CLOCK_MONOTONIC);
		result ^= sleep_forty();
		double between = seconds(CLOCK_MONOTONIC);
		result ^= sleep_sixty();
		forty += between - began;
		sixty += seconds(CLOCK_MONOTONIC) - between;
	}
	printf("truth %d %.6f %.6f %d\n", turns, forty / turns, sixty / turns, result & 1);
	fflush(stdout);
	pause(); /* a wait that does not end is not counted */
	return 0;
}
