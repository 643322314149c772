//! `perigee capture`, alone and beside a gateway, as processes.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Output, Stdio};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
    use std::thread::JoinHandle;
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use rustix::process::{Pid, Signal, kill_process};
    use serde_json::{Value, json};

    /// Longer than any of this takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A process with its log, killed when dropped.
    struct Running {
        child: Child,
        log: Receiver<Value>,
    }

    impl Running {
        fn start(directory: &Path, text: &str, arguments: &[&str]) -> Self {
            std::fs::write(directory.join("perigee.yaml"), text).unwrap();
            let mut child = Command::new(env!("CARGO_BIN_EXE_perigee"))
                .args(arguments)
                .args(["-c", "perigee.yaml"])
                .current_dir(directory)
                .stdout(Stdio::piped())
                .spawn()
                .expect("the program runs");
            let (sender, log) = channel();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            std::thread::spawn(move || {
                for line in lines {
                    let line = serde_json::from_str(&line.unwrap()).expect("a line of JSON");
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
            Self { child, log }
        }

        fn line(&self, message: &str) -> Value {
            let [line] = self.lines([message]);
            line
        }

        /// The next line of each of these messages: two processes write them in any order.
        fn lines<const N: usize>(&self, messages: [&str; N]) -> [Value; N] {
            let until = Instant::now() + PATIENCE;
            let mut found = messages.map(|_| None);
            let mut seen = Vec::new();
            while found.iter().any(Option::is_none) {
                let left = until.saturating_duration_since(Instant::now());
                let Ok(line) = self.log.recv_timeout(left) else {
                    panic!("not all of {messages:?} in {seen:#?}");
                };
                let mut wanted = messages.iter().zip(&mut found);
                match wanted
                    .find(|(message, found)| found.is_none() && line["message"] == **message)
                {
                    Some((_, found)) => *found = Some(line),
                    None => seen.push(line),
                }
            }
            found.map(Option::unwrap)
        }

        fn address(&self, message: &str) -> SocketAddr {
            address_of(&self.line(message))
        }

        fn tell(&self, signal: Signal) {
            tell(self.child.id().into(), signal);
        }

        /// The end of the log: nobody holds its other end any more.
        fn silence(&self) {
            let until = Instant::now() + PATIENCE;
            loop {
                let left = until.saturating_duration_since(Instant::now());
                match self.log.recv_timeout(left) {
                    Ok(_) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => panic!("somebody still writes"),
                }
            }
        }

        fn wait(&mut self) -> Option<i32> {
            self.child.wait().unwrap().code()
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ended = self.child.kill();
            let _ended = self.child.wait();
        }
    }

    fn tell(pid: u64, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The value of a metric without labels of its own.
    fn metric(address: SocketAddr, name: &str) -> f64 {
        let page = get(address, "/metrics");
        let line = page
            .lines()
            .find(|line| line.starts_with(&format!("{name}{{")));
        let line = line.unwrap_or_else(|| panic!("no {name} in {page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Fails on what the table of metrics does not have.
    fn all_are_in_the_table(page: &str) {
        let own = perigee::telemetry::catalogue::ALL.map(|metric| metric.name);
        let captured =
            perigee_ebpf_profiler::metrics::ALL.map(perigee_ebpf_profiler::metrics::Metric::name);
        let shown = page.lines().filter_map(|line| line.split('{').next());
        let shown: Vec<_> = shown.filter(|name| name.starts_with("perigee_")).collect();
        assert!(shown.len() > 4, "{page}");
        for name in shown {
            let mut known = own.iter().chain(&captured);
            assert!(known.any(|it| *it == name), "{name} in {page}");
        }
    }

    fn gateway(capture: &str) -> String {
        format!(
            "logger: {{format: json}}
telemetry: {{export_type: prometheus, prometheus: {{address: '127.0.0.1:0'}}}}
sharing:
  clients: [{{plugin_name: grpc-client, server_addr: '127.0.0.1:1'}}]
  servers: [{{plugin_name: grpc-server, address: '127.0.0.1:0'}}]
pipes: [{{gatherer: {{receiver: {{plugin_name: grpc-native-management-receiver}}}}}}]
capture: {{enabled: true, {capture}}}
"
        )
    }

    const ANYWHERE: &str = "metrics: {listen: '127.0.0.1:0'}";

    /// The pid of the child that has just started.
    fn address_of(line: &Value) -> SocketAddr {
        line["address"].as_str().unwrap().parse().unwrap()
    }

    /// The child's PID and where its page is, once it serves that.
    fn serving_child(gateway: &Running) -> (u64, SocketAddr) {
        let [started, served] = gateway.lines(["capture started", "metrics and health are served"]);
        (started["pid"].as_u64().unwrap(), address_of(&served))
    }

    fn child(gateway: &Running) -> u64 {
        gateway.line("capture started")["pid"].as_u64().unwrap()
    }

    /// Calls one after the other until stopped, each of which must be answered well.
    struct Caller {
        stop: Arc<AtomicBool>,
        answered: Arc<AtomicU64>,
        thread: JoinHandle<Result<(), String>>,
    }

    impl Caller {
        fn start(to: SocketAddr) -> Self {
            let stop = Arc::new(AtomicBool::new(false));
            let answered = Arc::new(AtomicU64::new(0));
            let (until, count) = (Arc::clone(&stop), Arc::clone(&answered));
            let thread = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    while !until.load(Ordering::Relaxed) {
                        keep_alive(to).await.map_err(|error| format!("{error:?}"))?;
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            });
            Self {
                stop,
                answered,
                thread,
            }
        }

        fn stop(self) -> u64 {
            self.stop.store(true, Ordering::Relaxed);
            self.thread.join().unwrap().expect("every call is answered");
            self.answered.load(Ordering::Relaxed)
        }
    }

    /// A call on a connection of its own: accepting is tried, too.
    async fn keep_alive(to: SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
        let stream = tokio::net::TcpStream::connect(to).await?;
        let (client, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(connection);
        let request = http::Request::post("http://x/skywalking.v3.ManagementService/keepAlive")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let (answer, mut body) = client.ready().await?.send_request(request, false)?;
        body.send_data(Bytes::from_static(b"\0\0\0\0\x06\x0a\x01s\x12\x01i"), true)?;
        let mut answer = answer.await?.into_body();
        while let Some(data) = answer.data().await {
            let _freed = answer.flow_control().release_capacity(data?.len());
        }
        let trailers = answer.trailers().await?.ok_or("no trailers")?;
        match trailers.get("grpc-status").map(http::HeaderValue::as_bytes) {
            Some(b"0") => Ok(()),
            status => Err(format!("{status:?}").into()),
        }
    }

    #[test]
    fn a_killed_child_comes_back_and_the_gateway_does_not_notice() {
        let directory = tempfile::tempdir().unwrap();
        let gateway = Running::start(directory.path(), &gateway(ANYWHERE), &["start"]);
        let address = gateway.address("listening");
        let (first, _) = serving_child(&gateway);
        let caller = Caller::start(address);
        tell(first, Signal::KILL);
        let ended = gateway.line("capture has ended");
        assert_eq!(ended["reason"], "signal: 9 (SIGKILL)", "{ended}");
        let (second, _) = serving_child(&gateway);
        assert_ne!(first, second);
        let answered = caller.stop();
        assert!(answered > 10, "{answered}");
    }

    #[test]
    fn a_killed_gateway_takes_its_child_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut gateway = Running::start(directory.path(), &gateway(ANYWHERE), &["start"]);
        serving_child(&gateway);
        gateway.tell(Signal::KILL);
        assert_eq!(gateway.wait(), None);
        // The child has the same log open for as long as it lives.
        gateway.silence();
    }

    #[test]
    fn a_gateway_that_is_told_to_stop_stops_its_child_first() {
        let directory = tempfile::tempdir().unwrap();
        let mut gateway = Running::start(directory.path(), &gateway(ANYWHERE), &["start"]);
        serving_child(&gateway);
        gateway.tell(Signal::TERM);
        let told = gateway.line("told to stop");
        assert_eq!(told["signal"], "SIGTERM");
        gateway.line("capture stopped");
        assert_eq!(gateway.wait(), Some(0));
        gateway.silence();
    }

    /// Programs, maps and perf events live as long as somebody has them open.
    fn in_the_kernel(pid: u32) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let links = entries
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let ours = |link: &PathBuf| {
            let link = link.to_string_lossy();
            link.contains("bpf") || link.contains("perf_event")
        };
        links.filter(ours).collect()
    }

    fn until_nothing_is_in_the_kernel(pid: u32) {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = in_the_kernel(pid);
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < until, "{left:?}");
            // A thread of the process closes them, and tells nobody outside.
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn sockets(pid: u64) -> BTreeSet<String> {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let targets = entries
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let names = targets.filter_map(|target| target.to_str().map(str::to_owned));
        names.filter(|name| name.starts_with("socket:")).collect()
    }

    #[test]
    fn the_child_has_no_socket_of_the_gateway_and_reads_its_orders_only() {
        let directory = tempfile::tempdir().unwrap();
        let gateway = Running::start(directory.path(), &gateway(ANYWHERE), &["start"]);
        let address = gateway.address("listening");
        let (child, _) = serving_child(&gateway);
        // A connection of an agent, besides those that listen.
        let agent = TcpStream::connect(address).unwrap();
        let (ours, its) = (sockets(gateway.child.id().into()), sockets(child));
        assert!(ours.len() >= 2 && !its.is_empty(), "{ours:?} {its:?}");
        assert_eq!(ours.intersection(&its).count(), 0, "{ours:?} {its:?}");
        let input = std::fs::read_link(format!("/proc/{child}/fd/0")).unwrap();
        assert!(input.to_string_lossy().starts_with("pipe:"), "{input:?}");
        drop(agent);
    }

    #[test]
    fn a_child_that_cannot_start_is_told_with_its_reason_and_tried_again() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let address = taken.local_addr().unwrap();
        let text = gateway(&format!("metrics: {{listen: '{address}'}}"));
        let gateway = Running::start(directory.path(), &text, &["start"]);
        gateway.line("listening");
        child(&gateway);
        let said = format!(
            "capture.metrics.listen: cannot listen on {address}: Address already in use (os error 98)"
        );
        gateway.line(&said);
        let ended = gateway.line("capture has ended");
        assert_eq!(ended["reason"], "exit status: 1", "{ended}");
        // What the child says before it has a log.
        std::fs::write(
            directory.path().join("perigee.yaml"),
            "capture: {paused: 7}",
        )
        .unwrap();
        child(&gateway);
        let ended = gateway.line("capture has ended");
        let reason = "exit status: 64: error: capture.paused: \"7\" is not true or false (line 1)";
        assert_eq!(ended["reason"], reason, "{ended}");
    }

    #[test]
    fn the_gateway_shows_its_child_and_stays_ready_without_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let metrics = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let listen = format!("metrics: {{listen: '{}'}}", taken.local_addr().unwrap());
        let text = gateway(&listen).replacen("127.0.0.1:0", &metrics.to_string(), 1);
        let gateway = Running::start(directory.path(), &text, &["start"]);
        gateway.line("capture has ended");
        assert!(get(metrics, "/readyz").starts_with("HTTP/1.1 200"));
        assert!(metric(metrics, "perigee_capture_child_up").abs() < 0.5);
        drop(taken);
        serving_child(&gateway);
        assert!(metric(metrics, "perigee_capture_child_up") > 0.5);
        let restarts = metric(metrics, "perigee_capture_child_restarts_total");
        assert!((restarts - 1.0).abs() < 0.5, "{restarts}");
    }

    const ALONE: &str = "logger: {format: json}\ncapture: {metrics: {listen: '127.0.0.1:0'}}\n";

    #[test]
    fn a_signal_turns_the_off_switch_over() {
        let directory = tempfile::tempdir().unwrap();
        let mut alone = Running::start(directory.path(), ALONE, &["capture"]);
        let address = alone.address("metrics and health are served");
        assert!(get(address, "/healthz").starts_with("HTTP/1.1 200"));
        assert!(get(address, "/readyz").starts_with("HTTP/1.1 404"));
        assert!(metric(address, "perigee_capture_paused").abs() < 0.5);
        let tier = alone.line("capture by tier")["tier"].to_string();
        let by_programs = tier.contains("BPF");
        let pid = alone.child.id();
        assert_eq!(!in_the_kernel(pid).is_empty(), by_programs);
        alone.tell(Signal::USR1);
        alone.line("paused: nothing is captured, and nothing of ours is in the kernel");
        assert!(metric(address, "perigee_capture_paused") > 0.5);
        until_nothing_is_in_the_kernel(pid);
        let page = get(address, "/metrics");
        let zeroed = ["perigee_capture_tier{", "perigee_capture_tasks_running{"];
        let of_captures = |line: &&str| zeroed.iter().any(|name| line.starts_with(name));
        let values: Vec<_> = page.lines().filter(of_captures).collect();
        assert!(values.len() >= 2, "{page}");
        all_are_in_the_table(&page);
        assert!(
            values.iter().all(|line| line.ends_with(" 0")),
            "{values:#?}"
        );
        // It is about the machine.
        let possible = metric(address, "perigee_capture_possible") > 0.5;
        assert_eq!(possible, !tier.contains("off"), "{tier}");
        alone.tell(Signal::USR1);
        alone.line("told to go on");
        assert!(metric(address, "perigee_capture_paused").abs() < 0.5);
        alone.tell(Signal::INT);
        assert_eq!(alone.wait(), Some(0));
    }

    #[test]
    fn the_log_says_how_many_processes_are_reported_and_of_which_services() {
        let directory = tempfile::tempdir().unwrap();
        let mut sleeping = Command::new("sleep").arg("61").spawn().unwrap();
        let rule = "discovery: {rules: [{match: {command: '^[^ ]*sleep 61$'}, service: shop, process: sleep}]}, ";
        let text = ALONE.replace("capture: {", &format!("capture: {{{rule}"));
        let alone = Running::start(directory.path(), &text, &["capture"]);
        let line = alone.line("processes are reported");
        assert_eq!(
            (&line["processes"], &line["services"]),
            (&json!(1), &json!("shop"))
        );
        sleeping.kill().unwrap();
        sleeping.wait().unwrap();
    }

    #[test]
    fn a_gateway_passes_the_off_switch_on() {
        let directory = tempfile::tempdir().unwrap();
        let gateway = Running::start(directory.path(), &gateway(ANYWHERE), &["start"]);
        serving_child(&gateway);
        gateway.tell(Signal::USR1);
        gateway.line("told to pause");
    }

    #[test]
    fn the_off_switch_outlives_the_child() {
        let directory = tempfile::tempdir().unwrap();
        let gateway = Running::start(directory.path(), &gateway(ANYWHERE), &["start"]);
        gateway.line("listening");
        let (first, _) = serving_child(&gateway);
        gateway.tell(Signal::USR1);
        gateway.line("told to pause");
        tell(first, Signal::KILL);
        let (_, address) = serving_child(&gateway);
        assert!(metric(address, "perigee_capture_paused") > 0.5);
    }

    #[test]
    fn a_child_that_is_told_leaves_the_off_switch_to_the_gateway() {
        let directory = tempfile::tempdir().unwrap();
        let gateway = Running::start(directory.path(), &gateway(ANYWHERE), &["start"]);
        gateway.line("listening");
        let (first, _) = serving_child(&gateway);
        tell(first, Signal::USR1);
        gateway.line("told to pause");
        tell(first, Signal::KILL);
        let (second, address) = serving_child(&gateway);
        assert!(metric(address, "perigee_capture_paused") > 0.5);
        gateway.tell(Signal::USR1);
        gateway.line("told to go on");
        tell(second, Signal::USR1);
        gateway.line("told to pause");
        assert!(metric(address, "perigee_capture_paused") > 0.5);
    }

    #[test]
    fn the_off_switch_counts_while_the_child_is_away() {
        let directory = tempfile::tempdir().unwrap();
        let gateway = Running::start(directory.path(), &gateway(ANYWHERE), &["start"]);
        gateway.line("listening");
        let (first, _) = serving_child(&gateway);
        tell(first, Signal::KILL);
        gateway.line("capture has ended");
        gateway.tell(Signal::USR1);
        let (_, address) = serving_child(&gateway);
        assert!(metric(address, "perigee_capture_paused") > 0.5);
    }

    #[test]
    fn what_cannot_be_reported_ends_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let text = ALONE.replace(
            "capture: {",
            "capture: {gateway: {enable_tls: true, insecure_skip_verify: true, server_name: 'a b'}, ",
        );
        let mut alone = Running::start(directory.path(), &text, &["capture"]);
        let code = alone.wait();
        assert_eq!(code, Some(1));
    }

    #[test]
    fn a_misspelt_list_of_whom_not_to_touch_ends_the_start() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("c.yaml"), "capture: {denny: [vault]}").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_perigee"))
            .args(["check", "-c", "c.yaml"])
            .current_dir(directory.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64));
    }

    #[test]
    fn a_process_that_begins_paused_goes_on_when_the_file_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let paused = ALONE.replace("capture: {", "capture: {paused: true, ");
        let alone = Running::start(directory.path(), &paused, &["capture"]);
        let address = alone.address("metrics and health are served");
        assert!(metric(address, "perigee_capture_paused") > 0.5);
        std::fs::write(directory.path().join("perigee.yaml"), ALONE).unwrap();
        alone.line("capturing goes on");
        assert!(metric(address, "perigee_capture_paused").abs() < 0.5);
    }

    fn run(arguments: &[&str], text: &str) -> Output {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("perigee.yaml"), text).unwrap();
        Command::new(env!("CARGO_BIN_EXE_perigee"))
            .args(arguments)
            .current_dir(directory.path())
            .output()
            .expect("the program runs")
    }

    #[test]
    fn a_child_of_somebody_else_does_not_begin() {
        // A file that would end it otherwise.
        let file = ["capture", "--child-of", "1", "-c", "perigee.yaml"];
        let output = run(&file, "capture: {paused: 7}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("the process 1 is not the parent of this one"),
            "{said}"
        );
    }

    #[test]
    fn a_file_for_capture_alone_is_checked() {
        let check = |text: &str| run(&["check", "--strict", "-c", "perigee.yaml"], text);
        let output = check("capture: {deny: [postgres], on_cpu: {period: 20ms}}\n");
        let shown = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(shown.contains("listen: \"127.0.0.1:1235\""), "{shown}");
        let output = check("capture: {deny: ['(']}\n");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(
            said.starts_with("error: capture.deny[0]: \"(\" is not a regular expression"),
            "{said}"
        );
    }

    #[test]
    fn the_doctor_speaks_json_if_asked() {
        let output = run(&["capture", "doctor", "--json"], "");
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(object["findings"].as_array().unwrap().len() > 5, "{object}");
        let possible = ["on_cpu", "off_cpu"]
            .iter()
            .any(|kind| object[kind] != "off");
        assert_eq!(output.status.success(), possible, "{object}");
    }
}
