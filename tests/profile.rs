//! `perigee profile`: what is wrong is said before anybody has waited.

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    /// Exit code and standard error.
    fn profile(directory: &Path, arguments: &str) -> (Option<i32>, String) {
        let began = Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_perigee"))
            .args(["profile", "--seconds", "60"])
            .args(arguments.split_ascii_whitespace())
            .current_dir(directory)
            .output()
            .expect("the program runs");
        assert!(began.elapsed() < Duration::from_secs(30), "{arguments}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    }

    #[track_caller]
    fn refused(arguments: &str, code: i32, named: &str) {
        let directory = tempfile::tempdir().unwrap();
        let (status, said) = profile(directory.path(), arguments);
        assert_eq!(status, Some(code), "{said}");
        assert!(said.contains(named), "{said}");
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 0, "nothing is left behind");
    }

    #[test]
    fn an_ending_that_is_no_format_is_named_with_those_that_are() {
        let named =
            "error: --output x.txt: a profile's name ends in .svg, .html, .folded or .pb.gz\n";
        refused("--all -o x.txt", 1, named);
    }

    #[test]
    fn a_directory_that_takes_no_file_is_named() {
        let named = "error: --output gone/x.svg: cannot be written: No such file or directory (os error 2)\n";
        refused("--all -o gone/x.svg", 1, named);
    }

    /// A process that has ended and has been waited for.
    fn ended() -> u32 {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        let pid = ended();
        let named = format!("error: --pid {pid}: there is no such process\n");
        refused(&format!("--pid {pid} -o x.svg"), 1, &named);
    }

    #[test]
    fn a_control_group_that_is_not_there_is_named() {
        let named = "error: --cgroup none.slice: there is no such control group\n";
        refused("--cgroup none.slice -o x.svg", 1, named);
    }

    #[test]
    fn wrong_arguments_are_named() {
        refused(
            "-o x.svg",
            2,
            "--pid <N>|--command <REGEX>|--cgroup <PATH>|--all",
        );
        refused("--command ( -o x.svg", 2, "unclosed group");
        refused("--all --rate 0 -o x.svg", 2, "0 is not in 1..=10000");
    }

    /// Ended when dropped.
    struct Sleeper(Child);

    impl Drop for Sleeper {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn a_thread_is_not_a_process() {
        // Ours: the test runs on one.
        let thread = rustix::thread::gettid().as_raw_nonzero();
        let process = std::process::id();
        let named = format!("error: --pid {thread}: this is a thread of process {process}\n");
        refused(&format!("--pid {thread} -o x.svg"), 1, &named);
    }

    #[test]
    fn what_the_machine_refuses_is_said_and_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let sleeper = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn();
        let sleeper = Sleeper(sleeper.unwrap());
        let output = Command::new(env!("CARGO_BIN_EXE_perigee"))
            .args(["profile", "--seconds", "1", "-o", "x.folded", "--pid"])
            .arg(sleeper.0.id().to_string())
            .current_dir(directory.path())
            .output()
            .expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let has_file = directory.path().join("x.folded").exists();
        assert_eq!(output.status.success(), has_file, "{said}");
        if !has_file {
            assert!(
                said.starts_with("error: ") && said.contains("is not possible"),
                "{said}"
            );
        }
    }
}
