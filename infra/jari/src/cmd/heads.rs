//! `jari heads`: the newest signed head, and the key that signs.

use jari_heads::{SigningKey, newest_in};

use super::print;
use crate::config::Config;

/// Prints what this node's files hold. What is not there yet is said.
///
/// # Errors
/// Files that cannot be read.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let settings = config.signer_settings();
    match newest_in(&settings.file)? {
        Some(head) => print(&format!(
            "log          {}\nposition     {}\nhead         {}\nsigned       {}\n",
            head.log_id,
            head.position.to_position(),
            head.head,
            head.signed_at
        )),
        None => print("no head was signed here yet; `jari serve` signs them\n"),
    }
    print(&format!("file         {}\n", settings.file.display()));
    if settings.key_file.exists() {
        print(&format!("public key   {}\n", SigningKey::read(&settings.key_file)?.public_text()));
    }
    Ok(())
}
