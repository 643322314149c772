/* Burns so many milliseconds of CPU and ends. */
#define _GNU_SOURCE
#include "clock.h"

__attribute__((noinline, noclone)) static unsigned long burst_work(double until)
{
	unsigned long value = 1;

	do {
		for (unsigned long round = 0; round < 20000; round++) {
			value = value * 6364136223846793005UL + round;
			__asm__ volatile("" : "+r"(value));
		}
	} while (cpu_seconds() < until);
	return value;
}

int main(int argc, char **argv)
{
	double length = argc > 1 ? atof(argv[1]) / 1000 : 0.1;
	volatile unsigned long result = burst_work(length);

	(void)result;
	return 0;
}
