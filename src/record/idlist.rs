use crate::{Corrupt, Fields, checksum};
use event::{Fingerprint, Seq, UnixMicros};

const VERSION: u8 = 1;
const HEAD: usize = 24;
const ID: usize = 20;

/// Builds one id list after another in the same buffer.
#[derive(Debug, Default)]
pub struct IdListWriter {
    out: Vec<u8>,
}

impl IdListWriter {
    /// Starts a list, dropping what was in the buffer.
    pub fn begin(&mut self) {
        self.out.clear();
        self.out.resize(HEAD, 0);
    }

    /// Adds the next event's identity.
    pub fn push(&mut self, fingerprint: Fingerprint, content: u32) {
        self.out.extend_from_slice(&fingerprint.to_le_bytes());
        self.out.extend_from_slice(&content.to_le_bytes());
    }

    /// Closes the list of the group that starts at `first` and returns its bytes.
    pub fn finish(&mut self, first: Seq, committed_at: UnixMicros) -> &[u8] {
        let ids = ((self.out.len() - HEAD) / ID) as u32;
        self.out[0] = VERSION;
        self.out[4..8].copy_from_slice(&ids.to_le_bytes());
        self.out[8..16].copy_from_slice(&committed_at.get().to_le_bytes());
        let sum = checksum(&self.out, first);
        self.out[16..24].copy_from_slice(&sum.to_le_bytes());
        &self.out
    }
}

/// The identities of one group's events, in order.
#[derive(Debug, Clone, Copy)]
pub struct IdList<'a> {
    committed_at: UnixMicros,
    ids: &'a [u8],
}

impl<'a> IdList<'a> {
    /// Reads the list stored under `first` and verifies the checksum.
    ///
    /// # Errors
    /// [`Corrupt`] when the bytes are not a whole, unchanged list of that key.
    pub fn parse(first: Seq, value: &'a [u8]) -> Result<Self, Corrupt> {
        let mut fields = Fields::new(value, "id list");
        let version = fields.u8()?;
        if version != VERSION {
            return Err(Corrupt::Version { what: "id list", version });
        }
        fields.take(3)?;
        let count = fields.u32()? as usize;
        let committed_at = UnixMicros::new(fields.i64()?);
        let sum = fields.u64()?;
        if sum != checksum(value, first) {
            return Err(Corrupt::Checksum);
        }
        if count == 0 || fields.rest.len() != count.saturating_mul(ID) {
            return Err(Corrupt::Inconsistent("id count"));
        }
        Ok(IdList { committed_at, ids: fields.rest })
    }

    /// When the group was committed.
    #[must_use]
    pub fn committed_at(&self) -> UnixMicros {
        self.committed_at
    }

    /// How many ids it holds, at least one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len() / ID
    }

    /// Whether it holds none, which a parsed list never does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The identities in order: fingerprint and content hash.
    pub fn iter(&self) -> impl Iterator<Item = (Fingerprint, u32)> + 'a {
        self.ids.chunks_exact(ID).map(|id| {
            let mut fingerprint = [0; 16];
            fingerprint.copy_from_slice(&id[..16]);
            let mut content = [0; 4];
            content.copy_from_slice(&id[16..]);
            (u128::from_le_bytes(fingerprint), u32::from_le_bytes(content))
        })
    }
}
