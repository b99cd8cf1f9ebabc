//! A long history costs a start, a look and an idle hour nothing: neither periodic work nor memory depends on it.
//!
//! `HISTORY` says how many segments [20000]; `scripts/history` fills a million and prints the figures.

use std::{
    env, fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use watchkeeper::base::WallUs;

use crate::{
    outside::{STOPS_WITHIN, get, path_of, record, send},
    process::{Process, pause},
    sim::camera::CameraSpec,
    wait::PATIENCE,
};

/// The specification's bound, however long the history is.
const RECORDS_WITHIN: Duration = Duration::from_secs(5);
/// And for a day of one camera, at p99.
const TIMELINE_WITHIN: Duration = Duration::from_millis(50);
/// Linux counts a process's time in these for everybody, whatever it uses itself.
const TICKS: f64 = 100.0;
const CAMERAS: u32 = 8;
const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 1440 * MINUTE_US;

/// Segments of a minute, back to back, of eight cameras that begin at different seconds; the last ends at `?2`.
const FILL: &str = "
    with recursive n (i) as (select 0 union all select i + 1 from n where i < ?1 - 1),
         at (camera, start) as
            (select 'cam' || (1 + i % 8), ?2 - ((?1 - 1 - i) / 8 + 1) * 60000000 - i % 8 * 7300000 from n)
    insert into segment (camera_id, profile, path, start_us, end_us, frames, bytes, codec, width, height, source, state,
                         hash)
    select camera, 'main', camera || strftime('/%Y%m%d_%H%M%S.mp4', start / 1000000, 'unixepoch'), start,
           start + 60000000, 1500, 25000000 + abs(random()) % 10000000, 'h264', 1920, 1080, 'live', 'closed',
           randomblob(32)
      from at";

/// The history of a service that stands still.
struct History {
    runtime: tokio::runtime::Runtime,
    db: SqliteConnection,
}

impl History {
    fn open(dir: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = SqliteConnectOptions::new().filename(dir.join("data/watchkeeper.db"));
        let db = runtime.block_on(SqliteConnection::connect_with(&options)).unwrap();
        Self { runtime, db }
    }

    fn fill(&mut self, segments: i64, end: WallUs) {
        let filled = sqlx::query(FILL).bind(segments).bind(end.0).execute(&mut self.db);
        assert_eq!(self.runtime.block_on(filled).unwrap().rows_affected(), segments as u64);
    }

    fn count(&mut self, state: &'static str) -> i64 {
        let sql = "select count(*) from segment where state = ?1 and camera_id <> 'front'";
        self.runtime.block_on(sqlx::query_scalar(sql).bind(state).fetch_one(&mut self.db)).unwrap()
    }

    /// An empty file for every row: a start looks at names only.
    fn files(&mut self, dir: &Path) {
        let paths: Vec<String> = self
            .runtime
            .block_on(sqlx::query_scalar("select path from segment order by path").fetch_all(&mut self.db))
            .unwrap();
        (1..=CAMERAS).for_each(|n| fs::create_dir_all(dir.join(format!("recordings/cam{n}"))).unwrap());
        for path in paths {
            fs::File::create(dir.join("recordings").join(path)).unwrap();
        }
    }
}

/// Processor time of a process in seconds, its proportional memory now and its most memory so far in MiB.
fn held(pid: u32) -> (f64, f64, f64) {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let stat = read("stat");
    let ticks: Vec<f64> = stat[stat.rfind(')').unwrap()..]
        .split_whitespace()
        .skip(12)
        .take(2)
        .map(|ticks| ticks.parse().unwrap())
        .collect();
    let kib = |text: &str, field: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    };
    (ticks.iter().sum::<f64>() / TICKS, kib(&read("smaps_rollup"), "Pss:"), kib(&read("status"), "VmHWM:"))
}

/// What a service costs that has cameras, none of which is to be recorded: seconds of the processor in a minute, MiB.
fn idle(process: &Process, seconds: u64) -> (f64, f64) {
    // What a start and a look leave behind.
    pause(3_000);
    let (began, (before, ..)) = (Instant::now(), held(process.pid()));
    pause(seconds * 1000);
    let (after, pss, _) = held(process.pid());
    ((after - before) * 60.0 / began.elapsed().as_secs_f64(), pss)
}

/// p50 and p99 of so many answers to `path`, which is asked with another camera and day each time.
fn times(process: &Process, count: u32, path: impl Fn(u32) -> String) -> (Duration, Duration) {
    let mut times: Vec<Duration> = (0..count)
        .map(|n| {
            let (path, began) = (path(n), Instant::now());
            assert_eq!(get(process, &path).status, 200);
            began.elapsed()
        })
        .collect();
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// Starts the service, and waits until its camera is recorded.
fn start(dir: &Path) -> (Process, Duration) {
    let began = Instant::now();
    let process = Process::start(dir);
    process
        .until("the first frame on disk", &path_of("front"), |seen| seen["status"]["state"] == "recording");
    (process, began.elapsed())
}

fn switch(process: &Process, on: bool) {
    let answer = send(process, "PATCH", &path_of("front"), &json!({ "record_enabled": on }).to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[test]
fn a_long_history_costs_a_start_a_look_and_an_idle_hour_nothing() {
    let long = env::var("HISTORY").ok().map(|text| text.parse::<i64>().unwrap());
    let (segments, idle_seconds) = (long.unwrap_or(20_000), if long.is_some() { 60 } else { 12 });
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    for n in 1..=CAMERAS {
        let url = "rtsp://127.0.0.1:9/main";
        let idle = json!({ "id": format!("cam{n}"), "main_url": url, "record_enabled": false });
        process.post("/api/v1/cameras", &idle);
    }
    let _camera = record(&process, CameraSpec::new("front"), 60);
    process.stop(STOPS_WITHIN);
    let (process, empty_start) = start(dir.path());
    switch(&process, false);
    let (empty_cpu, empty_pss) = idle(&process, idle_seconds);
    switch(&process, true);
    process.stop(STOPS_WITHIN);

    let end = WallUs(WallUs::now().0 - 2 * DAY_US);
    let (mut history, began) = (History::open(dir.path()), Instant::now());
    history.fill(segments, end);
    println!("{segments} rows filled in {:.1} s", began.elapsed().as_secs_f64());
    // Without any file on a volume that is the right one, somebody should look first: nothing is called lost.
    fs::remove_dir_all(dir.path().join("recordings/front")).unwrap();
    let (process, bare_start) = start(dir.path());
    let deadline = Instant::now() + PATIENCE;
    while !process.log().contains("is the disk mounted") {
        assert!(Instant::now() < deadline, "{}", process.log());
        pause(20);
    }
    process.stop(STOPS_WITHIN);
    let log = || fs::read_to_string(dir.path().join("log")).unwrap();
    let agreed = || log().matches("files of the primary and index agree").count();
    let before = agreed();
    assert_eq!((history.count("closed"), history.count("lost")), (segments, 0));

    let began = Instant::now();
    history.files(dir.path());
    println!("{segments} files made in {:.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let (process, full_start) = start(dir.path());
    let (at_start, ..) = held(process.pid());
    while agreed() == before {
        assert!(began.elapsed() < Duration::from_secs(300), "{}", process.log());
        pause(100);
    }
    let (compared, (spent, _, most)) = (began.elapsed(), held(process.pid()));
    switch(&process, false);
    let (cpu, pss) = idle(&process, idle_seconds);
    let span = segments / i64::from(CAMERAS) * MINUTE_US;
    let day = |n: u32| {
        let from = end.0 - DAY_US - i64::from(n) * 7_919 * MINUTE_US % (span - DAY_US).max(1);
        (n % CAMERAS + 1, WallUs(from).rfc3339(), WallUs(from + DAY_US).rfc3339())
    };
    // Among other tests, times say nothing.
    let looks = if long.is_some() { 300 } else { 16 };
    let timeline = times(&process, looks, |n| {
        let (camera, from, to) = day(n);
        format!("/api/v1/cameras/cam{camera}/timeline?from={from}&to={to}")
    });
    let listing = times(&process, looks, |n| {
        let (camera, from, to) = day(n);
        format!("/api/v1/cameras/cam{camera}/segments?from={from}&to={to}&limit=1000")
    });
    let (camera, from, to) = day(5);
    let found = process.get(&format!("/api/v1/cameras/cam{camera}/timeline?from={from}&to={to}"));
    assert_eq!(found["ranges"].as_array().map(Vec::len), Some(1), "a day without a hole: {found}");
    process.stop(STOPS_WITHIN);
    assert_eq!((history.count("closed"), history.count("lost")), (segments, 0));

    println!(
        "start to the first recorded frame: {:.2} s empty, {:.2} s without its files, {:.2} s with them\n\
         comparison of all files with all rows: {:.1} s beside the recording, {:.2} s of the processor, \
         {most:.1} MiB at most\n\
         a day's timeline: p50 {:.1} ms, p99 {:.1} ms; a day's segments: p50 {:.1} ms, p99 {:.1} ms\n\
         idle: {empty_cpu:.3} s of the processor in a minute and {empty_pss:.1} MiB empty, {cpu:.3} s and {pss:.1} MiB",
        empty_start.as_secs_f64(),
        bare_start.as_secs_f64(),
        full_start.as_secs_f64(),
        compared.as_secs_f64(),
        spent - at_start,
        ms(timeline.0),
        ms(timeline.1),
        ms(listing.0),
        ms(listing.1),
    );
    // Idle it does a little every few seconds; what depended on the history would be far more than this. Two ticks of
    // the clock that counts it are 0.08 s in a minute.
    assert!(cpu <= empty_cpu + if long.is_some() { 0.25 } else { 0.6 }, "{empty_cpu} s empty, {cpu} s");
    if long.is_some() {
        for start in [empty_start, bare_start, full_start] {
            assert!(start <= RECORDS_WITHIN, "{start:?}");
        }
        assert!(timeline.1 <= TIMELINE_WITHIN, "{timeline:?}");
    }
}
