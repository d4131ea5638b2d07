//! The ends of sessions in words for an operator.

use bgp_proto::session::{DownReason, State};
use bgp_proto::wire::{Notification, codes};

/// What happened, with the advice that fits it. `state` is the one in which it happened.
pub(super) fn down(reason: &DownReason, state: State) -> String {
    match reason {
        DownReason::Sent(notification, detail) => {
            let what = match state {
                State::Established => "ended the session",
                _ => "refused the session",
            };
            if notification.shutdown_communication().as_ref() == Some(detail) {
                return format!("{what}: sent NOTIFICATION {notification}");
            }
            with(format!("{what}: {detail}; sent NOTIFICATION {notification}"), sent_advice(notification))
        }
        DownReason::Received(notification) => {
            let what = match state {
                State::Established => "the peer ended the session",
                State::OpenConfirm | State::OpenSent => "the peer refused the session",
                _ => "the peer closed the connection",
            };
            with(format!("{what}: received NOTIFICATION {notification}"), received_advice(notification))
        }
        DownReason::Transport(text) if state == State::Established => format!("the connection ended: {text}"),
        DownReason::Transport(text) => format!("no connection: {text}"),
        DownReason::HoldTimerExpired => {
            "nothing was heard from the peer for the whole hold time; sent NOTIFICATION 4/0 (Hold Timer Expired)"
                .to_owned()
        }
        DownReason::SendHoldTimerExpired => {
            "the peer has taken nothing off the connection for the whole send hold time (RFC 9687); sent NOTIFICATION \
             8/0 (Send Hold Timer Expired)"
                .to_owned()
        }
        DownReason::Stopped => "stopped without a NOTIFICATION; the peer may keep the routes".to_owned(),
    }
}

fn with(mut text: String, advice: Option<&str>) -> String {
    if let Some(advice) = advice {
        text.push_str(": ");
        text.push_str(advice);
    }
    text
}

/// RFC 4271 §6.2, RFC 5492 §5.
fn sent_advice(notification: &Notification) -> Option<&'static str> {
    match (notification.code, notification.subcode) {
        (codes::OPEN, codes::OPEN_UNSUPPORTED_VERSION) => Some("the peer does not speak BGP-4"),
        (codes::OPEN, codes::OPEN_BAD_PEER_AS) => Some("compare the peer's AS with `asn` here"),
        (codes::OPEN, codes::OPEN_BAD_BGP_IDENTIFIER) => {
            Some("give the peer a router ID that is not 0.0.0.0 and that no other router of the AS has")
        }
        (codes::OPEN, codes::OPEN_UNACCEPTABLE_HOLD_TIME) => {
            Some("the hold time is 0 or at least 3 s; change it on the peer")
        }
        (codes::OPEN, codes::OPEN_ROLE_MISMATCH) => {
            Some("compare the peer's role with `role` here (RFC 9234)")
        }
        (codes::OPEN, codes::OPEN_UNSUPPORTED_CAPABILITY) => {
            Some("enable a common address family on both sides")
        }
        _ => None,
    }
}

fn received_advice(notification: &Notification) -> Option<&'static str> {
    match (notification.code, notification.subcode) {
        (codes::OPEN, codes::OPEN_BAD_PEER_AS) => Some(
            "the peer expects another AS of us; compare `router.asn` or `localAsn` with its configuration",
        ),
        (codes::OPEN, codes::OPEN_BAD_BGP_IDENTIFIER) => {
            Some("the peer does not accept our router ID; is it used twice?")
        }
        (codes::OPEN, codes::OPEN_UNACCEPTABLE_HOLD_TIME) => {
            Some("the peer does not accept our hold time; change `timers.hold`")
        }
        (codes::OPEN, codes::OPEN_UNSUPPORTED_CAPABILITY) => {
            Some("the peer does not accept our capabilities; compare `families` with its configuration")
        }
        (codes::OPEN, codes::OPEN_ROLE_MISMATCH) => {
            Some("our role does not go with the peer's; compare `role` with its configuration (RFC 9234)")
        }
        (codes::OPEN, codes::OPEN_AUTHENTICATION_FAILURE) => {
            Some("the peer wants authentication of a kind that is not in use any more")
        }
        (codes::CEASE, codes::CEASE_PEER_DECONFIGURED) => {
            Some("the peer has no neighbor of this address, or has just removed it")
        }
        _ => None,
    }
}

/// Octets as a decoder takes them.
pub(super) fn hex(octets: &[u8]) -> String {
    use std::fmt::Write as _;
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut out, octet| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{octet:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn notification(code: u8, subcode: u8) -> Notification {
        Notification { code, subcode, data: Bytes::new() }
    }

    #[test]
    fn every_end_says_who_did_what() {
        let wrong_as = "it says AS 64999, `asn` says 64500".to_owned();
        let text = down(&DownReason::Sent(notification(2, 2), wrong_as), State::OpenSent);
        assert!(text.starts_with("refused the session: it says AS 64999, `asn` says 64500"), "{text}");
        assert!(text.ends_with("compare the peer's AS with `asn` here"), "{text}");
        let text = down(&DownReason::Received(notification(6, 3)), State::OpenSent);
        assert!(text.starts_with("the peer refused the session: received NOTIFICATION "), "{text}");
        assert!(text.ends_with("the peer has no neighbor of this address, or has just removed it"), "{text}");
        let text = down(&DownReason::Received(notification(6, 2)), State::Established);
        assert!(text.starts_with("the peer ended the session: "), "{text}");
        let bye = Notification::cease(2, "lunch");
        let text = down(&DownReason::Sent(bye, "lunch".to_owned()), State::Established);
        assert_eq!(
            text,
            "ended the session: sent NOTIFICATION Cease/Administrative Shutdown (6/2): \"lunch\""
        );
        let text = down(&DownReason::Transport("Connection refused".to_owned()), State::Connect);
        assert_eq!(text, "no connection: Connection refused");
    }
}
