//! `perigee check` with certificates.

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Command, Output};

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tempfile::TempDir;

    const CONFIGURATION: &str = "
sharing:
  clients:
    - plugin_name: grpc-client
      server_addr: oap:11800
      enable_tls: true
      insecure_skip_verify: false
      ca_pem_path: client.pem
      client_pem_path: client.pem
      client_key_path: client.key
  servers:
    - plugin_name: grpc-server
      tls_cert_file: server.pem
      tls_key_file: server.key
      tls_client_ca_file: client.pem
";

    /// A file of both sides with TLS, its certificates beside it.
    struct Setup(TempDir);

    impl Setup {
        fn new() -> Self {
            let setup = Self(tempfile::tempdir().unwrap());
            for name in ["server", "client"] {
                let CertifiedKey { cert, signing_key } =
                    generate_simple_self_signed(["localhost".to_owned()]).unwrap();
                setup.write(&format!("{name}.pem"), &cert.pem());
                setup.write(&format!("{name}.key"), &signing_key.serialize_pem());
            }
            setup.write("perigee.yaml", CONFIGURATION);
            setup
        }

        fn path(&self) -> &Path {
            self.0.path()
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.path().join(name), text).unwrap();
        }

        fn check(&self, more: &[&str]) -> Output {
            Command::new(env!("CARGO_BIN_EXE_perigee"))
                .args(["check", "-c", "perigee.yaml"])
                .args(more)
                .current_dir(self.path())
                .output()
                .expect("the program runs")
        }
    }

    /// What is said of wrong files, line by line; the configuration is shown all the same.
    #[track_caller]
    fn complaints(output: &Output) -> Vec<String> {
        assert_eq!(output.status.code(), Some(64));
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.contains("effective configuration"), "{shown}");
        let errors = String::from_utf8_lossy(&output.stderr);
        errors.lines().map(str::to_owned).collect()
    }

    #[test]
    fn certificates_that_fit_are_no_error() {
        let output = Setup::new().check(&["--strict"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        assert_eq!(errors, "");
    }

    #[test]
    fn every_wrong_file_is_named_with_its_key_and_the_reason() {
        let setup = Setup::new();
        std::fs::copy(
            setup.path().join("client.key"),
            setup.path().join("server.key"),
        )
        .unwrap();
        setup.write("client.key", "not PEM at all");
        std::fs::remove_file(setup.path().join("client.pem")).unwrap();
        let gone = "client.pem: No such file or directory (os error 2)";
        assert_eq!(
            complaints(&setup.check(&[])),
            [
                "error: sharing.servers[0].tls_key_file: server.key: is not the key of the certificate in server.pem",
                &format!("error: sharing.servers[0].tls_client_ca_file: {gone}"),
                &format!("error: sharing.clients[0].ca_pem_path: {gone}"),
                &format!("error: sharing.clients[0].client_pem_path: {gone}"),
                "error: sharing.clients[0].client_key_path: client.key: holds no unencrypted private key",
            ]
        );
    }

    #[test]
    fn the_json_is_the_same_whatever_the_certificates_are() {
        let setup = Setup::new();
        let good = setup.check(&["--json"]);
        setup.write("server.pem", "");
        let bad = setup.check(&["--json"]);
        assert_eq!((good.status.code(), bad.status.code()), (Some(0), Some(64)));
        assert_eq!(good.stdout, bad.stdout);
        let object: serde_json::Value = serde_json::from_slice(&bad.stdout).unwrap();
        assert_eq!(
            object["sharing.servers[0].tls_client_ca_file"],
            "client.pem"
        );
    }

    fn check_of(text: &str) -> Output {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("perigee.yaml"), text).unwrap();
        Command::new(env!("CARGO_BIN_EXE_perigee"))
            .args(["check", "-c", "perigee.yaml"])
            .current_dir(directory.path())
            .output()
            .expect("the program runs")
    }

    /// `perigee start` ends with 1 for the first.
    #[test]
    fn a_token_of_ours_that_no_header_can_carry_is_an_error() {
        for token in [r"secret\n", "s\u{e9}cret", " secret "] {
            let output = check_of(&format!(
                "sharing:\n  clients: [{{plugin_name: grpc-client, authentication: \"{token}\"}}]\n  servers: [{{plugin_name: grpc-server}}]\n"
            ));
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(64), "{token:?}: {errors}");
            assert!(
                errors.contains("sharing.clients[0].authentication"),
                "{errors}"
            );
        }
    }

    /// All errors at once, as the README says.
    #[test]
    fn wrong_files_are_named_beside_a_wrong_value() {
        let output = check_of(
            "sharing:\n  clients: [{plugin_name: grpc-client}]\n  servers: [{plugin_name: grpc-server, tls_cert_file: none.pem, tls_key_file: none.key, accept_limit: {cpu_utilization: 0}}]\n",
        );
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("cpu_utilization"), "{errors}");
        assert!(errors.contains("none.pem"), "{errors}");
    }
}
