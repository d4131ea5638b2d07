//! `passwordFile`, `passwordSecretRef`, `tcpAo`: what a session is signed with.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::model::{Authentication, PasswordSource, TcpAoAlgorithm, TcpAoKey};
use crate::speaker::reader::{Field, Report, Spanned, Table};
use crate::speaker::schema;

/// What a mapping says of it.
pub(super) fn authentication(
    table: &Table<'_>,
    report: &Report,
    base_dir: &Path,
) -> Option<Spanned<Authentication>> {
    let md5 = password(table, report, base_dir);
    let tcp_ao = table.spanned("tcpAo", |field| tcp_ao(field, report, base_dir));
    if let (Some(_), Some(tcp_ao)) = (&md5, &tcp_ao) {
        report.error(
            &tcp_ao.place,
            "tcpAo and a TCP MD5 key exclude each other (RFC 5925 §1.2)",
            "keep the one that the peer has; of both sides one alone may not change",
        );
    }
    let md5 = md5.map(|md5| Spanned { value: Authentication::Md5(md5.value), place: md5.place });
    tcp_ao.or(md5)
}

fn tcp_ao(field: &Field<'_>, report: &Report, base_dir: &Path) -> Option<Authentication> {
    let table = field.table(&schema::TCP_AO)?;
    let keys = table.required("keys", "write at least one key", |field| {
        field.each(|field| key(field, report, base_dir))
    })?;
    if keys.value.is_empty() {
        report.error(
            &keys.place,
            "there is no key, and no session without one",
            "write at least one, or remove tcpAo",
        );
        return None;
    }
    let (mut sent, mut received) = (BTreeSet::new(), BTreeSet::new());
    for key in &keys.value {
        // "The IDs of MKTs … MUST NOT overlap" for one connection (RFC 5925 §3.1).
        if !(sent.insert(key.send_id) && received.insert(key.receive_id)) {
            report.error(
                &keys.place,
                format!("sendId {} or receiveId {} stands twice", key.send_id, key.receive_id),
                "give each key identifiers of its own (RFC 5925 §3.1)",
            );
            return None;
        }
    }
    Some(Authentication::TcpAo(keys.value))
}

fn key(field: &Field<'_>, report: &Report, base_dir: &Path) -> Option<TcpAoKey> {
    let table = field.table(&schema::TCP_AO_KEY)?;
    let send_id =
        table.required("sendId", "write 0 to 255, as the peer expects it", |f| f.number(0..=u8::MAX));
    let receive_id = table.read("receiveId", |field| field.number(0..=u8::MAX));
    let algorithm = table.read("algorithm", |field| {
        field.choice(&[
            ("hmac-sha-1-96", TcpAoAlgorithm::HmacSha1),
            ("aes-128-cmac-96", TcpAoAlgorithm::Aes128Cmac),
        ])
    });
    let source = password(&table, report, base_dir);
    if source.is_none() && !table.has("passwordFile") && !table.has("passwordSecretRef") {
        report.error(
            &table.place,
            "neither passwordFile nor passwordSecretRef",
            "write where the key is; a key never stands in this file",
        );
    }
    let send_id = send_id?.value;
    Some(TcpAoKey {
        send_id,
        receive_id: receive_id.unwrap_or(send_id),
        algorithm: algorithm.unwrap_or_default(),
        source: source?.value,
    })
}

fn password(table: &Table<'_>, report: &Report, base_dir: &Path) -> Option<Spanned<PasswordSource>> {
    let file = table.spanned("passwordFile", Field::word);
    let secret = table.spanned("passwordSecretRef", |field| {
        let table = field.table(&schema::SECRET)?;
        let name = table.required("name", "write the Secret's name", Field::word);
        let key = table.required("key", "write the key in the Secret", Field::word);
        Some(PasswordSource::Secret { name: name?.value, key: key?.value })
    });
    if let (Some(_), Some(secret)) = (&file, &secret) {
        report.error(
            &secret.place,
            "passwordFile and passwordSecretRef exclude each other",
            "keep the one where the key really is",
        );
    }
    file.map(|file| {
        let path: PathBuf = base_dir.join(file.value);
        Spanned { value: PasswordSource::File(path), place: file.place }
    })
    .or(secret)
}
