//! Finds out, once, how a camera gives its recordings away: its ONVIF services are asked, and where it may have an address with
//! times, that is described. No session is opened for it.

use std::time::Duration;

use tokio::time::timeout;

use crate::{
    base::{CameraId, WallUs, error::Chain, threads::on_thread},
    media::onvif::{Device, Offer},
    model::{
        Camera,
        pipeline::SourceSettings,
        refill::way::{self, Known, Method},
        timeline::Range,
    },
    run::{Change, Watchkeeper, logins::Logins},
    source::preflight,
};

/// ONVIF services answer all that they are asked within this.
const OFFER_WITHIN: Duration = Duration::from_secs(30);
/// An address with times is tried with what was recorded so long ago, for as long.
const AGO_US: i64 = 60_000_000;

/// Asks a camera's ONVIF services for the address of its replay.
pub(super) async fn offer(camera: &Camera) -> Result<Offer, String> {
    let host = match (&camera.address, camera.url(camera.record_profile)) {
        (Some(address), _) => address.clone(),
        (None, Ok(url)) => url.host().trim_matches(['[', ']']).to_owned(),
        (None, Err(error)) => return Err(error.to_string()),
    };
    let device = Device {
        host,
        port: camera.onvif_port,
        login: camera.username.clone().zip(camera.password.clone()),
        channel: camera.channel,
    };
    let offered = on_thread("onvif", move || device.offer()).map_err(|error| error.to_string())?;
    match timeout(OFFER_WITHIN, offered).await {
        Ok(Ok(offer)) => offer.map_err(|error| error.to_string()),
        Ok(Err(_)) => Err("its ONVIF service could not be asked".to_owned()),
        Err(_) => Err("its ONVIF service does not answer".to_owned()),
    }
}

async fn describe(logins: &Logins, camera: &Camera, template: &str) -> Result<(), String> {
    let from = WallUs::now().plus_us(-2 * AGO_US);
    let range = Range { from, to: from.plus_us(AGO_US) };
    let url = way::address(template, camera.refill_time_format, range).map_err(|error| error.to_string())?;
    let settings = SourceSettings::at(camera, url);
    let mut login = logins.admit(&settings).await.map_err(|(error, _)| error.detail)?;
    match preflight::describe(&settings).await {
        Ok(_) => {
            login.accepted();
            Ok(())
        }
        Err(lost) => {
            login.lost(lost.kind);
            Err(lost.detail)
        }
    }
}

/// How a camera gives its recordings away.
pub(super) async fn find(logins: &Logins, camera: &Camera) -> Known {
    let mut wrong = Vec::new();
    for method in way::methods(camera) {
        let tried = match (method, way::template(camera)) {
            (Method::Url, Some(template)) => describe(logins, camera, &template)
                .await
                .map(|()| "it answers at the address with times".to_owned()),
            (Method::Url, None) => Err("no address with times is known".to_owned()),
            _ => offer(camera).await.map(|offer| format!("its replay is at {}", offer.url.as_str())),
        };
        match tried {
            Ok(detail) => return Known { method: Some(method), detail, at: WallUs::now() },
            Err(why) => wrong.push(format!("{}: {why}", method.word())),
        }
    }
    Known { method: None, detail: wrong.join("; "), at: WallUs::now() }
}

impl Watchkeeper {
    /// How a camera is asked for its recordings: as is set, or as was found out.
    pub(super) async fn method_of(&self, camera: &Camera) -> Result<Method, String> {
        if camera.refill_method != Method::Auto {
            return Ok(camera.refill_method);
        }
        let known = self.with(&camera.id, |entry| entry.found.clone()).ok().flatten();
        if let Some(method) = known.and_then(|found| found.method) {
            return Ok(method);
        }
        let found = find(&self.0.deps.logins, camera).await;
        self.remember_way(camera, &found).await;
        found.method.ok_or(found.detail)
    }

    /// Remembers what was found out about a camera, unless its settings have changed meanwhile.
    pub(in crate::run) async fn remember_way(&self, camera: &Camera, found: &Known) {
        let id: &CameraId = &camera.id;
        let _one = self.0.changing.lock().await;
        let same = self.with(id, |entry| way::is_same(&entry.camera, camera)).unwrap_or(false);
        if !same {
            return;
        }
        if let Err(error) = self.0.store.save_refill_way(id, Some(found)).await {
            tracing::warn!(camera.id = %id, "how it replays is not remembered: {}", Chain(&error));
        }
        if let Some(entry) = self.entries().get_mut(id) {
            entry.found = Some(found.clone());
        }
        self.0.deps.hub.tell(Change::Camera(id.clone()));
    }

    /// Finds out how a camera gives its recordings away, and remembers it of one that is known.
    pub(in crate::run) async fn find_way(&self, camera: &Camera) -> Known {
        let found = find(&self.0.deps.logins, camera).await;
        self.remember_way(camera, &found).await;
        found
    }
}
