//! Cameras whose packets and pictures are cut, marked, numbered or timed in ways of their own.

use crate::{
    cameras::{Case, Expect, PICTURES, record},
    sim::{
        footage::{Encoding, Source},
        nal::Codec,
        scripted::{
            Clip, ScriptedSpec,
            quirk::{AnnexB, Asks, Quirk, StrayBytes, StrayType},
        },
    },
};

const ANNEX_B: &str = "rtph264depay takes the run for one unit: 0 frames";
const MARKERS: &str = "a sample per marker, not per picture";
const SEI: &str = "samples without a picture";
const FRAMING: &str = "each run of stray bytes ends the session";
const SEQUENCE: &str = "its jitter buffer loses packets where numbers jump";

fn quirk(name: &str, quirk: Quirk) -> Case {
    Case::exact(ScriptedSpec::with(name, [quirk]))
}

fn h265(name: &str, quirk: Quirk) -> Case {
    let clip = Clip::small(Codec::H265);
    Case::exact(ScriptedSpec { clip, ..ScriptedSpec::with(name, [quirk]) })
}

/// C6, C41.
#[tokio::test(flavor = "multi_thread")]
async fn units_may_be_packed_in_any_way() {
    let annex_b = |name: &str, how| quirk(name, Quirk::AnnexB(how));
    let gop = |name: &str, gop_frames| {
        let encoding =
            Encoding { width: 320, height: 180, kbit: 200, gop_frames, ..Encoding::small(Source::Cars) };
        Case::exact(ScriptedSpec { clip: Clip::Plain(encoding), ..ScriptedSpec::new(name) })
    };
    let cases = vec![
        annex_b("v380", AnnexB::Fragmented).fails_with_rtspsrc(ANNEX_B),
        annex_b("single", AnnexB::Single).fails_with_rtspsrc(ANNEX_B),
        annex_b("prefixed", AnnexB::Before).fails_with_rtspsrc(ANNEX_B),
        annex_b("trailing", AnnexB::Behind).fails_with_rtspsrc(ANNEX_B),
        h265("prefixed-h265", Quirk::AnnexB(AnnexB::Before)).fails_with_rtspsrc(ANNEX_B),
        quirk("stap", Quirk::Aggregated),
        h265("ap", Quirk::Aggregated),
        quirk("odd-fragments", Quirk::OddFragments),
        h265("odd-fragments-h265", Quirk::OddFragments),
        gop("gop-1", 1),
        gop("gop-100", 100),
    ];
    record(cases, PICTURES).await;
}

/// C8, C40: a sample per picture.
#[tokio::test(flavor = "multi_thread")]
async fn markers_do_not_say_where_a_picture_ends() {
    let sliced = |name: &str, codec, quirk| {
        Case::exact(ScriptedSpec { clip: Clip::Sliced(codec), ..ScriptedSpec::with(name, [quirk]) })
    };
    let cases = vec![
        sliced("per-slice", Codec::H264, Quirk::MarkerPerSlice).fails_with_rtspsrc(MARKERS),
        sliced("per-slice-h265", Codec::H265, Quirk::MarkerPerSlice).fails_with_rtspsrc(MARKERS),
        sliced("none", Codec::H264, Quirk::NoMarker),
        sliced("none-h265", Codec::H265, Quirk::NoMarker),
        sliced("each", Codec::H264, Quirk::MarkerEverywhere).fails_with_rtspsrc(MARKERS),
        h265("tapo", Quirk::SeiAlone).expecting(Expect::ExactPictures).fails_with_rtspsrc(SEI),
        h265("tapo-always", Quirk::SeiAloneAlways).expecting(Expect::ExactPictures).fails_with_rtspsrc(SEI),
        quirk("tapo-h264", Quirk::SeiAlone).expecting(Expect::ExactPictures).fails_with_rtspsrc(SEI),
    ];
    record(cases, PICTURES).await;
}

/// C5, C15, C16.
#[tokio::test(flavor = "multi_thread")]
async fn headers_of_packets_may_say_what_they_like() {
    let stray = |name: &str, how| quirk(name, Quirk::StrayType(how));
    let time = |name: &str, by, every, at| quirk(name, Quirk::StrayTime { by, every, at });
    let cases = vec![
        stray("like-previous", StrayType::LikePrevious),
        stray("like-next", StrayType::LikeNext),
        stray("own", StrayType::Own).fails_with_rtspsrc("a stray packet's number counts as a loss"),
        stray("first", StrayType::First),
        time("past", -9800, 51, 7),
        time("future", 37_600, 51, 7),
        time("past-key", -9800, 50, 0),
        quirk("sequence", Quirk::SequenceJumps { every: 60, to: 0 }).fails_with_rtspsrc(SEQUENCE),
        quirk("sequence-often", Quirk::SequenceJumps { every: 25, to: 0 }).fails_with_rtspsrc(SEQUENCE),
        quirk("sequence-jump", Quirk::SequenceJumps { every: 60, to: 40_000 }).fails_with_rtspsrc(SEQUENCE),
        quirk("sequence-random", Quirk::RandomSequence).fails_with_rtspsrc("a pipeline that never stops"),
        quirk("ssrc", Quirk::NewSsrcEvery(60)).fails_with_rtspsrc("a new SSRC ends the session"),
        quirk("extras", Quirk::HeaderExtras),
        quirk("bye", Quirk::ByeAndGoesOn(60)).fails_with_rtspsrc("BYE ends the session"),
        quirk("no-reports", Quirk::NoReports),
    ];
    record(cases, PICTURES).await;
}

/// C18: recorded; whether a player shows all of it is for the player.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_without_idr_are_recorded() {
    let clip = |name: &str, clip| {
        Case::exact(ScriptedSpec { clip, ..ScriptedSpec::new(name) }).expecting(Expect::NumbersOrSaid)
    };
    let rolling = |sei, parameters| Clip::RollingRefresh { sei, parameters };
    let cases = vec![
        clip("recovery", Clip::OpenGroups { sei: true }).expecting(Expect::Numbers),
        clip("no-sei", Clip::OpenGroups { sei: false }),
        clip("rolling", rolling(true, true)),
        clip("rolling-no-sei", rolling(false, true)),
        clip("rolling-bare", rolling(false, false)),
    ];
    record(cases, 2 * PICTURES).await;
}

/// C10, C43.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_belong_between_frames_costs_what_it_damaged() {
    let stray = |name: &str, how| quirk(name, Quirk::StrayBytes(how)).fails_with_rtspsrc(FRAMING);
    let asks = |name: &str, how| quirk(name, Quirk::Asks(how));
    let cases = vec![
        stray("random", StrayBytes::Random),
        stray("zeroes", StrayBytes::Zeroes),
        quirk("crlf", Quirk::StrayBytes(StrayBytes::Crlf)),
        stray("dollars", StrayBytes::Dollars),
        stray("answer", StrayBytes::Answer),
        stray("tail", StrayBytes::Tail).expecting(Expect::UndamagedGroups),
        stray("too-long", StrayBytes::LengthTooLarge).expecting(Expect::UndamagedGroups),
        asks("announce", Asks::Announce),
        asks("options-star", Asks::OptionsStar),
        asks("options", Asks::Options),
        asks("set-parameter", Asks::SetParameter),
        asks("get-parameter", Asks::GetParameter),
    ];
    record(cases, 2 * PICTURES).await;
}
