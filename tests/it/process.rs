//! The built program as a process of its own, asked over HTTP: for what only a process shows, such as being killed.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::wait::PATIENCE;

/// A running `watchkeeper serve`. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    pub(crate) url: String,
    dir: PathBuf,
}

/// The program, set up for the data below `dir` and a server at `url`.
pub(crate) fn command(dir: &Path, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchkeeper"));
    // Nothing of the machine's own configuration: the variables win, and the directory has no file.
    command
        .current_dir(dir)
        .env("WATCHKEEPER_DATA_DIR", dir.join("data"))
        .env("WATCHKEEPER_RECORDINGS_DIR", dir.join("recordings"))
        .env("WATCHKEEPER_LISTEN", listen);
    command
}

impl Process {
    /// Starts the program below `dir` and waits until it answers.
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    /// [`Process::start`], and waits until it has compared its files with its rows: who takes files away then does not have
    /// them called lost by that.
    pub(crate) fn start_compared(dir: &Path) -> Self {
        let compared = |log: &str| log.matches("files of the primary and index agree").count();
        let before = compared(&fs::read_to_string(dir.join("log")).unwrap_or_default());
        let process = Self::start(dir);
        let deadline = Instant::now() + PATIENCE;
        while compared(&process.log()) == before {
            assert!(Instant::now() < deadline, "files and rows are not compared\n{}", process.log());
            pause(20);
        }
        process
    }

    /// [`Process::start`] with these variables in its environment.
    pub(crate) fn start_with(dir: &Path, variables: &[(&str, &Path)]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let log = fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
        let child = command(dir, &listen)
            .arg("serve")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut process = Self { child, url: format!("http://{listen}"), dir: dir.to_owned() };
        let deadline = Instant::now() + PATIENCE;
        while ureq::get(format!("{}/healthz", process.url)).call().is_err() {
            let ended = process.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}\n{}", process.log());
            pause(20);
        }
        process
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged, this time and before.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// SIGKILL, and wait for the end.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; fails unless it ends well within `within`.
    pub(crate) fn stop(mut self, within: Duration) {
        let pid = i32::try_from(self.pid()).unwrap();
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid).unwrap(),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let log = self.log();
                assert!(status.success(), "{status}\n{log}");
                assert!(!log.lines().any(is_misuse), "{log}");
                return;
            }
            assert!(Instant::now() < deadline, "it does not stop\n{}", self.log());
            pause(20);
        }
    }

    /// What `GET` answers, which must be 200 and JSON.
    pub(crate) fn get(&self, path: &str) -> Value {
        let mut answer = ureq::get(format!("{}{path}", self.url)).call().unwrap();
        answer.body_mut().read_json().unwrap()
    }

    /// What `POST` answers, which must be a success and JSON.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let mut answer = ureq::post(format!("{}{path}", self.url)).send_json(body).unwrap();
        answer.body_mut().read_json().unwrap()
    }

    /// Waits until `is` holds for what `GET` answers.
    pub(crate) fn until(&self, what: &str, path: &str, is: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.get(path);
            if is(&seen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "still waiting for {what}; last saw {seen:#}\n{}", self.log());
            pause(50);
        }
    }

    /// Waits until every camera is recording.
    pub(crate) fn until_recording(&self) {
        self.until("all cameras to record", "/api/v1/cameras", |seen| {
            seen["cameras"]
                .as_array()
                .is_some_and(|all| all.iter().all(|camera| camera["status"]["state"] == "recording"))
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
            // A disk that hangs keeps it.
            let deadline = Instant::now() + Duration::from_secs(5);
            while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < deadline {
                pause(20);
            }
        }
    }
}

/// A complaint of GLib that something was misused, such as an object that was freed. rtspsrc makes one that means nothing, of an EOS
/// without a number.
fn is_misuse(line: &str) -> bool {
    line.contains("CRITICAL") && !line.contains("gst_event_set_seqnum")
}

/// A short rest between looks.
pub(crate) fn pause(ms: u64) {
    std::thread::park_timeout(Duration::from_millis(ms));
}
