//! Temporary folders.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A temporary folder of one test, deleted when it is dropped.
///
/// # Examples
/// ```
/// let folder = larder_testkit::servers::Folder::new("example");
/// let path = folder.path().to_owned();
/// assert!(path.is_dir());
/// drop(folder);
/// assert!(!path.exists());
/// ```
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes a new folder.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("larder-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder can be written");
        Self(path)
    }

    /// Returns the path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // leftovers are harmless: the folder is in the system's temporary folder
        _ = std::fs::remove_dir_all(&self.0);
    }
}
