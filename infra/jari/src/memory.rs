//! How the process takes memory from the system.

/// From now on in small pages only. A large one, which the allocator asks for where the system leaves it the choice, is filled with zeros as a whole
/// when it is touched first, and the loop in which all bookings are decided stood still meanwhile (docs/performance.md has the figures).
///
/// It holds for the whole process, whichever thread asks, for what was not touched yet; and for servers that are started as children. A system that does
/// not know the request goes on as before.
pub fn take_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "large pages stay");
    }
}
