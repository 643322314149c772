/*
 * Burns CPU until it is killed: 70 % of it below hot_seventy, 30 % below warm_thirty, in one callee.
 * Prints what both really took.
 */
#define _GNU_SOURCE
#include "clock.h"

__attribute__((noinline, noclone)) static unsigned long spin(unsigned long rounds)
{
	unsigned long value = rounds;

	for (unsigned long round = 0; round < rounds; round++) {
		value = value * 6364136223846793005UL + round;
		__asm__ volatile("" : "+r"(value));
	}
	return value;
}

/* Both do something with the result, so that the call is no jump. */
__attribute__((noinline, noclone)) static unsigned long hot_seventy(unsigned long rounds)
{
	return spin(7 * rounds) ^ 7;
}

__attribute__((noinline, noclone)) static unsigned long warm_thirty(unsigned long rounds)
{
	return spin(3 * rounds) ^ 3;
}

/* Turns of different lengths: turns of one length could march in step with a sampler's period. */
__attribute__((noinline, noclone)) static void work_loop(unsigned long unit)
{
	double hot = 0, warm = 0, said = 0;
	unsigned long random = 1, result = 0;

	for (;;) {
		random = random * 6364136223846793005UL + 1442695040888963407UL;
		unsigned long rounds = unit * (1 + (random >> 61));
		double began = cpu_seconds();
		result ^= hot_seventy(rounds);
		double between = cpu_seconds();
		result ^= warm_thirty(rounds);
		double ended = cpu_seconds();
		hot += between - began;
		warm += ended - between;
		if (ended - said >= 0.25) {
			said = ended;
			printf("truth %.6f %.6f %lu\n", hot, warm, result & 1);
			fflush(stdout);
		}
	}
}

int main(void)
{
	const unsigned long trial = 10UL * 1000 * 1000;
	double began = cpu_seconds();
	volatile unsigned long result = spin(trial);
	double each = (cpu_seconds() - began) / (double)trial;

	(void)result;
	say_ready();
	/* A unit makes turns of 0.2 ms to 1.6 ms. */
	work_loop((unsigned long)(0.0002 / 10 / each));
	return 0;
}
