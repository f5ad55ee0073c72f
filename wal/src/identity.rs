//! Who a data folder is: drawn once, kept with the data.

use crate::family::Family;
use crate::{OpenError, key};
use event::{FingerprintKey, Seq};
use rocksdb::{DB, IteratorMode};

const NODE: &[u8] = b"node";
const SECRET: &[u8] = b"fingerprint_key";
const INCARNATION: &[u8] = b"incarnation/";

/// What stays with the data for its whole life.
#[derive(Clone)]
pub struct Identity {
    /// Random id of the node.
    pub node: u128,
    /// The secret of the dedup fingerprints.
    pub fingerprint_key: FingerprintKey,
}

/// One start of the daemon that wrote something: tells a log from its copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incarnation {
    /// Random id of the start.
    pub id: u64,
    /// First position it wrote.
    pub first: Seq,
}

/// Reads the identity, or draws and stores it in a log that is new.
pub(crate) fn load_or_draw(db: &DB) -> Result<Identity, OpenError> {
    let get = |name: &[u8]| get(db, name);
    if let (Some(node), Some(secret)) = (get(NODE)?, get(SECRET)?) {
        let node = node.as_slice().try_into().map(u128::from_be_bytes).map_err(|_| damaged("node id"))?;
        let secret = secret.as_slice().try_into().map_err(|_| damaged("fingerprint key"))?;
        return Ok(Identity { node, fingerprint_key: FingerprintKey::new(secret) });
    }
    if [Family::Log, Family::Ids]
        .into_iter()
        .any(|of| db.iterator_cf(family(db, of), IteratorMode::Start).next().is_some())
    {
        // Under another key no id would be recognised, and for sinks it would be another node's log.
        let what = "who the log is (node id, key of the ids) is gone".to_owned();
        return Err(OpenError::Damaged { at: Family::Meta.name().to_owned(), what });
    }
    let node = draw_node()?;
    let secret: [u8; FingerprintKey::LEN] = random()?;
    let mut batch = rocksdb::WriteBatch::default();
    let meta = family(db, Family::Meta);
    put_node(meta, node, &mut batch);
    batch.put_cf(meta, SECRET, secret);
    let mut options = rocksdb::WriteOptions::default();
    options.set_sync(true);
    db.write_opt(batch, &options).map_err(store(db))?;
    Ok(Identity { node, fingerprint_key: FingerprintKey::new(secret) })
}

/// A random id for a node.
pub(crate) fn draw_node() -> Result<u128, OpenError> {
    random().map(u128::from_be_bytes)
}

/// Adds the write that stores a node's id.
pub(crate) fn put_node(meta: &rocksdb::ColumnFamily, node: u128, batch: &mut rocksdb::WriteBatch) {
    batch.put_cf(meta, NODE, node.to_be_bytes());
}

/// Whether the log still knows who it is, as every log does that lost nothing of its own.
pub(crate) fn is_known(db: &DB) -> bool {
    matches!((get(db, NODE), get(db, SECRET)), (Ok(Some(_)), Ok(Some(_))))
}

/// A random id for this start.
pub(crate) fn draw_incarnation() -> Result<u64, OpenError> {
    random().map(u64::from_be_bytes)
}

/// The write that records a start, to go with its first group.
pub(crate) fn incarnation_entry(incarnation: Incarnation) -> (Vec<u8>, [u8; 8]) {
    ([INCARNATION, &key::of(incarnation.first)].concat(), incarnation.id.to_be_bytes())
}

/// All starts that wrote something, oldest first.
pub(crate) fn history(db: &DB) -> Result<Vec<Incarnation>, rocksdb::Error> {
    let mode = IteratorMode::From(INCARNATION, rocksdb::Direction::Forward);
    let mut out = Vec::new();
    for entry in db.iterator_cf(family(db, Family::Meta), mode) {
        let (name, value) = entry?;
        let Some(first) = name.strip_prefix(INCARNATION).and_then(key::seq) else { break };
        let Ok(id) = value.as_ref().try_into().map(u64::from_be_bytes) else { break };
        out.push(Incarnation { id, first });
    }
    Ok(out)
}

pub(crate) fn get(db: &DB, name: &[u8]) -> Result<Option<Vec<u8>>, OpenError> {
    db.get_cf(family(db, Family::Meta), name).map_err(store(db))
}

pub(crate) fn store(db: &DB) -> impl FnOnce(rocksdb::Error) -> OpenError {
    let path = db.path().to_path_buf();
    move |cause| OpenError::Store { path, cause }
}

/// The handle of a family, all of which are made at open.
#[expect(clippy::expect_used, reason = "open creates every family; one that is missing is a bug")]
pub(crate) fn family(db: &DB, family: Family) -> &rocksdb::ColumnFamily {
    db.cf_handle(family.name()).expect("every column family is created at open")
}

fn damaged(what: &str) -> OpenError {
    OpenError::Damaged { at: "meta".into(), what: format!("{what} has a wrong length") }
}

fn random<const N: usize>() -> Result<[u8; N], OpenError> {
    let mut out = [0; N];
    getrandom::fill(&mut out).map_err(|error| OpenError::Io {
        action: "read random bytes for",
        path: "meta".into(),
        cause: std::io::Error::other(error),
    })?;
    Ok(out)
}
