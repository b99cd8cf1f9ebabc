//! Samplers, fed by hand: which frames become pictures, and what happens when a decoder fails.

use super::*;
use crate::model::unit::AccessUnit;

const WITHIN: Duration = Duration::from_secs(60);

/// Access units of a small picture at 25 frames a second with one keyframe.
fn encoded(frames: u32, format: &str) -> Vec<AccessUnit> {
    gst::init().unwrap();
    let text = format!(
        "videotestsrc num-buffers={frames} pattern=ball ! video/x-raw,format={format},width=160,height=120,framerate=25/1
         ! x264enc key-int-max={frames} bframes=0 tune=zerolatency speed-preset=ultrafast ! h264parse
         ! video/x-h264,stream-format=avc,alignment=au ! appsink name=out sync=false"
    );
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    let out = pipeline.by_name("out").unwrap().downcast::<AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let samples: Vec<_> = std::iter::from_fn(|| out.pull_sample().ok()).collect();
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(samples.len(), frames as usize);
    let format = Arc::new(units::video_format(samples[0].caps().unwrap()).unwrap());
    let unit = |sample: &gst::Sample| {
        units::access_unit(sample.buffer_owned()?, &format, None, None, Instant::now())
    };
    samples.iter().map(|sample| unit(sample).unwrap()).collect()
}

/// When a frame of the stream was taken.
fn time(frame: usize) -> WallUs {
    WallUs(1_800_000_000_000_000 + frame as i64 * FRAME_US)
}

/// A sampler, and a stream that repeats its frames.
struct Bench {
    sampler: Arc<Sampler>,
    units: Vec<AccessUnit>,
    next: usize,
}

impl Bench {
    fn new(decoders: Decoders, asked: Asked, gop: u32) -> Self {
        Self::of(decoders, asked, encoded(gop, "I420"))
    }

    fn of(decoders: Decoders, asked: Asked, units: Vec<AccessUnit>) -> Self {
        let sampler = Sampler::new(Texts::new(None), decoders, "front".to_owned(), asked);
        Self { sampler, units, next: 0 }
    }

    /// The next frame passes by.
    fn pass(&mut self, active: Option<bool>) {
        let place = self.next % self.units.len();
        let at = time(self.next);
        self.sampler.pass(&Passing { unit: &self.units[place], at, active });
        self.next += 1;
    }

    /// Waits for what the sampler does in its own threads.
    fn until(&self, what: &str, is: impl Fn(&Sampler) -> bool) {
        let began = Instant::now();
        while !is(&self.sampler) {
            assert!(began.elapsed() < WITHIN, "waiting for {what}: {:?}", self.sampler.sampling());
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// Waits for the picture of this frame.
    fn until_shown(&self, frame: usize) {
        let shows =
            |sample: &Option<Arc<Sample>>| sample.as_ref().is_some_and(|sample| sample.at == time(frame));
        self.until("a picture", |sampler| shows(&sampler.pictures().borrow()));
    }

    /// Frames pass by until a picture comes.
    fn until_picture(&mut self) {
        let before = self.number();
        let began = Instant::now();
        while self.number() == before {
            assert!(began.elapsed() < WITHIN, "no picture: {:?}", self.sampler.sampling());
            self.pass(None);
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// Of the latest picture.
    fn number(&self) -> u64 {
        self.sampler.pictures().borrow().as_ref().map_or(0, |sample| sample.number)
    }
}

fn all(adaptive: bool) -> Asked {
    Asked { rate: 25_000, width: 160, adaptive }
}

#[test]
fn while_nothing_moves_keyframes_suffice_and_what_led_to_movement_is_decoded_after_all() {
    let mut bench = Bench::new(Decoders::default(), all(true), 100);
    bench.pass(None);
    assert!(bench.sampler.is_due());
    bench.sampler.begin().unwrap();
    // A group of pictures until its length is known, and two more in which nothing moves.
    (0..99).for_each(|_| bench.pass(Some(false)));
    for n in 1..=2 {
        (0..100).for_each(|_| bench.pass(Some(false)));
        bench.until("the keyframe", |sampler| sampler.sampling().decoded == n);
    }
    // Something begins to move within the third: its frames come after all, with pictures of the last two seconds.
    (0..80).for_each(|_| bench.pass(Some(false)));
    bench.until_shown(300);
    let before = bench.number();
    bench.pass(Some(true));
    bench.until("the frames before it", |sampler| sampler.sampling().decoded == 3 + 81);
    bench.until_shown(380);
    assert_eq!(bench.number() - before, 51, "pictures of two seconds, and this");
    // All that follow, too, and without movement only keyframes again.
    for n in 1..=19 {
        bench.pass(Some(true));
        bench.until("a frame", |sampler| sampler.sampling().decoded == 3 + 81 + n);
    }
    (0..100).for_each(|_| bench.pass(Some(false)));
    bench.until("a keyframe", |sampler| sampler.sampling().decoded == 3 + 81 + 19 + 1);
    assert_eq!(bench.sampler.sampling().dropped, 0);
}

#[test]
fn without_adaptive_everything_is_decoded_whatever_moves() {
    let mut bench = Bench::new(Decoders::default(), all(false), 50);
    bench.pass(Some(false));
    bench.sampler.begin().unwrap();
    (0..49).for_each(|_| bench.pass(Some(false)));
    // From the second keyframe on it is known how far they are apart.
    for n in 1..=50 {
        bench.pass(Some(false));
        bench.until("a frame", |sampler| sampler.sampling().decoded == n);
    }
    assert_eq!(bench.sampler.sampling().active, Some(false));
}

#[test]
fn a_decoder_that_is_missing_or_fails_is_replaced_by_the_next_and_at_last_by_software() {
    // One that GStreamer has not, one that does not take this stream, and one that works until it fails.
    let names = ["vah9999dec", "jpegdec", "openh264dec"].map(|name| (Codec::H264, name));
    let mut bench = Bench::new(Decoders::named(&names), all(false), 25);
    bench.pass(None);
    bench.sampler.begin().unwrap();
    assert_eq!(bench.sampler.sampling().decoder.as_deref(), Some("openh264dec"));
    assert_eq!(bench.sampler.lock().refused, ["jpegdec"]);
    bench.until_picture();
    assert!(!bench.sampler.is_due());

    let decoder = bench.sampler.lock().chain.as_ref().unwrap().pipeline.by_name("decoder").unwrap();
    gst::element_error!(decoder, gst::StreamError::Decode, ("the device is gone"));
    assert!(bench.sampler.is_due() && bench.sampler.sampling().error.is_none());
    bench.sampler.begin().unwrap();
    assert_eq!(bench.sampler.sampling().decoder.as_deref(), Some("avdec_h264"));
    bench.until_picture();
    assert!(!bench.sampler.is_due());

    // Software that fails is told of, and nothing else is tried.
    let decoder = bench.sampler.lock().chain.as_ref().unwrap().pipeline.by_name("decoder").unwrap();
    gst::element_error!(decoder, gst::StreamError::Decode, ("it is broken"));
    assert!(bench.sampler.sampling().error.is_some_and(|error| error.contains("it is broken")));
}

#[test]
fn a_decoder_that_takes_frames_and_gives_nothing_is_replaced() {
    // It knows no pictures with all of their colour, and says nothing.
    let names = Decoders::named(&[(Codec::H264, "openh264dec")]);
    let mut bench = Bench::of(names, all(false), encoded(25, "Y444"));
    bench.pass(None);
    bench.sampler.begin().unwrap();
    while !bench.sampler.is_due() {
        assert!(bench.next < 1_000, "{:?}", bench.sampler.sampling());
        bench.pass(None);
    }
    bench.sampler.begin().unwrap();
    assert_eq!(bench.sampler.sampling().decoder.as_deref(), Some("avdec_h264"));
    bench.until_picture();
}

#[test]
fn hardware_is_used_only_where_it_is_allowed() {
    gst::init().unwrap();
    assert_eq!(Decoders::default().of(Codec::H264).count(), 0);
    assert_eq!(Decoders::new(false).of(Codec::H265).count(), 0);
    // What the machine has, if anything, is for this codec.
    for (codec, word) in [(Codec::H264, "h264"), (Codec::H265, "h265")] {
        assert!(Decoders::new(true).of(codec).all(|name| name.contains(word)));
    }
}
