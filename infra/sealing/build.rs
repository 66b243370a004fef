//! Builds the crate again when a migration was added: the macro that embeds them does not look at the folder.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
