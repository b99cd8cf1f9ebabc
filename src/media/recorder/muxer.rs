//! The muxer inside splitmuxsink: an element that tells [`Segments`] which frames come next and in which segment. Downstream of it goes
//! nothing but the end of the stream, by which splitmuxsink knows that a segment is over.

use std::sync::{Arc, Mutex, OnceLock};

use gstreamer::{self as gst, prelude::*, subclass::prelude::*};

use super::{lock, segments::Segments};
use crate::{media::units, model::unit::VideoFormat};

glib::wrapper! {
    /// The element. One makes one segment.
    pub struct SegmentMuxer(ObjectSubclass<imp::SegmentMuxer>)
        @extends gst::Element, gst::Object;
}

/// The name under which splitmuxsink finds the element; `None` if GStreamer does not take it.
pub(super) fn factory() -> Option<&'static str> {
    const NAME: &str = "watchkeepermux";
    static IS_REGISTERED: OnceLock<bool> = OnceLock::new();
    let register =
        || gst::Element::register(None, NAME, gst::Rank::NONE, SegmentMuxer::static_type()).is_ok();
    IS_REGISTERED.get_or_init(register).then_some(NAME)
}

impl SegmentMuxer {
    /// Says where the frames go; before the first of them.
    pub(super) fn set_segments(&self, segments: &Arc<Segments>) {
        // splitmuxsink may tell of a muxer twice.
        let _ = self.imp().segments.set(segments.clone());
    }
}

mod imp {
    use super::*;

    #[derive(Debug, Default)]
    pub struct SegmentMuxer {
        pub(super) segments: OnceLock<Arc<Segments>>,
        /// The first that came: a muxer has one format.
        format: Mutex<Option<Arc<VideoFormat>>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for SegmentMuxer {
        const NAME: &'static str = "WatchkeeperMux";
        type Type = super::SegmentMuxer;
        type ParentType = gst::Element;
    }

    impl ObjectImpl for SegmentMuxer {
        fn constructed(&self) {
            self.parent_constructed();
            let obj = self.obj();
            if let Some(template) = obj.pad_template("src") {
                let src = gst::Pad::from_template(&template);
                // It is new, so it has no pad of this name.
                let _ = obj.add_pad(&src);
            }
        }
    }

    impl GstObjectImpl for SegmentMuxer {}

    impl ElementImpl for SegmentMuxer {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: OnceLock<gst::subclass::ElementMetadata> = OnceLock::new();
            let made = || {
                let about = "Hands frames to the recorder, which makes a fragmented MP4 of them";
                gst::subclass::ElementMetadata::new("Segment muxer", "Codec/Muxer", about, "Watchkeeper")
            };
            Some(METADATA.get_or_init(made))
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: OnceLock<Vec<gst::PadTemplate>> = OnceLock::new();
            TEMPLATES.get_or_init(|| {
                let video = gst::Caps::builder_full()
                    .structure(gst::Structure::builder("video/x-h264").field("stream-format", "avc").build())
                    .structure(gst::Structure::builder("video/x-h265").field("stream-format", "hvc1").build())
                    .build();
                let any = gst::Caps::new_any();
                let sink = gst::PadTemplate::new(
                    "video_%u",
                    gst::PadDirection::Sink,
                    gst::PadPresence::Request,
                    &video,
                );
                let src =
                    gst::PadTemplate::new("src", gst::PadDirection::Src, gst::PadPresence::Always, &any);
                sink.into_iter().chain(src).collect()
            })
        }

        fn request_new_pad(
            &self,
            template: &gst::PadTemplate,
            _name: Option<&str>,
            _caps: Option<&gst::Caps>,
        ) -> Option<gst::Pad> {
            let pad = gst::Pad::builder_from_template(template)
                .name("video_0")
                .chain_function(|_, parent, buffer| {
                    let panicked = || Err(gst::FlowError::Error);
                    Self::catch_panic_pad_function(parent, panicked, |muxer| muxer.take(&buffer))
                })
                .event_function(|_, parent, event| {
                    Self::catch_panic_pad_function(parent, || false, |muxer| muxer.event(&event))
                })
                .build();
            self.obj().add_pad(&pad).ok().map(|()| pad)
        }

        fn release_pad(&self, pad: &gst::Pad) {
            let _ = self.obj().remove_pad(pad);
        }
    }

    impl SegmentMuxer {
        /// Tells this muxer from the others of its run.
        fn id(&self) -> usize {
            self.obj().as_ptr() as usize
        }

        fn take(&self, buffer: &gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
            let segments = self.segments.get().ok_or(gst::FlowError::Error)?;
            let format = lock(&self.format).clone().ok_or(gst::FlowError::NotNegotiated)?;
            segments.mux_batch(self.id(), &format, buffer.offset()).map_err(|error| {
                gst::element_imp_error!(
                    self,
                    gst::StreamError::Mux,
                    ["a file cannot hold this stream: {error}"]
                );
                gst::FlowError::Error
            })?;
            Ok(gst::FlowSuccess::Ok)
        }

        fn event(&self, event: &gst::Event) -> bool {
            match event.view() {
                gst::EventView::Caps(event) => {
                    let mut format = lock(&self.format);
                    if format.is_none() {
                        *format = units::video_format(event.caps()).map(Arc::new);
                    }
                    format.is_some()
                }
                gst::EventView::Eos(_) => {
                    if let Some(segments) = self.segments.get() {
                        segments.end(self.id());
                    }
                    let src = self.obj().static_pad("src");
                    src.is_some_and(|src| {
                        let timeline = gst::FormattedSegment::<gst::ClockTime>::new();
                        src.push_event(gst::event::StreamStart::new("segment"));
                        src.push_event(gst::event::Segment::new(&timeline));
                        src.push_event(event.clone())
                    })
                }
                // Nothing else concerns what is downstream.
                _ => true,
            }
        }
    }
}
