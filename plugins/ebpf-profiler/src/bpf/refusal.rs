//! What the kernel did not let us do, in words.

use std::io;

/// Something that the kernel did not let us do.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {}", plain(.source.as_ref()))]
pub struct KernelError {
    /// What was tried.
    pub step: &'static str,
    /// The answer.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl KernelError {
    /// What to grant, where the kernel has said that we may not.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self.source.as_ref());
        while let Some(error) = cause {
            let denied = error
                .downcast_ref::<io::Error>()
                .is_some_and(|it| it.kind() == io::ErrorKind::PermissionDenied);
            if denied {
                return Some("CAP_BPF and CAP_PERFMON (or root)".into());
            }
            cause = error.source();
        }
        None
    }
}

/// An error with its causes, each once.
fn plain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(it) = cause {
        let more = it.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = it.source();
    }
    text
}

pub(super) fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    step: &'static str,
) -> impl Fn(E) -> KernelError {
    move |source| KernelError {
        step,
        source: source.into(),
    }
}
