//! What the OAP is told and asks for: processes, keep-alives, profiling tasks.
