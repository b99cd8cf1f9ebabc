//! The dashboard in Chromium against the built program: starts what `tests/browser` needs and runs it.
//!
//! `BROWSER_TESTS` runs only the tests whose name has it.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    process::{Process, pause},
    rig::{files, prove, prove_parts},
    sim::{
        camera::{CameraSpec, SimCamera},
        footage::{Encoding, Source},
        link::{Link, Wire},
    },
};

/// All of them together take about a minute, and a few when the machine has much else to do.
const WITHIN: Duration = Duration::from_secs(1200);

#[test]
fn the_dashboard_works_in_a_browser() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    assert!(
        tests.join("node_modules/playwright-core").is_dir(),
        "the browser tests are not installed: run `npm ci --prefix tests/browser` first (scripts/test does)"
    );
    let dir = tempfile::tempdir().unwrap();
    let cameras: BTreeMap<&str, SimCamera> = [("front", Source::Cars), ("yard", Source::People)]
        .into_iter()
        .map(|(name, source)| {
            let main = Encoding::small(source);
            (name, SimCamera::start(CameraSpec { main, ..CameraSpec::new(name) }).unwrap())
        })
        .collect();
    let links: BTreeMap<&str, Link> =
        cameras.iter().map(|(name, camera)| (*name, Link::start(camera.port()).unwrap())).collect();
    let mirror = dir.path().join("mirror");
    let process = Process::start_with(dir.path(), &[("WATCHKEEPER_MIRROR_DIR", &mirror)]);
    for (id, name) in [("front", "Front door"), ("yard", "Yard")] {
        let given =
            json!({ "id": id, "name": name, "main_url": links[id].url("main"), "segment_seconds": 5 });
        process.post("/api/v1/cameras", &given);
    }
    process.until_recording();

    let control = Control::start(links);
    let said = dir.path().join("node");
    let out = fs::File::create(&said).unwrap();
    let mut node = Command::new("node")
        .arg("--test")
        .args(env::var("BROWSER_TESTS").map(|pattern| format!("--test-name-pattern={pattern}")))
        .current_dir(&tests)
        .env("WATCHKEEPER_URL", &process.url)
        .env("WATCHKEEPER_CONTROL", &control.url)
        .env("WATCHKEEPER_MIRROR", &mirror)
        .env("SCREENSHOTS", Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots"))
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .spawn()
        .expect("node runs");
    let deadline = Instant::now() + WITHIN;
    let ended = loop {
        match node.try_wait().unwrap() {
            None if Instant::now() < deadline => pause(100),
            None => {
                node.kill().unwrap();
                break None;
            }
            ended => break ended,
        }
    };
    let said = fs::read_to_string(said).unwrap();
    assert!(
        ended.is_some_and(|status| status.success()),
        "node: {ended:?}\n{said}\nthe service's log:\n{}",
        process.log()
    );
    println!("{said}");

    // Shown with a failure: whether the service knows of what is missing.
    let yard = process.get("/api/v1/cameras/yard");
    println!("{}\n{}", yard["status"], process.log());
    assert_eq!(yard["status"]["reconnects"], 0, "nobody touched yard");
    process.stop(Duration::from_secs(8));
    let recorded = |name: &str| files(&dir.path().join("recordings").join(name));
    prove(&cameras["yard"], &recorded("yard"));
    prove_parts(&recorded("front"));
}

/// Answers `POST /link/<camera>/<wire>` on loopback, one request per connection.
struct Control {
    url: String,
    at: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    fn start(links: BTreeMap<&'static str, Link>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let ending = ends.clone();
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                if ending.load(Ordering::Relaxed) {
                    return;
                }
                // A client that goes away has its own failure to tell.
                drop(client.and_then(|client| answer(client, &links)));
            }
        });
        Self { url: format!("http://{at}"), at, ends, thread: Some(thread) }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes the thread up; it answers nobody any more.
        drop(TcpStream::connect(self.at));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn answer(mut client: TcpStream, links: &BTreeMap<&str, Link>) -> io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = String::new();
    let mut reader = BufReader::new(client.try_clone()?);
    reader.read_line(&mut request)?;
    // What is unread at the close would reset the connection under the answer.
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let status = match order(&request, links) {
        Some((link, wire)) => {
            link.set(wire);
            "204 No Content"
        }
        None => "404 Not Found",
    };
    write!(client, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
}

/// What `POST /link/front/cut HTTP/1.1` asks for.
fn order<'a>(request: &str, links: &'a BTreeMap<&str, Link>) -> Option<(&'a Link, Wire)> {
    let path = request.strip_prefix("POST /link/")?.split(' ').next()?;
    let (camera, wire) = path.split_once('/')?;
    let wire = match wire {
        "whole" => Wire::Whole,
        "cut" => Wire::Cut,
        "silent" => Wire::Silent,
        _ => return None,
    };
    Some((links.get(camera)?, wire))
}
