//! The same as busy.c. The standard library has no clock of CPU time, so the truth is in rounds: every round of
//! `spin` costs the same.

use std::hint::black_box;
use std::time::Instant;

mod shop {
    use std::hint::black_box;

    #[inline(never)]
    pub fn spin(rounds: u64) -> u64 {
        let mut value = rounds;
        for round in 0..rounds {
            value = black_box(value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round));
        }
        value
    }

    pub trait Price {
        fn hot_seventy(&self, rounds: u64) -> u64;
        fn warm_thirty(&self, rounds: u64) -> u64;
    }

    pub struct Cart<T>(pub T);

    impl Price for Cart<u64> {
        #[inline(never)]
        fn hot_seventy(&self, rounds: u64) -> u64 {
            spin(7 * rounds * self.0) ^ 7
        }

        #[inline(never)]
        fn warm_thirty(&self, rounds: u64) -> u64 {
            spin(3 * rounds * self.0) ^ 3
        }
    }
}

fn main() {
    const TRIAL: u64 = 10_000_000;
    let began = Instant::now();
    black_box(shop::spin(TRIAL));
    let each = began.elapsed().as_secs_f64() / TRIAL as f64;
    let cart = black_box(shop::Cart((0.0002 / 10.0 / each) as u64));
    let cart: &dyn shop::Price = &cart;
    let (mut random, mut all) = (1_u64, 0_u64);
    let mut said = Instant::now();
    println!("ready");
    loop {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let rounds = 1 + (random >> 61);
        black_box(cart.hot_seventy(rounds) ^ cart.warm_thirty(rounds));
        all += rounds;
        if said.elapsed().as_secs_f64() >= 0.25 {
            said = Instant::now();
            println!("truth {} {}", 7 * all, 3 * all);
        }
    }
}
