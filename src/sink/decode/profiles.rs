//! Go's profiles, which come in chunks.

use std::collections::HashMap;

use bytes::Bytes;
use perigee_proto::skywalking::v3 as sw;
use tonic::Status;
use xxhash_rust::xxh3::Xxh3;

use super::text::hex_of;
use super::{Filing, Names, Reader, decode_as};

/// `ProfileTask/goProfileReport`: a task's chunks on one call, up to the last, are its profile (T7).
#[derive(Default)]
pub(super) struct GoProfiles {
    /// By task.
    open: HashMap<String, Profile>,
}

#[derive(Default)]
struct Profile {
    content: Xxh3,
    chunks: u64,
}

impl Reader for GoProfiles {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        let chunk: sw::GoProfileData = decode_as(bytes)?;
        let mut profile = self.open.remove(&chunk.task_id).unwrap_or_default();
        profile.content.update(&chunk.payload);
        profile.chunks += 1;
        if chunk.is_last {
            let names = Names::new(&chunk.task_id, "");
            filing.file(&names, || hex_of(profile.content.digest()));
        } else {
            self.open.insert(chunk.task_id, profile);
        }
        Ok(())
    }

    fn end(&mut self, filing: &mut Filing) {
        filing.unfinished += self.open.drain().map(|(_, open)| open.chunks).sum::<u64>();
    }
}
