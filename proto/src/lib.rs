//! The gRPC contract: messages, servers and clients generated from the `.proto` files, and how an error looks on the wire.
//!
//! It must never know the domain, the log or the engine: it is what a stranger's client knows, too.

pub mod codec;
pub mod deadline;
pub mod limits;
pub mod status;
#[cfg(test)]
mod tests;

/// The descriptors of every file of the contract, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/reservation.bin"));

/// The generated code of one package. It is not ours to lint; its comments come from the `.proto` files.
macro_rules! package {
    ($(#[$doc:meta])* $area:ident, $name:literal) => {
        package! { $(#[$doc])* $area, $name, {} }
    };
    ($(#[$doc:meta])* $area:ident, $name:literal, with clients) => {
        package! { $(#[$doc])* $area, $name, { include!(concat!(env!("OUT_DIR"), "/clients/", $name, ".rs")); } }
    };
    ($(#[$doc:meta])* $area:ident, $name:literal, { $($clients:tt)* }) => {
        $(#[$doc])*
        pub mod $area {
            /// Version 1.
            #[allow(missing_docs, clippy::all, reason = "generated")]
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/", $name, ".rs"));
                $($clients)*
            }
        }
    };
}

package! {
    /// What several areas speak of: `reservation.type.v1`.
    r#type, "reservation.r#type.v1"
}
package! {
    /// What is sold: `reservation.product.v1`.
    product, "reservation.product.v1", with clients
}
package! {
    /// Capacity: `reservation.inventory.v1`.
    inventory, "reservation.inventory.v1", with clients
}
package! {
    /// What customers ask for: `reservation.order.v1`.
    order, "reservation.order.v1", with clients
}
package! {
    /// What can be booked: `reservation.availability.v1`.
    availability, "reservation.availability.v1", with clients
}
package! {
    /// What happened, for analysts: `reservation.history.v1`.
    history, "reservation.history.v1", with clients
}
package! {
    /// What is said of a whole log: `reservation.log.v1`.
    log, "reservation.log.v1"
}
package! {
    /// The persons behind orders: `reservation.subject.v1`.
    subject, "reservation.subject.v1", with clients
}
package! {
    /// For operators: `reservation.operations.v1`.
    operations, "reservation.operations.v1", with clients
}
