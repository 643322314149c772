use super::super::samples;
use super::*;
use crate::profile::Process;

/// Depth, name, total and own of each node, by weight.
fn shape(tree: &Tree) -> Vec<(u32, &str, u64, u64)> {
    let row = |it| {
        let Node {
            depth, own, total, ..
        } = it;
        let weights = (total.weight(tree.kind), own.weight(tree.kind));
        (
            depth,
            tree.function(&it).name.as_str(),
            weights.0,
            weights.1,
        )
    };
    tree.nodes.iter().copied().map(row).collect()
}

#[test]
fn stacks_that_begin_alike_share_nodes_and_the_heavier_goes_first() {
    let tree = Tree::of(&samples::shop());
    let expected = [
        (0, "all", 100, 0),
        (1, "shop (pid 42)", 100, 0),
        (2, "_start", 95, 0),
        (3, "main", 95, 0),
        (4, "hot", 70, 60),
        (5, "entry_SYSCALL_64", 10, 0),
        (6, "do_syscall_64", 10, 10),
        (4, "warm", 20, 20),
        (4, "libshop.so+0x1234", 5, 5),
        (2, "node::Start", 5, 0),
        (3, "JS:*total shop.js:12", 5, 5),
    ];
    assert_eq!(shape(&tree), expected);
    let origins: Vec<Origin> = tree
        .nodes
        .iter()
        .map(|it| tree.function(it).origin)
        .collect();
    assert_eq!(origins[0..2], [Origin::Group; 2]);
    assert_eq!(
        origins[4..7],
        [Origin::Native, Origin::Kernel, Origin::Kernel]
    );
    assert_eq!(origins[8], Origin::Unknown);
    assert_eq!(origins[10], Origin::Jit);
}

#[test]
fn siblings_of_one_weight_go_by_name() {
    let mut profile = samples::chain(&["b", "a"], 3);
    profile.stacks.push(profile.stacks[0].clone());
    profile.stacks[1].user.reverse();
    let expected = [
        (0, "all", 6, 0),
        (1, "chain (pid 7)", 6, 0),
        (2, "a", 3, 0),
        (3, "b", 3, 3),
        (2, "b", 3, 0),
        (3, "a", 3, 3),
    ];
    assert_eq!(shape(&Tree::of(&profile)), expected);
}

#[test]
fn an_empty_profile_has_a_root() {
    let tree = Tree::of(&samples::empty());
    assert_eq!(shape(&tree), [(0, "all", 0, 0)]);
    assert!(tree.tops().is_empty());
}

#[test]
fn processes_of_one_name_are_one_and_tell_their_pids() {
    let mut profile = samples::chain(&["main"], 3);
    for pid in [9, 8] {
        profile.processes.push(Process {
            pid,
            name: "chain".to_owned(),
        });
    }
    let mut other = profile.stacks[0].clone();
    other.process = 2;
    profile.stacks.push(other);
    let tree = Tree::of(&profile);
    let expected = [
        (0, "all", 6, 0),
        (1, "chain (3 processes)", 6, 0),
        (2, "main", 6, 6),
    ];
    assert_eq!(shape(&tree), expected);
    assert_eq!(tree.function(&tree.nodes[1]).place, "pid 7, 8, 9");
}

#[test]
fn waits_go_by_time_and_those_imposed_lie_apart() {
    let mut profile = samples::chain(&["main"], 3);
    profile.kind = Kind::OffCpu;
    profile.stacks[0].nanos = 40;
    let mut imposed = profile.stacks[0].clone();
    imposed.preempted = true;
    imposed.nanos = 60;
    profile.stacks.push(imposed);
    let expected = [
        (0, "all", 100, 0),
        (1, "chain (pid 7)", 100, 0),
        (2, PREEMPTED, 60, 0),
        (3, "main", 60, 60),
        (2, "main", 40, 40),
    ];
    assert_eq!(shape(&Tree::of(&profile)), expected);
}

#[test]
fn the_lightest_nodes_are_left_out_and_noted_above() {
    let tree = Tree::of(&samples::shop()).heaviest(6);
    let names: Vec<&str> = shape(&tree).into_iter().map(|it| it.1).collect();
    let expected = ["all", "shop (pid 42)", "_start", "main", "hot", "warm"];
    assert_eq!(names, expected);
    let missing: Vec<(u32, u64)> = tree
        .nodes
        .iter()
        .map(|it| (it.missing, it.missed.count))
        .collect();
    // `node::Start` with what it calls; the unnamed one; the system call with what it calls.
    assert_eq!(missing, [(0, 0), (2, 5), (0, 0), (1, 5), (2, 10), (0, 0)]);
    for (index, node) in tree.nodes.iter().enumerate() {
        let below = tree.nodes[index + 1..].iter();
        let below = below.take_while(|it| it.depth > node.depth);
        let below: u64 = below
            .filter(|it| it.depth == node.depth + 1)
            .map(|it| it.total.count)
            .sum();
        assert_eq!(node.total.count, node.own.count + below + node.missed.count);
    }
}

#[test]
fn neighbours_left_out_are_all_noted() {
    let mut profile = samples::chain(&["main", "a"], 10);
    profile
        .frames
        .extend(samples::chain(&["b", "c", "d"], 1).frames);
    for (user, count) in [(vec![2, 0], 3), (vec![4, 3, 0], 2)] {
        let mut stack = profile.stacks[0].clone();
        (stack.user, stack.count) = (user, count);
        profile.stacks.push(stack);
    }
    let tree = Tree::of(&profile).heaviest(4);
    assert_eq!(tree.nodes.len(), 4);
    assert_eq!((tree.nodes[2].missing, tree.nodes[2].missed.count), (3, 5));
}

#[test]
fn a_recursion_counts_once_in_a_functions_total() {
    let tree = Tree::of(&samples::chain(&["main", "f", "g", "f", "f"], 3));
    let tops: Vec<(&str, u64, u64)> = tree
        .tops()
        .iter()
        .map(|(index, own, total)| {
            (
                tree.functions[*index as usize].name.as_str(),
                own.count,
                total.count,
            )
        })
        .collect();
    assert_eq!(tops, [("f", 3, 3), ("g", 0, 3), ("main", 0, 3)]);
}

#[test]
fn an_index_that_points_nowhere_is_no_frame() {
    let mut profile = samples::chain(&["main"], 3);
    profile.stacks[0].user.push(99);
    profile.frames[0].module = Some(99);
    let mut stray = profile.stacks[0].clone();
    stray.process = 99;
    profile.stacks.push(stray);
    let expected = [
        (0, "all", 3, 0),
        (1, "chain (pid 7)", 3, 0),
        (2, "main", 3, 3),
    ];
    assert_eq!(shape(&Tree::of(&profile)), expected);
}

#[test]
fn only_an_offset_or_an_address_is_nobodys_name() {
    for name in ["libc.so.6+0x1f", "a+b+0xAB", "0x7f00"] {
        assert!(is_address(name), "{name}");
    }
    for name in ["operator+0xyz", "f+0x", "0x", "main", "+0x1 of"] {
        assert!(!is_address(name), "{name}");
    }
}
