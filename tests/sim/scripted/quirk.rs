//! What a scripted camera does that no standard asks for. Each was seen of a real camera or is an attack; the case
//! numbers are those of the project's list of camera reports.

use std::net::SocketAddr;
use std::time::Duration;

/// One deviation. A camera may have several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Quirk {
    // Log-in; the algorithms themselves are in `LoginOffer`.
    /// C1: closes the connection with its 401.
    ClosesWith401,
    /// C1: the 401 also says `Connection: close`.
    SaysConnectionClose,
    /// C11: another nonce every so often; what comes with the old one gets 401 and keeps no session alive.
    NewNonceEvery(Duration),
    /// A nonce is good for one request; the next gets 401 with `stale=TRUE`.
    NonceForOneRequest,
    /// Connections with even numbers are challenged with Basic and never let in.
    BasicOnEvenConnections,

    // Heads of answers.
    /// C27: header names in lower case, blanks round the colon and at the end.
    LowerCaseHeaders,
    /// A status line without reason.
    NoReason,
    /// A header line `Server` without a colon.
    HeaderWithoutColon,
    /// A header value that is no UTF-8.
    HeaderInGb2312,
    /// C32: a header line that is a date without its name.
    DateWithoutName,
    /// C33: a line with one blank in the answer to PLAY.
    BlankLineInPlay,
    /// C33: a line with one blank in every answer.
    BlankLineInAll,
    /// C34: LF in place of CR LF in heads.
    BareLf,
    /// C34: the same, in the 401 alone.
    BareLfIn401,
    /// C36: a blank after each value.
    BlanksAfterValues,
    /// C36: a blank before each colon.
    BlankBeforeColon,
    /// `Content-length`.
    LowerCaseContentLength,
    /// `Content-Length` says two bytes more than there are.
    LongContentLength,
    /// 501 to OPTIONS.
    OptionsNotImplemented,
    /// Another session id in every answer.
    SessionIdChanges,
    /// C30: DESCRIBE, SETUP and PLAY are each answered so late.
    SlowAnswers(Duration),
    /// DESCRIBE is answered with 302 to this URL.
    RedirectsTo(String),

    // Description.
    /// C27: an audio line without a payload type.
    NullAudio,
    /// C27: three lines.
    BareSdp,
    /// C27: no `a=control` at all.
    NoControl,
    /// C29: parameter sets of another picture size in the description.
    OtherParameterSets,
    /// C27: `Content-Base` and controls with the address behind the camera's NAT.
    OtherHost,
    /// The same without `Content-Base` and session control.
    OtherHostWithoutBase,
    /// C27: a range that ends, in the description and the answer to PLAY.
    RangeEnds,
    /// A NUL at the end of the description.
    NulAtEnd,
    /// C35: an absolute session control that is not the URL that was asked for.
    SessionControl(Control),
    /// C35: only `Content-Base` names another host.
    OtherBase,
    /// C35: only the session control names another host; no `Content-Base`.
    OtherSessionControl,
    /// C35: `Content-Base` and controls without the port.
    ControlsWithoutPort,
    /// C35: absolute controls with a query, which must be in SETUP and PLAY.
    ControlsWithQuery,

    // Transport.
    /// C28: these channels, whatever was asked for.
    Channels(u8),
    /// C28: names no channels.
    NoChannels,
    /// `ssrc=4317f`.
    OddSsrc,
    /// 461 to interleaved transport.
    RefusesTcp,
    /// 461 to datagrams.
    RefusesUdp,
    /// `source=` and `destination=` name another host, with this server port.
    SourceElsewhere(SocketAddr),
    /// So many of a thousand datagrams are lost.
    LosesDatagrams(u32),
    /// Some datagrams come after the next one.
    ReordersDatagrams,
    /// Some datagrams come twice.
    DoublesDatagrams,

    // RTP and payloads.
    /// C5: packets of payload type 50 between those of the video.
    StrayType(StrayType),
    /// C6: byte-stream start codes inside packets.
    AnnexB(AnnexB),
    /// C8: the marker bit on the last packet of each slice.
    MarkerPerSlice,
    /// No marker bit at all.
    NoMarker,
    /// The marker bit on every packet.
    MarkerEverywhere,
    /// C15: one picture in `every` has a time so many seconds off.
    StrayTime {
        /// Seconds.
        by: i64,
        /// Pictures; 25 is one group.
        every: u64,
        /// Which of them.
        at: u64,
    },
    /// C16: sequence numbers jump to a value every so many pictures.
    SequenceJumps {
        /// Pictures.
        every: u64,
        /// The value.
        to: u16,
    },
    /// Every sequence number is random.
    RandomSequence,
    /// Another SSRC every so many pictures.
    NewSsrcEvery(u64),
    /// Packets with CSRC, header extension and padding.
    HeaderExtras,
    /// C40: two units of SEI alone with a marker behind each keyframe.
    SeiAlone,
    /// C40: behind every picture.
    SeiAloneAlways,
    /// C41: parameter sets in one aggregation packet.
    Aggregated,
    /// Fragments with the reserved bit, and units in one fragment with start and end bit.
    OddFragments,
    /// C42: RTCP BYE after so many pictures, then silence.
    ByeThenSilence(u64),
    /// C42: RTCP BYE after so many pictures, and the stream goes on.
    ByeAndGoesOn(u64),
    /// No sender reports.
    NoReports,

    // Interleaved framing.
    /// C10: bytes between or in interleaved frames that do not belong there.
    StrayBytes(StrayBytes),
    /// C43: requests of the camera's own.
    Asks(Asks),

    // Sessions.
    /// C11, C12: which requests keep a session alive, and what they are answered.
    KeepAlive(KeepAlive),
    /// C37: sessions with odd numbers end after so many pictures, the others after the second number.
    SessionsEnd {
        /// Pictures of the first, third …
        odd: u64,
        /// Pictures of the second, fourth …
        even: u64,
    },

    // Attacks.
    /// A description of so many bytes.
    DescriptionBytes(usize),
    /// So many media lines before the video's.
    MediaLines(usize),
    /// The head of the answer to DESCRIBE never ends.
    EndlessHead,
    /// `a=framerate:0` and dimensions of 0, and a frame rate of 0 by 0 in the parameter sets.
    NoFrameRate,
    /// A clock rate of 0.
    NoClockRate,
    /// The description offers no video.
    NoVideo,
    /// Continuations of fragments that never began, before each keyframe.
    FragmentsWithoutStart,
    /// Aggregation packets whose lengths go beyond them, before each keyframe.
    AggregateBeyondPacket,
    /// Packets whose CSRC count, extension or padding goes beyond them, before each keyframe.
    HeaderBeyondPacket,
    /// Picture parameter sets of 64 KiB with an id of their own, before each keyframe.
    HugeParameterSets,
    /// Sequence parameters of 16384 by 16384 pixels, in the description and in band.
    HugePicture,
}

/// How the session-level control differs from the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// Not at all.
    Same,
    /// A slash at the end.
    Slash,
    /// A query.
    Query,
    /// Another name of the host, in capitals.
    UpperCase,
    /// No port.
    NoPort,
    /// Another address.
    OtherHost,
}

/// Which sequence number a stray packet has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StrayType {
    /// That of the packet before it.
    LikePrevious,
    /// That of the packet after it.
    LikeNext,
    /// One of its own.
    Own,
    /// One of its own, and it is the first packet of the session.
    First,
}

/// Where start codes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnnexB {
    /// Parameter sets and picture as one run in the fragments of one unit.
    Fragmented,
    /// The run in a single packet, as if it were one unit.
    Single,
    /// Before each unit.
    Before,
    /// Behind parameter sets.
    Behind,
}

/// What stands where a frame should begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StrayBytes {
    /// 23 random bytes without `$`.
    Random,
    /// 23 zeroes.
    Zeroes,
    /// CR LF.
    Crlf,
    /// Bytes with `$` and a channel that nobody asked for.
    Dollars,
    /// A frame announces 40 bytes less than it has.
    Tail,
    /// A frame announces 60 bytes more than it has.
    LengthTooLarge,
    /// An answer to nothing.
    Answer,
}

/// A request of the camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// With a description.
    Announce,
    /// For `*`.
    OptionsStar,
    /// For its own URL.
    Options,
    /// With a body.
    SetParameter,
    /// Without one.
    GetParameter,
}

/// Which requests count as keep-alive. The session ends when none came for its timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeepAlive {
    /// All count; GET_PARAMETER is announced and never answered.
    NeverAnswered,
    /// Only what has a method from before; GET_PARAMETER is not announced and gets 405.
    OptionsOnly,
    /// All count; GET_PARAMETER gets 454.
    NotFound,
    /// All count; GET_PARAMETER gets 501.
    NotImplemented,
    /// Only GET_PARAMETER, which is not announced.
    Unlisted,
    /// Only SET_PARAMETER and OPTIONS; GET_PARAMETER is not announced.
    SetParameterOnly,
    /// All count; a body gets 400 and the connection is closed.
    ClosesForBody,
    /// All count; a body gets 451.
    BodyNotUnderstood,
    /// Only requests that are let in.
    OnlyAuthorised,
}
