use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const BUDGET: u64 = 3 << 20;

#[test]
fn an_allocation_takes_the_first_hole_that_fits() {
    let mut arenas = Arenas::new(BUDGET);
    let first = arenas.allocate(1000).expect("a place");
    let second = arenas.allocate(500).expect("a place");
    assert_eq!(
        (first.arena, first.word, second.arena, second.word),
        (0, 0, 0, 1024)
    );
    arenas.free(first);
    let big = arenas.allocate(1025).expect("a place");
    assert_eq!((big.arena, big.word), (0, 1536));
    let small = arenas.allocate(1024).expect("a place");
    assert_eq!((small.arena, small.word), (0, 0));
}

/// Whether nothing lies in an arena.
fn is_unused(arenas: &Arenas, arena: u32) -> bool {
    let whole = Hole {
        start: 0,
        end: ARENA_WORDS,
    };
    arenas.holes[arena as usize] == [whole]
}

#[test]
fn no_more_arenas_are_used_than_the_budget_allows() {
    let mut arenas = Arenas::new(BUDGET + 1000);
    let places: Vec<_> = std::iter::from_fn(|| arenas.allocate(ARENA_WORDS)).collect();
    assert_eq!(
        places.iter().map(|place| place.arena).collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert_eq!(Arenas::new(BUDGET).allocate(ARENA_WORDS + 1), None);
    assert_eq!(Arenas::new(1000).allocate(1), None);
    for place in places {
        assert!(!is_unused(&arenas, place.arena));
        let arena = place.arena;
        arenas.free(place);
        assert!(is_unused(&arenas, arena));
    }
    assert_eq!(arenas.len(), 3);
}

#[test]
fn words_are_read_as_written_and_zero_elsewhere() {
    let mut words = PlainWords::default();
    words.write(2, 10, &[7, 8]);
    words.write(2, 11, &[9]);
    let read = [(2, 9), (2, 10), (2, 11), (2, 12), (0, 10), (3, 10)]
        .map(|(arena, word)| words.read(arena, word));
    assert_eq!(read, [0, 7, 9, 0, 0, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For all sequences: places do not overlap, what is free is what is not taken, an allocation fails
    /// only where no hole is wide enough, and everything comes back.
    #[test]
    fn places_never_overlap_and_come_back(
        steps in vec((any::<bool>(), any::<prop::sample::Index>(), 1..ARENA_WORDS / 3), 1..100),
    ) {
        let grains = (ARENA_WORDS / GRAIN) as usize;
        let mut taken = vec![vec![false; grains]; 3];
        let mut arenas = Arenas::new(BUDGET);
        let mut places: Vec<Place> = Vec::new();
        let range = |place: &Place| {
            let first = (place.word / GRAIN) as usize;
            first..first + place.words.div_ceil(GRAIN) as usize
        };
        for (add, which, words) in steps {
            if add || places.is_empty() {
                let wanted = words.div_ceil(GRAIN) as usize;
                let fits = taken.iter().any(|arena| arena.split(|&used| used).any(|hole| hole.len() >= wanted));
                let place = arenas.allocate(words);
                prop_assert_eq!(place.is_some(), fits);
                if let Some(place) = place {
                    let cells = &mut taken[place.arena as usize][range(&place)];
                    prop_assert!(cells.iter().all(|&used| !used));
                    cells.fill(true);
                    places.push(place);
                }
            } else {
                let place = places.swap_remove(which.index(places.len()));
                taken[place.arena as usize][range(&place)].fill(false);
                arenas.free(place);
            }
            let free = taken[..arenas.len()].iter().flatten().filter(|&&used| !used).count() as u64;
            let holes = arenas.holes.iter().flatten();
            let free_words: u64 = holes.map(|hole| u64::from(hole.end - hole.start)).sum();
            prop_assert_eq!(free_words, free * u64::from(GRAIN));
        }
        for place in places {
            arenas.free(place);
        }
        prop_assert!((0..arenas.len() as u32).all(|arena| is_unused(&arenas, arena)));
    }
}
