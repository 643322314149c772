// The same as busy.c. The callee is a leaf without a frame: a walk along frame pointers loses its caller.
// The truth is in rounds, as in busy.rs.
package main

import (
	"fmt"
	"time"
)

//go:noinline
func spin(rounds uint64) uint64 {
	value := rounds
	for round := uint64(0); round < rounds; round++ {
		value = value*6364136223846793005 + round
	}
	return value
}

//go:noinline
func hot_seventy(rounds uint64) uint64 { return spin(7*rounds) ^ 7 }

//go:noinline
func warm_thirty(rounds uint64) uint64 { return spin(3*rounds) ^ 3 }

func main() {
	const trial = 10_000_000
	began := time.Now()
	result := spin(trial)
	unit := uint64(0.0002 / 10 / (time.Since(began).Seconds() / trial))
	random, all, said := uint64(1), uint64(0), time.Now()
	fmt.Println("ready")
	for {
		random = random*6364136223846793005 + 1442695040888963407
		rounds := unit * (1 + random>>61)
		result ^= hot_seventy(rounds) ^ warm_thirty(rounds)
		all += rounds
		if time.Since(said) >= 250*time.Millisecond {
			said = time.Now()
			fmt.Println("truth", 7*all, 3*all, result&1)
		}
	}
}
