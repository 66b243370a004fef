//! Generates messages, servers and clients from the `.proto` files beside it; no `protoc` is needed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

/// Every file of the contract. A new one goes here and, when it opens a package, into `src/lib.rs`.
const FILES: &[&str] = &[
    "reservation/type/v1/type.proto",
    "reservation/product/v1/product.proto",
    "reservation/product/v1/product_service.proto",
    "reservation/product/v1/product_query_service.proto",
    "reservation/inventory/v1/inventory_service.proto",
    "reservation/order/v1/order.proto",
    "reservation/order/v1/order_service.proto",
    "reservation/order/v1/order_query_service.proto",
    "reservation/availability/v1/availability_service.proto",
    "reservation/operations/v1/operations_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=reservation");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let clients = out.join("clients");
    fs::create_dir_all(&clients)?;

    let descriptors = protox::compile(FILES, ["."])?;
    fs::write(out.join("reservation.bin"), descriptors.encode_to_vec())?;

    // Maps are ordered, so that equal messages have equal bytes.
    tonic_prost_build::configure()
        .build_client(false)
        .codec_path("crate::codec::StrictCodec")
        .btree_map(".")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors.clone())?;

    // A codec is not told on which side it stands. So the clients are made apart, with the stock one: an answer that cannot be read is not
    // the caller's fault.
    tonic_prost_build::configure()
        .build_server(false)
        .extern_path(".reservation", "crate")
        .out_dir(clients)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
