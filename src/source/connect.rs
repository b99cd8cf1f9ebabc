//! TCP connections to cameras, and what their failures mean.

use std::{io, time::Duration};

use tokio::{net::TcpStream, time::timeout};

use crate::model::{
    address::StreamUrl,
    status::{StreamError, StreamErrorKind},
};

/// A camera takes a connection within this.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A camera that can be reached takes a connection within this. Short, because a connection that is begun while a cable is out takes
/// seconds to notice that it is back.
const REACHED_WITHIN: Duration = Duration::from_secs(1);

/// Connects to a camera.
///
/// # Errors
/// `Refused` if nothing listens there, `Unreachable` for everything else: no such name, no route, no answer.
pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, StreamError> {
    let error = |kind, detail: String| StreamError::new(kind, detail);
    let stream = timeout(CONNECT_WITHIN, TcpStream::connect((host, port)))
        .await
        .map_err(|_| error(StreamErrorKind::Unreachable, format!("{host}:{port} does not answer")))?
        .map_err(|failed| match failed.kind() {
            io::ErrorKind::ConnectionRefused => {
                error(StreamErrorKind::Refused, format!("nothing listens at {host}:{port}"))
            }
            _ => error(StreamErrorKind::Unreachable, format!("cannot connect to {host}:{port}: {failed}")),
        })?;
    // Requests are small and must not wait for each other; a connection without the option works as well.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Whether a camera that was away takes connections again. Asks it nothing.
pub async fn is_reachable(url: &StreamUrl) -> bool {
    let connected = timeout(REACHED_WITHIN, TcpStream::connect((url.host(), url.port()))).await;
    matches!(connected, Ok(Ok(_)))
}
