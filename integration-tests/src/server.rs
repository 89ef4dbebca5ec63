//! A `tidegate serve` process on a data folder, with free ports; killed when dropped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use tidegate_client::{Client, ClientOptions};

/// Steps of [`STEP`] to wait for a server to start or stop.
const STEPS_MAX: usize = 1500;
const STEP: Duration = Duration::from_millis(20);

/// The binary under test: `TIDEGATE_BIN`, or the one that cargo built beside the tests.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TIDEGATE_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the test has a path");
    let target = test.parent().and_then(Path::parent).expect("tests lie in target/debug/deps");
    let binary = target.join("tidegate");
    assert!(binary.is_file(), "{} is missing: build the whole workspace first (`make build`)", binary.display());
    binary
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    process: Child,
    /// Where gRPC and Flight answer, as `127.0.0.1:PORT`.
    pub grpc: String,
    /// Where HTTP answers.
    pub http: String,
    /// Its data folder.
    pub data: PathBuf,
}

impl Server {
    /// Starts a server and waits until it is ready.
    ///
    /// # Panics
    /// When it ends or does not get ready; its log is in the message.
    pub async fn start(data: &Path) -> Self {
        Self::start_with(data, &[], &[]).await
    }

    /// Starts a server with more flags and environment.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub async fn start_with(data: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_at("127.0.0.1:0", data, flags, environment).await
    }

    /// The same where gRPC is to answer at an address: that of a server that was stopped, so that its clients find this one.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub async fn start_at(grpc: &str, data: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        std::fs::create_dir_all(data).expect("a data folder");
        let log = data.with_extension("log");
        let log_file = std::fs::File::create(&log).expect("a log file");
        let process = Command::new(binary())
            .args(["serve", "--grpc-address", grpc, "--http-address", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .args(flags)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log_file.try_clone().expect("the log twice"))
            .stderr(log_file)
            .spawn()
            .expect("the server starts");
        let mut server = Self { process, grpc: String::new(), http: String::new(), data: data.to_owned() };
        server.wait_ready(&log).await;
        server
    }

    async fn wait_ready(&mut self, log: &Path) {
        let log = || std::fs::read_to_string(log).unwrap_or_default();
        for _ in 0..STEPS_MAX {
            if let Some(status) = self.process.try_wait().expect("a child") {
                panic!("the server ended with {status}:\n{}", log());
            }
            // A server that was killed leaves its file: only the one of this process counts.
            let ready = std::fs::read(self.data.join("server.json")).ok();
            let ready = ready.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
            if let Some(ready) = ready.filter(|ready| ready["pid"] == self.process.id()) {
                self.grpc = ready["grpc"].as_str().expect("an address").to_owned();
                self.http = ready["http"].as_str().expect("an address").to_owned();
                return;
            }
            tokio::time::sleep(STEP).await;
        }
        panic!("the server did not get ready:\n{}", log());
    }

    /// A client of this server.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn client(&self, project: &str) -> Client {
        let options = ClientOptions::new(format!("http://{}", self.grpc)).with_project(project);
        Client::connect(options).await.expect("the server answers")
    }

    /// Runs the command line against this server.
    ///
    /// # Panics
    /// When the binary can't be run.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Output {
        Command::new(binary())
            .args(arguments)
            .env("TIDEGATE_ADDRESS", format!("http://{}", self.grpc))
            .stdin(Stdio::null())
            .output()
            .expect("the command line runs")
    }

    /// Ends the process at once, as a power cut of the process would: SIGKILL.
    ///
    /// # Panics
    /// When it can't be ended.
    pub fn kill(mut self) {
        self.process.kill().expect("a child can be killed");
        self.process.wait().expect("a child ends");
    }

    /// Asks the process to stop and waits for it.
    ///
    /// # Panics
    /// When it does not stop, or ends with an error.
    pub async fn stop(mut self) {
        let asked = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().expect("kill runs");
        assert!(asked.success());
        for _ in 0..STEPS_MAX {
            if let Some(status) = self.process.try_wait().expect("a child") {
                assert!(status.success(), "the server ended with {status}");
                return;
            }
            tokio::time::sleep(STEP).await;
        }
        panic!("the server did not stop");
    }

    /// Waits for the process to end by itself; `None` when it does not.
    ///
    /// # Panics
    /// Never for a child.
    pub async fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        for _ in 0..within.as_millis() / STEP.as_millis() {
            if let Some(status) = self.process.try_wait().expect("a child") {
                return Some(status);
            }
            tokio::time::sleep(STEP).await;
        }
        None
    }

    /// What the process has said.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default()
    }

    /// Whether the process still runs.
    ///
    /// # Panics
    /// Never for a child.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("a child").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended processes make both calls fail, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
