//! The timeline of a run: even times from the camera's RTP clock, kept near the times of arrival.
//!
//! Times of arrival jitter by what the network and this machine add, so frames placed by them collide or drift apart.
//! The camera's own clock is even, but it runs a little fast or slow, and some cameras let it jump. So frames keep the
//! distances that the camera's clock gives them; at a keyframe now and then the timeline is pulled towards arrival, by
//! less than anybody sees; and a jump of the camera's clock is replaced by the usual distance, or by the time that
//! passed here.

/// RTP clock rate of every video payload (RFC 3551, RFC 6184), in ticks a second.
pub const VIDEO_RATE: u32 = 90_000;
/// The camera's clock has jumped if it moved back by more than this, or on by this much more than the time that
/// passed here. Less than that back is a frame out of its order of display. In nanoseconds.
const JUMP_NS: i64 = 1_000_000_000;
/// Nor does it go on by this much more than the time that passed here in one step that is far longer than the last:
/// of a burst, each frame is as far from the next as they always are.
const STRIDE_NS: i64 = 300_000_000;
/// A timeline that is this far from arrival …
const OFF_NS: i64 = 500_000_000;
/// … for so long is brought back to it: the camera's clock is a lie, or stood still. Before that, frames may just have
/// been held up on their way, and those held up behind them have the right distances. Behind, it jumps; ahead, it goes
/// at half the speed, because no frame may stand before another.
const OFF_FOR_NS: i64 = 5_000_000_000;
/// So long at least passes between pulls: what is not the network's doing shows only after a while.
const PULL_EVERY_NS: i64 = 20_000_000_000;
/// The pull towards arrival is at most this part of the time since the last: twice what quartz clocks are off.
const SLEW_PER_MILLION: i64 = 500;
/// The least distance between frames, in nanoseconds, so that none stands on another.
const LEAST_NS: i64 = 1_000_000;

/// Places the frames of one run.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Ticks a second of the camera's RTP clock.
    rate: u32,
    last: Option<Last>,
    /// From the RTP timeline to the placed one.
    offset_ns: i64,
    /// Between the last two frames; 0 before that is known.
    usual_ns: i64,
    /// Packets of sound, of which several may share a time; two pictures cannot.
    packets: bool,
    /// How far the placed timeline went on while the camera's clock stood still.
    stood_ns: i64,
    /// Since when the timeline has been off arrival.
    off_since_ns: Option<i64>,
    /// It is ahead, and waits for arrival.
    waits: bool,
    /// While it waits: how much further it may go.
    credit_ns: i64,
    /// The latest that a frame was placed at, and the least distance that the camera's clock gave two frames.
    latest_ns: i64,
    least_step_ns: i64,
    /// Frames came out of their order of display.
    reorders: bool,
    /// `offset_ns` is not what it was for the frame before.
    has_shifted: bool,
    /// The least that a frame came behind its place since the last pull: what is not the network's doing.
    least_behind_ns: Option<i64>,
    /// Where the timeline was pulled last.
    pulled_at_ns: i64,
}

/// The frame before.
#[derive(Clone, Copy, Debug)]
struct Last {
    rtp: Option<u32>,
    /// Ticks since the first frame, or the last jump; wraps counted.
    ticks: i64,
    arrival_ns: i64,
    placed_ns: i64,
    /// It may not stand before this.
    floor_ns: i64,
}

impl Default for Pace {
    /// For pictures.
    fn default() -> Self {
        Self { packets: false, ..Self::new(VIDEO_RATE) }
    }
}

impl Pace {
    /// For packets of sound whose RTP clock makes `rate` ticks a second.
    pub fn new(rate: u32) -> Self {
        Self {
            rate: rate.max(1),
            last: None,
            offset_ns: 0,
            usual_ns: 0,
            packets: true,
            stood_ns: 0,
            off_since_ns: None,
            waits: false,
            credit_ns: 0,
            latest_ns: i64::MIN,
            least_step_ns: i64::MAX,
            reorders: false,
            has_shifted: false,
            least_behind_ns: None,
            pulled_at_ns: 0,
        }
    }

    /// The time of the next frame, in nanoseconds on the same timeline as `arrival_ns`; later than the one before, unless
    /// the camera's clock says that it is shown before that. `rtp` is its RTP time where the source knows it.
    pub fn place(&mut self, rtp: Option<u32>, arrival_ns: i64) -> i64 {
        let mut reordered = false;
        let offset_ns = self.last.map(|_| self.offset_ns);
        let (ticks, placed_ns) = match (self.last, rtp) {
            (Some(last @ Last { rtp: Some(before), .. }), Some(now)) => {
                // As a signed difference, this counts wraps and steps back alike.
                let step = i64::from(now.wrapping_sub(before).cast_signed());
                let (step_ns, passed_ns) = (self.nanoseconds(step), arrival_ns - last.arrival_ns);
                let mut ticks = last.ticks + step;
                let ahead_ns = step_ns - passed_ns;
                let strides = self.usual_ns > 0 && step_ns > self.usual_ns * 3;
                if step == 0 && !self.packets {
                    // As far on as frames usually are, but not before its time has come.
                    let passed_ns = arrival_ns - last.placed_ns;
                    let most_ns = if self.usual_ns > 0 { self.usual_ns } else { passed_ns };
                    self.stood_ns += passed_ns.min(most_ns).max(LEAST_NS);
                } else if step_ns < -JUMP_NS || ahead_ns > JUMP_NS || (ahead_ns > STRIDE_NS && strides) {
                    // Most likely this frame is as far from the last one as that was from its own predecessor.
                    let usual = self.usual_ns > 0 && (passed_ns - self.usual_ns).abs() < OFF_NS;
                    let distance_ns = if usual { self.usual_ns } else { passed_ns };
                    // Counted from here on: a clock that jumps all day would count to no end.
                    self.offset_ns += self.nanoseconds(last.ticks) + self.stood_ns + distance_ns;
                    self.stood_ns = 0;
                    ticks = 0;
                } else {
                    self.stood_ns = 0;
                    self.usual_ns = step_ns.max(0);
                    reordered = step < 0;
                    self.reorders |= reordered;
                    self.least_step_ns = self.least_step_ns.min(step_ns.abs());
                }
                let line_ns = self.nanoseconds(ticks) + self.offset_ns + self.stood_ns;
                (ticks, self.caught_up(line_ns, arrival_ns, last))
            }
            _ => {
                self.offset_ns = arrival_ns;
                self.pulled_at_ns = arrival_ns;
                (0, arrival_ns)
            }
        };
        let floor_ns = self.last.filter(|_| !reordered).map_or(i64::MIN, |last| last.placed_ns + LEAST_NS);
        let placed_ns = placed_ns.max(floor_ns);
        self.latest_ns = self.latest_ns.max(placed_ns);
        self.has_shifted = offset_ns.is_some_and(|before_ns| before_ns != self.offset_ns);
        self.last = Some(Last { rtp, ticks, arrival_ns, placed_ns, floor_ns });
        placed_ns
    }

    /// Pulls the frame just placed, and with it all that follow, towards arrival, if that is due; gives its new time. For
    /// keyframes: inside a GOP, frames keep the camera's distances exactly.
    pub fn pull(&mut self) -> i64 {
        let Some(last) = &mut self.last else { return 0 };
        if last.placed_ns - self.pulled_at_ns < PULL_EVERY_NS {
            return last.placed_ns;
        }
        let most_ns = slew((last.placed_ns - self.pulled_at_ns).abs());
        let shift_ns = self.least_behind_ns.take().unwrap_or(0).clamp(-most_ns, most_ns);
        self.offset_ns += shift_ns;
        last.placed_ns = (last.placed_ns + shift_ns).max(last.floor_ns);
        self.pulled_at_ns = last.placed_ns;
        last.placed_ns
    }

    /// Whether the frame just placed is not as far from the one before as the camera's clock says.
    pub fn has_shifted(&self) -> bool {
        self.has_shifted
    }

    /// Notes how far the timeline is off arrival, and brings it back when that lasts.
    fn caught_up(&mut self, placed_ns: i64, arrival_ns: i64, last: Last) -> i64 {
        let behind_ns = arrival_ns - placed_ns;
        self.least_behind_ns = Some(self.least_behind_ns.map_or(behind_ns, |least| least.min(behind_ns)));
        self.waits &= behind_ns < 0;
        if !self.waits {
            if behind_ns.abs() <= OFF_NS {
                self.off_since_ns = None;
                return placed_ns;
            }
            let since_ns = *self.off_since_ns.get_or_insert(arrival_ns);
            if arrival_ns - since_ns < OFF_FOR_NS {
                return placed_ns;
            }
            self.off_since_ns = None;
            self.waits = behind_ns < 0;
            self.credit_ns = 0;
        }
        self.least_behind_ns = None;
        let back_ns = match (self.waits, self.reorders) {
            (false, _) => arrival_ns,
            (true, false) => {
                // Several frames may have been read at once: each goes half its way, and all together half the time that passed.
                self.credit_ns = (self.credit_ns + (arrival_ns - last.arrival_ns) / 2).min(OFF_NS);
                let step_ns = (placed_ns - last.placed_ns) / 2;
                let step_ns = step_ns.min(self.credit_ns.max(LEAST_NS));
                self.credit_ns -= step_ns.max(0);
                placed_ns.min(last.placed_ns + step_ns)
            }
            // Those that are shown before it follow, and have to find room behind the frames that were there.
            (true, true) if placed_ns > self.latest_ns => {
                placed_ns - (self.least_step_ns / 2).min(-behind_ns)
            }
            (true, true) => placed_ns,
        };
        self.offset_ns += back_ns - placed_ns;
        back_ns
    }

    fn nanoseconds(&self, ticks: i64) -> i64 {
        i64::try_from(i128::from(ticks) * 1_000_000_000 / i128::from(self.rate)).unwrap_or(i64::MAX)
    }
}

/// How far the timeline is pulled at most where a segment of this length ends, in the same unit.
pub fn slew(length: i64) -> i64 {
    length.saturating_mul(SLEW_PER_MILLION) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME_NS: i64 = 40_000_000;

    /// Places `count` frames of 25 a second; the camera's clock runs by `ppm` fast, arrival jitters by `jitter_ns`.
    fn run(pace: &mut Pace, first: i64, count: i64, ppm: i64, jitter_ns: impl Fn(i64) -> i64) -> Vec<i64> {
        (first..first + count)
            .map(|n| {
                let rtp = (n * 3600 + n * 3600 * ppm / 1_000_000) as u32;
                let placed = pace.place(Some(rtp), n * FRAME_NS + jitter_ns(n));
                if n % 1500 == 0 { pace.pull() } else { placed }
            })
            .collect()
    }

    #[test]
    fn jitter_of_arrival_does_not_move_frames() {
        let times = run(&mut Pace::default(), 0, 1000, 0, |n| (n * 7919 % 30) * 1_000_000);
        for pair in times.windows(2) {
            assert_eq!(pair[1] - pair[0], FRAME_NS);
        }
    }

    #[test]
    fn while_the_cameras_clock_stands_still_frames_go_on_as_usual() {
        let jitter = |n: i64| (n * 7919 % 30) * 1_000_000;
        for before in [1, 100] {
            let mut pace = Pace::default();
            run(&mut pace, 0, before, 0, jitter);
            let stuck = (before..before + 500).map(|n| (Some(0), n));
            let moving = (before + 500..before + 1000).map(|n| (Some((n * 3600) as u32), n));
            let mut last = None;
            for (rtp, n) in stuck.chain(moving) {
                let rtp = if rtp == Some(0) { Some(((before - 1) * 3600) as u32) } else { rtp };
                let placed = pace.place(rtp, n * FRAME_NS + jitter(n));
                assert!((placed - n * FRAME_NS).abs() <= FRAME_NS, "{n}: {placed}");
                if let Some(last) = last.replace(placed) {
                    let distance = placed - last;
                    assert!((FRAME_NS / 4..FRAME_NS * 2).contains(&distance), "{n}: {distance}");
                }
            }
        }
        // Two frames of each time, as from a camera that sends each twice: still half as far apart.
        let mut pace = Pace::default();
        let times: Vec<i64> =
            (0..100).map(|n| pace.place(Some((n / 2 * 7200) as u32), n * FRAME_NS)).collect();
        assert!(times.windows(2).skip(2).all(|pair| pair[1] - pair[0] == FRAME_NS), "{times:?}");
    }

    #[test]
    fn a_fast_clock_is_followed_for_a_day_without_a_cut() {
        let day = 86_400 * 25;
        for ppm in [200, -200] {
            let times = run(&mut Pace::default(), 0, day, ppm, |_| 0);
            let off = times[times.len() - 1] - (day - 1) * FRAME_NS;
            assert!(off.abs() < FRAME_NS, "{off} ns after a day at {ppm} ppm");
            for (n, pair) in times.windows(2).enumerate() {
                // A minute at 200 ppm is 12 ms, taken at the cut; within a segment there is only the clock itself.
                let most = if (n + 1) % 1500 == 0 { 15_000_000 } else { 20_000 };
                assert!((pair[1] - pair[0] - FRAME_NS).abs() < most, "{n}: {}", pair[1] - pair[0]);
            }
        }
    }

    #[test]
    fn wraps_go_unnoticed_and_jumps_are_absorbed() {
        let mut pace = Pace::default();
        let mut rtp = u32::MAX - 10_000;
        let mut times = Vec::new();
        for n in 0..100 {
            let jump = match n {
                20 => 9_000_000,
                40 => 0u32.wrapping_sub(270_000),
                60 => 63_000,
                _ => 0,
            };
            rtp = rtp.wrapping_add(3600).wrapping_add(jump);
            times.push(pace.place(Some(rtp), n * FRAME_NS));
        }
        for (n, pair) in times.windows(2).enumerate() {
            assert!((pair[1] - pair[0] - FRAME_NS).abs() < 1_000_000, "{n}: {}", pair[1] - pair[0]);
        }
    }

    #[test]
    fn frames_that_were_held_up_keep_their_distances() {
        let mut pace = Pace::default();
        // The network holds everything back for three seconds; then it all comes at once.
        let held = |n: i64| if (50..125).contains(&n) { (125 - n) * FRAME_NS } else { 0 };
        let times = run(&mut pace, 0, 300, 0, held);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == FRAME_NS));
    }

    #[test]
    fn a_clock_that_is_a_lie_stays_near_arrival() {
        let mut pace = Pace::default();
        // It says 25 frames a second and sends 21.
        let mut last = 0;
        for n in 0..21 * 600 {
            let arrival = n * 1_000_000_000 / 21;
            let placed = pace.place(Some((n * 3600) as u32), arrival);
            assert!(placed > last || n == 0);
            assert!((arrival - placed).abs() < 2_000_000_000, "{} ns", arrival - placed);
            last = placed;
        }
    }

    #[test]
    fn a_clock_that_runs_ahead_stays_near_arrival() {
        for (says, sends) in [(25, 30), (25, 250)] {
            let mut pace = Pace::default();
            let mut last = 0;
            for n in 0..sends * 600 {
                let arrival = n * 1_000_000_000 / sends;
                let placed = pace.place(Some((n * 90_000 / says) as u32), arrival);
                assert!(placed > last || n == 0);
                // A tenfold lie may be believed for the seconds in which a burst could explain it.
                let most = if sends == 30 { 2_000_000_000 } else { 60_000_000_000 };
                assert!((placed - arrival).abs() < most, "{} ns", placed - arrival);
                last = placed;
            }
        }
    }

    #[test]
    fn a_first_frame_that_was_held_up_is_made_good_slowly() {
        // Frames are read one by one, or four at a time.
        for at_once in [1, 4] {
            let held = |n: i64| (75 - n).max(0).max(at_once - 1 - n % at_once) * FRAME_NS;
            let times = run(&mut Pace::default(), 0, 1000, 0, held);
            let steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(steps.iter().all(|step| (FRAME_NS / 2..=FRAME_NS).contains(step)), "{steps:?}");
            let late = times.iter().zip(0..).map(|(time, n)| time - n * FRAME_NS);
            let late: Vec<i64> = late.collect();
            assert!(late[999].abs() <= 500_000_000 + FRAME_NS, "{}", late[999]);
            // After five seconds it goes at half the speed: 2.5 s are made good in five more.
            let made_good = late.iter().position(|late| *late <= 500_000_000 + FRAME_NS).unwrap();
            assert!((240..=75 + 125 + 150).contains(&made_good), "{made_good}");
        }
    }

    #[test]
    fn frames_keep_their_order_of_display_while_a_late_first_one_is_made_good() {
        // I0 P3 B1 B2 P6 B4 B5 …
        let shown = |n: i64| match (n - 1).rem_euclid(3) {
            _ if n == 0 => 0,
            0 => n + 2,
            _ => n - 1,
        };
        let mut pace = Pace::default();
        let mut placed: Vec<(i64, i64)> = (0..1500)
            .map(|n| {
                let arrival_ns = (n + (75 - n).max(0)) * FRAME_NS;
                (shown(n), pace.place(Some((shown(n) * 3600) as u32), arrival_ns))
            })
            .collect();
        placed.sort_unstable();
        for two in placed.windows(2) {
            let (frames, step_ns) = (two[1].0 - two[0].0, two[1].1 - two[0].1);
            assert!(step_ns >= frames * FRAME_NS / 2, "{two:?}");
        }
        let (last, at_ns) = placed[placed.len() - 1];
        assert!(at_ns - last * FRAME_NS <= 4 * FRAME_NS, "{} ns late", at_ns - last * FRAME_NS);
    }

    #[test]
    fn a_clock_that_jumps_all_day_is_absorbed_all_day() {
        let mut pace = Pace::default();
        let times =
            (0..86_400 * 25).map(|n| pace.place(Some((n as u32).wrapping_mul(0x7fff_0000)), n * FRAME_NS));
        let times: Vec<i64> = times.collect();
        assert!(times.windows(2).all(|pair| (pair[1] - pair[0] - FRAME_NS).abs() < 1_000_000));
    }

    proptest! {
        #[test]
        fn whatever_a_camera_says_time_goes_on(frames in proptest::collection::vec(
            (proptest::option::of(any::<u32>()), 1i64..200_000_000), 1..200)) {
            let (mut pace, mut arrival, mut last) = (Pace::default(), 0, None);
            for (rtp, step) in frames {
                arrival += step;
                let placed = pace.place(rtp, arrival);
                prop_assert!(last.is_none_or(|last| placed > last - JUMP_NS));
                last = Some(placed);
            }
        }
    }
}
