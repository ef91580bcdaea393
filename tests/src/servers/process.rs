//! Processes that a test starts.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A program on the machine.
#[derive(Debug, Clone)]
pub struct Binary(PathBuf);

impl Binary {
    /// Looks for a program, also in the folders of database servers. Reports a missing program on standard error.
    ///
    /// # Panics
    /// If it is missing and `CI=true`, where no test is skipped.
    ///
    /// # Examples
    /// ```
    /// # if std::env::var("CI").as_deref() != Ok("true") {
    /// assert!(larder_testkit::servers::Binary::find("no-such-server").is_none());
    /// # }
    /// ```
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(beside_the_path());
        let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
        if found.is_none() {
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!ci, "{name} is not installed, and with CI=true no test is skipped");
            eprintln!("skipped: {name} is not installed");
        }
        found.map(Self)
    }

    /// Returns a command that runs the program without output.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// The folders in which Debian keeps server programs, with each version of PostgreSQL.
fn beside_the_path() -> impl Iterator<Item = PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    versions.sort();
    versions.into_iter().rev().chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
}

/// The ports to search: below those that systems give to outgoing connections. Prevents: a client that retries a
/// killed server takes the server's port, by connecting to itself.
const PORTS: std::ops::Range<u32> = 15_000..32_000;

/// Returns a port of the loopback on which no process listens, and which this process has not been given before.
///
/// # Panics
/// If there is none.
///
/// # Examples
/// ```
/// use larder_testkit::servers::free_port;
/// assert_ne!(free_port(), free_port());
/// ```
#[must_use]
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let count = PORTS.end - PORTS.start;
    // parallel processes begin at different ports
    let first = std::process::id().wrapping_mul(509);
    let free = PORTS.clone().find_map(|_| {
        let place = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % count;
        let port = u16::try_from(PORTS.start + place).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(port)
    });
    free.expect("the loopback has a free port")
}

/// A running program, killed when it is dropped.
///
/// # Examples
/// ```
/// use larder_testkit::servers::{Binary, Process};
/// if let Some(sleep) = Binary::find("sleep") {
///     let process = Process::start(sleep.command().arg("60"));
///     assert!(process.is_running());
/// }
/// ```
#[derive(Debug)]
pub struct Process(std::sync::Mutex<Child>);

impl Process {
    /// Starts a program.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        Self(std::sync::Mutex::new(command.spawn().expect("the program starts")))
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Returns `true` if the process still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.child().try_wait(), Ok(None))
    }

    /// Freezes the process (`SIGSTOP`): connections stay open, nothing is answered.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Resumes the process (`SIGCONT`).
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Returns the process's number.
    #[cfg(unix)]
    pub(super) fn id(&self) -> u32 {
        self.child().id()
    }

    /// Sends a signal and waits for the end. Kills the process if it does not end.
    #[cfg(unix)]
    pub(super) fn end(&self, signal: &str) {
        if self.is_running() {
            self.signal(signal);
        }
        for _ in 0..250 {
            if !self.is_running() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        self.kill();
    }

    fn signal(&self, signal: &str) {
        let id = self.child().id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {signal} {id}");
    }

    /// Kills the process at once (`SIGKILL`), and waits for its end.
    pub fn kill(&self) {
        let mut child = self.child();
        // the process may have ended by itself
        _ = child.kill();
        _ = child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
