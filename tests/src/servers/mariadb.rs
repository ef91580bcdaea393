//! Runs `mariadbd`.

use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use super::redis::until;
use super::{Binary, Folder, Process, free_port};

/// A MariaDB server with an empty database `shop`. Every client on the loopback is its `root`.
///
/// # Examples
/// ```no_run
/// use larder_testkit::servers::MariadbServer;
/// if let Some(server) = MariadbServer::start(&[]) {
///     assert_eq!(server.sql("SELECT 6 * 7"), "42");
/// }
/// ```
#[derive(Debug)]
pub struct MariadbServer {
    binary: Binary,
    client: Binary,
    port: u16,
    options: Vec<String>,
    process: Mutex<Process>,
    folder: Folder,
}

impl MariadbServer {
    /// Starts a server with further options, as in `["--max-connections=20"]`. Returns `None` if there is no
    /// `mariadbd`.
    ///
    /// # Panics
    /// If the server does not start.
    #[must_use]
    pub fn start(options: &[&str]) -> Option<Self> {
        let (binary, install) = (Binary::find("mariadbd")?, Binary::find("mariadb-install-db")?);
        let client = Binary::find("mariadb")?;
        let folder = Folder::new("mariadb");
        create(&install, &folder);
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let port = free_port();
        let process = Mutex::new(run(&binary, port, &folder, &options));
        let server = Self { binary, client, port, options, process, folder };
        until("mariadbd", || server.try_sql_in("mysql", "CREATE DATABASE IF NOT EXISTS shop").is_ok());
        Some(server)
    }

    fn wait(&self) {
        until("mariadbd", || self.try_sql("SELECT 1").is_ok());
    }

    /// Returns the URL of the database `shop`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}/shop", self.port)
    }

    /// Runs SQL with the command-line client, and returns its output: rows as lines, columns between tabs.
    ///
    /// # Panics
    /// If the client reports an error.
    pub fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// As [`sql`](Self::sql), but returns the client's error message.
    ///
    /// # Errors
    /// The client's error message.
    pub fn try_sql(&self, sql: &str) -> Result<String, String> {
        self.try_sql_in("shop", sql)
    }

    fn try_sql_in(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut command = self.client.command();
        command.args(["--no-defaults", "--batch", "--skip-column-names", "-uroot", "-h127.0.0.1"]);
        command.args(["-P", &self.port.to_string(), "-e", sql, database]);
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("the client runs");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()),
        }
    }

    fn process<T>(&self, with: impl FnOnce(&Process) -> T) -> T {
        with(&self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Kills the server at once (`SIGKILL`). It recovers when it is started again.
    pub fn kill(&self) {
        self.process(Process::kill);
    }

    /// Starts the server again after [`kill`](Self::kill), and waits until it is ready.
    pub fn start_again(&self) {
        self.kill();
        let process = run(&self.binary, self.port, &self.folder, &self.options);
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = process;
        self.wait();
    }

    /// Freezes the server (`SIGSTOP`): connections stay open, nothing is answered.
    pub fn freeze(&self) {
        self.process(Process::freeze);
    }

    /// Resumes the server (`SIGCONT`).
    pub fn thaw(&self) {
        self.process(Process::thaw);
    }
}

/// Creates the system tables in `data`. The installer runs a server of its own, which may fail if others start at the same
/// time, so that a failure is tried again.
fn create(install: &Binary, folder: &Folder) {
    let data = folder.path().join("data");
    let mut complaint = String::new();
    for _ in 0..3 {
        _ = std::fs::remove_dir_all(&data);
        let mut create = install.command();
        create.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        create.args(["--skip-name-resolve", "--innodb-use-native-aio=0"]);
        create.arg(format!("--datadir={}", data.display()));
        let created = create.stdout(Stdio::piped()).stderr(Stdio::piped()).output();
        let created = created.expect("mariadb-install-db runs");
        if created.status.success() {
            return;
        }
        complaint =
            [created.stdout, created.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        println!("mariadb-install-db failed: {complaint}");
    }
    panic!("mariadb-install-db failed three times: {complaint}");
}

fn run(binary: &Binary, port: u16, folder: &Folder, options: &[String]) -> Process {
    let mut command = binary.command();
    let within = |name: &str| folder.path().join(name).display().to_string();
    command.current_dir(folder.path()).args(["--no-defaults", "--bind-address=127.0.0.1"]);
    command.args([format!("--port={port}"), format!("--datadir={}", within("data"))]);
    command.args([format!("--socket={}", within("socket")), format!("--pid-file={}", within("pid"))]);
    // the server refuses to run as root unless told otherwise; small, and as durable as a killed process needs
    let own =
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(folder.path()).expect("the folder was made"));
    command.args((own == 0).then_some("--user=root"));
    command.args([
        "--innodb-buffer-pool-size=16M",
        "--innodb-flush-log-at-trx-commit=2",
        "--skip-name-resolve",
    ]);
    Process::start(command.args(options))
}
