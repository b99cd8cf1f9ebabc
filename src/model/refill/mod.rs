//! Closing gaps from the camera's own storage: which gaps are queued ([`queue`]), how a camera is asked ([`way`]), and where
//! what it answers belongs ([`placing`]).

pub mod placing;
pub mod queue;
pub mod way;
