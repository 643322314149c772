//! Power of two choices: of two random nodes, the one with less in flight for its weight.
//!
//! Two choices instead of the best of all, because several workers choose without knowing of each
//! other: all of them would send to the same least loaded node at once.

use fastrand::Rng;

use super::NodeId;

/// A node that a batch may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// Its relative share, at least 1.
    pub weight: u32,
    /// Messages sent to it and not answered.
    pub in_flight: u64,
}

/// Draws two of the candidates by weight and takes the less loaded one, the first of equals: idle
/// nodes therefore get shares by weight too.
pub fn pick(candidates: &[Candidate], rng: &mut Rng) -> Option<NodeId> {
    let first = draw(candidates, None, rng)?;
    let Some(second) = draw(candidates, Some(first.node), rng) else {
        return Some(first.node);
    };
    let load = |one: Candidate, other: Candidate| {
        u128::from(one.in_flight) * u128::from(other.weight.max(1))
    };
    if load(second, first) < load(first, second) {
        Some(second.node)
    } else {
        Some(first.node)
    }
}

fn draw(candidates: &[Candidate], except: Option<NodeId>, rng: &mut Rng) -> Option<Candidate> {
    let drawable = || {
        candidates
            .iter()
            .filter(|candidate| Some(candidate.node) != except)
    };
    let weight = |candidate: &Candidate| u64::from(candidate.weight.max(1));
    let total = drawable().map(weight).sum::<u64>();
    if total == 0 {
        return None;
    }
    let mut ticket = rng.u64(..total);
    drawable()
        .find(|candidate| {
            let weight = weight(candidate);
            let drawn = ticket < weight;
            ticket = ticket.saturating_sub(weight);
            drawn
        })
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert, proptest};

    fn candidates(loads: &[(u32, u64)]) -> Vec<Candidate> {
        let numbered = (0..).zip(loads);
        numbered
            .map(|(id, &(weight, in_flight))| Candidate {
                node: NodeId(id),
                weight,
                in_flight,
            })
            .collect()
    }

    /// How often each candidate is picked in 10,000.
    fn picks(candidates: &[Candidate]) -> Vec<u32> {
        let mut rng = Rng::with_seed(7);
        let mut picks = vec![0; candidates.len()];
        for _ in 0..10_000 {
            let NodeId(id) = pick(candidates, &mut rng).unwrap();
            picks[id as usize] += 1;
        }
        picks
    }

    #[test]
    fn nobody_is_picked_of_nobody() {
        assert_eq!(pick(&[], &mut Rng::with_seed(1)), None);
    }

    #[test]
    fn the_only_candidate_is_picked_whatever_its_load() {
        let one = candidates(&[(1, u64::MAX)]);
        assert_eq!(pick(&one, &mut Rng::with_seed(1)), Some(NodeId(0)));
    }

    #[test]
    fn of_two_the_less_loaded_one_is_always_picked() {
        assert_eq!(picks(&candidates(&[(1, 10), (1, 9)])), [0, 10_000]);
    }

    #[test]
    fn load_counts_relative_to_weight() {
        assert_eq!(picks(&candidates(&[(1, 10), (4, 30)])), [0, 10_000]);
        assert_eq!(picks(&candidates(&[(1, 10), (4, 50)])), [10_000, 0]);
    }

    #[test]
    fn the_most_loaded_of_three_is_never_picked_and_the_others_by_load() {
        let picks = picks(&candidates(&[(1, 100), (1, 0), (1, 50)]));
        assert_eq!(picks[0], 0);
        assert!((6_400..6_950).contains(&picks[1]), "{picks:?}");
    }

    #[test]
    fn idle_nodes_get_shares_by_weight() {
        let picks = picks(&candidates(&[(1, 0), (1, 0), (2, 0)]));
        assert!((2_350..2_650).contains(&picks[0]), "{picks:?}");
        assert!((4_800..5_200).contains(&picks[2]), "{picks:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_picks() {
        let four = candidates(&[(1, 3), (2, 3), (3, 9), (1, 0)]);
        assert_eq!(picks(&four), picks(&four));
    }

    proptest! {
        /// For all loads: one of the candidates is picked, and never the single most loaded.
        #[test]
        fn the_single_most_loaded_is_never_picked(
            loads in proptest::collection::vec((1_u32..5, 0_u64..1000), 2..8),
            seed: u64,
        ) {
            let candidates = candidates(&loads);
            let picked = pick(&candidates, &mut Rng::with_seed(seed)).unwrap();
            let picked = candidates.iter().find(|candidate| candidate.node == picked).unwrap();
            let load = |candidate: &Candidate| {
                candidate.in_flight as f64 / f64::from(candidate.weight)
            };
            let lighter = |other: &&Candidate| load(other) < load(picked);
            prop_assert!(
                candidates.iter().filter(lighter).count() + 1 < candidates.len()
                    || candidates.iter().filter(|other| load(other) >= load(picked)).count() > 1
            );
        }
    }
}
