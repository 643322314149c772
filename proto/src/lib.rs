//! Wire-compatible definitions of the messages that the gateway meets: SkyWalking's, Envoy's,
//! OpenTelemetry's and gRPC's own.
//!
//! For code that reads or writes messages (sink, self report, capture, tests). Forwarding needs
//! none of it. Modules follow the protobuf packages. There are no clients and no servers here;
//! [`DESCRIPTORS`] says which services exist.

#![allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    reason = "everything but the module tree is generated from the .proto files"
)]

/// The encoded `google.protobuf.FileDescriptorSet` of all files, services and imports included.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

macro_rules! package {
    ($name:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $name, ".rs"));
    };
}

/// SkyWalking.
pub mod skywalking {
    /// Nearly everything.
    pub mod v3 {
        package!("skywalking.v3");
    }
    /// Profilers whose files come in chunks.
    pub mod v10 {
        package!("skywalking.v10");
    }
}

/// Envoy.
pub mod envoy {
    /// `envoy.config`.
    pub mod config {
        /// `envoy.config.core`.
        pub mod core {
            /// Nodes, addresses, metadata.
            pub mod v3 {
                package!("envoy.config.core.v3");
            }
        }
    }
    /// `envoy.data`.
    pub mod data {
        /// `envoy.data.accesslog`.
        pub mod accesslog {
            /// Access log entries.
            pub mod v3 {
                package!("envoy.data.accesslog.v3");
            }
        }
    }
    /// `envoy.service`.
    pub mod service {
        /// `envoy.service.accesslog`.
        pub mod accesslog {
            /// Access log messages, also of v2 and of the satellite service.
            pub mod v3 {
                package!("envoy.service.accesslog.v3");
            }
        }
        /// `envoy.service.metrics`.
        pub mod metrics {
            /// Metrics messages, also of v2.
            pub mod v3 {
                package!("envoy.service.metrics.v3");
            }
        }
    }
    /// `envoy.type`.
    pub mod r#type {
        /// Versions.
        pub mod v3 {
            package!("envoy.r#type.v3");
        }
    }
}

/// Prometheus.
pub mod io {
    /// `io.prometheus`.
    pub mod prometheus {
        /// Metric families.
        pub mod client {
            package!("io.prometheus.client");
        }
    }
}

/// OpenTelemetry.
pub mod opentelemetry {
    /// `opentelemetry.proto`.
    pub mod proto {
        /// The services' requests and responses.
        pub mod collector {
            /// `opentelemetry.proto.collector.logs`.
            pub mod logs {
                /// Exporting logs.
                pub mod v1 {
                    package!("opentelemetry.proto.collector.logs.v1");
                }
            }
            /// `opentelemetry.proto.collector.metrics`.
            pub mod metrics {
                /// Exporting metrics.
                pub mod v1 {
                    package!("opentelemetry.proto.collector.metrics.v1");
                }
            }
            /// `opentelemetry.proto.collector.trace`.
            pub mod trace {
                /// Exporting spans.
                pub mod v1 {
                    package!("opentelemetry.proto.collector.trace.v1");
                }
            }
        }
        /// `opentelemetry.proto.common`.
        pub mod common {
            /// Attributes.
            pub mod v1 {
                package!("opentelemetry.proto.common.v1");
            }
        }
        /// `opentelemetry.proto.logs`.
        pub mod logs {
            /// Log records.
            pub mod v1 {
                package!("opentelemetry.proto.logs.v1");
            }
        }
        /// `opentelemetry.proto.metrics`.
        pub mod metrics {
            /// Metrics and data points.
            pub mod v1 {
                package!("opentelemetry.proto.metrics.v1");
            }
        }
        /// `opentelemetry.proto.resource`.
        pub mod resource {
            /// Resources.
            pub mod v1 {
                package!("opentelemetry.proto.resource.v1");
            }
        }
        /// `opentelemetry.proto.trace`.
        pub mod trace {
            /// Spans.
            pub mod v1 {
                package!("opentelemetry.proto.trace.v1");
            }
        }
    }
}

/// gRPC.
pub mod grpc {
    /// `grpc.health`.
    pub mod health {
        /// Health checks.
        pub mod v1 {
            package!("grpc.health.v1");
        }
    }
}
