//! Generates messages, servers and clients from the `.proto` files beside it; no `protoc` is needed.

use std::{
    env,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=reservation");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let clients = out.join("clients");
    fs::create_dir_all(&clients)?;

    let descriptors = protox::compile(proto_files(Path::new("reservation"))?, ["."])?;
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

/// Every `.proto` file below `folder`, sorted, so that equal contracts give equal descriptors.
fn proto_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    let mut files = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            files.extend(proto_files(&entry)?);
        } else if entry.extension().is_some_and(|extension| extension == "proto") {
            files.push(entry);
        }
    }
    Ok(files)
}
