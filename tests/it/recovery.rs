//! Files, rows and a disk that went wrong: what is on disk is in the index again after a start, nothing is deleted, and
//! neither the database nor a full disk costs more than it must.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{
    outside::{
        STOPS_WITHIN, closed_segments, events, frames_more, get, path_of, prove, record, recordings, send,
    },
    process::{Process, command},
    rig::prove_parts,
    sim::camera::{CameraSpec, Channel},
};

/// What the index says of a file: start, end, frames, bytes, width, state.
type Row = (i64, i64, i64, i64, i64, String);

/// The database below `dir`, as somebody else opens it.
pub(crate) struct Database {
    runtime: tokio::runtime::Runtime,
    connection: SqliteConnection,
}

impl Database {
    pub(crate) fn open(dir: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = SqliteConnectOptions::new().filename(dir.join("data/watchkeeper.db"));
        let connection = runtime.block_on(SqliteConnection::connect_with(&options)).unwrap();
        Self { runtime, connection }
    }

    pub(crate) fn run(&mut self, sql: &'static str) {
        self.runtime.block_on(self.connection.execute(sql)).unwrap();
    }

    /// What the index says that each volume has of each file, and the hash that it must have, if that is known.
    pub(crate) fn all_copies(&mut self) -> Vec<(String, String, String, Option<Vec<u8>>)> {
        let sql = "select path, on_primary, on_mirror, hash from segment order by path";
        self.runtime.block_on(sqlx::query_as(sql).fetch_all(&mut self.connection)).unwrap()
    }

    /// Changes the row of one file.
    fn change(&mut self, sql: &'static str, path: &str) {
        let done = self.runtime.block_on(sqlx::query(sql).bind(path).execute(&mut self.connection)).unwrap();
        assert_eq!(done.rows_affected(), 1, "{sql} of {path}");
    }

    /// The copies of every closed segment that has a hash.
    pub(crate) fn copies(&mut self) -> Vec<RowCopies> {
        let sql = "
            select path, lower(hex(hash)), on_primary, on_mirror
              from segment where state = 'closed' and hash is not null";
        let rows: Vec<(String, String, String, String)> =
            self.runtime.block_on(sqlx::query_as(sql).fetch_all(&mut self.connection)).unwrap();
        let copies = |(path, hash, primary, mirror)| RowCopies { path, hash, primary, mirror };
        rows.into_iter().map(copies).collect()
    }

    /// Every row by its path.
    fn rows(&mut self) -> BTreeMap<String, Row> {
        let sql = "select path, start_us, end_us, frames, bytes, width, state from segment";
        let rows: Vec<(String, i64, i64, i64, i64, i64, String)> =
            self.runtime.block_on(sqlx::query_as(sql).fetch_all(&mut self.connection)).unwrap();
        rows.into_iter().map(|(path, a, b, c, d, e, f)| (path, (a, b, c, d, e, f))).collect()
    }
}

/// What the index says of the copies of a file.
pub(crate) struct RowCopies {
    pub(crate) path: String,
    /// In hexadecimal digits.
    pub(crate) hash: String,
    pub(crate) primary: String,
    pub(crate) mirror: String,
}

/// The hash of every row that has one, by its path.
fn hashes(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let Database { runtime, mut connection } = Database::open(dir);
    let sql = "select path, hash from segment where hash is not null";
    let hashes: Vec<(String, Vec<u8>)> =
        runtime.block_on(sqlx::query_as(sql).fetch_all(&mut connection)).unwrap();
    hashes.into_iter().collect()
}

fn delete_database(dir: &Path) {
    for end in ["", "-wal", "-shm"] {
        let file = dir.join(format!("data/watchkeeper.db{end}"));
        assert!(fs::remove_file(&file).is_ok() || !end.is_empty(), "{}", file.display());
    }
}

/// The index's rows by their files, of a service that is stopped.
pub(crate) fn rows(dir: &Path) -> BTreeMap<String, Row> {
    Database::open(dir).rows()
}

fn path_in(dir: &Path, path: &str) -> PathBuf {
    dir.join("recordings").join(path)
}

/// The camera's segments as the API has them, by their files.
fn listed(process: &Process) -> BTreeMap<String, Value> {
    let mut page = process.get("/api/v1/cameras/front/segments?limit=1000");
    let Value::Array(segments) = page["segments"].take() else { panic!("{page}") };
    segments.into_iter().map(|segment| (segment["file"].as_str().unwrap().to_owned(), segment)).collect()
}

/// Waits for an event of this kind, and gives its text.
pub(crate) fn until_event(process: &Process, kind: &str) -> String {
    let log = process.until(kind, "/api/v1/events?limit=1000", |log| {
        log["events"].as_array().unwrap().iter().any(|event| event["kind"] == kind)
    });
    let event = log["events"].as_array().unwrap().iter().find(|event| event["kind"] == kind).unwrap();
    event["detail"].as_str().unwrap().to_owned()
}

pub(crate) fn check_is_content(dir: &Path) {
    let checked = command(dir, "127.0.0.1:1").arg("check").output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn a_start_brings_files_and_rows_together_and_leaves_other_files_alone() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let camera = record(&process, CameraSpec::new("front"), 2);
    closed_segments(&process, "front", 4);
    process.stop(STOPS_WITHIN);
    prove(dir.path(), &camera);
    camera.kill().unwrap();

    let mut database = Database::open(dir.path());
    let before = database.rows();
    let paths: Vec<&String> = before.keys().collect();
    let [unknown, gone, unfinished, ..] = &paths[..] else { panic!("{before:?}") };
    database.change("delete from segment where path = ?", unknown);
    fs::rename(path_in(dir.path(), gone), dir.path().join("away")).unwrap();
    let half = "
        update segment set on_primary = 'open', hash = null, frames = 1, bytes = 1000, end_us = start_us + 40000
         where path = ?";
    database.change(half, unfinished);
    let foreign: BTreeMap<PathBuf, &[u8]> = [
        ("front/notes.txt", &b"mine"[..]),
        ("front/holiday.mp4", b"mine"),
        ("front/20200101_000000.mp4", b"no film at all"),
        ("front/20200101_000001.mp4", b""),
        ("Elsewhere/20200101_000000.mp4", b"mine"),
        ("20200101_000000.mp4", b"mine"),
    ]
    .map(|(path, bytes)| (path_in(dir.path(), path), bytes))
    .into();
    fs::create_dir(path_in(dir.path(), "Elsewhere")).unwrap();
    foreign.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    drop(database);

    let process = Process::start(dir.path());
    let lost = until_event(&process, "segment_lost");
    assert!(lost.contains(gone.as_str()), "{lost}");
    until_event(&process, "segment_adopted");
    let said: Vec<String> = events(&process)
        .iter()
        .filter(|event| event["kind"] == "segment_adopted")
        .map(|event| event["detail"].to_string())
        .collect();
    for path in [unknown, unfinished] {
        assert!(said.iter().any(|said| said.contains(path.as_str())), "{path}: {said:?}");
    }
    let listed = listed(&process);
    assert!(
        get(&process, listed[*unknown]["url"].as_str().unwrap()).body
            == fs::read(path_in(dir.path(), unknown)).unwrap()
    );
    assert_eq!(get(&process, listed[*gone]["url"].as_str().unwrap()).error().0, "no_segment");
    process.stop(STOPS_WITHIN);

    let mut after = rows(dir.path());
    assert_eq!(after[*gone].5, "lost");
    after.insert((*gone).clone(), before[*gone].clone());
    assert_eq!(after, before);
    for (path, bytes) in &foreign {
        assert_eq!(fs::read(path).unwrap(), *bytes, "{}", path.display());
    }
    // Put back, it is a segment again.
    fs::rename(dir.path().join("away"), path_in(dir.path(), gone)).unwrap();
    let process = Process::start(dir.path());
    process.until("the file that came back", "/api/v1/cameras/front/segments?limit=1000", |seen| {
        let all = seen["segments"].as_array().unwrap();
        all.iter().any(|segment| segment["file"] == gone.as_str() && segment["state"] == "closed")
    });
    process.stop(STOPS_WITHIN);
    assert_eq!(rows(dir.path()), before);
}

#[test]
fn without_its_database_the_index_is_made_again_from_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let camera = record(&process, CameraSpec::new("front"), 2);
    closed_segments(&process, "front", 3);
    process.stop(STOPS_WITHIN);
    let (before, files) = (rows(dir.path()), recordings(dir.path(), "front"));
    let bytes = |files: &[PathBuf]| files.iter().map(|file| fs::read(file).unwrap()).collect::<Vec<_>>();
    let contents = bytes(&files);
    delete_database(dir.path());
    let process = Process::start(dir.path());
    process.until("every file", "/api/v1/cameras/front/segments?limit=1000", |seen| {
        seen["segments"].as_array().unwrap().len() == files.len()
    });
    process.stop(STOPS_WITHIN);
    // Start to the microsecond, end, frames, bytes and size: all as the recorder wrote them.
    assert_eq!(rows(dir.path()), before);
    assert_eq!(recordings(dir.path(), "front"), files);
    assert!(bytes(&files) == contents, "a file was changed");
    check_is_content(dir.path());
    prove(dir.path(), &camera);
}

#[test]
fn a_repair_makes_the_whole_index_of_all_cameras_again_with_its_hashes() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let _cameras: Vec<_> =
        ["front", "front-door"].map(|name| record(&process, CameraSpec::new(name), 2)).into_iter().collect();
    closed_segments(&process, "front", 2);
    closed_segments(&process, "front-door", 2);
    // In the middle of a segment, which gets no hash from its recorder.
    process.until("a segment to be under way", "/api/v1/cameras/front/segments?limit=1000", |seen| {
        let newest = seen["segments"].as_array().unwrap().last().unwrap();
        newest["state"] == "open" && newest["frames"].as_u64().unwrap() < 30
    });
    process.kill();
    Process::start(dir.path()).stop(STOPS_WITHIN);
    let (before, recorded) = (rows(dir.path()), hashes(dir.path()));
    assert!((4..before.len()).contains(&recorded.len()), "{recorded:?} of {before:#?}");
    delete_database(dir.path());
    let repaired = command(dir.path(), "127.0.0.1:1").args(["check", "--repair"]).output().unwrap();
    assert!(repaired.status.success(), "{}", String::from_utf8_lossy(&repaired.stdout));
    assert_eq!(rows(dir.path()), before);
    let read = hashes(dir.path());
    assert_eq!(read.len(), before.len(), "every whole file has its hash");
    assert!(recorded.iter().all(|(path, hash)| read.get(path) == Some(hash)));
    let deep = command(dir.path(), "127.0.0.1:1").args(["check", "--deep"]).output().unwrap();
    assert!(deep.status.success(), "{}", String::from_utf8_lossy(&deep.stdout));
}

#[test]
fn a_locked_database_costs_no_frame_and_the_rows_follow() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let camera = record(&process, CameraSpec::new("front"), 2);
    let mut database = Database::open(dir.path());
    database.run("begin immediate");
    let locked = Instant::now();
    let seen = process.until("the state to tell", "/api/v1/system", |seen| {
        seen["database"]["state"] == "away" && seen["database"]["pending_rows"].as_u64() > Some(0)
    });
    assert!(seen["database"]["detail"].is_string(), "{seen:#}");
    let ready = get(&process, "/readyz");
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &json!(false)));
    // A change is refused, for it could not be kept; what runs goes on, and can be looked at.
    let refused = send(&process, "PATCH", &path_of("front"), "{\"name\": \"x\"}");
    assert_eq!((refused.status, refused.error().0.as_str()), (503, "database_away"), "{}", refused.text());
    assert!(refused.header("retry-after").parse::<u32>().is_ok());
    assert_eq!(get(&process, "/api/v1/cameras/front/snapshot.jpg").status, 200);
    while locked.elapsed() < Duration::from_secs(10) {
        frames_more(&process, "front", 25);
    }
    assert_eq!(process.get(&path_of("front"))["status"]["state"], "recording");
    database.run("rollback");
    drop(database);
    let well = process.until("the rows", "/api/v1/system", |seen| seen["database"]["pending_rows"] == 0);
    assert_eq!(well["database"]["state"], "ok", "{well:#}");
    assert_eq!(get(&process, "/readyz").status, 200);
    assert_eq!(process.get(&path_of("front"))["name"], "front");
    frames_more(&process, "front", 25);
    process.stop(STOPS_WITHIN);
    prove(dir.path(), &camera);
    assert_eq!(camera.max_sessions(Channel::Main), 1);
    let (rows, files) = (rows(dir.path()), recordings(dir.path(), "front"));
    assert!(rows.len() == files.len() && rows.values().all(|row| row.5 == "closed"), "{rows:#?}");
    check_is_content(dir.path());
}

/// A small file system of its own. Needs root.
pub(crate) struct Small(PathBuf);

impl Small {
    pub(crate) fn mount(at: PathBuf, mib: u64) -> Self {
        fs::create_dir_all(&at).unwrap();
        let options = format!("size={mib}M");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at).status();
        assert!(mounted.unwrap().success(), "cannot mount a tmpfs; this test needs root");
        Self(at)
    }

    /// Takes all the room there is.
    pub(crate) fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        let block = vec![0; 4096];
        while file.write_all(&block).is_ok() {}
    }

    pub(crate) fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily, because the service may not have gone yet.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_told_and_recording_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Small::mount(dir.path().join("recordings"), 16);
    // Without room to keep free, the writer meets the end of the disk, and not retention, whichever looks first.
    let process = Process::start_with(dir.path(), &[("WATCHKEEPER_MIN_FREE_BYTES", Path::new("0"))]);
    let camera = record(&process, CameraSpec::new("front"), 2);
    closed_segments(&process, "front", 2);
    let kept = recordings(dir.path(), "front")[..2].to_vec();
    let contents: Vec<Vec<u8>> = kept.iter().map(|file| fs::read(file).unwrap()).collect();
    // Else the oldest would give way.
    let now = watchkeeper::base::WallUs::now();
    let (from, to) = (now.plus_us(-3_600_000_000).rfc3339(), now.plus_us(3_600_000_000).rfc3339());
    process.post("/api/v1/cameras/front/holds", &json!({ "from": from, "to": to, "reason": "evidence" }));

    disk.fill();
    let full = Instant::now();
    let seen = process.until("the error", &path_of("front"), |seen| seen["status"]["state"] == "error");
    assert!(full.elapsed() <= Duration::from_secs(10), "told after {:?}", full.elapsed());
    assert_eq!(seen["status"]["reason"], "disk");
    assert!(seen["status"]["detail"].as_str().unwrap().contains("No space left"), "{seen:#}");
    assert!(until_event(&process, "recorder_error").contains("No space left"));
    process.until("the volume's state", "/api/v1/system", |seen| seen["volume"]["state"] == "away");
    assert_eq!(get(&process, "/readyz").status, 503);
    // It stays full for a while, and nothing gets worse by it.
    frames_more(&process, "front", 75);

    disk.free();
    let free = Instant::now();
    process.until("recording again", &path_of("front"), |seen| seen["status"]["state"] == "recording");
    assert!(free.elapsed() <= Duration::from_secs(5), "recorded again after {:?}", free.elapsed());
    until_event(&process, "recorder_restored");
    frames_more(&process, "front", 75);
    process.until("the gap, and why", "/api/v1/cameras/front/gaps", |seen| {
        let gaps = seen["gaps"].as_array().unwrap();
        gaps.iter().any(|gap| gap["cause"] == "disk_full" && gap["state"] == "closed")
            && gaps.iter().all(|gap| gap["cause"] == "disk_full" || gap["cause"] == "operator")
    });
    let log = events(&process);
    let told = |kind: &str| log.iter().filter(|event| event["kind"] == kind).count();
    assert_eq!(
        (told("recorder_error"), told("recorder_restored"), told("camera_offline")),
        (1, 1, 0),
        "{log:#?}"
    );
    process.stop(STOPS_WITHIN);

    for (file, bytes) in kept.iter().zip(&contents) {
        assert!(fs::read(file).unwrap() == *bytes, "{} was changed", file.display());
    }
    // The camera was never let go, and what was written plays.
    assert_eq!(camera.max_sessions(Channel::Main), 1);
    prove_parts(&recordings(dir.path(), "front"));
    check_is_content(dir.path());
}
