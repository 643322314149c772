//! `perigee start`: what it says and how it ends.

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::{Duration, Instant};

    use rcgen::{CertifiedKey, generate_simple_self_signed};

    const TOKEN: &str = "s3cret";

    fn command(directory: &Path, text: &str) -> Command {
        std::fs::write(directory.join("perigee.yaml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_perigee"));
        command
            .args(["start", "-c", "perigee.yaml"])
            .current_dir(directory);
        command
    }

    /// A file with these options of the server.
    fn file(server: &str) -> String {
        format!(
            "logger: {{format: json}}
telemetry: {{export_type: prometheus, prometheus: {{address: '127.0.0.1:0'}}}}
sharing:
  clients: [{{plugin_name: grpc-client, server_addr: '127.0.0.1:1'}}]
  servers: [{{plugin_name: grpc-server, address: '127.0.0.1:0', {server}}}]
"
        )
    }

    /// A gateway of its own process, ended when dropped.
    struct Running {
        child: Child,
        log: Receiver<String>,
        address: SocketAddr,
        listening: serde_json::Value,
    }

    impl Running {
        fn start(directory: &Path, server: &str) -> Self {
            let mut child = command(directory, &file(server))
                .stdout(Stdio::piped())
                .spawn()
                .expect("the program runs");
            let log = lines(BufReader::new(child.stdout.take().unwrap()));
            let listening = line_with(&log, "listening");
            let address = listening["address"].as_str().unwrap().parse().unwrap();
            Self {
                child,
                log,
                address,
                listening,
            }
        }

        fn line_with(&self, message: &str) -> serde_json::Value {
            line_with(&self.log, message)
        }

        /// A call of this method with this token, on a connection of its own. Sent as bytes, with
        /// nothing compressed: the answer is not looked at.
        fn call(&self, path: &str, token: Option<&str>) -> TcpStream {
            let mut block = Vec::new();
            let fields = [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", "perigee"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
            ];
            let token = token.map(|token| ("authentication", token));
            for (name, value) in fields.into_iter().chain(token) {
                block.push(0);
                for text in [name, value] {
                    block.push(u8::try_from(text.len()).unwrap());
                    block.extend(text.as_bytes());
                }
            }
            let length = u8::try_from(block.len()).expect("a short block");
            let mut socket = TcpStream::connect(self.address).unwrap();
            let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
            bytes.extend([0, 0, length, 1, 0x5, 0, 0, 0, 1]);
            bytes.extend(block);
            socket.write_all(&bytes).unwrap();
            socket
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }

    /// Read on a thread of its own, which ends with the process, so that a wait for a line can end.
    fn lines(log: impl BufRead + Send + 'static) -> Receiver<String> {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in log.lines() {
                if sender.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        receiver
    }

    fn line_with(log: &Receiver<String>, message: &str) -> serde_json::Value {
        let until = Instant::now() + Duration::from_secs(20);
        let mut seen = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = log.recv_timeout(left) else {
                panic!("no {message:?} in {seen:#?}");
            };
            assert!(!line.contains(TOKEN), "{line}");
            let fields: serde_json::Value = serde_json::from_str(&line).unwrap();
            if fields["message"] == message {
                return fields;
            }
            seen.push(line);
        }
    }

    fn certificate(directory: &Path) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(directory.join("a.pem"), cert.pem()).unwrap();
        std::fs::write(directory.join("a.key"), signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn certificates_that_cannot_be_used_are_a_wrong_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let text = file("tls_cert_file: none.pem, tls_key_file: none.key");
        let output = command(directory.path(), &text).output().unwrap();
        let log = String::from_utf8_lossy(&output.stdout);
        assert!(log.contains("none.pem"), "{log}");
        assert_eq!(output.status.code(), Some(64));
    }

    #[test]
    fn an_address_that_is_taken_is_none() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let text = file("").replace("127.0.0.1:0", &address);
        let output = command(directory.path(), &text).output().unwrap();
        let log = String::from_utf8_lossy(&output.stdout);
        assert!(log.contains("cannot listen"), "{log}");
        assert_eq!(output.status.code(), Some(1));
    }

    #[test]
    fn one_line_says_who_is_let_in() {
        let directory = tempfile::tempdir().unwrap();
        certificate(directory.path());
        let open = Running::start(
            directory.path(),
            "accept_limit: {connection_count: 7, cpu_utilization: 60}",
        );
        let line = &open.listening;
        assert_eq!(line["tls"], "off", "{line}");
        assert_eq!(line["client_certificates"], "no", "{line}");
        assert_eq!(line["tokens"], "no", "{line}");
        assert_eq!(line["max_connections"], 7, "{line}");
        assert_eq!(line["max_cpu_percent"], 60, "{line}");
        let closed = Running::start(
            directory.path(),
            &format!(
                "authentication: {TOKEN}, tls_cert_file: a.pem, tls_key_file: a.key, tls_client_ca_file: a.pem"
            ),
        );
        let line = &closed.listening;
        assert_eq!(line["tls"], "on", "{line}");
        assert_eq!(line["client_certificates"], "required", "{line}");
        assert_eq!(line["tokens"], "checked", "{line}");
    }

    #[test]
    fn refused_callers_leave_a_trace_without_their_token() {
        let directory = tempfile::tempdir().unwrap();
        let gateway = Running::start(directory.path(), &format!("authentication: {TOKEN}"));
        let path = "/skywalking.v3.ManagementService/keepAlive";
        for (sent, token) in [(None, "missing"), (Some("x-s3cret"), "wrong")] {
            let socket = gateway.call(path, sent);
            let line = gateway.line_with("call refused");
            assert_eq!(line["token"], token, "{line}");
            assert_eq!(line["path"], path, "{line}");
            assert_eq!(line["level"], "WARN", "{line}");
            let peer = socket.local_addr().unwrap().to_string();
            assert_eq!(line["peer"], peer, "{line}");
        }
    }

    #[test]
    fn failed_handshakes_leave_a_trace() {
        let directory = tempfile::tempdir().unwrap();
        certificate(directory.path());
        let gateway = Running::start(
            directory.path(),
            "tls_cert_file: a.pem, tls_key_file: a.key",
        );
        let mut socket = TcpStream::connect(gateway.address).unwrap();
        socket
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        let line = gateway.line_with("TLS handshake failed");
        assert_eq!(line["level"], "WARN", "{line}");
        assert_eq!(line["peer"], socket.local_addr().unwrap().to_string());
        assert!(!line["error"].as_str().unwrap().is_empty(), "{line}");
        // The alert, and the end.
        let _ = socket.read_to_end(&mut Vec::new());
    }
}
