//! The wire: messages and services generated from `protos/`, their conversions to the domain, and the one error table.
//!
//! [`online`], [`registry`], [`materialize`], [`push`], [`jobs`], [`table`], [`derived`], [`lifecycle`], [`sealed`] and [`flight`] hold the
//! generated code, each version in a
//! module of its own.
//! [`flight`] also packs and unpacks the commands of the Arrow Flight door, [`error`] says which code stands for which kind of
//! failure and carries problems along, [`convert`] turns messages into domain types and back.
//!
//! No engine and no arrow-flight here: a client in another process builds this package without DataFusion and RocksDB.

pub mod convert;
pub mod error;
pub mod flight;

/// Lookups.
pub mod online {
    /// Version 1, generated from `protos/tidegate/online/v1/online.proto`.
    // Generated: documented in the .proto and shaped by prost and tonic.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        include!("generated/tidegate.online.v1.rs");
    }
}

/// Definitions.
pub mod registry {
    /// Version 1, generated from `protos/tidegate/registry/v1/registry.proto`.
    // Generated: documented in the .proto and shaped by prost and tonic.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        include!("generated/tidegate.registry.v1.rs");
    }
}

/// Materialization.
pub mod materialize {
    /// Version 1, generated from `protos/tidegate/materialize/v1/materialize.proto`.
    // Generated: documented in the .proto and shaped by prost and tonic.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        include!("generated/tidegate.materialize.v1.rs");
    }
}

/// Pushed rows.
pub mod push {
    /// Version 1, generated from `protos/tidegate/push/v1/push.proto`.
    // Generated: documented in the .proto and shaped by prost and tonic.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        include!("generated/tidegate.push.v1.rs");
    }
}

/// The materializations that wait, run and ended.
pub mod jobs {
    /// Version 1, generated from `protos/tidegate/jobs/v1/jobs.proto`.
    // Generated: documented in the .proto and shaped by prost and tonic.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        include!("generated/tidegate.jobs.v1.rs");
    }
}

/// How tables lie on disk.
pub mod table {
    /// Version 1, generated from `protos/tidegate/table/v1/table.proto`.
    // Generated: documented in the .proto and shaped by prost and tonic.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        include!("generated/tidegate.table.v1.rs");
    }
}

/// Backups, erasures, the end of views.
pub mod lifecycle {
    /// Version 1, generated from `protos/tidegate/lifecycle/v1/lifecycle.proto`.
    // Generated: documented in the .proto and shaped by prost and tonic.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        include!("generated/tidegate.lifecycle.v1.rs");
    }
}

/// Tables of queries, and where features come from.
pub mod derived {
    /// Version 1, generated from `protos/tidegate/derived/v1/derived.proto`.
    // Generated: documented in the .proto and shaped by prost and tonic.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        include!("generated/tidegate.derived.v1.rs");
    }
}

/// Sealed training sets.
pub mod sealed {
    /// Version 1, generated from `protos/tidegate/sealed/v1/sealed.proto`.
    // Generated: documented in the .proto and shaped by prost and tonic.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        include!("generated/tidegate.sealed.v1.rs");
    }
}

/// The encoded `FileDescriptorSet` of every proto here, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

/// The metadata key that names the project of a call whose messages have no place for it, such as Flight SQL's.
pub const PROJECT_METADATA: &str = "tidegate-project";

#[cfg(test)]
mod codegen;
