use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::super::fixtures::Fixture;
use super::super::house::House;

/// The body of a review to the answers of both webhooks: whatever comes gets one that an API server
/// takes and a user can read; what is filled in applies, once, and is never what gets refused.
pub fn review(data: &[u8]) {
    static HOUSE: OnceLock<Mutex<House>> = OnceLock::new();
    let house = HOUSE.get_or_init(|| Mutex::new(open()));
    house.lock().unwrap_or_else(PoisonError::into_inner).send(data);
}

/// A house that forgets what it decides.
pub(super) fn open() -> House {
    House::open(&Fixture::all(), Path::new("/dev/null"))
}
