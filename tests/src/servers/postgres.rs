//! Runs `postgres`.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::redis::until;
use super::{Binary, Folder, Process, free_port};

/// A PostgreSQL server with an empty cluster. Every client on the loopback is its superuser `postgres`.
///
/// It refuses to be run by root. In that case it is run as the user `postgres`, which its packages make.
///
/// # Examples
/// ```no_run
/// use larder_testkit::servers::PostgresServer;
/// if let Some(server) = PostgresServer::start(&[]) {
///     assert_eq!(server.sql("SELECT 6 * 7"), "42");
/// }
/// ```
#[derive(Debug)]
pub struct PostgresServer {
    binary: Binary,
    psql: Binary,
    port: u16,
    options: Vec<String>,
    user: Option<(u32, u32)>,
    process: Mutex<Process>,
    folder: Folder,
}

impl PostgresServer {
    /// Starts a server with further settings, as in `["max_connections=20"]`. Returns `None` if there is no
    /// `postgres`.
    ///
    /// # Panics
    /// If the server does not start.
    #[must_use]
    pub fn start(settings: &[&str]) -> Option<Self> {
        let (binary, initdb) = (Binary::find("postgres")?, Binary::find("initdb")?);
        let psql = Binary::find("psql")?;
        let folder = Folder::new("postgres");
        let user = unprivileged(&folder);
        let mut create = initdb.command();
        create.args([
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            "-D",
        ]);
        create.arg(folder.path().join("data")).current_dir(folder.path());
        let created = as_user(&mut create, user).stderr(Stdio::inherit()).status();
        assert!(created.is_ok_and(|status| status.success()), "initdb failed");
        let options = settings.iter().flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()]).collect();
        let port = free_port();
        let process = Mutex::new(run(&binary, port, &folder, user, &options));
        let server = Self { binary, psql, port, options, user, process, folder };
        server.wait();
        Some(server)
    }

    fn wait(&self) {
        until("postgres", || self.try_sql("SELECT 1").is_ok());
    }

    /// Returns the URL of the database `postgres`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Runs SQL with `psql`, and returns its output: rows as lines, columns between `|`.
    ///
    /// # Panics
    /// If `psql` reports an error.
    pub fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// As [`sql`](Self::sql), but returns `psql`'s error message.
    ///
    /// # Errors
    /// The error message of `psql`.
    pub fn try_sql(&self, sql: &str) -> Result<String, String> {
        let mut command = self.psql.command();
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-c", sql]);
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("psql runs");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()),
        }
    }

    fn process<T>(&self, with: impl FnOnce(&Process) -> T) -> T {
        with(&self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stops the server at once with all connections (an *immediate shutdown*). It recovers when it is started
    /// again.
    pub fn kill(&self) {
        self.process(|process| process.end("-QUIT"));
    }

    /// Starts the server again after [`kill`](Self::kill), and waits until it is ready.
    pub fn start_again(&self) {
        self.kill();
        let process = run(&self.binary, self.port, &self.folder, self.user, &self.options);
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = process;
        self.wait();
    }

    /// Freezes the server and the processes of its connections (`SIGSTOP`): nothing is answered.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Resumes the server (`SIGCONT`).
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Sends a signal to the server and its connections, each of which has a process in its own group.
    fn signal(&self, signal: &str) {
        let own = self.process(Process::id).to_string();
        let listed = Command::new("ps").args(["-o", "pid=", "--ppid", &own]).output().expect("ps runs");
        let children = String::from_utf8_lossy(&listed.stdout).into_owned();
        for id in std::iter::once(own.as_str()).chain(children.split_whitespace()) {
            // a connection's process may have ended by itself
            _ = Command::new("kill").args([signal, id]).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.thaw();
        self.kill();
    }
}

fn run(
    binary: &Binary,
    port: u16,
    folder: &Folder,
    user: Option<(u32, u32)>,
    options: &Vec<String>,
) -> Process {
    let mut command = binary.command();
    command.current_dir(folder.path()).args(["-D", "data", "-p", &port.to_string(), "-k"]).arg(folder.path());
    // a test kills the server, not the machine, so nothing is synced to disk; shared memory is deleted with the
    // folder
    let small =
        ["fsync=off", "shared_buffers=16MB", "dynamic_shared_memory_type=mmap", "listen_addresses=127.0.0.1"];
    command.args(small.iter().flat_map(|setting| ["-c", setting])).args(options);
    Process::start(as_user(&mut command, user))
}

/// Gives the folder to the user that the server is run as. Returns `None` for the current user.
fn unprivileged(folder: &Folder) -> Option<(u32, u32)> {
    let own = std::fs::metadata(folder.path()).expect("the folder was made").uid();
    if own != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("a unix has users");
    let user = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_postgres = fields.next() == Some("postgres");
        let (user, group) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        is_postgres.then_some((user, group))
    });
    let (user, group) = user.expect("postgres refuses to be run by root: make a user `postgres`");
    chown(folder.path(), Some(user), Some(group)).expect("root may give a folder away");
    Some((user, group))
}

fn as_user(command: &mut Command, user: Option<(u32, u32)>) -> &mut Command {
    match user {
        Some((user, group)) => command.uid(user).gid(group),
        None => command,
    }
}
