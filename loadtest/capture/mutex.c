/*
 * One thread computes for 20 ms at a time while it holds a mutex, the other one waits for the mutex.
 * Prints how often and how long the second one waited.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <unistd.h>

#include "clock.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int turns = 50;

__attribute__((noinline, noclone)) static void compute(double length)
{
	double until = seconds(CLOCK_MONOTONIC) + length;

	while (seconds(CLOCK_MONOTONIC) < until)
		__asm__ volatile("");
}

/* Leaves the mutex alone for 5 ms, so that the other one gets it. */
__attribute__((noinline, noclone)) static void *holder(void *unused)
{
	for (;;) {
		pthread_mutex_lock(&mutex);
		compute(0.020);
		pthread_mutex_unlock(&mutex);
		compute(0.005);
	}
	return unused;
}

__attribute__((noinline, noclone)) static double wait_for_mutex(void)
{
	double began = seconds(CLOCK_MONOTONIC);

	pthread_mutex_lock(&mutex);
	double waited = seconds(CLOCK_MONOTONIC) - began;
	pthread_mutex_unlock(&mutex);
	return waited;
}

/* Comes again while the mutex is certainly held. */
__attribute__((noinline, noclone)) static void *waiter(void *unused)
{
	double waited = 0;

	for (int turn = 0; turn < turns; turn++) {
		waited += wait_for_mutex();
		compute(0.008);
	}
	printf("truth %d %.6f\n", turns, waited);
	fflush(stdout);
	for (;;)
		pause();
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t threads[2];

	if (argc > 1)
		turns = atoi(argv[1]);
	await_start();
	usleep(300 * 1000);
	if (pthread_create(&threads[0], NULL, holder, NULL) != 0)
		return 1;
	compute(0.002);
	if (pthread_create(&threads[1], NULL, waiter, NULL) != 0)
		return 1;
	pthread_join(threads[1], NULL);
	return 0;
}
