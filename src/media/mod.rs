//! What is made of access units with GStreamer: segments, samples, snapshots, sound. Pipelines are made of the texts below
//! `pipelines/`. Where access units come from is not known here (`source`).

pub mod bus;
pub mod gstlog;
pub mod look;
pub mod onvif;
pub mod recorder;
pub mod replay;
pub mod sampler;
pub mod snapshot;
pub mod sound;
pub mod tap;
pub mod text;
pub mod units;

use gstreamer as gst;

/// An element that must exist, and the Debian package that holds it.
pub struct Needed {
    /// Name of the element.
    pub element: &'static str,
    /// Package that holds it.
    pub package: &'static str,
}

/// Every element that the texts and the program make.
pub const NEEDED: &[Needed] = &[
    Needed { element: "rtspsrc", package: "gstreamer1.0-plugins-good" },
    Needed { element: "rtpjitterbuffer", package: "gstreamer1.0-plugins-good" },
    Needed { element: "rtph264depay", package: "gstreamer1.0-plugins-good" },
    Needed { element: "h264parse", package: "gstreamer1.0-plugins-bad" },
    Needed { element: "rtph265depay", package: "gstreamer1.0-plugins-good" },
    Needed { element: "h265parse", package: "gstreamer1.0-plugins-bad" },
    Needed { element: "errorignore", package: "gstreamer1.0-plugins-bad" },
    Needed { element: "rtpmp4gdepay", package: "gstreamer1.0-plugins-good" },
    Needed { element: "aacparse", package: "gstreamer1.0-plugins-good" },
    Needed { element: "rtpopusdepay", package: "gstreamer1.0-plugins-good" },
    Needed { element: "opusparse", package: "gstreamer1.0-plugins-bad" },
    Needed { element: "rtppcmadepay", package: "gstreamer1.0-plugins-good" },
    Needed { element: "rtppcmudepay", package: "gstreamer1.0-plugins-good" },
    Needed { element: "alawdec", package: "gstreamer1.0-plugins-good" },
    Needed { element: "mulawdec", package: "gstreamer1.0-plugins-good" },
    Needed { element: "audioconvert", package: "gstreamer1.0-plugins-base" },
    Needed { element: "avenc_aac", package: "gstreamer1.0-libav" },
    Needed { element: "splitmuxsink", package: "gstreamer1.0-plugins-good" },
    Needed { element: "mp4mux", package: "gstreamer1.0-plugins-good" },
    Needed { element: "appsink", package: "gstreamer1.0-plugins-base" },
    Needed { element: "appsrc", package: "gstreamer1.0-plugins-base" },
    Needed { element: "avdec_h264", package: "gstreamer1.0-libav" },
    Needed { element: "avdec_h265", package: "gstreamer1.0-libav" },
    Needed { element: "videoconvertscale", package: "gstreamer1.0-plugins-base" },
    Needed { element: "jpegenc", package: "gstreamer1.0-plugins-good" },
];

/// Why media cannot be handled at all, or a pipeline cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// GStreamer does not start.
    #[error("cannot start GStreamer")]
    Init(#[source] glib::Error),
    /// A text cannot be read.
    #[error("cannot read the pipeline text `{path}`")]
    Text {
        /// Which.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A text is no pipeline.
    #[error("the pipeline text `{file}` does not parse")]
    Parse {
        /// Which.
        file: &'static str,
        /// What GStreamer said.
        source: glib::Error,
    },
    /// A text lacks an element that the program binds.
    #[error("the pipeline text `{file}` has no element named `{element}`")]
    NoElement {
        /// Which text.
        file: &'static str,
        /// Which name.
        element: String,
    },
    /// An element lacks a property that the program sets, or it has another type.
    #[error("the element `{element}` has no property `{property}` that takes this value")]
    NoProperty {
        /// Which element.
        element: String,
        /// Which property.
        property: String,
    },
    /// GStreamer refused a step that should always work.
    #[error("GStreamer could not {0}")]
    Refused(&'static str),
}

/// Starts GStreamer and its log. Call once, before anything else here.
pub fn init() -> Result<(), Error> {
    gst::init().map_err(Error::Init)?;
    gstlog::start();
    Ok(())
}

/// The elements of [`NEEDED`] that are not installed.
pub fn missing() -> Vec<&'static Needed> {
    NEEDED.iter().filter(|needed| gst::ElementFactory::find(needed.element).is_none()).collect()
}

/// GStreamer's own name and version.
pub fn version() -> String {
    gst::version_string().to_string()
}
