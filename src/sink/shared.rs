//! What all calls of a sink share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::decode::{self, Filing, Method};
use super::fault::{CodeName, FaultBoard};
use super::processes::Processes;
use super::stacks::{Stacks, Store};
use super::state::{Id, MethodState, State, UploadState};
use super::task::TaskBoard;
use super::{SinkError, SinkOptions};

/// Uploads that are remembered.
const MAX_UPLOADS: usize = 1000;
/// Paths that are counted: those of unknown methods are the callers' to choose.
const MAX_PATHS: usize = 1000;

/// What all calls of a sink share.
pub(super) struct Shared {
    pub(super) methods: HashMap<Arc<str>, Arc<Method>>,
    pub(super) token: Option<String>,
    pub(super) faults: FaultBoard,
    pub(super) tasks: TaskBoard,
    pub(super) processes: Processes,
    keep_ids: usize,
    record: Option<Mutex<File>>,
    books: Mutex<Books>,
    changed: watch::Sender<()>,
    task_ids: AtomicU64,
}

#[derive(Default)]
struct Books {
    state: State,
    ids: BTreeMap<String, Vec<Id>>,
    ids_kept: usize,
    headers: BTreeMap<String, BTreeMap<String, String>>,
    stacks: Store,
}

impl Shared {
    pub(super) fn new(options: SinkOptions) -> Result<Self, SinkError> {
        let record = match options.record {
            None => None,
            Some(path) => Some(
                File::options()
                    .append(true)
                    .create(true)
                    .open(&path)
                    .map_err(|source| SinkError::Record { path, source })?,
            ),
        };
        Ok(Self {
            methods: decode::catalogue().map_err(SinkError::Descriptors)?,
            token: options.token,
            faults: FaultBoard::new(options.fault),
            tasks: TaskBoard::default(),
            processes: Processes::default(),
            keep_ids: options.keep_ids,
            record: record.map(Mutex::new),
            books: Mutex::default(),
            changed: watch::Sender::new(()),
            task_ids: AtomicU64::new(0),
        })
    }

    /// Whether anyone will look at ids.
    pub(super) fn wants_ids(&self) -> bool {
        self.keep_ids > 0 || self.record.is_some()
    }

    pub(super) fn next_task_id(&self) -> String {
        format!(
            "continuous-{}",
            self.task_ids.fetch_add(1, Ordering::Relaxed) + 1
        )
    }

    /// Books a message; when this returns, its line is with the kernel and survives our death.
    pub(super) fn accept(&self, path: &str, bytes: usize, filing: Filing) -> Result<(), Status> {
        self.write_record(path, &filing.entries)?;
        self.change(|books| {
            books.state.total_messages += 1;
            if let Some(method) = books.state.methods.get_mut(path) {
                method.messages += 1;
                method.bytes += bytes as u64;
            }
            books.file(path, filing, self.keep_ids);
        });
        Ok(())
    }

    /// Books what a call gave when it ended.
    pub(super) fn settle(&self, path: &str, filing: Filing) -> Result<(), Status> {
        if filing.is_empty() {
            return Ok(());
        }
        self.write_record(path, &filing.entries)?;
        self.change(|books| books.file(path, filing, self.keep_ids));
        Ok(())
    }

    fn write_record(&self, path: &str, entries: &[Id]) -> Result<(), Status> {
        let Some(record) = &self.record else {
            return Ok(());
        };
        let mut lines = String::new();
        for entry in entries {
            for (field, end) in [
                (path, '\t'),
                (&entry.service, '\t'),
                (&entry.instance, '\t'),
                (&entry.id, '\n'),
            ] {
                lines.extend(field.chars().map(|c| if c.is_control() { ' ' } else { c }));
                lines.push(end);
            }
        }
        let written = record.lock().write_all(lines.as_bytes());
        written.map_err(|error| Status::internal(format!("record: {error}")))
    }

    pub(super) fn call_begins(&self, path: &str, metadata: &MetadataMap, authority: Option<&str>) {
        self.change(|books| {
            if books.state.methods.len() >= MAX_PATHS && !books.state.methods.contains_key(path) {
                return;
            }
            let method = books.state.methods.entry(path.to_owned()).or_default();
            method.calls += 1;
            method.open += 1;
            books
                .headers
                .insert(path.to_owned(), headers(metadata, authority));
        });
    }

    pub(super) fn call_ends(&self, path: &str, outcome: CallOutcome, upload: Option<UploadState>) {
        self.change(|books| {
            if let Some(method) = books.state.methods.get_mut(path) {
                method.open = method.open.saturating_sub(1);
                method.cut += u64::from(outcome == CallOutcome::Cut);
            }
            if let CallOutcome::Failed(code) = outcome {
                let name = CodeName(code).as_str();
                *books.state.errors.entry(name.to_owned()).or_default() += 1;
            }
            if let Some(upload) = upload {
                if books.state.uploads.len() == MAX_UPLOADS {
                    books.state.uploads.remove(0);
                }
                books.state.uploads.push(upload);
            }
        });
    }

    /// Counts a connection until the guard is dropped.
    pub(super) fn connection_begins(self: &Arc<Self>) -> ConnectionGuard {
        self.change(|books| {
            books.state.connections += 1;
            books.state.accepted_connections += 1;
        });
        ConnectionGuard(Arc::clone(self))
    }

    pub(super) fn snapshot(&self) -> State {
        self.books.lock().state.clone()
    }

    pub(super) fn ids(&self, path: &str) -> Vec<Id> {
        self.books.lock().ids.get(path).cloned().unwrap_or_default()
    }

    pub(super) fn headers(&self, path: &str) -> Option<BTreeMap<String, String>> {
        self.books.lock().headers.get(path).cloned()
    }

    pub(super) fn stacks(&self) -> Stacks {
        self.books.lock().stacks.sums()
    }

    /// Forgets counts and tasks; what is open stays open.
    pub(super) fn reset(&self) {
        self.tasks.clear();
        self.change(|books| {
            let old = std::mem::take(books);
            books.state.connections = old.state.connections;
            for (path, method) in old.state.methods {
                if method.open > 0 {
                    let kept = MethodState {
                        open: method.open,
                        ..MethodState::default()
                    };
                    books.state.methods.insert(path, kept);
                }
            }
        });
    }

    pub(super) async fn wait_until(&self, condition: impl Fn(&State) -> bool) -> State {
        let fits = |books: &Books| condition(&books.state).then(|| books.state.clone());
        self.wait(fits).await
    }

    pub(super) async fn wait_for_stacks(&self, condition: impl Fn(&Stacks) -> bool) -> Stacks {
        let mut changed = self.changed.subscribe();
        loop {
            let began = Instant::now();
            let sums = self.books.lock().stacks.sums();
            if condition(&sums) {
                return sums;
            }
            // A look copies everything. Without a pause, nothing else would get done.
            let pause = 4 * began.elapsed();
            let _ = changed.changed().await;
            tokio::time::sleep(pause).await;
        }
    }

    async fn wait<T>(&self, find: impl Fn(&Books) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(found) = find(&self.books.lock()) {
                return found;
            }
            // Fails only when the sender is gone, and that is us.
            let _ = changed.changed().await;
        }
    }

    fn change(&self, edit: impl FnOnce(&mut Books)) {
        edit(&mut self.books.lock());
        self.changed.send_replace(());
    }
}

impl Books {
    fn file(&mut self, path: &str, filing: Filing, keep_ids: usize) {
        for datum in filing.stacks {
            self.stacks.add(datum);
        }
        if let Some(method) = self.state.methods.get_mut(path) {
            method.unnamed += filing.unnamed;
            method.repeated += filing.repeated;
            method.unfinished += filing.unfinished;
        }
        let mut named = BTreeSet::new();
        for entry in &filing.entries {
            if named.insert((&entry.service, &entry.instance)) {
                self.count(path, entry);
            }
        }
        if keep_ids == 0 || filing.entries.is_empty() {
            return;
        }
        let room = (keep_ids - self.ids_kept).min(filing.entries.len());
        self.ids_kept += room;
        self.state.ids_dropped += (filing.entries.len() - room) as u64;
        let ids = self.ids.entry(path.to_owned()).or_default();
        ids.extend(filing.entries.into_iter().take(room));
    }

    fn count(&mut self, path: &str, entry: &Id) {
        let name = format!("{}/{}", entry.service, entry.instance);
        let service = self.state.services.entry(name).or_default();
        if let Some(count) = service.get_mut(path) {
            *count += 1;
        } else {
            service.insert(path.to_owned(), 1);
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallOutcome {
    /// With OK.
    Done,
    /// With an error of ours.
    Failed(Code),
    /// By the client, or with the connection.
    Cut,
}

/// An open connection.
pub(super) struct ConnectionGuard(Arc<Shared>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0
            .change(|books| books.state.connections = books.state.connections.saturating_sub(1));
    }
}

fn headers(metadata: &MetadataMap, authority: Option<&str>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    if let Some(authority) = authority {
        headers.insert(":authority".to_owned(), authority.to_owned());
    }
    for (name, value) in &metadata.clone().into_headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.as_str().to_owned())
            .and_modify(|all: &mut String| {
                all.push_str(", ");
                all.push_str(&value);
            })
            .or_insert_with(|| value.to_string());
    }
    headers
}
