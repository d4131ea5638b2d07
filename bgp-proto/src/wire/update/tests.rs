mod fields;
mod rfc7606;

use crate::types::{Family, FamilySet};
use crate::wire::testing::{hex, message, read};
use crate::wire::{DecodeContext, DecodeError, Disposition, Message, Update};

/// A peer in another AS with everything negotiated but ADD-PATH and RFC 8950.
fn external() -> DecodeContext {
    DecodeContext {
        asn4: true,
        external: true,
        families: FamilySet::from_iter(Family::ALL),
        ..DecodeContext::default()
    }
}

fn internal() -> DecodeContext {
    DecodeContext { external: false, ..external() }
}

/// ORIGIN, AS_PATH and NEXT_HOP as any UPDATE with NLRI has them.
const ORIGIN: &str = "400101 00";
const AS_PATH: &str = "400206 0201 0000fde9";
const NEXT_HOP: &str = "400304 0a000001";
/// 203.0.113.0/24 and 198.51.100.0/24.
const NLRI: &str = "18 cb0071 18 c63364";

/// An UPDATE of three fields.
fn update(withdrawn: &str, attributes: &str, nlri: &str) -> Vec<u8> {
    let (withdrawn, attributes) = (hex(withdrawn), hex(attributes));
    let mut body = Vec::new();
    for field in [withdrawn, attributes] {
        body.extend_from_slice(&u16::try_from(field.len()).unwrap().to_be_bytes());
        body.extend_from_slice(&field);
    }
    body.extend_from_slice(&hex(nlri));
    message(2, &body)
}

fn decode(octets: &[u8], context: &DecodeContext) -> Result<Update, DecodeError> {
    match read(octets, context)? {
        Message::Update(update) => Ok(*update),
        other => panic!("not an UPDATE: {other:?}"),
    }
}

/// `accept`, `discard 6`, `withdraw 1` (codes of the attributes at fault) or `reset 3/5` and its data.
/// Says as well if what an outcome stands for has not been done.
fn outcome(octets: &[u8], context: &DecodeContext) -> String {
    let update = match decode(octets, context) {
        Ok(update) => update,
        Err(error) => {
            assert!(!error.detail.is_empty());
            let data: String = error.notification.data.iter().map(|octet| format!("{octet:02x}")).collect();
            let text = format!("reset {}/{} {data}", error.notification.code, error.notification.subcode);
            return text.trim_end().to_owned();
        }
    };
    let codes = |disposition| -> String {
        let issues = update.issues.iter().filter(|issue| issue.disposition == disposition);
        issues.map(|issue| format!(" {}", issue.code)).collect()
    };
    let routes = |blocks: Vec<usize>| blocks.into_iter().sum::<usize>();
    let announced = routes(update.announced.iter().map(|part| part.nlri.count()).collect());
    match update.disposition() {
        Disposition::Accept => "accept".to_owned(),
        Disposition::AttributeDiscard => {
            // "the UPDATE message continues to be processed" (RFC 7606 §2): its NLRI is announced.
            let field = octets.len() - 23 - length(octets, 19);
            let nlri = field - length(octets, 21 + length(octets, 19));
            assert!(announced > 0 || nlri == 0 || !context.families.contains(Family::Ipv4Unicast));
            "discard".to_owned() + &codes(Disposition::AttributeDiscard)
        }
        Disposition::TreatAsWithdraw => {
            assert_eq!(announced, 0, "nothing may be announced");
            assert!(routes(update.withdrawn.iter().map(crate::wire::NlriBlock::count).collect()) > 0);
            assert_eq!(update.attributes, crate::wire::PathAttributes::default());
            "withdraw".to_owned() + &codes(Disposition::TreatAsWithdraw)
        }
        Disposition::SessionReset => panic!("a reset is an error: {update:?}"),
    }
}

/// The two octets at `at`.
fn length(octets: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([octets[at], octets[at + 1]]))
}

fn prefixes(blocks: &[crate::wire::NlriBlock]) -> Vec<String> {
    blocks.iter().flatten().map(|nlri| nlri.prefix.to_string()).collect()
}
