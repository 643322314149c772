//! Files that change under a watch.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::ServerConfig;
use tempfile::TempDir;

use super::{Current, PATIENCE, Watch};
use crate::config::settings::{ClientTls, ServerTls};
use crate::engine::tls::{Side, TlsErrors};

type Told = Option<Result<(), TlsErrors>>;

/// A certificate with its key, as PEM.
struct Pair {
    chain: String,
    key: String,
}

fn pair() -> Pair {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    Pair {
        chain: cert.pem(),
        key: signing_key.serialize_pem(),
    }
}

struct Files {
    directory: TempDir,
    side: ServerTls,
}

impl Files {
    fn of(pair: &Pair) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let side = ServerTls {
            chain: path("tls.crt"),
            key: path("tls.key"),
            client_ca: None,
        };
        let files = Self { directory, side };
        files.write(pair);
        files
    }

    fn write(&self, pair: &Pair) {
        std::fs::write(&self.side.chain, &pair.chain).unwrap();
        std::fs::write(&self.side.key, &pair.key).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn watch(&self) -> Watched {
        let watch = Watch::load(self.side.clone()).unwrap();
        Watched {
            first: watch.current().load(),
            current: watch.current(),
            watch,
        }
    }
}

struct Watched {
    watch: Watch<ServerTls>,
    current: Current<ServerConfig>,
    first: std::sync::Arc<ServerConfig>,
}

impl Watched {
    fn is_as_at_first(&self) -> bool {
        std::sync::Arc::ptr_eq(&self.first, &self.current.load())
    }

    /// Nothing is said by that many looks.
    fn is_silent(&mut self, looks: u32) {
        for look in 0..looks {
            let told = self.watch.poll();
            assert!(told.is_none(), "look {look}: {told:?}");
        }
    }

    fn takes_the_change(&mut self) {
        self.is_silent(1);
        assert!(self.is_as_at_first());
        assert!(matches!(self.watch.poll(), Some(Ok(()))));
        assert!(!self.is_as_at_first());
        self.is_silent(5);
    }

    /// The error that is told once.
    fn refuses_the_change(&mut self) -> String {
        self.is_silent(PATIENCE);
        let error = refused(self.watch.poll());
        self.is_silent(5);
        assert!(self.is_as_at_first());
        error
    }
}

fn refused(told: Told) -> String {
    told.expect("told").expect_err("refused").to_string()
}

#[test]
fn a_change_is_taken_when_it_has_been_seen_twice() {
    let files = Files::of(&pair());
    let mut watched = files.watch();
    watched.is_silent(5);
    files.write(&pair());
    watched.takes_the_change();
}

#[test]
fn files_that_are_written_again_as_they_were_are_no_change() {
    let pair = pair();
    let files = Files::of(&pair);
    let mut watched = files.watch();
    files.write(&pair);
    watched.is_silent(5);
    assert!(watched.is_as_at_first());
}

/// `..data` is a link to a directory that is swapped for another.
#[test]
fn a_secret_as_kubernetes_swaps_it_is_a_change() {
    let (old, new) = (Files::of(&pair()), Files::of(&pair()));
    let mounted = Files::of(&pair());
    let data = mounted.path("..data");
    symlink(old.directory.path(), &data).unwrap();
    for path in [&mounted.side.chain, &mounted.side.key] {
        std::fs::remove_file(path).unwrap();
        symlink(Path::new("..data").join(path.file_name().unwrap()), path).unwrap();
    }
    let mut watched = mounted.watch();
    watched.is_silent(3);
    let swap = mounted.path("..data_tmp");
    symlink(new.directory.path(), &swap).unwrap();
    std::fs::rename(&swap, &data).unwrap();
    watched.takes_the_change();
}

#[test]
fn nothing_is_said_while_the_key_is_not_yet_written() {
    let files = Files::of(&pair());
    let mut watched = files.watch();
    let next = pair();
    std::fs::write(&files.side.chain, &next.chain).unwrap();
    watched.is_silent(3);
    std::fs::write(&files.side.key, &next.key).unwrap();
    watched.takes_the_change();
}

#[test]
fn a_key_that_stays_another_is_told_once_and_kept_out() {
    let files = Files::of(&pair());
    let mut watched = files.watch();
    let stray = KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(&files.side.key, stray).unwrap();
    let (chain, key) = (files.side.chain.display(), files.side.key.display());
    assert_eq!(
        watched.refuses_the_change(),
        format!(
            "sharing.servers[0].tls_key_file: {key}: is not the key of the certificate in {chain}"
        ),
    );
    files.write(&pair());
    watched.takes_the_change();
}

#[test]
fn every_broken_file_is_named() {
    let files = Files::of(&pair());
    let mut watched = files.watch();
    let half = pair().chain;
    std::fs::write(&files.side.chain, &half[..half.len() / 2]).unwrap();
    std::fs::remove_file(&files.side.key).unwrap();
    let error = watched.refuses_the_change();
    let (chain, key) = (files.side.chain.display(), files.side.key.display());
    assert!(error.starts_with(&format!(
        "sharing.servers[0].tls_cert_file: {chain}: ends inside a section; "
    )));
    assert!(
        error.ends_with(&format!(
            "; sharing.servers[0].tls_key_file: {key}: No such file or directory (os error 2)"
        )),
        "{error}"
    );
}

#[test]
fn each_change_of_a_broken_file_is_told() {
    let files = Files::of(&pair());
    let mut watched = files.watch();
    std::fs::write(&files.side.key, "").unwrap();
    assert!(
        watched
            .refuses_the_change()
            .ends_with("holds no unencrypted private key")
    );
    std::fs::write(&files.side.key, "-----BEGIN PRIVATE KEY-----\n").unwrap();
    assert!(!watched.refuses_the_change().contains("holds no"));
}

#[test]
fn the_roots_of_clients_are_watched_too() {
    let roots = Files::of(&pair());
    let mut files = Files::of(&pair());
    files.side.client_ca = Some(roots.side.chain.clone());
    let mut watched = files.watch();
    roots.write(&pair());
    watched.takes_the_change();
}

#[test]
fn only_files_that_count_are_read_towards_the_oap() {
    let files = Files::of(&pair());
    let nowhere = files.path("nowhere");
    let mut side = ClientTls {
        ca: Some(nowhere.clone()),
        identity: None,
        insecure_skip_verify: true,
    };
    assert!(side.files().is_empty());
    assert!(Watch::load(side.clone()).is_ok());
    side.insecure_skip_verify = false;
    let Err(errors) = Watch::load(side) else {
        panic!("roots that are not there");
    };
    assert_eq!(
        errors.to_string(),
        format!(
            "sharing.clients[0].ca_pem_path: {}: No such file or directory (os error 2)",
            nowhere.display()
        )
    );
}
