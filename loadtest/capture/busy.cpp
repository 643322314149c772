// The same as busy.c, with names that need demangling.
#define _GNU_SOURCE 1
#include "clock.h"

namespace shop {

template <typename Money> class Cart {
public:
	explicit Cart(Money unit) : unit_(unit) {}
	__attribute__((noinline)) Money hot_seventy(Money rounds) const { return spin(7 * rounds * unit_) ^ 7; }
	__attribute__((noinline)) Money warm_thirty(Money rounds) const { return spin(3 * rounds * unit_) ^ 3; }
	__attribute__((noinline)) static Money spin(Money rounds);

private:
	Money unit_;
};

template <typename Money> Money Cart<Money>::spin(Money rounds)
{
	Money value = rounds;
	for (Money round = 0; round < rounds; round++) {
		value = value * 6364136223846793005UL + round;
		__asm__ volatile("" : "+r"(value));
	}
	return value;
}

} // namespace shop

int main()
{
	const unsigned long trial = 10UL * 1000 * 1000;
	double began = cpu_seconds();
	unsigned long result = shop::Cart<unsigned long>::spin(trial);
	double each = (cpu_seconds() - began) / static_cast<double>(trial);
	const shop::Cart<unsigned long> cart(static_cast<unsigned long>(0.0002 / 10 / each));
	double hot = 0, warm = 0, said = 0;
	unsigned long random = 1;

	say_ready();
	for (;;) {
		random = random * 6364136223846793005UL + 1442695040888963407UL;
		unsigned long rounds = 1 + (random >> 61);
		began = cpu_seconds();
		result ^= cart.hot_seventy(rounds);
		double between = cpu_seconds();
		result ^= cart.warm_thirty(rounds);
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
