//! Cameras whose answers, descriptions and transports are not as the standards say: recorded all the same.

use std::time::Duration;

use crate::{
    cameras::{Case, PICTURES, record},
    sim::scripted::{
        ScriptedSpec,
        quirk::{Control, Quirk},
    },
};

const HEADERS: &str = "\"does not speak RTSP\"";
const REDIRECT: &str = "the question before takes another session control for a redirect";
const CHANNELS: &str = "takes no frame of a channel that was not named";

fn quirk(name: &str, quirk: Quirk) -> Case {
    Case::exact(ScriptedSpec::with(name, [quirk]))
}

/// C27, C32, C33, C34, C36.
#[tokio::test(flavor = "multi_thread")]
async fn heads_of_answers_may_be_written_badly() {
    let cases = vec![
        quirk("lower-case", Quirk::LowerCaseHeaders).fails_with_rtspsrc(HEADERS),
        quirk("no-reason", Quirk::NoReason).fails_with_rtspsrc(HEADERS),
        quirk("no-colon", Quirk::HeaderWithoutColon).fails_with_rtspsrc(HEADERS),
        quirk("gb2312", Quirk::HeaderInGb2312).fails_with_rtspsrc(HEADERS),
        quirk("date", Quirk::DateWithoutName).fails_with_rtspsrc(HEADERS),
        quirk("blank-in-play", Quirk::BlankLineInPlay).fails_with_rtspsrc(HEADERS),
        quirk("blank-in-all", Quirk::BlankLineInAll).fails_with_rtspsrc(HEADERS),
        quirk("lf", Quirk::BareLf).fails_with_rtspsrc(HEADERS),
        quirk("blanks-after", Quirk::BlanksAfterValues),
        quirk("blank-before", Quirk::BlankBeforeColon).fails_with_rtspsrc(HEADERS),
        quirk("content-length", Quirk::LowerCaseContentLength),
        quirk("no-options", Quirk::OptionsNotImplemented),
        quirk("session-ids", Quirk::SessionIdChanges),
    ];
    record(cases, PICTURES).await;
}

/// C27, C28, C29, C35.
#[tokio::test(flavor = "multi_thread")]
async fn descriptions_and_transports_may_be_odd() {
    let cases = vec![
        quirk("null-audio", Quirk::NullAudio),
        quirk("bare", Quirk::BareSdp),
        quirk("no-control", Quirk::NoControl),
        quirk("other-sps", Quirk::OtherParameterSets),
        quirk("range-ends", Quirk::RangeEnds),
        quirk("nul", Quirk::NulAtEnd),
        quirk("channels-4", Quirk::Channels(4)),
        quirk("channels-8", Quirk::Channels(8)),
        quirk("no-channels", Quirk::NoChannels).fails_with_rtspsrc(CHANNELS),
        quirk("ssrc", Quirk::OddSsrc),
    ];
    record(cases, PICTURES).await;
}

/// C35: Hikvision, Axis, and any camera behind NAT or a name.
#[tokio::test(flavor = "multi_thread")]
async fn absolute_controls_need_not_be_the_url_that_was_asked_for() {
    let control = |name: &str, how| {
        let spec = ScriptedSpec::with(name, [Quirk::SessionControl(how)]);
        Case::exact(ScriptedSpec { path: "/Streaming/Channels/101".to_owned(), ..spec })
    };
    let axis = ScriptedSpec {
        path: "/axis-media/media.amp".to_owned(),
        ..ScriptedSpec::with("axis", [Quirk::ControlsWithQuery])
    };
    let cases = vec![
        control("same", Control::Same),
        control("slash", Control::Slash).fails_with_rtspsrc(REDIRECT),
        control("query", Control::Query).fails_with_rtspsrc(REDIRECT),
        control("upper-case", Control::UpperCase).fails_with_rtspsrc(REDIRECT),
        control("no-port", Control::NoPort).fails_with_rtspsrc(REDIRECT),
        control("other", Control::OtherHost).fails_with_rtspsrc(REDIRECT),
        Case::exact(axis).fails_with_rtspsrc(REDIRECT),
        quirk("other-host", Quirk::OtherHost).fails_with_rtspsrc(REDIRECT),
        quirk("other-host-without-base", Quirk::OtherHostWithoutBase),
        quirk("other-base", Quirk::OtherBase),
        quirk("other-session-control", Quirk::OtherSessionControl).fails_with_rtspsrc(REDIRECT),
        quirk("without-port", Quirk::ControlsWithoutPort).fails_with_rtspsrc(REDIRECT),
    ];
    record(cases, PICTURES).await;
}

/// C30: a camera behind a VPN, within the time that it has without other settings.
#[tokio::test(flavor = "multi_thread")]
async fn a_camera_may_take_its_time_to_answer() {
    let slow = quirk("slow", Quirk::SlowAnswers(Duration::from_millis(2500)));
    record(vec![slow], 50).await;
}
